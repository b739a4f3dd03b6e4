"""Circles of waits that no site sees as a whole, a Part of the planner: over several sites, or through waits of runs for other
runs.

Its victim is told by an order to its home, like any other; the home decides (`workflow.wounding`), and refuses what has come to
pass meanwhile. A replica may be behind, so a circle has to stand for two looks, and a victim that has been told is not told
again. Where nobody holds anything, a sync point in it breaks; without one it is told once, and a person has to see to it.
"""

from typing import TYPE_CHECKING, ClassVar

from cloud.part import Elapse, Hear, Part
from cloud.waiting.graph import CloudWaits, parted
from coordination.deadlock_events import DeadlockFound, Waited, words
from coordination.waits import RULES, Candidate, Node, Step, choose, circles, stuck
from sync.inputs import Due
from sync.outputs import ClearTimer, SetTimer
from sync.points.events import PointArrived
from sync.values import Now
from workflow.anew import closure
from workflow.awaited import HELPLESS
from workflow.event import Event
from workflow.events import FragmentEnded
from workflow.orders import ResetPoint, Wound
from workflow.states import COMPLETED
from workflow.steering_events import ChildRequested, TaskBlocked, TaskHeld, TaskSkipped, TaskStarted
from workflow.wounding import wounds_of

if TYPE_CHECKING:
    from cloud.planner import Planner

AFTER_MS = 10_000
"""A wait may be looked at once it has lasted for so long; sites look after half of it."""

WAITING = (TaskBlocked, TaskStarted, TaskHeld, ChildRequested, PointArrived)
"""Something may wait since this."""

CLOSING = (*HELPLESS, FragmentEnded, TaskSkipped)
"""What waited before may be in a circle since this."""

TIMER = "deadlocks"
PERSON = "person"
TOLD_MAX = 50


class FarCircles(Part):
    """A timer is set while there is anything to look at, and none else."""

    name: ClassVar[str] = "far_circles"

    def __init__(self, planner: "Planner") -> None:
        self._planner = planner
        self._suspected: set[Node] = set()
        self._told: dict[Node, str] = {}  # By which command a victim was told.
        self._is_set = False
        self._is_waited = True  # For all that is known; a look tells.

    def hears(self) -> dict[type, Hear]:
        return dict.fromkeys((*WAITING, *CLOSING), self._hear)

    def timers(self) -> dict[str, Elapse]:
        return {TIMER: self._elapse}

    def _hear(self, site: str, run: str, event: Event, time_ms: int, now: Now, out: list[object]) -> None:
        self._is_waited = self._is_waited or isinstance(event, WAITING)
        if self._is_waited and not self._is_set:
            self._is_set = True
            out.append(SetTimer("", f"{TIMER}/look", now.wall_ms + AFTER_MS))

    def _elapse(self, input: Due, now: Now, out: list[object]) -> None:
        self._is_set = False
        if self._look(now, out):
            self._is_set = True
            out.append(SetTimer("", input.key, now.wall_ms + AFTER_MS))
        else:
            out.append(ClearTimer("", input.key))

    def _look(self, now: Now, out: list[object]) -> bool:
        """Is there anything that has to be looked at again?"""
        waits = CloudWaits(self._planner)
        self._is_waited = bool(roots := waits.roots())
        left = stuck(roots, waits.expand)
        suspected, self._suspected = self._suspected, set()
        self._told = {node: command for node, command in self._told.items() if node in left and self._is_pending(command)}
        found = [circle for circle in circles(left) if is_far(waits, circle)] if left else []
        for circle in found.copy():
            nodes = {step.node for step in circle}
            if nodes <= suspected and not nodes & self._told.keys() and self._break(waits, circle, now, out):
                found.remove(circle)
            self._suspected |= nodes
        return bool(found)

    def _is_pending(self, command: str) -> bool:
        intent = self._planner.intents.commands.get(command)
        return intent is not None and intent.state == "pending"

    def _break(self, waits: CloudWaits, circle: list[Step], now: Now, out: list[object]) -> bool:
        """Is it left to a person, so that there is nothing to look at again before something changes?"""
        if self._planner.intents.is_full():
            return False
        holders = [step.on for step in circle if step.kind == "resource" and waits.may_give_way(step.on)]
        at_points = [step.node for step in circle if step.kind == "barrier"]
        candidates = [found for node in holders or at_points if (found := _candidate(waits, node)) is not None]
        if not candidates:
            self._leave(waits, circle, now, out)
            return True
        chosen, rule = choose(candidates)
        alone = rule, "broken_point", "nobody holds anything that can be given back"
        victim, why = _remedy(waits, circle, chosen.node, rule) if holders else (chosen.node, alone)
        if why[1] == "broken_point" and not self._may_break(victim):
            return False
        self._tell(waits, circle, victim, why, now, out)
        return False

    def _may_break(self, node: Node) -> bool:
        """Only while the site with the points is linked: an order that came late would break what others wait for by then."""
        home = self._planner.runs[parted(node.run)[1]].sites[0]
        return self._planner.fleet.site(home).linked

    def _leave(self, waits: CloudWaits, circle: list[Step], now: Now, out: list[object]) -> None:
        """Runs that wait for each other's ends, say: nobody in it has anything to give back. It is told once."""
        told = _told(waits, circle)
        if any(known.found.circle == told and known.found.remedy == PERSON for known in self._planner.waiting.deadlocks):
            return
        last = max((step.node for step in circle), key=lambda node: parted(node.run)[1])
        name, run = waits.name(last), parted(last.run)[1]
        detail = (
            "nobody holds anything that could be given back: remove a dependency of it, skip a task, or cancel one of its runs"
        )
        self._planner.note("", DeadlockFound(self._planner.ids.next("w"), told, run, name, RULES[1], PERSON, detail), now, out)

    def _tell(
        self, waits: CloudWaits, circle: list[Step], victim: Node, why: tuple[str, str, str], now: Now, out: list[object]
    ) -> None:
        (site, run), name, (rule, remedy, detail) = parted(victim.run), waits.name(victim), why
        command = self._planner.ids.next("w")
        told = _told(waits, circle)
        self._planner.note("", DeadlockFound(command, told, run, name, rule, remedy, detail), now, out)
        reason = f"deadlock {command}: {words(told)}; {run}/{name} gives way ({detail or rule})"
        order: Wound | ResetPoint = Wound(name, command, reason, remedy == "incident")
        if remedy == "broken_point":
            point = next(step.what for step in circle if step.node == victim)
            order, site = ResetPoint(point, reason), self._planner.runs[run].sites[0]
        self._planner.orders.send(self._planner.runs[run], order, [site], command, now, out)
        self._told[victim] = command


