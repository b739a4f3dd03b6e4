"""Runs that hold and ask for the resources of one site in any order, nested and side by side, with wound-wait alone: nobody looks
for circles, and none ever stands. What is undone is counted, with and without a circle that was there.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from coordination.deadlock_events import HolderWounded
from coordination.waits import Node, circles, stuck
from coordination.wound_wait import Rank, Way
from edge.deadlocks import SiteDeadlocks
from edge.waits import SiteWaits
from edge.wounds import AGAIN_MS, SiteWounds, _Look
from sync.values import Now
from tests.edge.deadlock_story import ROUNDS_MAX, Story, Survives
from tests.workflow.plans import plan_of
from workflow.wound_events import VictimWounded
from workflow.wounding import stood_aside_of

FREE = {"order": "free", "retries": 0}
"""Circles that are found are a person's at once: none may be."""


TURNS_MAX = 50


@dataclass
class Contention(Story):
    """`needed` of the `wounds` were given while a circle stood."""

    wounds: int = 0
    needed: int = 0

    def task(self, held: tuple[str, ...], depth: int) -> dict[str, Any]:
        """Something inside what is held, that waits for nothing but resources."""
        free = [name for name in ("a", "b", "c", "d") if name not in held]
        what = self.chance.choice(("work", "needs", "needs", "group", "group"))
        if what == "group" and depth < 3 and free:
            return self.group(held, depth)
        if what == "needs" and free:
            units = 2 if "d" in free and self.chance.random() < 0.2 else 1
            needs = self.chance.sample(free, min(len(free), self.chance.choice((1, 1, 2))))
            return {**self.work(), "resources": [{"name": n, "units": units} if n == "d" else n for n in needs]}
        return self.work()

    def live(self) -> None:
        """Raises Survives if a circle stands, the oldest is undone, or a run does not come to its end."""
        robot = self.site.join(capacity=1_000)
        begins = [f"r{number}" for number in range(self.chance.randint(2, 6))]
        with self._counting():
            for _ in range(ROUNDS_MAX):
                if begins and self.chance.random() < 0.5:
                    run = begins.pop(0)
                    self.site.release(plan_of({"g": self.group((), 1)}, name=run, deadlock=FREE), run)
                if self.chance.random() < 0.03:
                    self.site.restart()
                    self.declare()
                    self.site.join()
                hands = sorted(robot.hands)
                for key in self.chance.sample(hands, min(len(hands), 2)):
                    robot.finish(key)
                self.site.report(robot)
                if not hands and not begins:
                    if not self.site.core.fragments:
                        break
                    self.site.beat(robot)
                    self.site.pass_ms(AGAIN_MS)
                    for _ in range(TURNS_MAX):
                        if self.site.core.wake_mono_ms() != 0:  # At once: one came to wait in this turn.
                            break
                        self.site.turn()
                    self.check(robot.hands)
            else:
                raise Survives(f"it goes round in circles: {self.waits()}")
        self.wounds = len(self.site.events(HolderWounded))
        for each in self.site.events(HolderWounded):
            if each.for_run > each.victim_run or each.behind_run > each.victim_run:
                raise Survives(f"an older one gives way to a younger: {each}")
        assert len(self.site.events(VictimWounded)) == self.wounds
        assert [use for use in self.site.core.home.resources.in_use() if use[2] or use[3]] == []

    def check(self, hands: object) -> None:
        """Nobody works: whoever waits in a circle now waits for ever."""
        waits = SiteWaits(self.site.core.home)
        left = stuck(waits.roots(), waits.expand)
        if not hands and left:
            raise Survives(f"a circle stands: {circles(left)[0]}")

    @contextmanager
    def _counting(self) -> Iterator[None]:
        """Is there a circle whenever somebody gives way?"""
        told = SiteWounds._wound

        def wound(part: SiteWounds, look: _Look, way: Way, now: Now, out: list[object]) -> None:
            waits = SiteWaits(part.home)
            self.needed += way.who in stuck([way.who], waits.expand)
            told(part, look, way, now, out)

        with ExitStack() as stack:
            stack.enter_context(patch.object(SiteWounds, "_wound", wound))
            stack.enter_context(patch.object(SiteDeadlocks, "_look", lambda self, now, out: None))
            yield


# Without a safeguard -------------------------------------------------------------------------------------------------------


def nobody(*args: object) -> None:
    """Nobody gives way."""


def the_undone_are_young(look: _Look, node: Node) -> Rank:
    """Who has given way is younger than all others from then on."""
    fragment = look.waits.fragment(node.run)
    return Rank(stood_aside_of(fragment, node.task) if fragment is not None else 0, node.run, node.task)


@contextmanager
def without(safeguard: str) -> Iterator[None]:
    """The site as it would be without it."""
    where: str
    what: object
    match safeguard:
        case "giving_way":
            where, what = "edge.wounds.gives_way", nobody
        case "groups_around":
            where, what = "edge.wounds._Look._holders", lambda self, leaf: [leaf] if self._has_something(leaf) else []
        case "ages":
            where, what = "edge.wounds._Look.rank", lambda self, node: Rank(0, "", 0)
        case "kept_ages":
            where, what = "edge.wounds._Look.rank", the_undone_are_young
        case "looking_again":
            where, what = "edge.wounds.AGAIN_MS", 10**9
        case _:
            raise AssertionError(f"no safeguard is called {safeguard}")
    with patch(where, what):
        yield


SAFEGUARDS = ("giving_way", "groups_around", "ages", "kept_ages", "looking_again")
