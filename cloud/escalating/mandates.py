"""What every level of a hierarchical run has decided so far, as the cloud has heard: a Part of the planner.

Each home's spending is folded from its events by the code of the home itself. The cloud's own mandate is for all homes together:
what one of them has decided is not given back when the run moves to the next.
"""

from math import inf
from typing import TYPE_CHECKING, ClassVar

import msgspec

from cloud.part import Fold, Part
from cloud.tendering.levels import CLOUD, level_in_force
from coordination.hierarchy import Delegation, Mandate, Refusal, Wanted
from sync.accounts import Account
from workflow.coordination_events import TaskAwarded
from workflow.event import Event
from workflow.events import RunEnded, TaskLost
from workflow.fragment import Fragment
from workflow.mandates import FOLDED, Spending, renews

if TYPE_CHECKING:
    from cloud.planner import Planner
    from cloud.runs import Run


class Book(msgspec.Struct, array_like=True):
    """Of one run: by site what was spent there, and `whole`, by all of them since `command`, with which the present mandates were
    given."""

    homes: dict[str, Spending] = {}
    whole: Account = msgspec.field(default_factory=Account)
    command: str = ""


class CloudMandates(Part):
    """The books of runs that have not ended and of which any level has decided something."""

    name: ClassVar[str] = "mandates"

    def __init__(self, planner: "Planner") -> None:
        self._planner = planner
        self.books: dict[str, Book] = {}

    def own_folds(self) -> dict[type, Fold]:
        return {RunEnded: lambda site, run, event, time_ms: self._forget(run)}

    def site_folds(self) -> dict[type, Fold]:
        return dict.fromkeys(FOLDED, self._fold)

    def save(self) -> bytes:
        return msgspec.msgpack.encode(dict(sorted(self.books.items()))) if self.books else b""

    def restore(self, body: bytes) -> None:
        self.books = _BOOKS.decode(body)

    def book(self, run: str) -> Book:
        """Of the run; an empty one if nothing was decided."""
        return self.books.get(run) or Book()

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
        return Mandate(given, self.book(run.id).whole)

    def refusal(self, run: "Run", fragment: Fragment, task: int) -> Refusal | None:
        """Why the cloud may not decide where the task goes; None if it may."""
        mandate = self.mandate(run)
        return mandate.refusal(Wanted(run.id, task, fragment.task(task).capability)) if mandate is not None else None

    def _fold(self, site: str, run: str, event: Event, time_ms: int) -> None:
        known = self._planner.runs.get(run) if run else None
        fragment = known.fragment(site) if known is not None else None
        if fragment is None:
            return
        if renews(event):
            book = self.books.setdefault(run, Book())
            book.homes[site] = Spending(fragment.epoch, fragment.version)
            if (command := getattr(event, "command", "")) != book.command:
                book.whole, book.command = Account(), command
            return
        spending = self.book(run).homes.get(site)
        if spending is None or spending.home != fragment.epoch:
            spending = Spending(fragment.epoch)
        before = spending.awarded.get(event.task) if isinstance(event, TaskLost) else None
        is_back = spending.fold(event, site)
        if not spending.levels and not spending.delegated:
            return
        book = self.books.setdefault(run, Book())
        book.homes[site] = spending
        if is_back and before is not None and isinstance(event, TaskLost):
            if event.task in book.whole.awards:
                book.whole.give_back(event.task, before.cost)
        elif isinstance(event, TaskAwarded) and (award := spending.awarded.get(event.task)) and award.token == event.epoch:
            book.whole.spend(event.task, award.cost)

    def _forget(self, run: str) -> None:
        self.books.pop(run, None)


_BOOKS = msgspec.msgpack.Decoder(dict[str, Book])
