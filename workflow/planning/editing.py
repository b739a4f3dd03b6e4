"""Editing the plan of a run while its home goes on with it: what an editor saw may not be so any more, and nothing is lost of it.

An edit comes with what its maker saw of the tasks that it names. What has changed there since (a task's result has added tasks,
another person has given parameters, a task was skipped) is what the home decided first, so the edit's operations go behind it
(`sync.ot.transform`): of two values of one parameter the home's earlier one stands, skipping beats editing, and the same edge or
skip twice is once. What nothing is left of is a conflict on record with both sides. An edit whose remaining operations cannot
all be done (a task has begun, an edge would close a circle) is refused as a whole.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from sync.conflicts.events import ConflictRecorded, Side
from sync.conflicts.ids import conflict_id
from sync.ot.document import Document
from sync.ot.json_form import difference
from sync.ot.operations import AddEdge, AddNode, Any_, DelNode, Json, Malformed, Put, check_operation
from sync.ot.rebase import Lost, transformed_all
from sync.values import Now
from workflow import conflict_events as _codec  # noqa: F401 (makes the events known)
from workflow.event import Event
from workflow.growth import GrowthRefused, check_addition, check_links
from workflow.orders import EditPlan, Seen
from workflow.planning.picture import WITH, named_by, plan_around
from workflow.refused import Refused
from workflow.states import NOT_BEGUN, PENDING, RECONCILE, STUCK
from workflow.steering_events import NeedsAdded, ParametersChanged, TasksAdded, TaskSkipped

if TYPE_CHECKING:
    from workflow.fragment import Fragment

OPERATIONS_MAX = 1_000
PLAN_RULE = "plan"
"""As conflicts name it."""
_OPERATIONS = msgspec.json.Decoder(list[Any_])
_ALLOWED = "add_node (a task), add_edge (it waits for another), put (of with.NAME, a parameter), del_node (skip it)"


class Wanted(NamedTuple):
    """What operations come to. `adds` are tasks as in a definition, `links` needs of tasks that there are already."""

    adds: dict[str, dict[str, Json]]
    links: dict[str, list[str]]
    puts: dict[str, dict[str, Json]]
    skips: list[str]


def read_operations(given: Sequence[dict[str, Json]]) -> list[Any_]:
    """Raises Malformed, which says what is wrong with which operation, for what no plan could take."""
    if not 0 < len(given) <= OPERATIONS_MAX:
        raise Malformed(f"{len(given):,} operations; allowed: 1 to {OPERATIONS_MAX:,} in one edit")
    try:
        operations = _OPERATIONS.decode(msgspec.json.encode(given))
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise Malformed(f"operations: {error}") from None
    for number, operation in enumerate(operations):
        is_put = isinstance(operation, Put) and operation.field.startswith(WITH) and len(operation.field) > len(WITH)
        if not is_put and not isinstance(operation, AddNode | AddEdge | DelNode):
            raise Malformed(f"operations[{number}] is none of a plan; allowed: {_ALLOWED}")
        if isinstance(operation, AddEdge) and operation.kind not in ("", "success"):
            raise Malformed(f"operations[{number}].kind: {operation.kind!r}; allowed: success")
        check_operation(operation)
    return [AddEdge(o.source, o.target, "success") if isinstance(o, AddEdge) else o for o in operations]


def seen_by(fragment: "Fragment", operations: Sequence[Any_]) -> Seen:
    """What an editor who looks at the fragment as it is sees of the tasks that the operations name."""
    document = plan_around(fragment, named_by(operations))
    return Seen(document.nodes, list(document.edges))


def edit_plan(fragment: "Fragment", order: EditPlan, command: str, now: Now) -> list[Event]:
    """Decide an edit at the home. Raises Refused."""
    try:
        wanted = read_operations(order.operations)
        there = plan_around(fragment, named_by(wanted))
        seen = there if order.latest else Document({**order.seen.nodes}, dict.fromkeys(order.seen.edges))
        mine = seen.copy().transact(wanted)
    except Malformed as wrong:
        raise Refused(f"it does not fit the plan that it was made on: {wrong}") from None
    since = difference(seen, there)
    left, _, lost = transformed_all(mine, [each for each in since if _is_about(each, named_by(wanted))], is_first=False)
    events = _events(fragment, _sorted_out(left), order.by, command)
    return [*events, *(_conflict(fragment, each, order, command, now) for each in lost)]


def _is_about(operation: Any_, names: list[str]) -> bool:
    """Nodes at the far ends of edges are there without their fields, so nothing is to be said of them."""
    return any(name in names for name in named_by([operation]))


def _sorted_out(operations: Sequence[Any_]) -> Wanted:
    wanted = Wanted({}, {}, {}, [])
    for operation in operations:
        match operation:
            case AddNode(id, fields):
                wanted.adds[id] = dict(fields)
            case AddEdge(source, target, _) if target in wanted.adds:
                needs = wanted.adds[target].get("needs", [])
                wanted.adds[target]["needs"] = [*needs, source] if isinstance(needs, list) else needs
            case AddEdge(source, target, _):
                wanted.links.setdefault(target, []).append(source)
            case Put(node, name, new, _) if node in wanted.adds:
                wanted.adds[node].setdefault("with", {})[name.removeprefix(WITH)] = new
            case Put(node, name, new, _):
                wanted.puts.setdefault(node, {})[name.removeprefix(WITH)] = new
            case DelNode(id):
                wanted.adds.pop(id, None)
                wanted.skips.append(id)
            case _:
                raise AssertionError(f"{operation} is none of a plan")
    return wanted


def _events(fragment: "Fragment", wanted: Wanted, by: str, command: str) -> list[Event]:
    events: list[Event] = []
    try:
        if wanted.adds:
            tasks = msgspec.json.encode(wanted.adds)
            check_addition(fragment, tasks, wanted.links)
            events.append(TasksAdded(command, tasks, by, wanted.links))
        elif wanted.links:
            check_links(fragment, wanted.links, set(), set())
            events.append(NeedsAdded(command, wanted.links, by))
    except GrowthRefused as refusal:
        raise Refused(str(refusal)) from None
    for name, values in wanted.puts.items():
        task = _own(fragment, name)
        if fragment.states[task] not in (*NOT_BEGUN, STUCK):
            raise Refused(f"task {name} has begun or ended, so its parameters stay; allowed: tasks that have not started")
        known = fragment.extras.overrides.get(task) if fragment.extras is not None else None
        events.append(ParametersChanged(command, task, msgspec.json.encode({**(msgspec.json.decode(known or b"{}")), **values})))
    for name in wanted.skips:
        if not fragment.has(name):
            continue  # It was added and taken away by the same edit.
        task = _own(fragment, name)
        if fragment.states[task] not in (PENDING, *NOT_BEGUN, STUCK, RECONCILE):
            raise Refused(f"task {name} has begun or ended, so it cannot be skipped; allowed: tasks that have not started")
        events.append(TaskSkipped(task, f"taken out of the plan by {by or 'a person'}", command))
    return events


def _own(fragment: "Fragment", name: str) -> int:
    task = fragment.index_of(name) if fragment.has(name) else -1
    if task < 0 or not fragment.is_own(task):
        raise Refused(f"run {fragment.run} has no task {name!r} at {fragment.site}")
    return task


def _conflict(fragment: "Fragment", lost: Lost, order: EditPlan, command: str, now: Now) -> ConflictRecorded:
    subject = named_by([lost.loser])[0]
    name = lost.loser.field if isinstance(lost.loser, Put) else ""
    stands = Side(fragment.site, "", f"{fragment.run}@{fragment.version}", _said(lost.winner), msgspec.json.encode(lost.winner))
    loses = Side("cloud", order.by, f"{command}/{_said(lost.loser)}", _said(lost.loser), msgspec.json.encode(lost.loser))
    reason = "skipping a task beats editing it" if isinstance(lost.winner, DelNode) else "its home had decided the other before"
    id = conflict_id(f"{fragment.run}/{subject}", name, stands.ref, loses.ref)
    return ConflictRecorded(id, "data", subject, name, stands, loses, PLAN_RULE, "left out", reason, now.wall_ms)


def _said(operation: Any_) -> str:
    match operation:
        case AddNode(id):
            return f"add task {id}"
        case DelNode(id):
            return f"skip task {id}"
        case AddEdge(source, target, _):
            return f"{target} waits for {source}"
        case Put(node, name, _, _):
            return f"put {name} of {node}"
        case _:
            return type(operation).__name__