def _remedy(waits: CloudWaits, circle: list[Step], victim: Node, rule: str) -> tuple[Node, tuple[str, str, str]]:
    """Who gives way, and how: by which rule, by what, and why by that."""
    fragment = waits.fragment(victim)
    assert fragment is not None, f"{victim} was chosen by its replica"
    if any(step.on in waits.around(step.node) for step in circle if step.kind == "resource"):
        detail = "what is asked for is held around the one that asks: it would come to the same again"
        return _given_up(circle, victim, rule, detail)
    if (wounds := wounds_of(fragment, victim.task)) >= fragment.plan.gives_way:
        return _given_up(circle, victim, rule, f"it has given way {wounds} times already")
    return victim, (rule, "wound", "")


def _told(waits: CloudWaits, circle: list[Step]) -> list[Waited]:
    return [Waited(parted(step.node.run)[1], waits.name(step.node), step.kind, _shown(step)) for step in circle[:TOLD_MAX]]


def is_far(waits: CloudWaits, circle: list[Step]) -> bool:
    """Does no site see all of it?"""
    sites = {site for step in circle if (site := parted(step.node.run)[0])}
    return len(sites) > 1 or any(
        step.kind == "dependency" or (step.kind == "barrier" and waits.is_open(step.node)) for step in circle
    )


def _candidate(waits: CloudWaits, node: Node) -> Candidate | None:
    fragment = waits.fragment(node)
    if fragment is None:
        return None
    done = sum(fragment.states[task] == COMPLETED for task in closure(fragment, [node.task]))
    return Candidate(node, fragment.priority(), parted(node.run)[1], done)


def _given_up(circle: list[Step], victim: Node, rule: str, detail: str) -> tuple[Node, tuple[str, str, str]]:
    """From a holder on along the circle: the first that asks for what somebody else holds fails, or its point breaks."""
    at = next(number for number, step in enumerate(circle) if step.node == victim)
    leaf = next(step for step in circle[at:] + circle[:at] if step.kind in ("resource", "barrier"))
    return leaf.node, (rule, "broken_point" if leaf.kind == "barrier" else "incident", detail)


def _shown(step: Step) -> str:
    site = parted(step.node.run)[0]
    return f"{step.what} of {site}" if step.kind == "resource" else step.what
