"""What crosses between the sites of a run: how tasks ended at one of them that others wait for, through the cloud.

Each site hears of every task of another site on which one of its own depends: with its output if it is done, else how it ended.
While a fragment is being stopped nothing more crosses, for the others are stopped with it.

A value that was handed over stands until its task begins anew. Then the other sites are told, what they have done with it is
undone and done anew, and the new value is handed over when it comes (see cloud.going_back).
"""

from collections.abc import Iterable, Iterator

from cloud.runs import Run
from workflow.events import Blob, TaskCompleted, ValueHanded
from workflow.fragment import Fragment
from workflow.orders import Order, Rerun, Retry, RollBack
from workflow.states import COMPLETED, ELSEWHERE, ENDED
from workflow.tasks import LOCAL_BITS, Graph, TaskPlan

GOES_BACK = (Retry, Rerun, RollBack)


def ended_by(run: Run, fragment: Fragment, event: object) -> list[ValueHanded]:
    """What the event, which was folded just now, says of the fragment's tasks that others may wait for. Uses up its news."""
    news, fragment.news = fragment.news, None
    values = [ValueHanded(event.task, event.output, event.blob)] if isinstance(event, TaskCompleted) else []
    if news and not fragment.stopping:
        values += [ValueHanded(task, b"null", None, fragment.states[task]) for task in dict.fromkeys(news)]
    if not values or len(run.sites) < 2:
        return []
    going = going_back(fragment)
    return [value for value in values if is_at(run, value.task, fragment.site) and value.task not in going]


def is_at(run: Run, task: int, site: str) -> bool:
    """Is it a task of the definition, and done at the site?"""
    return task < len(run.places) and run.sites[run.places[task]] == site


def going_back(fragment: Fragment) -> set[int]:
    """The tasks that begin anew at the end of a rollback that is under way, and groups around them: as they are they count no
    more."""
    rollback = fragment.extras.rollback if fragment.extras is not None else None
    return set(with_groups(fragment, rollback.resets)) if rollback is not None else set()


def with_groups(fragment: Fragment, tasks: Iterable[int]) -> Iterator[int]:
    """The tasks and the groups around them: of these, too, an end counts no more when one inside begins anew."""
    for task in tasks:
        yield task
        around = fragment.parent_of(task)
        while around >= 0:
            yield around
            around = fragment.parent_of(around)


def awaiting(run: Run, task: int) -> list[str]:
    """The sites that wait for the task, or read it, and have not been told yet how it ended."""
    return [site for site in needing(run, task) if (f := run.fragment(site)) is None or f.states[task] == ELSEWHERE]


def values_for(run: Run, site: str) -> list[ValueHanded]:
    """How tasks of other sites ended that the site waits for: all of which it has not been told."""
    values = []
    going = [going_back(fragment) if fragment is not None else set() for fragment in run.fragments]
    for task, place in enumerate(run.places if len(run.sites) > 1 else b""):
        fragment = run.fragments[place]
        if run.sites[place] == site or fragment is None or fragment.states[task] not in ENDED or site not in awaiting(run, task):
            continue
        state = fragment.states[task]
        if task in going[place]:
            continue
        if state == COMPLETED:
            output = (fragment.outputs or {}).get(task, b"null")
            blob = output if isinstance(output, Blob) else None
            values.append(ValueHanded(task, b"" if isinstance(output, Blob) else output, blob))
        elif not fragment.stopping or (fragment.outcome == "failed" and _goes_on(run, site)):
            values.append(ValueHanded(task, b"null", None, state))
    return values


def _goes_on(run: Run, site: str) -> bool:
    """Has the site's part been opened again? Then it waits for nothing of one that has failed and stays so."""
    fragment = run.fragment(site)
    return fragment is not None and not (fragment.stopping or fragment.outcome or run.cancelling)


def needing(run: Run, done: int) -> list[str]:
    """The other sites with a task that needs the task, after whatever end, or reads it."""
    plan = run.plan
    waiting = (*plan.dependents[done], *plan.fallbacks.get(done, ()))
    readers = (task.index for task in plan.tasks if done in _reads(task))
    return sorted({run.sites[run.places[task]] for task in (*waiting, *readers)} - {run.sites[run.places[done]]})


def blobs_handed(run: Run) -> Iterator[Blob]:
    """Large outputs that another site of the run reads, or may read of those that it takes over as a fork."""
    for seed in run.origin.seeds if run.origin is not None else ():
        if seed.blob is not None:
            yield seed.blob
    yield from _leaving(run)
    for place, fragment in enumerate(run.fragments if len(run.sites) > 1 else ()):
        for task, output in (fragment.outputs or {}).items() if fragment is not None else ():
            if isinstance(output, Blob) and task < len(run.places) and run.places[task] == place and needing(run, task):
                yield output


def _leaving(run: Run) -> Iterator[Blob]:
    """All large outputs of a run that moves: where it goes on, whatever it gave may be read."""
    for fragment in run.fragments if len(run.sites) == 1 else ():
        if fragment is not None and (run.epoch or (fragment.extras is not None and fragment.extras.yielding)):
            yield from (output for output in (fragment.outputs or {}).values() if isinstance(output, Blob))


def refusal(run: Run, order: Order) -> str:
    """Why the order cannot be carried out across the run's sites now; empty if it can. Its home still decides for itself."""
    if len(run.sites) < 2 or not isinstance(order, GOES_BACK):
        return ""
    parts = zip(run.sites, run.fragments, strict=True)
    stopping = [s for s, f in parts if (run.cancelling or (f is not None and f.stopping)) and (f is None or not f.outcome)]
    if not stopping:
        return ""
    return f"run {run.id} is being stopped at {', '.join(stopping)}, and goes back only when it has ended there: wait for its end"


def _reads(task: TaskPlan) -> Iterator[int]:
    """The tasks of the run that the task's expressions read, those of its body too."""
    yield from task.parameters.reads
    yield from task.reads
    if task.body is not None:
        graph: Graph = task.body.graph
        for inner in graph.tasks:
            yield from (number for number in _reads(inner) if not number >> LOCAL_BITS)
