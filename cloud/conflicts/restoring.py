"""How a loser is brought back: by a new edit of its document, or by an order to its run; or not, and what helps instead.

Each rule by which something loses may have its own way; whoever adds a rule registers how its losers come back:

    RESTORERS.register("ot", restore_operations)     # restore_operations(wanted) -> EditDocument | RunOrder | Refusal
"""

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from sync.conflicts.events import ConflictRecorded
from sync.documents.book import ANY_VERSION
from sync.documents.inputs import EditDocument
from sync.documents.losing import FIRST_AT_HOME, LAST_AT_HOME, REFUSED_AT_HOME
from workflow.orders import EditPlan, Order
from workflow.planning.editing import PLAN_RULE


class Wanted(NamedTuple):
    """Somebody wants the loser back. `edit` is the id under which an edit is to be made; `expected` the version of the document
    that they have seen (negative: they do not say)."""

    conflict: ConflictRecorded
    run: str
    edit: str
    by: str
    expected: int = ANY_VERSION


class RunOrder(NamedTuple):
    """Ask the homes of a run for something."""

    run: str
    order: Order


class Refusal(NamedTuple):
    """It cannot come back so. `detail` says why, and what to do instead."""

    detail: str


Restoring = EditDocument | RunOrder | Refusal
Restore = Callable[[Wanted], Restoring]


class Restorers:
    """Who brings back what has lost by which rule."""

    def __init__(self) -> None:
        self._by_rule: dict[str, Restore] = {}

    def register(self, rule: str, restore: Restore) -> None:
        """Losers by this rule come back so. Two ways for one rule are a mistake."""
        assert rule not in self._by_rule, f"losers by {rule} come back in two ways"
        self._by_rule[rule] = restore

    def restore(self, wanted: Wanted) -> Restoring:
        """What brings the loser back."""
        if (restore := self._by_rule.get(wanted.conflict.rule)) is None:
            said = f"what has lost by the rule {wanted.conflict.rule} does not come back by itself"
            return Refusal(f"{said}: look at both sides, do what is right by hand, and accept the conflict")
        return restore(wanted)


def restore_edit(wanted: Wanted) -> Restoring:
    """An edit comes back as an edit of the same kind: a put with its value, a merge with its members, or a delete."""
    said = wanted.conflict
    operation = said.loses.what
    return EditDocument(0, said.subject, wanted.edit, operation, said.loses.value, wanted.expected, wanted.by)


def restore_operation(wanted: Wanted) -> Restoring:
    """What an edit of a plan has lost is done again, on the plan as it is when its home decides."""
    operation = msgspec.json.decode(wanted.conflict.loses.value)
    return RunOrder(wanted.run, EditPlan([operation], by=wanted.by, latest=True))


RESTORERS = Restorers()
for _rule in (FIRST_AT_HOME, LAST_AT_HOME, REFUSED_AT_HOME):
    RESTORERS.register(_rule, restore_edit)
RESTORERS.register(PLAN_RULE, restore_operation)
