"""What agents and sites agree on: one leader of an epoch, one award of a task, one end of a meeting, no circle that stays."""

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from coordination.leading import LeaderElected, LeaderEnded
from coordination.waits import circles, stuck
from edge.waits import SiteWaits
from sync.commit import Commit, Row
from sync.points.events import PointBroken, PointReleased
from sync.values import stream_id
from tests.sim.checkers.promises import executor_of
from tests.sim.oracle import Broke
from workflow.coordination_events import TaskAwarded
from workflow.events import TaskAssigned, decode
from workflow.homes import attempt_epoch

if TYPE_CHECKING:
    from tests.sim.process import SiteProcess
    from tests.sim.world import World

LEADER, AWARD, ROOM = (
    "one leader of a group under an epoch",
    "a task is awarded once under an epoch",
    "nobody gets more than fits",
)
MEETING, CIRCLE, LEASE = "a sync point ends once", "no circle survives its bound", "one holder under an epoch"
CIRCLE_S = 45.0
"""So long a circle may stand: two looks of five seconds, by a clock that may be slow, and the next one behind it."""
_KINDS = {event.kind: event for event in (LeaderElected, LeaderEnded, TaskAwarded, TaskAssigned, PointReleased, PointBroken)}


@dataclass
class _Told:
    """What a site's stream has told so far. `read`: how many of its own events."""

    read: int = 0
    terms: dict[str, tuple[int, str]] = field(default_factory=dict)  # By group, while they last.
    epochs: Counter[str] = field(default_factory=Counter)  # The latest of each group.
    awards: dict[tuple[str, int, int], str] = field(default_factory=dict)
    meetings: dict[tuple[str, str, int], tuple[str, ...]] = field(default_factory=dict)


@dataclass
class Agreement:
    """Told by the world what is durable and what agents do. Everything raises Broke."""

    world: "World"
    _told: dict[str, _Told] = field(default_factory=dict)
    _met: dict[tuple[str, str, str, int], tuple[str, ...]] = field(default_factory=dict)
    _fences: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)
    _circles: dict[tuple[str, int, frozenset[Any]], float] = field(default_factory=dict)

    # When something is durable ------------------------------------------------------------------------------------------

    def written(self, site: "SiteProcess", commit: Commit) -> None:
        """A site's disk has taken this."""
        platter, stream = site.platter, stream_id(site.name, 1)
        places = platter.places.get(stream, [])
        told = self._told.setdefault(site.name, _Told())
        if told.read > len(places) or any(row.stream == stream and row.seq <= told.read for row in commit.rows):
            told = self._told[site.name] = _Told()  # It has lost some of it: those that come back are told anew.
        for place in places[told.read :]:
            row = platter.rows[place - 1]
            if row.kind in _KINDS:
                self._tell(site.name, told, row)
        told.read = len(places)
        self._look_at_room(site)

    def _tell(self, site: str, told: _Told, row: Row) -> None:
        match decode(row.kind, row.payload):
            case LeaderElected(group, agent, epoch):
                if group in told.terms or epoch <= told.epochs[group]:
                    raise Broke(LEADER, f"{agent} leads {group} of {site} under {epoch}; {told.terms.get(group)} does")
                told.terms[group], told.epochs[group] = (epoch, agent), epoch
            case LeaderEnded(group, agent, epoch):
                if told.terms.pop(group, None) != (epoch, agent):
                    raise Broke(LEADER, f"the term {epoch} of {agent} over {group} of {site} ends, and was none")
            case TaskAwarded(task, protocol, agent, epoch):
                place = row.run, task, epoch
                self.world.trace.note(f"awarded_{protocol}")
                if not agent:
                    return  # It has named nobody: what is done instead may name anybody.
                if place in told.awards:
                    raise Broke(AWARD, f"{place} to {told.awards[place]}, and to {agent}")
                told.awards[place] = agent
            case TaskAssigned() as assigned:
                place = row.run, assigned.task, attempt_epoch(row.epoch, assigned.attempt)
                if assigned.agent != told.awards.get(place, assigned.agent):
                    raise Broke(AWARD, f"{place} to {told.awards[place]}, and it is given to {assigned.agent}")
            case PointReleased(point, generation, parties):
                self._end(told, (row.run, point, generation), tuple(sorted(parties)))
            case PointBroken(point, generation):
                self._end(told, (row.run, point, generation), ())

    def _end(self, told: _Told, meeting: tuple[str, str, int], parties: tuple[str, ...]) -> None:
        if meeting in told.meetings:
            raise Broke(
                MEETING, f"{meeting} ended with {told.meetings[meeting] or 'nobody'}, and ends with {parties or 'nobody'}"
            )
        told.meetings[meeting] = parties

    # All the time -------------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """At what the sites have in memory."""
        for site in self.world.sites.values():
            if site.serving:
                self._look_at_room(site)
                self._look_for_circles(site)

    def _look_at_room(self, site: "SiteProcess") -> None:
        if not site.serving:
            return
        for slot in executor_of(site).roster.slots.values():
            if len(slot.held) > slot.capacity:
                raise Broke(ROOM, f"{slot.agent} of {site.name} has {sorted(slot.held)}, and room for {slot.capacity}")

    def _look_for_circles(self, site: "SiteProcess") -> None:
        core, now_s = executor_of(site), self.world.loop.now_s
        waits = SiteWaits(core.home)
        left = stuck(waits.roots(core.points.runs), waits.expand)
        standing = {frozenset(step.node for step in circle) for circle in circles(left)} if left else set()
        here = {key: since for key, since in self._circles.items() if key[0] == site.name}
        for key in here:
            if key[1] != site.starts or key[2] not in standing or site.is_troubled:
                del self._circles[key]
        for nodes in standing:
            since_s = self._circles.setdefault((site.name, site.starts, nodes), now_s)
            if now_s - since_s > CIRCLE_S and not site.is_troubled:
                raise Broke(CIRCLE, f"at {site.name} since {since_s:.0f} s: {sorted(nodes)}")
            self.world.trace.note("circle_stands")

    # What agents do -----------------------------------------------------------------------------------------------------

    def met(self, site: str, run: str, point: str, generation: int, parties: tuple[str, ...]) -> None:
        """An agent goes on behind a sync point."""
        known = self._met.setdefault((site, run, point, generation), parties)
        if known != parties:
            raise Broke(MEETING, f"{point} of {run}, generation {generation}: {known} went on, and {parties}")
        self.world.trace.note("met")

    def admits(self, site: str, name: str, epoch: int, run: str) -> bool:
        """Does a resource that checks epochs let the run act on it?"""
        last, holder = self._fences.get((site, name), (0, run))
        if epoch < last:
            self.world.trace.note("fenced")
            return False
        if epoch == last and holder != run and not name.startswith("leader/"):
            raise Broke(LEASE, f"{name} of {site} is {holder}'s and {run}'s under {epoch}")
        self._fences[site, name] = epoch, run
        return True
