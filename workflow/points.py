"""The sync points of a run: part of its fragment's state, like its documents.

So they have its home and no other, move with it under its epoch, and are in its replica and its tombstone. Of a run of several
sites they are at its first. The edge decides at them, by `coordination.barrier`; here they are folded and looked at.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from sync.points.events import PointEvent
from sync.points.showing import PointView, PointWait, missing_of, shown, waits_at
from sync.points.state import Point
from sync.points.state import fold as fold_event
from workflow.tasks import Kind, Role

if TYPE_CHECKING:
    from workflow.fragment import Fragment


class RunWait(NamedTuple):
    """The agent waits at the point of the run, for these agents or (of a counted point) for `lacking` whom nobody knows yet.
    `tasks` of the run are in its hands meanwhile, with all that they hold."""

    run: str
    point: str
    agent: str
    since_ms: int
    parties: tuple[str, ...]
    lacking: int
    tasks: tuple[str, ...]


def point_of(fragment: "Fragment", name: str) -> Point:
    """What has happened at the point; nothing yet, if nobody came. Only to be read."""
    points = fragment.extras.points if fragment.extras is not None else {}
    return points.get(name) or Point()


def fold_point(fragment: "Fragment", event: PointEvent) -> None:
    """The point is as the event says."""
    fold_event(fragment.more().points.setdefault(event.point, Point()), event)


def points_shown(fragment: "Fragment") -> list[PointView]:
    """All points that the definition names, in its order."""
    return [shown(name, terms, point_of(fragment, name)) for name, terms in fragment.plan.points.items()]


def waits_of(fragment: "Fragment") -> Iterator[RunWait]:
    """Who waits for whom at the sync points of the run: edges of a wait-for graph."""
    for name, terms in fragment.plan.points.items():
        for wait in waits_at(name, terms, point_of(fragment, name)):
            tasks = tuple(fragment.id_of(task) for task, held in sorted(fragment.live.items()) if held.agent == wait.agent)
            yield RunWait(fragment.run, name, wait.agent, wait.since_ms, wait.parties, wait.lacking, tasks)


def wait_of(home: "Fragment", agent: str, task: str) -> PointWait | None:
    """The wait at a point for the sake of which the agent does nothing else in this task. `home` has the points of the run, and
    need not have the task. An agent that is there by another name (through the API, for another of its tasks) may be at work."""
    for name, terms in home.plan.points.items() if home.extras is not None else ():
        point = point_of(home, name)
        arrival = point.arrived.get(agent)
        if arrival is not None and is_named_for(arrival.name, home.run, task):
            return PointWait(agent, name, arrival.at_ms, *missing_of(terms, point))
    return None


def is_named_for(arrival: str, run: str, task: str) -> bool:
    """Does the arrival have a name as the task's own waits have, in any attempt?"""
    return arrival.startswith((f"{run}/{task}/", f"{run}/{task}#"))


def may_bring(home: "Fragment", fragment: "Fragment", task: int, wait: PointWait) -> bool:
    """May somebody whom the agent waits for come to the point with the task of the fragment, which has not ended? Which of them
    brings whom, nobody knows before they are given out: any may."""
    if fragment.task(task).kind is not Kind.WORK:
        return False
    if (held := fragment.live.get(task)) is None:
        return fragment.task(task).role is Role.WORK
    return held.agent not in point_of(home, wait.point).arrived and (not wait.parties or held.agent in wait.parties)


def words_of(home: "Fragment", agent: str, task: str) -> str:
    """At which point the agent waits in this task, and for whom; empty if it does at none."""
    wait = wait_of(home, agent, task)
    return f"waits at sync point {wait.point} for {', '.join(wait.parties) or f'{wait.lacking} more'}" if wait is not None else ""
