"""Runs that hold and ask for resources in any order, meet at sync points and wait for children, at a site whose robots do all
they are given: whatever waits, waits for a person, for a party that nobody knows of, or not for long.

One seed, one story. Each safeguard can be taken away, and then some story must not come to its end.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

from coordination.deadlock_events import DeadlockFound
from coordination.waits import Node, Wait
from edge.deadlocks import AFTER_MS, SiteDeadlocks
from edge.waits import SiteWaits
from sync.values import Now
from tests.edge.site import Site
from tests.workflow.plans import plan_of
from workflow.event import Event
from workflow.events import DefinitionRegistered
from workflow.explain import explain
from workflow.fragment import Fragment
from workflow.orders import Skip, Wound
from workflow.states import ENDED, STUCK, WAITING
from workflow.tasks import Kind
from workflow.wound_events import VictimWounded
from workflow.wounding import wound, wounds_of

NAMES = ("a", "b", "c", "d")
UNDO = {"capability": "work", "effect": "repeatable"}
IDLE_MAX = 6
"""So many times the bound may pass while nothing happens, and everybody who could act has."""

ROUNDS_MAX = 600


class Survives(Exception):
    """Something waits for ever."""


@dataclass
class Story:
    """`found` are the circles that the site found."""

    seed: int
    site: Site = field(default_factory=Site)
    found: list[DeadlockFound] = field(default_factory=list)
    incidents: int = 0

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.declare()
        self.kids = [f"kid-{name}" for name in NAMES]
        for name in NAMES:
            held = {"w": {**self.work(), "resources": [name]}}
            plan = plan_of(held, name=f"kid-{name}")
            self.site.tell(("", 0, DefinitionRegistered(plan.ref, plan.document)))

    def declare(self) -> None:
        """There are two of one of them, and whoever waits for the second has it by that."""
        home = self.site.core.home
        home.start(home.resources.declare("d", 2))

    # What is defined ---

    def work(self) -> dict[str, Any]:
        return {"capability": "work", "effect": "repeatable", **({"compensate": UNDO} if self.chance.random() < 0.5 else {})}

    def task(self, held: tuple[str, ...], depth: int) -> dict[str, Any]:
        """Something inside what is held."""
        free = [name for name in NAMES if name not in held]
        what = self.chance.choice(("work", "work", "needs", "needs", "group", "group", "sync", "child"))
        if what == "group" and depth < 3 and free:
            return self.group(held, depth)
        if what == "sync":
            return {"sync_point": {"point": self.chance.choice(("p", "q")), "parties": 2}}
        if what == "child" and depth < 3:
            holds = {"resources": [self.chance.choice(free)]} if free and self.chance.random() < 0.5 else {}
            return {"run": {"definition": self.chance.choice(self.kids)}, **holds}
        if what == "needs" and free:
            return {**self.work(), "resources": self.chance.sample(free, min(len(free), self.chance.choice((1, 1, 2))))}
        return self.work()

    def group(self, held: tuple[str, ...], depth: int) -> dict[str, Any]:
        free = [name for name in NAMES if name not in held]
        holds = [self.chance.choice(free)]
        inside = {f"t{number}": self.task((*held, *holds), depth + 1) for number in range(self.chance.randint(2, 3))}
        return {self.chance.choice(("sequential", "sequential", "parallel")): {"tasks": inside}, "resources": holds}

    # What happens ---

    def live(self) -> None:
        """All runs begin at about the same time, and come to their end. Raises Survives."""
        robot = self.site.join(capacity=1_000)
        begins = [f"r{number}" for number in range(self.chance.randint(2, 5))]
        idle = circles = 0
        for _ in range(ROUNDS_MAX):
            if begins and self.chance.random() < 0.5:
                run = begins.pop(0)
                self.site.release(plan_of({"g": self.group((), 1)}, name=run, deadlock={"order": "free", "retries": 2}), run)
            if self.chance.random() < 0.03:
                self.site.restart()
                self.declare()
                self.site.join()
            hands = sorted(robot.hands)
            for key in self.chance.sample(hands, min(len(hands), 2)):
                robot.finish(key)
            self.site.report(robot)
            if hands or begins:
                idle = 0
                continue
            if not self.site.core.fragments:
                break
            if self.help():
                idle = 0
                continue
            found = self.site.events(DeadlockFound)
            if found[circles:] and circles and found[-1].circle == found[circles - 1].circle and idle:
                raise Survives(f"a circle closes again, though somebody gave way: {found[-1]}")
            idle, circles = (idle + 1, circles) if len(found) == circles else (1, len(found))
            if idle > IDLE_MAX:
                raise Survives(f"a deadlock survives its bound: {self.waits()}")
            self.site.beat(robot)
            self.site.pass_ms(AFTER_MS)
        else:
            raise Survives(f"it goes round in circles: {self.waits()}")
        self.found = self.site.events(DeadlockFound)
        assert [use for use in self.site.core.home.resources.in_use() if use[2] or use[3]] == []
        assert self.site.core.home.meetings.counts() == {}

    def help(self) -> bool:
        """A person sees to an incident, or to a party for whom nobody is left to come."""
        for run, fragment in list(self.site.core.fragments.items()):
            for task, state in enumerate(fragment.states):
                is_incident = state == STUCK and fragment.extras is not None and task in fragment.extras.incidents
                if is_incident or (state == WAITING and fragment.task(task).kind is Kind.SYNC and self.is_alone(fragment, task)):
                    self.incidents += is_incident
                    assert self.site.order(Skip(fragment.id_of(task)), run) == "accepted"
                    return True
        return False

    def is_alone(self, fragment: Fragment, task: int) -> bool:
        sync = fragment.task(task).sync
        parties = [
            (run, other)
            for run, each in self.site.core.fragments.items()
            for other, state in enumerate(each.states)
            if state not in ENDED and each.task(other).sync == sync
        ]
        return len(parties) < 2

    def waits(self) -> list[tuple[str, str, str]]:
        return [(r, e.task, e.why) for r, f in self.site.core.fragments.items() for e in explain(f) if e.kind != "needs"]


# Without a safeguard -------------------------------------------------------------------------------------------------------


class Blind(SiteWaits):
    """Does not see waits of some kinds."""

    kinds: tuple[str, ...] = ()

    def expand(self, node: Node) -> list[Wait]:
        return [wait for wait in SiteWaits.expand(self, node) if wait.kind not in self.kinds]


def unseen(*kinds: str) -> type[Blind]:
    return type("Unseeing", (Blind,), {"kinds": kinds})


def stubborn(fragment: Fragment, order: Wound, command: str, now: Now) -> list[Event]:
    """Is wounded, and gives nothing back."""
    if order.gives_up:
        return wound(fragment, order, command, now)
    task = fragment.index_of(order.task)
    return [VictimWounded(command, task, order.deadlock, order.reason, wounds_of(fragment, task) + 1)]


def hopeful(fragment: Fragment, order: Wound, command: str, now: Now) -> list[Event]:
    """Never leaves it to a person: whoever would only come to the same again begins again."""
    if not order.gives_up:
        return wound(fragment, order, command, now)
    return [VictimWounded(command, fragment.index_of(order.task), order.deadlock, order.reason, 1)]


@contextmanager
def without(safeguard: str) -> Iterator[None]:
    """The site as it would be without it."""
    match safeguard:
        case "detection":
            with patch.object(SiteDeadlocks, "_look", lambda self, now, out: None):
                yield
        case "looks_after_a_wait":
            with (
                patch.object(SiteDeadlocks, "_note", lambda *args: None),
                patch.object(SiteDeadlocks, "restored", lambda *args: None),
            ):
                yield
        case "waits_for_resources" | "waits_for_members" | "waits_for_children" | "waits_at_sync_points":
            kinds = {
                "resources": ("resource", "line"),
                "members": ("members",),
                "children": ("child",),
                "points": ("sync_point",),
            }
            with patch("edge.deadlocks.SiteWaits", unseen(*kinds[safeguard.rpartition("_")[2]])):
                yield
        case "giving_back":
            with patch.dict("workflow.steering._DECIDE", {Wound: stubborn}):
                yield
        case "giving_up":
            with patch.dict("workflow.steering._DECIDE", {Wound: hopeful}):
                yield
        case _:
            raise AssertionError(f"no safeguard is called {safeguard}")


SAFEGUARDS = (
    *("detection", "looks_after_a_wait", "waits_for_resources", "waits_for_members", "waits_for_children"),
    *("waits_at_sync_points", "giving_back", "giving_up"),
)
