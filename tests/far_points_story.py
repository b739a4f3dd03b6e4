"""A run of two sites whose agents meet at a cyclic point: they come through the API and by themselves, crash, leave, come back;
links break, messages stay under way, nodes restart. One seed, one story; each safeguard can be taken away.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from unittest.mock import patch

from cloud.points.parties import FarParties
from cloud.points.relay import PointRelay
from edge.far_points import FarPoints
from edge.points import ArriveHere, SyncPoints, WithdrawHere
from sync.points.events import EVENTS, PointBroken, PointReleased
from sync.points.showing import shown
from tests.edge.site import LEASE_MS, Robot
from tests.two_tiers import Outpost, Tiers, Wire
from workflow.events import decode
from workflow.orders import ArriveAt, WithdrawFrom
from workflow.plan import read_plan
from workflow.points import point_of

HOME, FAR = "harbour", "airport"
STEPS = (
    *("arrive",) * 6,
    "hang_up",
    "goodbye",
    "join",
    "join",
    "reboot",
    *("pass",) * 2,
    *("send",) * 3,
    "cut",
    "link",
    "link",
    "restart",
)


class Wrong(AssertionError):
    """Something that must hold does not."""


@dataclass
class FarMeeting:
    """`releases` are the generations in which agents went on together; `broken` the others that ended."""

    seed: int
    world: Tiers = field(init=False)
    releases: int = 0
    broken: int = 0
    relayed: int = 0
    waits: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        named = self.chance.sample(["anna", "ben", "cleo", "dora"], 3)
        on_death = self.chance.choice(("fail", "proceed", "replace"))
        quorum = {"quorum": 1} if on_death == "proceed" else {}
        point = {"parties": self.chance.choice((2, named)), "on_death": on_death, "cyclic": True, "deadline": "600s", **quorum}
        sites = {name: {"capability": "pick", "effect": "repeatable", "site": name} for name in (HOME, FAR)}
        document = {"name": "far", "version": "1", "sync_points": {"lift": point}, "tasks": sites}
        self.world = Tiers([read_plan(document)[1]])
        (self.run,) = self.world.runs

    def live(self, steps: int = 60) -> None:
        """Raises Wrong."""
        for _ in range(steps):
            wire = self.world.wires[self.chance.choice((HOME, FAR))]
            robot = self.chance.choice([*wire.site.robots.values()])
            self.step(self.chance.choice(STEPS), wire, robot)
            self.check()
        self.come_to_rest()
        self.check_the_end()

    def step(self, what: str, wire: Wire, robot: Robot) -> None:
        match what:
            case "arrive" if robot.connected:
                self.arrive(wire, robot)
            case "hang_up" | "goodbye" if robot.connected:
                wire.site.hang_up(robot, goodbye=what == "goodbye")
            case "join" if not robot.connected:
                wire.site.join(robot.name)
            case "reboot":
                robot.restart()
                wire.site.join(robot.name)
            case "pass":
                self.pass_a_while()
            case "send":
                wire.send(self.chance.randint(1, 6))
            case "cut":
                wire.cut()
            case "link":
                wire.link()
            case "restart":
                what = self.chance.choice(("restart_site", "restart_cloud"))
                self.world.live(what, wire.site.name, self.chance.randint(0, 1), 0)
                for each in self.world.wires.values() if what == "restart_cloud" else (wire,):
                    each.site.beat(*self.here(each.site))

    def arrive(self, wire: Wire, robot: Robot) -> None:
        """By itself at the home, or by the word of the cloud."""
        asked = ArriveAt("lift", robot.name)
        if wire.site.name == HOME and self.chance.random() < 0.5:
            wire.site.ask(lambda token: ArriveHere(token, self.run, asked))
        elif wire.site.name == HOME:
            self.world.cloud.order(self.run, asked)
        elif self.chance.random() < 0.7:
            self.say_there(wire, robot)
        else:
            self.world.cloud.order(self.run, ArriveAt("lift", robot.name, site=FAR, capabilities=[*robot.capabilities]))

    def say_there(self, wire: Wire, robot: Robot) -> None:
        """Over its connection at the other site: a new wait, or the last one said again, or taken back."""
        before = self.waits.get(robot.name, 0)
        wait = before if before and self.chance.random() < 0.5 else before + 1
        self.waits[robot.name] = wait
        if wait == before and self.chance.random() < 0.3:
            taken = WithdrawFrom("lift", robot.name, 0, wait, robot.boot)
            wire.site.ask(lambda token: WithdrawHere(token, self.run, taken))
            return
        asked = ArriveAt("lift", robot.name, f"{robot.name}/{robot.boot}/{wait}", boot=robot.boot, wait=wait)
        wire.site.ask(lambda token: ArriveHere(token, self.run, asked))

    def pass_a_while(self) -> None:
        self.world.pass_ms(LEASE_MS // 3)
        for wire in self.world.wires.values():
            wire.site.beat(*self.here(wire.site))

    def here(self, site: Outpost) -> list[Robot]:
        return [robot for robot in site.robots.values() if robot.connected]

    def come_to_rest(self) -> None:
        """The links heal, and the leases of who is silent end. Who is here stays."""
        for _ in range(6):
            for wire in self.world.wires.values():
                wire.link()
            self.world.drain()
            self.pass_a_while()
        self.world.drain()

    # What must hold ---

    def check(self) -> None:
        """The home ends each generation once, in their order; nobody else decides anything of the point."""
        for name, wire in self.world.wires.items():
            rows = [row for row in wire.site.log.disk.rows if row.stream == wire.site.stream and row.run == self.run]
            events = [event for event in (decode(row.kind, row.payload) for row in rows) if isinstance(event, EVENTS)]
            if name != HOME and events:
                raise Wrong(f"{name} decides a point of {HOME}: {events[0]}")
            ends = [event for event in events if isinstance(event, PointReleased | PointBroken)]
            if [event.generation for event in ends] != [*range(1, len(ends) + 1)]:
                raise Wrong(f"generations end in the order {[event.generation for event in ends]}")
            if name == HOME:
                self.releases = sum(isinstance(event, PointReleased) for event in ends)
                self.broken = len(ends) - self.releases

    def check_the_end(self) -> None:
        self.check()
        fragment = self.world.wires[HOME].site.core.fragments[self.run]
        view = shown("lift", fragment.plan.points["lift"], point_of(fragment, "lift"))
        up = {robot.name for wire in self.world.wires.values() for robot in self.here(wire.site)}
        if lost := [party.agent for party in view.here if party.agent not in up]:
            raise Wrong(f"{lost} are gone, and the others wait with them")
        if back := [agent for agent in view.gone if agent in up]:
            raise Wrong(f"{back} are back, and count for gone")
        self.check_relayed()
        self.world.check_equal()

    def check_relayed(self) -> None:
        """Of what agents of the other site asked, their site knows what the home knows, and the cloud keeps nothing more."""
        home, site = self.world.wires[HOME].site.core.fragments[self.run], self.world.wires[FAR].site
        point = point_of(home, "lift")
        far = next(part for part in site.core.parts._parts if isinstance(part, FarPoints))
        open_asks = {ask.id for ask in far.asks.values() if not ask.is_over}
        if (kept := set(self.world.cloud.planner.point_relay.asks)) != open_asks:
            raise Wrong(f"the cloud has {kept}, the site waits for {open_asks}")
        for ask in far.asks.values():
            self.relayed += ask.view is not None and ask.view.state == "released"
            if not ask.is_over and (ask.view is None or ask.view.state != "waiting" or ask.agent not in point.arrived):
                raise Wrong(f"{ask.agent} waits for an answer, at home are {[*point.arrived]}")
            past = point.ended(ask.generation) if ask.is_over and ask.view is not None else None
            if past is not None and ask.view is not None and bool(past.code) != (ask.view.state == "broken"):
                raise Wrong(f"{ask.agent} was told {ask.view.state} of generation {past.number}")


# Without a safeguard -------------------------------------------------------------------------------------------------------


@contextmanager
def without(safeguard: str) -> Iterator[None]:
    """Cloud and sites as they would be without it."""
    match safeguard:
        case "ends" | "returns" | "late_arrivals":
            name = {"ends": "_hear_of_end", "returns": "_hear_of_return", "late_arrivals": "_hear_of_arrival"}[safeguard]
            with patch.object(FarParties, name, lambda *args: None):
                yield
        case "orders" | "news":
            with patch.object(PointRelay, {"orders": "_order", "news": "_tell"}[safeguard], lambda *args: None):
                yield
        case "one_home":
            with patch.object(SyncPoints, "_has_points", lambda self, run, fragment: bool(fragment.plan.points)):
                yield
        case _:
            raise AssertionError(f"no safeguard is called {safeguard}")


SAFEGUARDS = ("ends", "returns", "late_arrivals", "one_home", "orders", "news")
