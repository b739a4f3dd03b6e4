"""The sync points of a run: part of its fragment's state, like its documents.

So they have its home and no other, move with it under its epoch, and are in its replica and its tombstone. Of a run of several
sites they are at its first. The edge decides at them, by `coordination.barrier`; here they are folded and looked at.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from sync.points.events import PointEvent
from sync.points.showing import PointView, shown, waits_at
from sync.points.state import Point
from sync.points.state import fold as fold_event
from sync.points.terms import PointTerms

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


def words_of(fragment: "Fragment", agent: str) -> str:
    """At which point the agent waits, and for whom; empty if it does at none."""
    for name, terms in fragment.plan.points.items() if fragment.extras is not None else ():
        point = point_of(fragment, name)
        if agent in point.arrived:
            return f"waits at sync point {name} for {whom(name, terms, point)}"
    return ""


def whom(name: str, terms: PointTerms, point: Point) -> str:
    """For whom those who are at the point wait, in words."""
    view = shown(name, terms, point)
    return ", ".join(view.missing) or f"{view.lacking} more"
