"""Forking: what a new run takes over of another one, and how it begins with that.

What comes before the task with which the fork begins, and was done or skipped, stands: it is as if another site had done it, so
nothing does it anew, undoes it, or cleans up after it. A task counts as before only if all that it waited for does too.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from workflow import anew, flow
from workflow.event import Blob
from workflow.events import FragmentAdopted
from workflow.origin import Origin, Seed
from workflow.plan import Plan
from workflow.states import CANCELLED, COMPLETED, ENDED, PENDING, SKIPPED
from workflow.tasks import Role

if TYPE_CHECKING:
    from workflow.fragment import Fragment

SEEDS_BYTES_MAX = 2 << 20
"""They travel with the run's inputs in one event, and a message of a link has 4 MiB at most."""
TASKS_NAMED_MAX = 20


class ForkRefused(ValueError):
    """The run cannot be forked from there; the text says why and what is allowed."""


# Deciding what is taken over -------------------------------------------------------------------------------------------


def origin_of(
    run: str, plan: Plan, parts: Sequence["Fragment | None"], places: bytes, from_task: str, blank: "Fragment"
) -> Origin:
    """What a fork of the run takes over if it begins with `from_task` (empty: nothing). `parts` are the run's fragments,
    `places[i]` which of them does task i; `blank` is a run of the plan that has not begun. Raises ForkRefused."""
    if not from_task:
        return Origin(run)
    first = outermost(plan, _index(run, plan, from_task))
    homes = [parts[place] for place in places]
    seeds = _seeds(blank, homes, first) if homes else ()
    size = sum(len(seed.output) for seed in seeds)
    if size > SEEDS_BYTES_MAX:
        raise ForkRefused(
            f"what run {run} had done before {from_task} has {size:,} bytes of outputs; allowed: {SEEDS_BYTES_MAX:,}, so begin "
            "earlier, or at the beginning"
        )
    begins_at = plan.tasks[first].id
    notes = []
    if begins_at != from_task:
        notes.append(f"{from_task} is inside of {begins_at}, which begins anew as a whole")
    if any(part is not None and part.extras is not None and part.extras.added for part in parts):
        notes.append("tasks that were added to the run are not part of its definition and not taken over")
    return Origin(run, begins_at, _stage(plan, homes, seeds), seeds, "; ".join(notes))


def _index(run: str, plan: Plan, name: str) -> int:
    found = plan.index.get(name, plan.index.get(name.partition("[")[0], -1))
    if found >= 0 and plan.tasks[found].role is Role.WORK:
        return found
    if found >= 0:
        raise ForkRefused(
            f"task {name} serves {plan.tasks[plan.tasks[found].owner].id}: it is no place to begin; allowed: that one"
        )
    known = [task.id for task in plan.tasks if task.role is Role.WORK]
    more = len(known) - TASKS_NAMED_MAX
    listed = ", ".join(known[:TASKS_NAMED_MAX]) + (f", and {more} more" if more > 0 else "")
    raise ForkRefused(f"{plan.ref}, of which run {run} is, has no task {name!r}; it has: {listed}")


def outermost(plan: Plan, task: int) -> int:
    """The task around it that is inside of none."""
    while plan.tasks[task].parent >= 0:
        task = plan.tasks[task].parent
    return task


def _seeds(blank: "Fragment", homes: Sequence["Fragment | None"], first: int) -> tuple[Seed, ...]:
    plan = blank.plan
    tops = [task.index for task in plan.tasks if task.role is Role.WORK and task.parent < 0]
    begin = [first, *(task for task in tops if not _stands(homes[task], task))]
    while True:
        fresh = set(anew.closure(blank, begin))
        # What follows from inside of a group on takes the group with it.
        wider = sorted({outermost(plan, task) for task in fresh} - fresh)
        if not wider:
            break
        begin += wider
    left = (task.index for task in plan.tasks if task.role is Role.WORK and task.index not in fresh)
    return tuple(_seed(home, task) for task in left if (home := homes[task]) is not None)


def _stands(home: "Fragment | None", task: int) -> bool:
    """Had the task ended well, and is all there that it left?"""
    if home is None or home.states[task] not in (COMPLETED, SKIPPED):
        return False
    if home.extras is not None and home.extras.rollback is not None and task in home.extras.rollback.resets:
        return False
    return home.states[task] == SKIPPED or not home.plan.retained[task] or task in (home.outputs or {})


def _seed(home: "Fragment", task: int) -> Seed:
    state = home.states[task]
    if state not in ENDED:
        return Seed(task, CANCELLED)  # The group around it had enough of its members, and is done.
    output = (home.outputs or {}).get(task, b"") if state == COMPLETED else b""
    return Seed(task, state, b"", output) if isinstance(output, Blob) else Seed(task, state, output)


def _stage(plan: Plan, homes: Sequence["Fragment | None"], seeds: Sequence[Seed]) -> str:
    """The stage that the last of the tasks led to, in the order in which they ended."""
    stage = ""
    if not plan.stages:
        return stage
    stamps = {seed.task: home.stamps[seed.task] for seed in seeds if (home := homes[seed.task]) is not None and home.stamps}
    for task in sorted(stamps, key=lambda task: stamps[task]):
        if (marks := plan.tasks[task].stages) is not None:
            stage = marks.success or marks.start or stage
    return stage


# Beginning with it -----------------------------------------------------------------------------------------------------


def blank_of(plan: Plan, kind: "type[Fragment]", run: str) -> "Fragment":
    """A run of the plan in which nothing has happened."""
    return kind.adopt(run, plan, FragmentAdopted(plan.ref, b"{}", "", [""], bytes(len(plan.tasks)), 1))  # type: ignore[arg-type]


def sow(fragment: "Fragment", origin: Origin) -> None:
    """Fold what was taken over into a fragment that has just been adopted, then begin with what lacks nothing."""
    if origin.stage:
        fragment.more().stage = origin.stage
    fragment.handed = fragment.handed or {}
    for seed in origin.seeds:
        fragment.states[seed.task] = seed.state
        fragment.handed[seed.task] = None
        if seed.state == COMPLETED:
            fragment.keep(seed.task, seed.blob or seed.output)
    fragment.open = fragment.states.count(PENDING)
    fragment.recount(range(len(fragment.states)))
    for task in range(len(fragment.states)):
        if fragment.states[task] == PENDING and flow.judge(fragment, task):
            flow.end(fragment, task, SKIPPED)
