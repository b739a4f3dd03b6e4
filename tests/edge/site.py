"""A site without sockets: the executor under a real Driver in memory, and agents that do what a test tells them to."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from coordination.auction.bids import Bid, Key
from edge.coordinating.words import BidsMade, OfferLots, RefuseBids
from edge.executor import Executor
from edge.inputs import (
    AcknowledgeResults,
    AgentClosed,
    AgentOpened,
    AgentProgressed,
    AgentReported,
    AgentSeen,
    Assigned,
    AssignTasks,
    AttemptKey,
    Claimed,
    CloseSession,
    Outcome,
    Outrun,
    StopTasks,
    Welcome,
    Word,
)
from edge.talk import SAYS
from sync.chain import GENESIS, Head, record_hash
from sync.commit import Row
from sync.driver import Driver
from sync.inputs import PeerHolds, PeerLinked, PeerLost, Recalled, Replicated
from sync.outputs import Recall, Reply
from sync.values import AgentId, SiteId, StreamId
from tests.ports import MemoryLog, StillClock
from workflow.commands import CancelDone, Complete, Decline, Fail
from workflow.contract import Contract
from workflow.events import (
    CancelRequested,
    CommandAnswered,
    DefinitionRegistered,
    Event,
    FragmentReleased,
    ValueHanded,
    decode,
    encode,
)
from workflow.fragment import Fragment
from workflow.orders import Order, encode_order
from workflow.plan import Plan
from workflow.states import NAMES, RUNNING
from workflow.steering_events import CommandRequested
from workflow.tasks import Kind

HARBOUR, CLOUD = StreamId("harbour@1"), StreamId("cloud>harbour@1")
LEASE_MS = 10_000
E = TypeVar("E", bound=Event)
Command = Complete | Fail | CancelDone | Decline


@dataclass
class Robot:
    """An agent. `hands` is what it works on, `journal` what it has finished and nobody has acknowledged, by attempt."""

    name: str
    capabilities: tuple[str, ...] = ("work",)
    capacity: int = 4
    boot: str = "boot-1"
    session: int = 0
    connected: bool = False
    hands: dict[AttemptKey, Assigned] = field(default_factory=dict)
    journal: dict[AttemptKey, Command] = field(default_factory=dict)
    stops: list[AttemptKey] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    begun: list[AttemptKey] = field(default_factory=list)
    features: tuple[str, ...] = ()
    peer: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    offers: list[OfferLots] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    heard: list[Any] = field(default_factory=list)  # What it was asked and told besides, in order.

    def key(self, run: str = "r1", task: int = 0) -> AttemptKey:
        """The latest attempt at the task that it has in its hands or its journal."""
        return max(key for key in (*self.hands, *self.journal) if key[:2] == (run, task))

    def finish(self, key: AttemptKey, output: bytes = b"1") -> None:
        self._end(key, Complete(key.task, key.attempt, self.name, output, None))

    def fail(self, key: AttemptKey, *, retryable: bool = True) -> None:
        self._end(key, Fail(key.task, key.attempt, self.name, "jam", "the belt is jammed", retryable))

    def stop(self, key: AttemptKey) -> None:
        self._end(key, CancelDone(key.task, key.attempt, self.name))

    def decline(self, key: AttemptKey) -> None:
        self._end(key, Decline(key.task, key.attempt, self.name, "busy"))

    def restart(self) -> None:
        """A new process: what was running is forgotten, the journal is not."""
        self.boot = f"boot-{int(self.boot.partition('-')[2]) + 1}"
        self.hands.clear()
        self.connected = False

    def _end(self, key: AttemptKey, command: Command) -> None:
        del self.hands[key]
        self.journal[key] = command


class Site:
    """The harbour. After each turn it checks what must hold between any two turns."""

    def __init__(self, lease_ms: int = LEASE_MS, name: str = "harbour") -> None:
        self.name, self.stream = name, StreamId(f"{name}@1")
        self.log, self.clock, self.lease_ms = MemoryLog(at_once=True, node=name), StillClock(), lease_ms
        self.robots: dict[str, Robot] = {}
        self.sessions = 0
        self._cloud_head = GENESIS
        self._told: set[str] = set()
        self._loads: dict[str, int] = {}
        self.recalls: list[str] = []
        self.replies: dict[object, object] = {}
        self.reads = True
        self.begin()

    def begin(self) -> None:
        """A new process on the same log."""
        self.recalls.clear()
        self.driver = Driver(self._make_core, self.log, self.clock, self)

    def _make_core(self) -> Executor:
        core = Executor(SiteId(self.name), self.stream, random.Random(7), self.lease_ms)
        core.fragments.whole_max = 0  # Whatever rests is packed at once: nobody may notice.
        return core

    @property
    def core(self) -> Executor:
        assert isinstance(self.driver.core, Executor)
        return self.driver.core

    def turn(self, *inputs: object) -> None:
        self.driver.turn([*self.driver.take_due(), *inputs])
        self.settle()

    def settle(self) -> None:
        """Tombstones that were asked for come; then all must hold."""
        while self.recalls and self.reads:
            saved = self.log.disk.saved.get(run := self.recalls.pop(0))
            self.driver.turn([Recalled(run, saved if saved is not None and saved.ended else None)])
        self.check()

    def ask(self, make: Callable[[int], object]) -> object:
        """What the site answers at once."""
        token = len(self.replies) + 1
        self.turn(make(token))
        return self.replies[token]

    def pass_ms(self, duration_ms: int) -> None:
        self.clock.pass_ms(duration_ms)
        self.turn()

    def restart(self) -> None:
        """kill -9 of the edge: the log stays, all connections are gone."""
        self.restart_quietly()
        self.turn()

    def restart_quietly(self) -> None:
        """The same, before the first turn."""
        self.log.crash(durable=0)
        self.sessions += 1_000
        for robot in self.robots.values():
            robot.connected = False
        self.begin()

    # What the cloud says

    def tell(self, *said: tuple[str, int, Event]) -> None:
        """Events of the cloud's stream for this site: run, epoch, event."""
        rows = []
        for run, epoch, event in said:
            seq, time, payload = self._cloud_head.seq + 1, self.clock.wall_ms << 16, encode(event)
            digest = record_hash(self._cloud_head.hash, CLOUD.encode(), seq, epoch, event.kind, run, time, payload)
            rows.append(Row(0, CLOUD, seq, epoch, event.kind, run, time, payload, digest, 0))
            self._cloud_head = Head(seq, digest)
        self.turn(Replicated(CLOUD, rows))

    def release(
        self,
        plan: Plan,
        run: str = "r1",
        places: list[int] | None = None,
        inputs: bytes = b"{}",
        contract: Contract | None = None,
    ) -> None:
        """Release a fragment; task i is the harbour's if `places[i]` is 0."""
        said: list[tuple[str, int, Event]] = []
        if plan.ref not in self._told:
            self._told.add(plan.ref)
            said.append(("", 0, DefinitionRegistered(plan.ref, plan.document)))
        places = places or [0] * len(plan.tasks)
        sites = ["harbour", "airport"] if 1 in places else ["harbour"]
        now_ms = self.clock.wall_ms
        released = FragmentReleased(plan.ref, inputs, "harbour", sites, bytes(places), 2, {}, now_ms, contract=contract)
        said.append((run, 2, released))
        self.tell(*said)

    def hand(self, task: int, output: bytes = b"7", run: str = "r1") -> None:
        self.tell((run, 2, ValueHanded(task, output)))

    def cancel(self, run: str = "r1", command: str = "c1") -> None:
        self.tell((run, 2, CancelRequested(command, "not wanted")))

    def order(self, order: Order, run: str = "r1", command: str = "") -> str:
        """Ask for something, and what was answered."""
        command = command or f"c{self._cloud_head.seq}"
        body = encode_order(order)
        self.tell((run, 2, CommandRequested(command, msgspec.json.decode(body)["verb"], body)))
        return self.answer(command)

    def answer(self, command: str) -> str:
        """What was answered to a command: "accepted", "" while nothing was, or why it was refused."""
        answers = [answer for answer in self.events(CommandAnswered) if answer.command == command]
        assert len(answers) < 2, f"{command} was answered twice"
        return "" if not answers else answers[0].detail or "accepted"

    # What the cloud holds

    def link(self) -> None:
        """The link is up, and the cloud holds all of the site's stream."""
        self.driver.held_by_peer(self.stream, self.end, greeted=True)
        self.turn(PeerLinked("cloud"))

    def cut(self) -> None:
        self.turn(PeerLost("cloud", "cut"))

    @property
    def end(self) -> int:
        """The last durable place of the site's stream."""
        return self.log.disk.heads.get(self.stream, GENESIS).seq

    def hold(self, seq: int | None = None) -> None:
        """The cloud acknowledges the stream up to `seq`, or all of it."""
        if self.driver.held_by_peer(self.stream, self.end if seq is None else seq):
            self.turn(PeerHolds("cloud"))

    # What agents do

    def join(self, name: str = "anna", claims: tuple[Claimed, ...] = (), **face: Any) -> Robot:
        """A robot registers, anew or again, and says what it holds."""
        robot = self.robots.get(name)
        if robot is None:
            robot = self.robots[name] = Robot(name, **face)
        self.sessions += 1
        robot.session, robot.connected = self.sessions, True
        holding = (*robot.hands, *robot.journal)
        opened = AgentOpened(
            *(robot.session, name, "robot", robot.boot, robot.capabilities, robot.capacity, robot.labels),
            tuple(sorted(holding)),
            frozenset(robot.features),
            robot.peer,
            claims,
        )
        self.turn(opened)
        return robot

    def report(self, robot: Robot, *keys: AttemptKey) -> None:
        """Send finished attempts (all of the journal if none is named), as far as there is a connection."""
        receipt = list(keys or sorted(robot.journal))
        if robot.connected and receipt:
            outcomes = [Outcome(key.run, robot.journal[key]) for key in receipt]
            self.turn(AgentReported(robot.session, robot.name, outcomes, receipt))

    def lie(self, robot: Robot, key: AttemptKey, command: Command | Outrun) -> None:
        self.turn(AgentReported(robot.session, robot.name, [Outcome(key.run, command)], [key]))

    def done(self, robot: Robot, run: str = "r1", task: int = 0, output: bytes = b"1") -> None:
        """Finish one task and report it."""
        key = robot.key(run, task)
        robot.finish(key, output)
        self.report(robot, key)

    def beat(self, *robots: Robot) -> None:
        self.turn(*(AgentSeen(robot.session, robot.name) for robot in robots if robot.connected))

    def say(self, robot: Robot, key: AttemptKey, fraction: float | None = None, note: str = "") -> None:
        """Tell how far an attempt is; without a fraction, that somebody is at it."""
        word = Word(key, fraction or 0.0, note, fraction is None)
        self.turn(AgentProgressed(robot.session, robot.name, [word]))

    def stop_all(self, robot: Robot, run: str) -> None:
        """Whatever of a run is in its hands is stopped."""
        for key in [key for key in robot.hands if key.run == run]:
            robot.stop(key)
        self.report(robot)

    def hang_up(self, robot: Robot, *, goodbye: bool = False) -> None:
        """The connection ends, and the gateway notices."""
        robot.connected = False
        self.turn(AgentClosed(robot.session, robot.name, goodbye))

    def bid(self, robot: Robot, cost: float = 1.0, *, run: str = "r1", task: int = 0, **said: Any) -> None:
        """Bid for a task in the latest auction that offers it."""
        offer = next(o for o in reversed(robot.offers) for lot in o.lots if lot.key[:2] == (run, task))
        epoch = next(lot.key.epoch for lot in offer.lots if lot.key[:2] == (run, task))
        auction, session = said.pop("auction", offer.auction), said.pop("session", robot.session)
        bid = Bid(AgentId(robot.name), Key(run, task), said.pop("epoch", epoch), cost, **said)
        self.turn(BidsMade(session, robot.name, auction, [bid]))

    # The Driver's Out: deliver as the gateway does

    def send(self, effects: list[object]) -> None:
        for effect in effects:
            if isinstance(effect, Recall):
                self.recalls.append(effect.run)
                continue
            if isinstance(effect, Reply):
                self.replies[effect.token] = effect.value
                continue
            robot = self.robots.get(getattr(effect, "agent", ""))
            if robot is not None and robot.connected and robot.session == getattr(effect, "session", 0):
                self._deliver(robot, effect)

    def _deliver(self, robot: Robot, order: object) -> None:
        match order:
            case AssignTasks(items=items):
                for item in items:
                    assert item.key not in (*robot.hands, *robot.journal), "handed out twice"
                    robot.hands[item.key] = item
                    robot.begun.append(item.key)
            case AcknowledgeResults(receipt=list() as keys):
                for key in keys:
                    robot.journal.pop(key, None)
            case OfferLots():
                robot.offers.append(order)
            case RefuseBids(refused=refused):
                robot.refused += [str(each.code) for each in refused]
            case StopTasks(keys=keys):
                robot.stops += keys
            case CloseSession(code=code):
                robot.connected = False
                robot.closed.append(code)
            case Welcome(lease_ms=lease_ms):
                assert lease_ms == self.lease_ms
            case _ if type(order) in SAYS:
                robot.heard.append(order)
            case _:
                raise AssertionError(f"nobody carries out {order!r}")

    def committed(self, rows: list[Row]) -> None:
        """The link would send them on."""

    def refolded(self, error: BaseException) -> None:
        assert "whole again" in str(error), "nothing fails here"

    # Looking

    def events(self, kind: type[E], run: str | None = None) -> list[E]:
        """The site's own events of a kind, in order."""
        rows = [row for row in self.log.disk.rows if row.stream == self.stream and row.kind == kind.kind]
        return [decode(row.kind, row.payload) for row in rows if run in (None, row.run)]  # type: ignore[misc]

    def events_of(self, run: str) -> list[Event]:
        """All that the site's own log tells of a run, in order."""
        return [decode(row.kind, row.payload) for row in self.log.disk.rows if row.stream == HARBOUR and row.run == run]

    def states(self, run: str = "r1") -> list[str]:
        return [NAMES[state] for state in self.fragment(run).states]

    def fragment(self, run: str = "r1") -> Fragment:
        return self.core.fragments[run]

    def outcome(self, run: str = "r1") -> str:
        """How the run ended here, empty if it has not."""
        tombstone = self.log.disk.saved.get(run)
        return tombstone.state if tombstone is not None and tombstone.ended else ""

    def recount(self) -> None:
        """After a loss agents may hold more than what they said last before it."""
        self._loads = {slot.agent: len(slot.held) for slot in self.core.roster.slots.values()}

    def check(self) -> None:
        """A task that is live is in exactly one agent's hands as the site sees them, within that agent's capacity."""
        live = {
            (run, task): (attempt.agent, attempt.number)
            for run, fragment in self.core.fragments.items()
            for task, attempt in fragment.live.items()
        }
        slots = self.core.roster.slots.values()
        held = [(key, (slot.agent, number)) for slot in slots for key, number in slot.held.items()]
        assert sorted(held) == sorted(live.items())
        heard = self.core.home.vigil
        assert {*heard.reports, *heard.watched, *heard.untold} <= live.keys(), "something is kept of what nobody works on"
        for fragment in self.core.fragments.values():
            running = [task for task, state in enumerate(fragment.states) if state == RUNNING]
            assert [task for task in running if fragment.task(task).kind is Kind.WORK] == sorted(fragment.live)
            assert not fragment.outcome
        for slot in slots:
            before, self._loads[slot.agent] = self._loads.get(slot.agent, 0), len(slot.held)
            robot = self.robots.get(slot.agent)
            kept = sum((key.run, key.task) in slot.held for key in (*robot.hands, *robot.journal)) if robot is not None else 0
            assert len(slot.held) <= max(slot.capacity, before, kept), "given more than there is room for"
