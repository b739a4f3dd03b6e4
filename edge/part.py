"""A concern of a site's executor that has state of its own and plugs into it: what it takes of events and timers.

The Executor runs fragments. Whatever stands beside them is a Part: its state comes from the events that it folds and from the
site's snapshot, and from nothing else; what is kept of the moment only (who reported progress) comes from inputs and is lost with
the process. It records what it decides with `Home.note` (an event of the site) or `Home.decide` (of a fragment), which fold it.
"""

from collections.abc import Callable
from typing import ClassVar

from sync.inputs import Due
from sync.values import Now
from workflow.event import Event

Step = Callable[..., None]
# (is_own, run, event, time_ms): `is_own` is false of an event that the cloud has written for this site.
Fold = Callable[[bool, str, Event, int], None]
# (run, event, now, out): the cloud has told it, and it is folded.
Hear = Callable[[str, Event, Now, list[object]], None]
# It is given the fragment, the order, the command's id, the time, and what leaves.
Obey = Callable[..., None]
Elapse = Callable[[Due, Now, list[object]], None]


class Part:
    """A Part that does nothing. Subclasses say what they take; `name` is theirs in the snapshot and never changes."""

    name: ClassVar[str] = ""

    def steps(self) -> dict[type, Step]:
        """Inputs that are for it: type -> step(input, now, out)."""
        return {}

    def folds(self) -> dict[type, Fold]:
        """Events that it folds, of the site's own stream and the cloud's for it; those of a run after its fragment."""
        return {}

    def hears(self) -> dict[type, Hear]:
        """Events of the cloud's stream that it acts on; at a restart nothing is heard again."""
        return {}

    def timers(self) -> dict[str, Elapse]:
        """Its timers, of runs or of none: what their keys begin with, before the first `/`."""
        return {}

    def orders(self) -> dict[type, Obey]:
        """What people ask of runs that the fragment alone cannot decide; it answers by CommandAnswered."""
        return {}

    def linked(self, now: Now, out: list[object]) -> None:
        """The link to the cloud is up, and both sides have compared their streams."""

    def lost(self, now: Now, out: list[object]) -> None:
        """The link to the cloud is down."""

    def met(self, agent: str, now: Now, out: list[object]) -> None:
        """An agent has a session, again, and what it holds is known."""

    def settle(self, now: Now, out: list[object]) -> None:
        """A batch is over; ready tasks have not been handed out yet."""

    def restored(self, now: Now, out: list[object]) -> None:
        """The log has been folded."""

    def wake_mono_ms(self) -> int | None:
        """When it wants a turn at the latest (monotonic ms)."""
        return None

    def save(self) -> bytes:
        """Its whole state, empty if there is none: equal states give equal bytes."""
        return b""

    def restore(self, body: bytes) -> None:
        """Begin from what `save` wrote."""
