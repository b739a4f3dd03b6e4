"""Who reads the logs of cloud and sites in the end, and knows by their letter alone what must never have happened."""

from collections import Counter
from collections.abc import Callable, Iterable

from cloud.notifying.events import NotificationRaised
from cloud.notifying.messages import id_of
from sync.clock import wall_ms
from sync.commit import Row
from sync.conflicts.events import ConflictRecorded
from sync.values import RunId, StreamId, stream_writer
from tests.cloud.control import Control
from tests.edge.site import Site
from tests.ports import Disk
from tests.workflow.witness import Witness
from workflow.between import is_met
from workflow.between_events import DependencyAdded, DependencyRemoved, DependencySettled
from workflow.events import (
    FragmentAdopted,
    FragmentReleased,
    RunEnded,
    TaskAssigned,
    decode,
)
from workflow.fragment import Fragment
from workflow.home_events import FactFound, FailureFound, FragmentDropped, FragmentTaken, FragmentYielded
from workflow.moving import definition_of, restore_moved
from workflow.plan import Plan
from workflow.rule_events import RuleRegistered
from workflow.site_events import SitePauseTaken
from workflow.steering_events import (
    ApprovalRequested,
    ChildRequested,
    CopiesStarted,
    RollbackEnded,
    RuleFired,
    TasksReset,
    TaskStarted,
)
from workflow.telling import task_of

STARTS = (TaskAssigned, TaskStarted, CopiesStarted, ApprovalRequested, ChildRequested)


def check_site(disk: Disk, stream: StreamId) -> None:
    """Once a site has taken a pause, nothing new starts there; what a fork has taken over is not done again, unless somebody
    takes it back; a standing rule that fires was told to the site.

    What the cloud has written stands in another order in a log that was fetched back than in the one that was lost, so only the
    site's own stream says since when."""
    paused, seeds = False, dict[str, set[int]]()
    rules: set[str] = set()
    for row in disk.rows:
        event = decode(row.kind, row.payload)
        if isinstance(event, RuleRegistered):
            rules.add(event.name)
        if row.stream != stream:
            continue
        if isinstance(event, SitePauseTaken):
            paused = event.paused
        if isinstance(event, STARTS) and event.task >= 0:
            assert not paused, f"{row.run}: {event} at a site that is paused"
        if isinstance(event, RuleFired) and event.name:
            assert event.name in rules, f"{event.name} was never told, and fires"
        _check_seeds(row.run, event, seeds)


def _check_seeds(run: str, event: object, seeds: dict[str, set[int]]) -> None:
    if isinstance(event, FragmentAdopted) and event.origin is not None:
        seeds[run] = {seed.task for seed in event.origin.seeds}
    elif isinstance(event, TasksReset | RollbackEnded):
        seeds.pop(run, None)
    elif isinstance(event, STARTS):
        assert task_of(event) not in seeds.get(run, ()), f"{run}: task {task_of(event)} was taken over, and is done again"


def check_cloud(cloud: Control, sites: Iterable[Site]) -> None:
    """Runs that wait as a whole are given to no site before; what was awaited had ended as asked; each notification is raised
    once, and none is forgotten."""
    ends: dict[str, str] = {}
    waits: dict[str, DependencyAdded] = {}
    of_run: dict[str, str] = {}
    raised: Counter[str] = Counter()
    given: set[str] = set()
    for row in cloud.log.disk.rows:
        if stream_writer(row.stream) != "cloud":
            continue
        event = decode(row.kind, row.payload)
        match event:
            case RunEnded(outcome):
                ends[row.run] = outcome
            case DependencyAdded(dependency):
                waits[dependency], of_run[dependency] = event, row.run
            case DependencySettled(dependency, "refused"):
                waits.pop(dependency, None)  # Its home says so after it had become hopeless, perhaps.
            case DependencySettled(dependency, state):
                added = waits.pop(dependency)
                if not added.on_task:
                    ended = ends.get(added.on_run, "")
                    assert ended, f"{dependency} is {state}, and {added.on_run} has not ended"
                    assert is_met(added.after, ended) == (state == "met"), f"{dependency} is {state} by {ended}"  # type: ignore[arg-type]
            case DependencyRemoved(dependency):
                waits.pop(dependency)
            case FragmentReleased() if row.run not in given:
                given |= {row.run}  # A site that missed it is told once more, and then of what it waits for since.
                held = [d for d, added in waits.items() if of_run[d] == row.run and not added.of_task]
                assert not held, f"{row.run} is given to {event.site}, and waits by {held}"
            case NotificationRaised(id):
                raised[id] += 1
            case _:
                pass
    twice = [id for id, count in raised.items() if count > 1]
    assert not twice, f"raised twice: {twice}"
    _check_told(sites, raised)


def _check_told(sites: Iterable[Site], raised: Counter[str]) -> None:
    """What rules say was heard by the cloud: an address is the rule's own with `notify`."""
    for site in sites:
        for row in site.log.disk.rows:
            event = decode(row.kind, row.payload) if row.stream == site.stream else None
            if isinstance(event, RuleFired) and event.action == "notify" and not event.error:
                id = id_of(site.name, row.run, event, wall_ms(row.time), event.target, 0)
                assert id in raised, f"{row.run}: nobody is told of {event}"


def check_told(rows: list[Row], plan_of: Callable[[str], Plan]) -> None:
    """By a site's own words: nothing is done twice or blindly, before its needs, or after a cancel; and nothing after the site
    has given the run up, or has heard that it was taken."""
    folded: dict[str, tuple[Fragment, Witness]] = {}
    gone: set[str] = set()
    for row in rows:
        event, run = decode(row.kind, row.payload), RunId(row.run)
        if isinstance(event, FragmentAdopted):
            assert run not in folded, "adopted twice"
            folded[run] = Fragment.adopt(run, plan_of(event.definition), event), Witness()
        elif isinstance(event, FragmentTaken):
            folded[run] = restore_moved(run, plan_of(definition_of(event.body)), event.body), Witness()
            gone.discard(run)
        elif isinstance(event, FragmentYielded | FragmentDropped):
            folded.pop(run, None)
            gone.add(run)
        elif isinstance(event, ConflictRecorded) and (run not in folded or folded[run][0].outcome):
            continue  # What came of an attempt after all is told whenever it comes, and counts in no state.
        elif run in folded:
            fragment, witness = folded[run]
            before = bytes(fragment.states)
            witness.expect(fragment, event)
            fragment.evolve(event)
            witness.saw(fragment, event, before)
            fragment.quiet()
            fragment.news = None
        else:
            assert run not in gone or isinstance(event, FactFound | FailureFound), f"{event} of {run}, which is another site's"
