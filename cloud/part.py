"""A concern of the planner that has state of its own and plugs into it: what it takes of inputs, events and timers.

The Planner folds and decides runs. Whatever stands beside them (schedules, notifications, dependencies between runs) is a Part:
its state comes from the events that it folds, and from the node's snapshot, and from nothing else. A Part that acts decides on
what it hears, after all of it has been folded, and records what it decided with `Planner.emit` or `Planner.note`, which fold it.

    class Contacts(Part):
        name = "contacts"

        def steps(self):     return {SetContact: self._set}         # inputs of the API
        def own_folds(self): return {ContactSet: self._fold_set}    # what `_set` records comes back here, now and at a restart
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from sync.inputs import Due
from sync.values import Now
from workflow.event import Event

if TYPE_CHECKING:
    from cloud.outcomes import Outcome
    from cloud.runs import Run

Step = Callable[..., None]
# (site, run, event, time_ms): of the cloud's own streams, `site` is for whom the stream is kept, empty for its own.
Fold = Callable[[str, str, Event, int], None]
# (site, run, event, time_ms, now, out): a site has told it, and it is folded.
Hear = Callable[[str, str, Event, int, Now, list[object]], None]
Elapse = Callable[[Due, Now, list[object]], None]


class Part:
    """A Part that does nothing. Subclasses say what they take; `name` is theirs in the snapshot and never changes.

    Assigned and completed tasks of runs with one site and no children take a short way through the planner and reach no Part.
    """

    name: ClassVar[str] = ""

    def steps(self) -> dict[type, Step]:
        """Inputs that are for it: type -> step(input, now, out)."""
        return {}

    def own_folds(self) -> dict[type, Fold]:
        """Events of the cloud's own streams that it folds."""
        return {}

    def site_folds(self) -> dict[type, Fold]:
        """Events of the sites' streams that it folds, after the run they belong to has folded them."""
        return {}

    def hears(self) -> dict[type, Hear]:
        """Events of the sites' streams that it acts on; at a restart nothing is heard again."""
        return {}

    def timers(self) -> dict[str, Elapse]:
        """Its timers of no run: what their keys begin with, before the first `/`."""
        return {}

    def ended(self, run: "Run", how: "Outcome", now: Now, out: list[object]) -> None:
        """The run has ended: recorded, and out of memory."""

    def greet(self, site: str, now: Now, out: list[object]) -> None:
        """The stream for the site may be written to from now on."""

    def untell(self, site: str) -> None:
        """The stream for the site begins anew: what the site has not answered, it has not been told."""

    def settle(self, now: Now, out: list[object]) -> None:
        """A batch is over."""

    def restored(self, now: Now, out: list[object]) -> None:
        """The log has been folded."""

    def save(self) -> bytes:
        """Its whole state, empty if there is none: equal states give equal bytes."""
        return b""

    def restore(self, body: bytes) -> None:
        """Begin from what `save` wrote."""
