"""What the cloud shows of how tasks find their agents. Times are UTC ms."""

from collections.abc import Iterator

import msgspec

from cloud.coordinating.mandates import MandateView
from cloud.negotiations import Negotiation
from cloud.runs import Run
from workflow.coordinating import DIRECT, coordination_of, may_be_coordinated
from workflow.fragment import Fragment
from workflow.states import ENDED, NAMES
from workflow.tasks import CoordinationPlan, GroupOfAgents, LevelPlan

TASKS_SHOWN_MAX = 1_000


class InForce(msgspec.Struct):
    """How one task finds its agent, and who said so: the `definition`, or an order for the `run` or the `task`."""

    task: str
    site: str
    state: str
    said_by: str
    coordination: dict[str, object]


class NegotiationView(msgspec.Struct, omit_defaults=True):
    """What is under way for a task at its site, as that last told. `given` are the bids or votes so far."""

    task: str
    site: str
    protocol: str
    phase: str
    why: str
    round: int = 1
    since: int = 0
    until: int = 0
    invited: list[str] = []
    given: list[dict[str, object]] = []


class AwardView(msgspec.Struct):
    """Whom a protocol named for a task, and why. Without an `agent` nobody was found; without a `task` the run was tendered, and
    the site is named. `at` is when; `epoch` the token of the attempt that followed."""

    task: str
    site: str
    at: int
    protocol: str
    agent: str
    epoch: int
    detail: msgspec.Raw


class AwardsPage(msgspec.Struct):
    """`next` is the `before` that leads on, 0 at the end: a page may be empty before that, for a request reads only so much."""

    awards: list[AwardView]
    next: int


class CoordinationView(msgspec.Struct):
    """`tasks` are those that a protocol may choose an agent for and that have not ended, `more` of them left out; `awards` the
    last of each task, the latest first; `refused` counts bids and votes by site and code, since the site's start; `mandates` are
    those of a hierarchical run that has not ended."""

    run: str
    tasks: list[InForce]
    more: int
    negotiations: list[NegotiationView]
    awards: list[AwardView]
    refused: dict[str, dict[str, int]]
    mandates: list[MandateView]


def in_force(run: Run) -> Iterator[InForce]:
    """Of all tasks that have not ended."""
    for fragment in run.fragments:
        for task in range(len(fragment.states)) if fragment is not None and not fragment.outcome else ():
            assert fragment is not None, "it has tasks"
            if fragment.states[task] in ENDED or not may_be_coordinated(fragment, task):
                continue
            plan = coordination_of(fragment, task)
            shown = shown_plan(plan or DIRECT)
            state = NAMES[fragment.states[task]]
            yield InForce(fragment.id_of(task), fragment.site, state, _said_by(fragment, task), shown)


def _said_by(fragment: Fragment, task: int) -> str:
    changed = fragment.extras.coordination if fragment.extras is not None else {}
    return "task" if task in changed else "run" if changed else "definition"


def shown_plan(plan: CoordinationPlan) -> dict[str, object]:
    """The plan without what is empty; times in ms."""
    found: dict[str, object] = {}
    for name in plan.__struct_fields__:
        value = getattr(plan, name)
        if name == "price_max" and value < 0:
            continue
        if isinstance(value, GroupOfAgents):
            value = {key: part for key in value.__struct_fields__ if (part := getattr(value, key))}
        elif name == "levels":
            value = [_shown_level(level) for level in value]
        elif name in ("weights", "priority"):
            value = dict(value)
        if value not in ("", 0, None, (), [], {}) or name == "price_max":
            found[name] = value
    return found


def _shown_level(level: LevelPlan) -> dict[str, object]:
    more: dict[str, object] = {"budget": level.budget, "expires_ms": level.expires_ms, "by": level.by, "on_loss": level.on_loss}
    more |= {"capabilities": level.capabilities, "names": level.names}
    found = {"level": level.level, **shown_plan(level.coordination), **{name: value for name, value in more.items() if value}}
    return {**found, "cost_max": level.cost_max} if level.cost_max >= 0 else found


def negotiation_view(run: Run, site: str, told: Negotiation) -> NegotiationView | None:
    """With the task's name; None of a task that is not known here yet."""
    fragment = run.fragment(site)
    if fragment is None or told.task >= len(fragment.states):
        return None
    said = told.protocol, told.phase, told.why, told.round, told.since_ms, told.until_ms, told.invited, told.given
    return NegotiationView(fragment.id_of(told.task), site, *said)
