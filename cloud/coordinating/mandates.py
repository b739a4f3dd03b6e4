"""Who has delegated what to whom in a hierarchical run, how much of it is used, and until when it holds."""

from collections.abc import Iterator

import msgspec

from cloud.escalating.mandates import CloudMandates
from cloud.runs import Run
from cloud.tendering.levels import CLOUD, level_in_force
from sync.accounts import Account
from workflow.coordinating import coordination_of, may_be_coordinated
from workflow.fragment import Fragment
from workflow.mandates import HIERARCHICAL, Path, Standing
from workflow.states import ENDED
from workflow.tasks import CoordinationPlan, LevelPlan

MANDATES_SHOWN_MAX = 1_000


class MandateView(msgspec.Struct, omit_defaults=True):
    """What `name`, of a `level`, may decide by the word of `by`, and what it has decided. Costs are in the unit of bids. A bound
    that is left out does not hold; `expires` is UTC ms, as it was told; `epoch` 0 is the cloud's, whose mandate is for all homes.
    `state`: `open`, `spent` (no task more), `expired`."""

    level: str
    name: str
    by: str
    site: str
    protocol: str
    epoch: int
    state: str
    tasks_used: int
    cost_used: float
    tasks: int | None = None
    tasks_left: int | None = None
    cost: float | None = None
    cost_left: float | None = None
    capabilities: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    expires: int = 0
    on_loss: str = "continue"

    def words(self) -> str:
        """Why it lets nothing more through; empty if it does."""
        name = self.name if self.level == self.name else f"{self.level} {self.name}"
        if self.state == "expired":
            return f"the mandate of {name} has expired"
        if self.state != "spent":
            return ""
        counts = f"{self.tasks_used} of {self.tasks} tasks" if self.tasks_left == 0 else f"{self.cost_used:g} of {self.cost:g}"
        return f"{name} has used {counts}"


def mandates_of(mandates: CloudMandates, run: Run) -> list[MandateView]:
    """From above to below, by site; of groups and agents those that have had a say."""
    found = list(_every(mandates, run))
    return found[:MANDATES_SHOWN_MAX]


def _every(mandates: CloudMandates, run: Run) -> Iterator[MandateView]:
    level = level_in_force(run)
    if level is not None:
        yield _view(level, (CLOUD,), "", "", Standing(mandates.whole(run)), 0)
    for fragment in run.fragments:
        plan = _hierarchy(fragment) if fragment is not None and not fragment.outcome else None
        if plan is None or fragment is None:
            continue
        spending = mandates.spending(run.id, fragment)
        has_groups = any(level.level == "group" for level in plan.levels)
        ranks = ("site", "group", "agent") if has_groups else ("site", "agent")
        site: Path = (fragment.site,)
        for path in sorted({site, *spending.levels} - {()}):
            level = next((each for each in plan.levels if each.level == ranks[len(path) - 1]), None)
            by = path[-2] if len(path) > 1 else CLOUD
            if level is None:
                level = LevelPlan(ranks[len(path) - 1], CoordinationPlan("direct"))
            yield _view(level, path, by, fragment.site, spending.level(path), spending.epoch)


def _hierarchy(fragment: Fragment) -> CoordinationPlan | None:
    """What is in force for the first of its tasks that is decided by levels, of those that have not ended if there is one."""
    tasks = [task for task in range(len(fragment.states)) if may_be_coordinated(fragment, task)]
    for task in sorted(tasks, key=lambda task: fragment.states[task] in ENDED):
        plan = coordination_of(fragment, task)
        if plan is not None and plan.protocol == HIERARCHICAL:
            return plan
    return None


def _view(level: LevelPlan, path: Path, by: str, site: str, standing: Standing, epoch: int) -> MandateView:
    spent: Account = standing.spent
    view = MandateView(level.level, path[-1], by, site, level.coordination.protocol, epoch, "open", spent.tasks, spent.cost)
    if level.budget:
        view.tasks, view.tasks_left = level.budget, max(0, level.budget - spent.tasks)
    if level.cost_max >= 0:
        view.cost, view.cost_left = level.cost_max, max(0.0, round(level.cost_max - spent.cost, 6))
    view.capabilities, view.names, view.on_loss = level.capabilities, level.names, level.on_loss
    view.expires = standing.until_ms
    if standing.is_over and level.expires_ms:
        view.state = "expired"
    elif 0 in (view.tasks_left, view.cost_left):
        view.state = "spent"
    return view
