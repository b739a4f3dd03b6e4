"""What every level of a hierarchical run has decided so far, as the cloud has heard: a Part of the planner.

Each home's spending is folded from its events by the code of the home itself. The cloud's own mandate is for all homes, one after
the other: what one of them has decided goes along to the next, which decides within it.
"""

from math import inf
from typing import TYPE_CHECKING, ClassVar

import msgspec

from cloud.part import Fold, Part
from cloud.tendering.levels import CLOUD, level_in_force
from coordination.hierarchy import Delegation, Mandate, Refusal, Wanted
from sync.accounts import Account
from workflow.event import Event
from workflow.events import RunEnded
from workflow.fragment import Fragment
from workflow.home_events import FragmentMoved
from workflow.mandates import FOLDED, Spending, renews

if TYPE_CHECKING:
    from cloud.planner import Planner
    from cloud.runs import Run


class CloudMandates(Part):
    """By run, and by site that is or was its home, what was spent there: of runs that have not ended."""

    name: ClassVar[str] = "mandates"

    def __init__(self, planner: "Planner") -> None:
        self._planner = planner
        self.books: dict[str, dict[str, Spending]] = {}

    def own_folds(self) -> dict[type, Fold]:
        return {RunEnded: lambda site, run, event, time_ms: self._forget(run), FragmentMoved: self._move}

    def site_folds(self) -> dict[type, Fold]:
        return dict.fromkeys(FOLDED, self._fold)

    def save(self) -> bytes:
        return msgspec.msgpack.encode(dict(sorted(self.books.items()))) if self.books else b""

    def restore(self, body: bytes) -> None:
        self.books = _BOOKS.decode(body)

    def spending(self, run: str, fragment: Fragment) -> Spending:
        """Of the run at one of its homes."""
        found = self.books.get(run, {}).get(fragment.site)
        return found if found is not None and found.home == fragment.epoch else Spending(fragment.epoch)

    def whole(self, run: "Run") -> Account:
        """What counts for the cloud: of all homes that the run has, with what these were given along."""
        found = Account()
        for fragment in run.fragments:
            own = self.spending(run.id, fragment).level(()).spent if fragment is not None else Account()
            found.cost = round(found.cost + own.cost, 6)
            for task, count in own.awards.items():
                found.awards[task] = found.awards.get(task, 0) + count
        return found

    def mandate(self, run: "Run") -> Mandate | None:
        """The cloud's own for the run; None if its definition names none."""
        level = level_in_force(run)
        if level is None:
            return None
        given = Delegation(
            level=CLOUD,
            to=CLOUD,
            epoch=0,
            capabilities=level.capabilities,
            names=level.names,
            tasks_max=level.budget,
            cost_max=level.cost_max if level.cost_max >= 0 else inf,
        )
        return Mandate(given, self.whole(run))

    def refusal(self, run: "Run", fragment: Fragment, task: int) -> Refusal | None:
        """Why the cloud may not decide where the task goes; None if it may."""
        mandate = self.mandate(run)
        return mandate.refusal(Wanted(run.id, task, fragment.task(task).capability)) if mandate is not None else None

    def _fold(self, site: str, run: str, event: Event, time_ms: int) -> None:
        known = self._planner.runs.get(run) if run else None
        fragment = known.fragment(site) if known is not None else None
        if fragment is None:
            return
        spending = Spending(fragment.epoch, fragment.version) if renews(event) else self.spending(run, fragment)
        spending.fold(event, site)
        if spending.levels or spending.delegated or renews(event):  # Else it concerns no level.
            self.books.setdefault(run, {})[site] = spending

    def _move(self, site: str, run: str, event: Event, time_ms: int) -> None:
        """The next home has not heard of it yet, and what counts for the cloud is its already."""
        assert isinstance(event, FragmentMoved), "it asked for no other"
        if event.spent is not None:
            spending = self.books.setdefault(run, {})[event.site] = Spending(event.epoch)
            spending.fold(event, event.site)

    def _forget(self, run: str) -> None:
        self.books.pop(run, None)


_BOOKS = msgspec.msgpack.Decoder(dict[str, dict[str, Spending]])
