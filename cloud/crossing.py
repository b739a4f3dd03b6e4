"""What crosses between the sites of a run: how tasks ended at one of them that others wait for, through the cloud.

Each site hears of every task of another site on which one of its own depends: with its output if it is done, else how it ended.
While a fragment is being stopped nothing more crosses, for the others are stopped with it.

A value that was handed over stands. A task that a person sends back (rerun, rollback, retry) is refused at the cloud if another
site depends on it and it has ended: that site goes on with it, and nothing there would be undone. Fork the run instead.
"""

from collections.abc import Iterator

from cloud.runs import Run
from sync.values import Now
from workflow.commands import Steer
from workflow.events import Blob, TaskCompleted, ValueHanded
from workflow.fragment import Fragment
from workflow.orders import Order, Rerun, Retry, RollBack
from workflow.states import COMPLETED, ELSEWHERE, ENDED
from workflow.steering import steer
from workflow.steering_events import RollbackBegun, TasksReset
from workflow.tasks import LOCAL_BITS, Graph, TaskPlan

GOES_BACK = (Retry, Rerun, RollBack)


def ended_by(fragment: Fragment, event: object) -> list[ValueHanded]:
    """What the event, which was folded just now, says of tasks that others may wait for. Uses up the fragment's news."""
    news, fragment.news = fragment.news, None
    values = [ValueHanded(event.task, event.output, event.blob)] if isinstance(event, TaskCompleted) else []
    if news and not fragment.stopping:
        values += [ValueHanded(task, b"null", None, fragment.states[task]) for task in dict.fromkeys(news)]
    return [value for value in values if value.task < len(fragment.plan.tasks)]


def awaiting(run: Run, task: int) -> list[str]:
    """The sites that wait for the task, or read it, and have not been told yet how it ended."""
    return [site for site in needing(run, task) if (f := run.fragment(site)) is None or f.states[task] == ELSEWHERE]


def values_for(run: Run, site: str) -> list[ValueHanded]:
    """How tasks of other sites ended that the site waits for: all of which it has not been told."""
    values = []
    for task, place in enumerate(run.places if len(run.sites) > 1 else b""):
        fragment = run.fragments[place]
        if run.sites[place] == site or fragment is None or fragment.states[task] not in ENDED or site not in awaiting(run, task):
            continue
        state = fragment.states[task]
        if state == COMPLETED:
            output = (fragment.outputs or {}).get(task, b"null")
            blob = output if isinstance(output, Blob) else None
            values.append(ValueHanded(task, b"" if isinstance(output, Blob) else output, blob))
        elif not fragment.stopping:
            values.append(ValueHanded(task, b"null", None, state))
    return values


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
    for place, fragment in enumerate(run.fragments if len(run.sites) > 1 else ()):
        for task, output in (fragment.outputs or {}).items() if fragment is not None else ():
            if isinstance(output, Blob) and task < len(run.places) and run.places[task] == place and needing(run, task):
                yield output


def refusal(run: Run, order: Order, now: Now) -> str:
    """Why the order cannot be carried out across the run's sites; empty if it can. Its home still decides for itself."""
    if len(run.sites) < 2 or not isinstance(order, GOES_BACK):
        return ""
    for site, fragment in zip(run.sites, run.fragments, strict=True):
        mine = order.at_home(site) if isinstance(order, RollBack) else order
        if fragment is None or mine is None:
            continue
        for event in steer(fragment, Steer("", mine), now):
            tasks = event.tasks if isinstance(event, TasksReset) else event.resets if isinstance(event, RollbackBegun) else []
            told = (t for t in tasks if t < len(run.places) and fragment.states[t] in ENDED and needing(run, t))
            if (task := next(told, -1)) >= 0:
                others = needing(run, task)
                return (
                    f"task {fragment.id_of(task)} of run {run.id} ended at {site}, and {', '.join(others)} goes on with that: "
                    f"going back at {site} would change nothing there; allowed: fork, or what goes back no further than behind it"
                )
    return ""


def _reads(task: TaskPlan) -> Iterator[int]:
    """The tasks of the run that the task's expressions read, those of its body too."""
    yield from task.parameters.reads
    yield from task.reads
    if task.body is not None:
        graph: Graph = task.body.graph
        for inner in graph.tasks:
            yield from (number for number in _reads(inner) if not number >> LOCAL_BITS)
