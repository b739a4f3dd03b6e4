"""What must hold when all is whole again and nothing is under way."""

from typing import TYPE_CHECKING

from sync.chain import GENESIS, record_hash
from sync.commit import Row
from sync.values import StreamId
from tests.sim.checkers.promises import STRONG
from tests.sim.disk import Platter
from tests.sim.oracle import Broke, Told
from workflow.coordination_events import AttemptLeft
from workflow.event import Event
from workflow.events import (
    AttemptResumed,
    FragmentEnded,
    TaskAssigned,
    TaskCancelled,
    TaskCompleted,
    TaskFailed,
    TaskLost,
    decode,
)
from workflow.home_events import FragmentDropped, FragmentYielded
from workflow.homes import RELEASED_EPOCH
from workflow.steering_events import RollbackBegun, TasksReset

if TYPE_CHECKING:
    from tests.sim.world import World


async def check_whole(world: "World") -> None:
    """All checkers, one after the other. Raises Broke."""
    nodes = {"cloud": world.cloud.platter} | {name: site.platter for name, site in world.sites.items()}
    for name, platter in nodes.items():
        check_dense(name, platter)
    check_same_streams(nodes)
    for name, site in world.sites.items():
        events = site_events(site.platter, StreamId(f"{name}@1"))
        check_attempts(name, events)
        lost = world.oracle.lost | world.oracle.excused
        check_told([told for told in world.oracle.forgotten if told.site == name and (told.run, told.task) not in lost], events)
        check_told([told for told in world.promises.confirmed if told.site == name], events, STRONG)
    await check_started(world)
    await check_replicas(world)


def check_dense(name: str, platter: Platter) -> None:
    """Every stream is dense from 1, and its chain of hashes is what its rows give."""
    heads = dict.fromkeys(platter.heads, GENESIS)
    for row in platter.rows:
        head = heads[row.stream]
        if row.seq != head.seq + 1:
            raise Broke("dense streams", f"at {name}, {row.stream}: event {row.seq} after {head.seq}")
        digest = record_hash(head.hash, row.stream.encode(), row.seq, row.epoch, row.kind, row.run, row.time, row.payload)
        if digest != row.hash:
            raise Broke("one history", f"at {name}, {row.stream}: event {row.seq} has another hash than its chain")
        heads[row.stream] = head._replace(seq=row.seq, hash=digest)


def check_same_streams(nodes: dict[str, Platter]) -> None:
    """Who holds a stream holds the same of it as everybody else, to its end."""
    ends: dict[str, tuple[str, int, bytes]] = {}
    for name, platter in nodes.items():
        for stream, head in platter.heads.items():
            known = ends.setdefault(stream, (name, head.seq, head.hash))
            if known[1:] != (head.seq, head.hash):
                what = "one history" if known[1] == head.seq else "replicas converge"
                raise Broke(what, f"{stream} ends at {head.seq} at {name} and at {known[1]} at {known[0]}")


def site_events(platter: Platter, stream: StreamId) -> dict[tuple[str, int], list[tuple[Row, Event]]]:
    """What the site decided of each task, by run and task; task -1 for what ends all of them."""
    found: dict[tuple[str, int], list[tuple[Row, Event]]] = {}
    for place in platter.places.get(stream, []):
        row = platter.rows[place - 1]
        if row.kind in _KINDS:
            event = decode(row.kind, row.payload)
            found.setdefault((row.run, getattr(event, "task", -1)), []).append((row, event))
    return found


_ENDS = (TaskCompleted, TaskFailed, TaskLost, TaskCancelled)
_OVER = (FragmentEnded, FragmentYielded, FragmentDropped)
_KINDS = {kind.__name__ for kind in (TaskAssigned, AttemptLeft, AttemptResumed, TasksReset, RollbackBegun, *_OVER, *_ENDS)}


def check_attempts(site: str, events: dict[tuple[str, int], list[tuple[Row, Event]]]) -> None:
    """An older attempt is fenced off: it decides nothing. What it has done is a fact, and may complete the task, once."""
    for (run, task), told in events.items():
        last, is_completed, epoch = 0, False, 0
        for row, event in sorted((*told, *events.get((run, -1), [])), key=_order) if task >= 0 else ():
            if row.epoch not in (0, epoch):  # A run that has come from elsewhere has attempts that this stream does not tell of.
                last, is_completed, epoch = 0, False, row.epoch
            is_known = last > 0 or epoch <= RELEASED_EPOCH
            if isinstance(event, TasksReset | RollbackBegun):
                is_completed = False
            elif isinstance(event, TaskAssigned):
                if event.attempt <= last:
                    raise Broke("fencing", f"{site} gives attempt {event.attempt} of {run}/{task} after attempt {last}")
                last, is_completed = event.attempt, False
            elif isinstance(event, AttemptLeft):
                last = max(last, event.attempt)  # It was offered, and an agent may have done it by itself.
            elif isinstance(event, TaskFailed | TaskLost) and is_known and event.attempt not in (0, last):
                raise Broke("fencing", f"{site} takes the outcome of attempt {event.attempt} of {run}/{task}; {last} is the last")
            elif isinstance(event, TaskCompleted):
                if is_completed or (is_known and event.attempt > last):
                    raise Broke("fencing", f"{site} takes attempt {event.attempt} of {run}/{task} as done, once more or unasked")
                is_completed = True


def _order(told: tuple[Row, Event]) -> int:
    return told[0].seq


def check_told(
    forgotten: list[Told],
    events: dict[tuple[str, int], list[tuple[Row, Event]]],
    guarantee: str = "nothing acknowledged is lost",
) -> None:
    """When an agent is told to forget a result, the log holds it, or holds why it did not count any more: also that an older
    attempt had completed the task by then."""
    for told in forgotten:
        live = False
        for row, event in sorted((*events.get((told.run, told.task), []), *events.get((told.run, -1), [])), key=_order):
            if row.seq > told.seq:
                break
            if isinstance(event, TaskAssigned | AttemptResumed):
                live = event.attempt == told.attempt
            elif isinstance(event, (TasksReset, RollbackBegun, *_OVER)) or (
                isinstance(event, _ENDS) and (isinstance(event, TaskCompleted) or event.attempt in (0, told.attempt))
            ):
                live = False
        if live:
            raise Broke(guarantee, f"at {told.at_s:.3f} s {told} was told, and the log did not hold it")


async def check_started(world: "World") -> None:
    """Each run that was accepted is known, and has ended."""
    saved = world.cloud.platter.saved
    for key, run in world.oracle.started.items():
        snapshot = saved.get(run)
        if snapshot is None:
            raise Broke("nothing acknowledged is lost", f"run {run} was accepted under {key}, and is not known")
        if not snapshot.ended:
            raise Broke("every run ends", f"run {run} is {snapshot.state}")
        world.trace.note(f"run_{snapshot.state}")


async def check_replicas(world: "World") -> None:
    """The cloud's replica of a fragment is what the site has, at the same version."""
    for name in world.sites:
        diff = await world.people.insist(lambda cloud, name=name: cloud.service.diff(name))  # type: ignore[misc]
        if diff.different or diff.behind:
            raise Broke("replicas converge", f"of {name}: different {diff.different[:5]}, behind {diff.behind}")
        world.trace.note("replicas_compared", diff.compared)
