"""The plan of a run as the API shows it."""

from collections.abc import Iterable

import msgspec

from cloud.intents import Intent
from cloud.runs import Run
from workflow.fragment import Fragment
from workflow.orders import EditPlan, decode_order
from workflow.planning.picture import plan_of
from workflow.states import NAMES

TASKS_SHOWN_MAX = 10_000
EDIT = str(EditPlan.__struct_config__.tag)


class TaskNode(msgspec.Struct, omit_defaults=True):
    """A task. `state` is where it stands; `fields` are what an edit may put: `with.NAME`, parameters that were given since the
    start."""

    id: str
    state: str
    fields: dict[str, object] = {}


class PlanPart(msgspec.Struct, omit_defaults=True):
    """What one home of the run decides about, at `version`: an edit names it as its `base`. `edges` are [need, task, kind]; what
    was skipped is left out, and `more` tasks for their number."""

    site: str
    version: int
    tasks: list[TaskNode] = []
    edges: list[tuple[str, str, str]] = []
    more: int = 0


class PendingEdit(msgspec.Struct):
    """An edit that its home has not answered: it is in no version yet. `at` is UTC ms."""

    command: str
    site: str
    by: str
    at: int
    operations: list[dict[str, object]]


class PlanView(msgspec.Struct):
    """The plan of a run, by home, and the edits that are on their way. A home that has not begun has no part yet."""

    run: str
    parts: list[PlanPart]
    pending: list[PendingEdit] = []


def plan_view(run: Run, intents: Iterable[Intent]) -> PlanView:
    """As the cloud's replicas have it. `intents` are all that the cloud keeps."""
    parts = [_part(fragment) for fragment in run.fragments if fragment is not None]
    open_ones = (intent for intent in intents if intent.run == run.id and intent.kind == EDIT and intent.is_open)
    return PlanView(run.id, parts, [_pending(intent) for intent in open_ones])


def _pending(intent: Intent) -> PendingEdit:
    order = decode_order(intent.arguments)
    assert isinstance(order, EditPlan), f"command {intent.id} is an edit of a plan"
    return PendingEdit(intent.id, ", ".join(intent.targets), order.by, intent.created, order.operations)


def _part(fragment: Fragment) -> PlanPart:
    plan = plan_of(fragment)
    names = list(plan.nodes)
    shown = dict.fromkeys(names[:TASKS_SHOWN_MAX])
    tasks = [TaskNode(name, NAMES[fragment.states[fragment.index_of(name)]], dict(plan.nodes[name])) for name in shown]
    edges = [edge for edge in plan.edges if edge[0] in shown and edge[1] in shown]
    return PlanPart(fragment.site, fragment.version, tasks, edges, len(names) - len(shown))
