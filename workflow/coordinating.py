"""By which protocol a task finds its agent, as plain values: what a definition says once it is compiled, and what events carry.

A task without a `CoordinationPlan` goes to the least loaded agent that can do it (direct). The protocols themselves are in
`coordination`, and `edge.coordinating` joins the two; here is only what authors and operators may ask for.
"""

from typing import TYPE_CHECKING

import msgspec

from workflow.tasks import CoordinationPlan, Kind, Role

if TYPE_CHECKING:
    from workflow.fragment import Fragment

PROTOCOLS = ("direct", "auction", "leader", "consensus", "hierarchical")
DIRECT = CoordinationPlan("direct")
WHOLE_RUN = -1
"""In the place of a task: what holds for all tasks of the run that agents do."""


class Award(msgspec.Struct, frozen=True):
    """Why an agent got a task, as the JSON in `TaskAwarded.detail` says it. `given` are the bids or votes with all their values
    (the best first, `more` were left out), `refused` those that did not count and why, `under` the epochs under which it was
    decided: agents are told them as leases of the attempt, so that what they act on can refuse an older one. `cost` is that of
    the winning bid, or what the agent asks; `path` of protocol hierarchical, by whom it was decided, from the site on."""

    rule: str
    reason: str
    round: int = 1
    given: list[dict[str, object]] = []
    refused: list[dict[str, object]] = []
    invited: list[str] = []
    more: int = 0
    under: dict[str, int] = {}
    cost: float = 0.0
    path: tuple[str, ...] = ()


class AloneAward(Award, frozen=True):
    """Agents agreed on it among themselves while they could not hear the site, which recorded it when it heard of it."""

    agreed_alone: bool = True


def may_be_coordinated(fragment: "Fragment", task: int) -> bool:
    """Does a protocol choose who does it? Not of what names its agent, nor of what serves another task."""
    plan = fragment.task(task)
    return plan.kind is Kind.WORK and plan.role is Role.WORK and not plan.agent


def coordination_of(fragment: "Fragment", task: int) -> CoordinationPlan | None:
    """What is in force for the task: the last word of a person on it, on its run, or what the definition says; None: direct."""
    changed = fragment.extras.coordination if fragment.extras is not None else None
    plan = fragment.task(task)
    if not changed:
        return plan.coordination
    if not may_be_coordinated(fragment, task):
        return None
    said = changed.get(task) or changed.get(WHOLE_RUN) or plan.coordination
    return None if said is None or said.protocol == "direct" else said
