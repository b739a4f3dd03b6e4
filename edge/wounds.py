"""Wound-wait among the holders of a site's resources, a Part of the executor: it keeps circles from standing at all.

Only runs that take resources as they come (`deadlock: {order: free}`) give way by it. A holder is asked to only while all of it
waits, by the rule of `coordination.wound_wait`; whoever works is left alone until it comes to wait. Child runs, sync points and
other sites are none of its business: circles through these are found once they stand (`edge.deadlocks`).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from coordination.deadlock_events import HolderWounded, Waited, words
from coordination.waits import Node
from coordination.wound_wait import Rank, Way, gives_way, rank_of
from edge.home import Home
from edge.part import Fold, Part
from edge.waits import SiteWaits
from sync.values import Now
from workflow.awaited import is_settled
from workflow.commands import Steer
from workflow.event import Event
from workflow.fragment import Fragment
from workflow.home_events import FragmentTaken
from workflow.orders import Wound
from workflow.resources import Holder
from workflow.states import BLOCKED, ENDED, READY, RECONCILE, WAITING
from workflow.steering_events import TaskBlocked
from workflow.tasks import Kind, Role
from workflow.wounding import stood_aside_of

AGAIN_MS = 1_000
"""While any wait, they are looked at so often: one that worked may have come to wait by that."""

RUNS_LOOKED_MAX = 500
"""So many runs are looked at then, of more some in turn each time."""

LATEST_LOOKED_MAX = 100
"""So many, those that waited last, are looked at in a turn in which somebody came to wait."""

YIELDS_MAX = 100
"""So often a task gives way by this rule; then only in circles that were found. None but a stream of more urgent runs comes so
far."""


@dataclass(slots=True)
class SiteWounds(Part):
    """`wounded` counts those of this start. `blocked` are runs that take resources as they come, with tasks in lines; the latest
    last."""

    name: ClassVar[str] = "wounds"

    home: Home
    wounded: int = 0
    blocked: dict[str, None] = field(default_factory=dict)
    _is_news: bool = False
    _looked_mono_ms: int = 0
    _next: int = 0

    def folds(self) -> dict[type, Fold]:
        return {TaskBlocked: self._note, FragmentTaken: self._note}

    def restored(self, now: Now, out: list[object]) -> None:
        """None of them rests, so those that do are not made whole to look."""
        self.blocked = {run: None for run, fragment in self.home.fragments.whole() if _is_blocked(fragment)}

    def wake_mono_ms(self) -> int | None:
        """At once, if one came to wait in the last turn."""
        if not self.blocked:
            return None
        return 0 if self._is_news else self._looked_mono_ms + AGAIN_MS

    def settle(self, now: Now, out: list[object]) -> None:
        """Whoever is to give way as things stand, does."""
        if not self.blocked:
            return
        if now.mono_ms >= self._looked_mono_ms + AGAIN_MS:
            self._looked_mono_ms = now.mono_ms
            self._next = self._next if self._next < len(self.blocked) else 0
            self._look(list(self.blocked)[self._next : self._next + RUNS_LOOKED_MAX], now, out)
            self._next += RUNS_LOOKED_MAX
        if self._is_news:
            self._look(list(self.blocked)[-LATEST_LOOKED_MAX:], now, out)
        self._is_news = False

    def _look(self, runs: list[str], now: Now, out: list[object]) -> None:
        done: set[Node] = set()
        while True:
            look = _Look(self.home)
            for run in runs:
                if not _is_blocked(look.waits.fragment(run)):
                    self.blocked.pop(run, None)
            asked = [node for node in look.candidates(runs) if node not in done]
            way = gives_way(asked, look.waited_by, look.waits_for, look.rank)
            if way is None:
                return
            done.add(way.who)
            self._wound(look, way, now, out)

    def _note(self, is_own: bool, run: str, event: Event, time_ms: int) -> None:
        self._is_news = True  # Those who wait already may have to give way to this one, whatever its run.
        fragment = self.home.fragments.look(run)
        if is_own and (fragment is None or fragment.plan.takes_freely):
            self.blocked.pop(run, None)
            self.blocked[run] = None

    def _wound(self, look: "_Look", way: Way, now: Now, out: list[object]) -> None:
        self.wounded += 1
        who, to, behind = way.who, way.to, way.behind
        id = f"{self.home.site}-{now.wall_ms // 1_000}-w{self.wounded}"
        chain = [*look.steps(to, who), *look.steps(who, behind)]
        last = Waited(behind.run, look.name(behind), "", "")
        name, other = look.name(who), look.name(to)
        wounded = HolderWounded(id, chain, who.run, name, to.run, other, behind.run, last.task, way.rule)
        self.home.note(wounded, out)
        reason = f"wound {id}: {words(chain, last)}; {who.run}/{name} gives way to {to.run}/{other} ({way.rule})"
        fragment = self.home.fragments[who.run]
        order = Wound(name, id, reason, yields_to=f"{to.run}/{other}")
        self.home.decide(fragment, Steer(f"wound/{id}", order), now, out)


class _Look:
    """The holders as they are now. Invariant: nothing changes while it is used."""

    def __init__(self, home: Home) -> None:
        self.home, self.waits = home, SiteWaits(home)
        self._resting: dict[Node, bool] = {}

    def rank(self, node: Node) -> Rank:
        fragment = self._fragment(node.run)
        return rank_of(node, fragment.priority() if fragment is not None else 0)

    def name(self, node: Node) -> str:
        fragment = self._fragment(node.run)
        return fragment.id_of(node.task) if fragment is not None else ""

    def candidates(self, runs: list[str]) -> Iterator[Node]:
        """Holders of these runs that may give way."""
        for run in runs:
            fragment = self._fragment(run)
            if fragment is None:
                continue
            for node in (Node(run, task) for task in sorted(self.home.claims.get(run, ()))):
                if stood_aside_of(fragment, node.task) < YIELDS_MAX and self._has_something(node) and self.rests(node):
                    yield node

    def waits_for(self, who: Node) -> list[Node]:
        """For which resting holders something in it stands in line, and in vain."""
        around = set(self.waits.around(who))
        return [on for leaf in self._leaves(who) for on in self._in_vain(leaf) if on not in around and on != who]

    def waited_by(self, who: Node) -> list[Node]:
        """The resting holders in which something stands in line for it, in vain."""
        around = {who, *self.waits.around(who)}
        held = self.home.resources.used_by(Holder(*who))
        lines = {Node(*claim) for name in held for claim in self.home.resources.line_of(name)}
        if (behind := self.home.resources.keeps_back(Holder(*who))) is not None:
            lines.add(Node(*behind))
        asking = [leaf for leaf in sorted(lines) if leaf not in around and who in self._in_vain(leaf)]
        return [node for leaf in asking for node in self._holders(leaf) if node not in around and self.rests(node)]

    def rests(self, node: Node) -> bool:
        """Does something in it stand in line, and is nothing else in it under way?"""
        if node not in self._resting:
            self._resting[node] = self._looks_at_rest(node)
        return self._resting[node]

    def steps(self, who: Node, on: Node) -> list[Waited]:
        """How one holder waits for another, for people."""
        leaf = next(leaf for leaf in self._leaves(who) if on in self._in_vain(leaf))
        claimed = self.home.resources.claimed(Holder(*leaf))
        assert claimed is not None, f"{leaf} waits in vain"
        inside = [Waited(who.run, self.name(who), "members", self.name(leaf))] if leaf != who else []
        kind = "resource" if claimed.lacks > 0 else "line"
        return [*inside, Waited(leaf.run, self.name(leaf), kind, claimed.resource)]

    # What is there ----------------------------------------------------------------------------------------------------

    def _fragment(self, run: str) -> Fragment | None:
        return self.waits.fragment(run)

    def _has_something(self, node: Node) -> bool:
        """Has it units that others could wait for, or a place in line before one that would have what it needs?"""
        resources, holder = self.home.resources, Holder(*node)
        return bool(resources.used_by(holder)) or resources.keeps_back(holder) is not None

    def _leaves(self, node: Node) -> list[Node]:
        """What stands in line in it, or is it itself."""
        claims = sorted(self.home.claims.get(node.run, ()))
        return [leaf for leaf in (Node(node.run, task) for task in claims) if self._stands(leaf) and self._is_in(leaf, node)]

    def _stands(self, leaf: Node) -> bool:
        fragment = self._fragment(leaf.run)
        if fragment is None or is_settled(fragment) or not fragment.may_start(leaf.task):
            return False
        return self.home.resources.claimed(Holder(*leaf)) is not None

    def _is_in(self, leaf: Node, node: Node) -> bool:
        fragment = self._fragment(leaf.run)
        assert fragment is not None, f"{leaf} has a claim, and its run is not here"
        task = leaf.task
        while task >= 0 and task != node.task:
            task = fragment.parent_of(task)
        return task == node.task

    def _holders(self, leaf: Node) -> list[Node]:
        """Itself and the groups around it, of its run, as far as they have something."""
        fragment, task, found = self._fragment(leaf.run), leaf.task, []
        while fragment is not None and task >= 0:
            if self._has_something(node := Node(leaf.run, task)):
                found.append(node)
            task = fragment.parent_of(task)
        return found

    def _in_vain(self, leaf: Node) -> list[Node]:
        """The resting holders without which its place in line does not advance; nobody, if those that work give back enough."""
        if not self._stands(leaf):
            return []
        claimed = self.home.resources.claimed(Holder(*leaf))
        assert claimed is not None, f"{leaf} stands in a line"
        if claimed.lacks <= 0:
            ahead = Node(*claimed.ahead) if claimed.ahead is not None else None
            return [ahead] if ahead is not None and self.rests(ahead) else []
        coming = sum(units for user, units in claimed.users if not self.rests(Node(*user)))
        return [Node(*user) for user, _ in claimed.users if self.rests(Node(*user))] if coming < claimed.lacks else []

    def _looks_at_rest(self, node: Node) -> bool:
        fragment = self._fragment(node.run)
        if fragment is None or is_settled(fragment) or not self._leaves(node):
            return False
        if any(fragment.task(task).role is not Role.WORK or self._is_in(Node(node.run, task), node) for task in fragment.live):
            return False
        return not any(self._goes_on(fragment, task) for task in _inside(fragment, node.task))

    def _goes_on(self, fragment: Fragment, task: int) -> bool:
        """Is it about to begin, with an outcome that nobody knows yet, or does another run work for it?"""
        state = fragment.states[task]
        if state in (READY, RECONCILE):
            return True
        if state == BLOCKED:
            return self.home.resources.holds(Holder(fragment.run, task))
        return state == WAITING and fragment.task(task).kind is Kind.CHILD


def _is_blocked(fragment: Fragment | None) -> bool:
    """Does it take resources as they come, and something in it stand in line?"""
    if fragment is None or not fragment.plan.takes_freely or fragment.outcome:
        return False
    return BLOCKED in fragment.states or bool(fragment.extras is not None and fragment.extras.lacking)


def _inside(fragment: Fragment, task: int) -> Iterator[int]:
    """The task and all that is inside it and has not ended."""
    stack = [task]
    while stack:
        task = stack.pop()
        if fragment.states[task] not in ENDED:
            yield task
            stack.extend(fragment.members_of(task))
