"""What agents have done that no run here takes, a Part of the executor: it is on record with its output.

An outcome that is taken costs nothing here, and neither does one that is said again. Of a run that goes on here the conflict is
an event of the run; one that has ended stays as it ended, and the conflict stands behind it in the site's stream.
"""

from typing import ClassVar

from edge.home import Home
from edge.part import Fold, Part
from sync.conflicts.events import ConflictRecorded, Side
from sync.outputs import Append
from sync.values import Now
from workflow import conflict_events as _codec  # noqa: F401 (makes the events known)
from workflow.commands import Complete
from workflow.event import Event
from workflow.losing import PHYSICAL, late_outcome, standing_of


class SiteConflicts(Part):
    """Looks at outcomes that were refused."""

    name: ClassVar[str] = "conflicts"

    def __init__(self, home: Home) -> None:
        self._home = home

    def folds(self) -> dict[type, Fold]:
        return {ConflictRecorded: self._fold}

    def hear(self, run: str, said: object, now: Now, out: list[object]) -> None:
        """An agent tells an outcome that nobody has taken. If the site had written that attempt off, it was done all the same."""
        home = self._home
        if not home.withdrawn.runs or not isinstance(said, Complete):
            return
        gone = home.withdrawn.find(run, said.task, said.attempt, said.agent)
        if gone is None:
            return
        fragment = home.fragments.get(run)
        if fragment is not None:
            lost = late_outcome(run, gone.name, said, standing_of(fragment, said.task), now)
            home.record(fragment, [lost], now, out)
            return
        outcome = home.withdrawn.runs[run].outcome or "given to another site"
        lost = late_outcome(run, gone.name, said, Side(home.site, "", f"{run}:{outcome}", f"over, its run {outcome}"), now)
        out.append(Append(home.stream, run, 0, lost))
        home.tell(run, lost)

    def _fold(self, is_own: bool, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, ConflictRecorded)
        if is_own and event.rule == PHYSICAL:
            self._home.withdrawn.recorded(run, event.loses.ref)

    def save(self) -> bytes:
        return self._home.withdrawn.save()

    def restore(self, body: bytes) -> None:
        self._home.withdrawn.restore(body)
