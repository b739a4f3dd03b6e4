"""Circles of waits that no site sees as a whole, a Part of the planner: over several sites, or through waits of runs for other
runs.

Its victim is told by an order to its home, like any other; the home decides (`workflow.wounding`), and refuses what has come to
pass meanwhile. A replica may be behind, so a circle has to stand for two looks, and a victim that has been told is not told
again.
"""

from typing import TYPE_CHECKING, ClassVar

from cloud.part import Elapse, Hear, Part
from cloud.waiting.graph import CloudWaits, parted
from coordination.deadlock_events import DeadlockFound, Waited, words
from coordination.waits import Candidate, Node, Step, choose, circles, stuck
from sync.inputs import Due
from sync.outputs import ClearTimer, SetTimer
from sync.values import Now
from workflow.anew import closure
from workflow.awaited import HELPLESS
from workflow.event import Event
from workflow.events import FragmentEnded
from workflow.orders import Wound
from workflow.states import COMPLETED
from workflow.steering_events import ChildRequested, TaskBlocked, TaskHeld, TaskSkipped, TaskStarted
from workflow.wounding import wounds_of

if TYPE_CHECKING:
    from cloud.planner import Planner

AFTER_MS = 10_000
"""A wait may be looked at once it has lasted for so long; sites look after half of it."""

WAITING = (TaskBlocked, TaskStarted, TaskHeld, ChildRequested, FragmentEnded, TaskSkipped)
"""Something may wait since this."""

TIMER = "deadlocks"
TOLD_MAX = 50


class FarCircles(Part):
    """A timer is set while there is anything to look at, and none else."""

    name: ClassVar[str] = "far_circles"

    def __init__(self, planner: "Planner") -> None:
        self._planner = planner
        self._suspected: set[Node] = set()
        self._told: dict[Node, str] = {}  # By which command a victim was told.
        self._is_set = False

    def hears(self) -> dict[type, Hear]:
        return dict.fromkeys((*WAITING, *HELPLESS), self._hear)

    def timers(self) -> dict[str, Elapse]:
        return {TIMER: self._elapse}

    def _hear(self, site: str, run: str, event: Event, time_ms: int, now: Now, out: list[object]) -> None:
        if not self._is_set:
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
        left = stuck(waits.roots(), waits.expand)
        suspected, self._suspected = self._suspected, set()
        self._told = {node: command for node, command in self._told.items() if node in left and self._is_pending(command)}
        found = [circle for circle in circles(left) if is_far(circle)] if left else []
        for circle in found:
            nodes = {step.node for step in circle}
            if nodes <= suspected and not nodes & self._told.keys():
                self._break(waits, circle, now, out)
            self._suspected |= nodes
        return bool(found)

    def _is_pending(self, command: str) -> bool:
        intent = self._planner.intents.commands.get(command)
        return intent is not None and intent.state == "pending"

    def _break(self, waits: CloudWaits, circle: list[Step], now: Now, out: list[object]) -> None:
        candidates = [found for step in circle if step.kind == "resource" and (found := _candidate(waits, step.on)) is not None]
        if not candidates or self._planner.intents.is_full():
            return
        chosen, rule = choose(candidates)
        remedy, detail, victim = "wound", "", chosen.node
        fragment = waits.fragment(victim)
        assert fragment is not None, f"{victim} was chosen by its replica"
        if any(step.on in waits.around(step.node) for step in circle if step.kind == "resource"):
            remedy, detail = "incident", "what is asked for is held around the one that asks: it would come to the same again"
        elif (wounds := wounds_of(fragment, victim.task)) >= fragment.plan.gives_way:
            remedy, detail = "incident", f"it has given way {wounds} times already"
        if remedy == "incident":
            victim = _asks_inside(circle, victim)
        self._tell(waits, circle, victim, (rule, remedy, detail), now, out)

    def _tell(
        self, waits: CloudWaits, circle: list[Step], victim: Node, why: tuple[str, str, str], now: Now, out: list[object]
    ) -> None:
        (site, run), name, (rule, remedy, detail) = parted(victim.run), waits.name(victim), why
        command = self._planner.ids.next("w")
        told = [Waited(parted(step.node.run)[1], waits.name(step.node), step.kind, _shown(step)) for step in circle][:TOLD_MAX]
        self._planner.note("", DeadlockFound(command, told, run, name, rule, remedy, detail), now, out)
        reason = f"deadlock {command}: {words(told)}; {run}/{name} gives way ({detail or rule})"
        order = Wound(name, command, reason, remedy == "incident")
        self._planner.orders.send(self._planner.runs[run], order, [site], command, now, out)
        self._told[victim] = command


def is_far(circle: list[Step]) -> bool:
    """Does no site see all of it?"""
    sites = {site for step in circle if (site := parted(step.node.run)[0])}
    return len(sites) > 1 or any(step.kind == "dependency" for step in circle)


def _candidate(waits: CloudWaits, node: Node) -> Candidate | None:
    fragment = waits.fragment(node)
    if fragment is None:
        return None
    done = sum(fragment.states[task] == COMPLETED for task in closure(fragment, [node.task]))
    return Candidate(node, fragment.priority(), parted(node.run)[1], done)


def _asks_inside(circle: list[Step], victim: Node) -> Node:
    """From a holder on along the circle: the first that asks for what somebody else holds."""
    at = next(number for number, step in enumerate(circle) if step.node == victim)
    return next(step.node for step in circle[at:] + circle[:at] if step.kind == "resource")


def _shown(step: Step) -> str:
    site = parted(step.node.run)[0]
    return f"{step.what} of {site}" if step.kind == "resource" else step.what
