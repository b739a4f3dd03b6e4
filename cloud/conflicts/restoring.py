"""How a loser is brought back: by a new edit of its document, or by an order to its run; or not, and what helps instead.

Each rule by which something loses may have its own way; whoever adds a rule registers how its losers come back:

    RESTORERS.register("ot", restore_operations)     # restore_operations(wanted) -> EditDocument | RunOrder | Refusal
"""

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from cloud.conflicts.told import EARLIER_HOME
from sync.conflicts.events import ConflictRecorded, Kind
from sync.documents.book import ANY_VERSION
from sync.documents.inputs import EditDocument
from sync.documents.losing import FIRST_AT_HOME, LAST_AT_HOME, REFUSED_AT_HOME
from sync.documents.overtaken import RULE as OT_RULE
from sync.documents.overtaken import WHAT as OPERATIONS
from workflow.losing import BLOB_KEY, CANCEL_COMPLETE, OVERTAKEN, PHYSICAL
from workflow.orders import EditPlan, Order, Settle
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
        self._by_rule: dict[tuple[Kind, str], Restore] = {}

    def register(self, rule: str, restore: Restore, family: Kind = "data") -> None:
        """Losers by this rule come back so. Two ways for one rule are a mistake."""
        assert (family, rule) not in self._by_rule, f"losers by {rule} come back in two ways"
        self._by_rule[(family, rule)] = restore

    def restore(self, wanted: Wanted) -> Restoring:
        """What brings the loser back."""
        if (restore := self._by_rule.get((wanted.conflict.family, wanted.conflict.rule))) is None:
            said = f"what has lost by the rule {wanted.conflict.rule} does not come back by itself"
            return Refusal(f"{said}: look at both sides, do what is right by hand, and accept the conflict")
        return restore(wanted)


def restore_edit(wanted: Wanted) -> Restoring:
    """An edit comes back as an edit of the same kind: a put with its value, a merge with its members, or a delete."""
    said = wanted.conflict
    operation = said.loses.what
    return EditDocument(0, said.subject, wanted.edit, operation, said.loses.value, wanted.expected, wanted.by)


def restore_operations(wanted: Wanted) -> Restoring:
    """Operations that went behind others are done again, on the document as it is; an object that went because of those that
    stand comes back with them. An edit that its home had to refuse as a whole is made again as it was."""
    said = wanted.conflict
    winners = said.stands.value if said.stands.what == OPERATIONS and said.stands.value else b"[]"
    value = b'{"losers":' + (said.loses.value or b"[]") + b',"winners":' + winners + b"}"
    return EditDocument(0, said.subject, wanted.edit, "restore", value, wanted.expected, wanted.by)


def restore_operation(wanted: Wanted) -> Restoring:
    """What an edit of a plan has lost is done again, on the plan as it is when its home decides."""
    operation = msgspec.json.decode(wanted.conflict.loses.value)
    return RunOrder(wanted.run, EditPlan([operation], by=wanted.by, latest=True))


def restore_output(wanted: Wanted) -> Restoring:
    """What an agent has done settles its task, if that waits for somebody to say what became of it; else the home refuses."""
    said = wanted.conflict
    output = msgspec.json.decode(said.loses.value or b"null")
    if isinstance(output, dict) and BLOB_KEY in output:
        kept = f"the output of {said.loses.ref} is kept beside the log ({output[BLOB_KEY]}, {output['size']:,} bytes)"
        return Refusal(f"{kept} and is too large for an order: settle {said.subject} of {wanted.run} with what it says")
    return RunOrder(wanted.run, Settle(said.subject, "completed", wanted.by, output))


def refuses(advice: str) -> Restore:
    """What lost by such a rule does not come back, and this helps."""
    return lambda wanted: Refusal(f"{wanted.conflict.loses.what} does not come back: {advice}")


RESTORERS = Restorers()
for _rule in (FIRST_AT_HOME, LAST_AT_HOME, REFUSED_AT_HOME):
    RESTORERS.register(_rule, restore_edit)
RESTORERS.register(OT_RULE, restore_operations)
RESTORERS.register(PLAN_RULE, restore_operation)
RESTORERS.register(PHYSICAL, restore_output, "outcome")
RESTORERS.register(CANCEL_COMPLETE, refuses("its task is done; roll the run back to before it (tiercel run rollback)"), "order")
RESTORERS.register(OVERTAKEN, refuses("the run had ended; retry, rerun or fork it, and accept the conflict"), "order")
RESTORERS.register(EARLIER_HOME, refuses("the run has another home; order there what is still wanted, and accept it"), "home")
