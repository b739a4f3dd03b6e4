"""The plan of a run as the API shows it."""

import msgspec

from cloud.runs import Run
from workflow.fragment import Fragment
from workflow.planning.picture import plan_of
from workflow.states import NAMES

TASKS_SHOWN_MAX = 10_000


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


class PlanView(msgspec.Struct):
    """The plan of a run, by home. A home that has not begun has no part yet."""

    run: str
    parts: list[PlanPart]


def plan_view(run: Run) -> PlanView:
    """As the cloud's replicas have it."""
    return PlanView(run.id, [_part(fragment) for fragment in run.fragments if fragment is not None])


def _part(fragment: Fragment) -> PlanPart:
    plan = plan_of(fragment)
    names = list(plan.nodes)
    shown = dict.fromkeys(names[:TASKS_SHOWN_MAX])
    tasks = [TaskNode(name, NAMES[fragment.states[fragment.index_of(name)]], dict(plan.nodes[name])) for name in shown]
    edges = [edge for edge in plan.edges if edge[0] in shown and edge[1] in shown]
    return PlanPart(fragment.site, fragment.version, tasks, edges, len(names) - len(shown))
