"""Circles in which runs of a site wait for each other, a Part of the executor: found, explained, and broken.

Resources are taken in one order, so most circles cannot close. Where the order cannot be kept (a group holds one resource and a
task inside asks for an earlier one, a child run needs what others' parents hold, parties of a sync point hold what others need to
come) somebody has to give way. Nothing is looked at while nobody waits: a look follows some time after a wait has begun, and if
it finds nothing there is no other one before something new waits.
"""

from dataclasses import dataclass, field
from typing import ClassVar

from coordination.deadlock_events import DeadlockFound, Waited, words
from coordination.waits import Candidate, Node, Step, choose, circles, stuck
from edge import deadlock_events as _codec  # noqa: F401 (makes the events known)
from edge.home import Home
from edge.part import Fold, Part
from edge.points import SyncPoints
from edge.waits import SiteWaits
from sync.points.events import PointArrived
from sync.values import Now
from workflow.anew import closure
from workflow.awaited import HELPLESS
from workflow.commands import Steer
from workflow.event import Event
from workflow.events import FragmentEnded
from workflow.orders import Wound
from workflow.states import COMPLETED
from workflow.steering_events import (
    ChildRequested,
    TaskBlocked,
    TaskSkipped,
    TaskStarted,
)
from workflow.wounding import wounds_of

AFTER_MS = 5_000
"""A wait may be looked at once it has lasted for so long."""

HOLDING = ("resource", "line")
"""Waits for what another one has, or comes to have before."""

MEETING = ("sync_point", "barrier")
"""Waits for others to come."""

WAITING = (TaskBlocked, TaskStarted, ChildRequested, FragmentEnded, TaskSkipped, PointArrived)
"""Something may wait since this."""

TOLD_MAX = 50
"""Steps of a circle that are recorded; of longer ones the beginning."""


@dataclass(slots=True)
class SiteDeadlocks(Part):
    """`found` counts the circles of this start. What has been found lies in the log; here is only when to look."""

    name: ClassVar[str] = "deadlocks"

    home: Home
    points: SyncPoints
    after_ms: int = AFTER_MS
    found: int = 0
    looks: int = 0
    _is_news: bool = False  # Something waits, or somebody has left, since the last look was planned.
    _due_ms: int | None = None
    _suspected: set[Node] = field(default_factory=set)

    def folds(self) -> dict[type, Fold]:
        return dict.fromkeys((*WAITING, *HELPLESS), self._note)

    def restored(self, now: Now, out: list[object]) -> None:
        self._is_news = True

    def wake_mono_ms(self) -> int | None:
        if self._due_ms is None and self._is_news and self._is_waited():
            return 0  # What was decided last in the turn is seen in the next.
        return self._due_ms

    def settle(self, now: Now, out: list[object]) -> None:
        """Look, if it is time to."""
        if self._due_ms is not None and self._due_ms <= now.mono_ms:
            self._due_ms = None
            self._look(now, out)
        if self._is_news and self._due_ms is None and self._is_waited():
            self._is_news = False
            self._due_ms = now.mono_ms + self.after_ms

    def _is_waited(self) -> bool:
        return self.home.resources.is_waited() or bool(self.home.meetings.counts()) or bool(self.points.runs)

    def _note(self, is_own: bool, run: str, event: Event, time_ms: int) -> None:
        self._is_news = True

    # Looking ----------------------------------------------------------------------------------------------------------

    def _look(self, now: Now, out: list[object]) -> None:
        self.looks += 1
        waits = SiteWaits(self.home)
        left = stuck(waits.roots(self.points.runs), waits.expand)
        suspected, self._suspected = self._suspected, set()
        for circle in circles(left) if left else ():
            nodes = {step.node for step in circle}
            # Of a sync point it is not known who may still come: such a circle has to stand for a while.
            if any(step.kind in MEETING for step in circle) and not nodes <= suspected:
                self._suspected |= nodes
            else:
                self._break(waits, circle, now, out)
            self._is_news = True  # There may be another one behind it.

    def _break(self, waits: SiteWaits, circle: list[Step], now: Now, out: list[object]) -> None:
        chosen, rule = choose(self._candidates(waits, circle))
        remedy, detail = self._remedy(waits, circle, chosen.node)
        leaf = waits_inside(circle, chosen.node)
        victim = chosen.node if remedy == "wound" else leaf.node
        if remedy == "incident" and leaf.kind == "barrier":
            remedy = "broken_point"  # Its agents are told, and what they do then is for each of them to say.
        self.found += 1
        id = f"{self.home.site}-{now.wall_ms // 1_000}-{self.found}"
        told = [Waited(step.node.run, self._name(waits, step.node), step.kind, step.what) for step in circle]
        name = self._name(waits, victim)
        self.home.note(DeadlockFound(id, told[:TOLD_MAX], victim.run, name, rule, remedy, detail), out)
        reason = f"deadlock {id}: {words(told)}; {victim.run}/{name} gives way ({detail or rule})"
        fragment = self.home.fragments.get(victim.run)
        assert fragment is not None, f"run {victim.run} is in a circle, and not here"
        if remedy == "broken_point":
            self.points.break_point(fragment, leaf.what, "deadlock", reason, now, out)
        else:
            self.home.decide(fragment, Steer(f"wound/{id}", Wound(name, id, reason, remedy == "incident")), now, out)

    def _candidates(self, waits: SiteWaits, circle: list[Step]) -> list[Candidate]:
        """Those that hold something; if nobody does, those that wait for somebody to come."""
        nodes = [step.on for step in circle if step.kind in HOLDING] or [step.node for step in circle if step.kind in MEETING]
        return [found for node in nodes if (found := self._candidate(waits, node)) is not None]

    def _remedy(self, waits: SiteWaits, circle: list[Step], victim: Node) -> tuple[str, str]:
        if not any(step.kind in HOLDING for step in circle):
            return "incident", "nobody holds anything that could be given back"
        if any(step.on in waits.around(step.node) for step in circle if step.kind == "resource"):
            return "incident", "what is asked for is held around the one that asks: it would come to the same again"
        fragment = waits.fragment(victim.run)
        assert fragment is not None, f"run {victim.run} holds what others wait for, and is not here"
        wounds = wounds_of(fragment, victim.task)
        return ("incident", f"it has given way {wounds} times already") if wounds >= fragment.plan.gives_way else ("wound", "")

    def _candidate(self, waits: SiteWaits, node: Node) -> Candidate | None:
        fragment = waits.fragment(node.run)
        if fragment is None or node.task < 0:
            return None
        done = sum(fragment.states[task] == COMPLETED for task in closure(fragment, [node.task]))
        return Candidate(node, fragment.priority(), node.run, done)

    def _name(self, waits: SiteWaits, node: Node) -> str:
        fragment = waits.fragment(node.run)
        return fragment.id_of(node.task) if fragment is not None and node.task >= 0 else ""


def waits_inside(circle: list[Step], victim: Node) -> Step:
    """From a holder on along the circle: the first that waits for somebody else's."""
    place = next(place for place, step in enumerate(circle) if step.node == victim)
    return next(step for step in circle[place:] + circle[:place] if step.kind in HOLDING or step.kind in MEETING)
