"""The site's own stream begins anew, for it had lost events that nobody keeps: what it told before counts no more.

It is folded from the log like anything else (`SiteStreamBegun`), so nothing here acts. What the cloud knows of the site it gives
back in its own stream: runs as they move, schedules and documents as they are. Agents come back by themselves.
"""

from typing import TYPE_CHECKING

from edge.doubts import Doubts
from sync.values import StreamId, stream_id
from workflow.reseed_events import SiteStreamBegun

if TYPE_CHECKING:
    from edge.executor import Executor


def begin_anew(executor: "Executor", event: SiteStreamBegun) -> None:
    """Forget what the site had told, and write the new incarnation from now on. What the cloud tells of itself stays."""
    write(executor, stream_id(executor.site, event.incarnation))
    executor.unheard.begin_anew(keeps_told=executor.reseeding.last.incarnation >= event.told_in)
    for run in list(executor.fragments):
        executor.replaced[run] = executor.fragments.packed(run)
        del executor.fragments[run]
    executor.home.changed.clear()
    executor.roster.slots.clear()
    executor.schedules.book.restore(())
    executor.yielding.begin_anew()
    executor.reopening.begin_anew()
    executor.begun_ms.clear()
    executor.doubts = Doubts(executor.lost.get(executor.stream, 0))


def write(executor: "Executor", stream: StreamId) -> None:
    """This is the stream that the site writes."""
    executor.stream = executor.home.stream = executor.lag.stream = stream
