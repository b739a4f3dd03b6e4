"""A cloud and two sites without sockets: real cores, Drivers and replication sessions, and links that are cut as a story says."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from cloud.explain.core import explained
from cloud.port import Problem
from cloud.reseeding.inputs import RenewStream
from cloud.runs import Run, load_saved_run, restore_run
from cloud.views import LinkView
from edge.executor import Executor
from edge.inputs import AssignTasks, AttemptKey
from sync.inputs import PeerHolds, PeerLevel, PeerLinked, PeerLost, Recovered, Replicated
from sync.log_errors import LogCut
from sync.replication import Session, head_in
from sync.values import StreamId, stream_incarnation
from tests.cloud.control import Control
from tests.edge.site import LEASE_MS, Robot, Site
from tests.operators import OPERATORS, Operators
from tests.overseer import check_cloud, check_site, check_told
from tests.ports import Disk, hash_at, head, rows_after
from tests.workflow.asking import PEOPLE, approval, output_of, random_order, settlement
from tests.workflow.definitions import RESOURCES
from tiercel.v1 import sync_pb2
from workflow.events import TaskAssigned, decode
from workflow.fragment import Fragment
from workflow.orders import Lift, Order, Resume, Signal, Skip
from workflow.plan import Plan
from workflow.reseed_events import SiteStreamBegun
from workflow.saved import load_saved
from workflow.states import NAMES, RECONCILE, STUCK, WAITING
from workflow.tasks import Kind

SITES = {"harbour": {"anna": ("pick",), "ben": ("pick", "pack")}, "airport": {"cleo": ("pack",), "dora": ("pick", "pack")}}
AGENTS = ("finish", "finish", "finish", "fail", "stop", "decline", "join", "lose_line", "reboot")
LINKS = ("send", "send", "send", "cut", "link", "link", "forget")
WORLD = ("start", *LINKS, "restart_cloud", "restart_site", "lose", "copy", "pass_much")
Happening = tuple[str, str, int, int]
happenings: st.SearchStrategy[list[Happening]] = st.lists(
    st.tuples(
        st.sampled_from([*AGENTS * 3, *WORLD * 2, *PEOPLE, *OPERATORS, "pass_hours"]),
        st.sampled_from(sorted(SITES)),
        st.integers(0, 11),
        st.integers(0, 11),
    ),
    min_size=10,
    max_size=50,
)
INPUTS = b'{"lines":["a","b","c"],"count":2,"flag":true}'
RUNS_MAX = 3


class Outpost(Site):
    """A site with resources; the cloud is a real one. Of strong runs nothing reaches an agent before that holds it."""

    cloud: Disk | None = None

    def _deliver(self, robot: Robot, order: object) -> None:
        for item in order.items if isinstance(order, AssignTasks) else ():
            if self.cloud is not None and self.core.home.gate.is_strong(item.key.run):
                held = [row for row in self.cloud.rows if row.stream == self.stream and row.run == item.key.run]
                given = [decode(row.kind, row.payload) for row in held if row.kind == TaskAssigned.kind]
                assert any((e.task, e.attempt) == item.key[1:3] for e in given), "it left before the cloud held it"  # type: ignore[attr-defined]
        super()._deliver(robot, order)

    def _make_core(self) -> Executor:
        core = super()._make_core()
        for name, units in RESOURCES.items():
            core.home.resources.declare(name, units)
        return core


@dataclass
class Wire:
    """A link to one site: a session at either end, and what is under way between them."""

    site: Outpost
    cloud: Control
    ends: tuple[Session, Session] | None = None
    told: list[tuple[bool, bytes]] = field(default_factory=list)  # To the cloud?
    is_behind: bool = False  # Has the cloud cut all of the site's stream, while that was away?
    is_burnt: bool = False  # Has the site lost what the cloud has cut of its own stream?
    level_at: int | None = None  # Of the site's stream: when the cloud has so much, all is there that it had to tell.

    @property
    def streams(self) -> tuple[StreamId, StreamId]:
        return self.site.stream, self.cloud.planner.site_stream(self.site.name)

    def cut(self) -> None:
        """All that is under way is lost, and both ends notice."""
        if self.ends is not None:
            self.ends = None
            self.told.clear()
            self.site.turn(PeerLost("cloud", "cut"))
            self.cloud.turn(PeerLost(self.site.name, "cut"))

    def link(self) -> None:
        """Both greet. A site that has lost events fetches them back before it does anything."""
        if self.ends is not None:
            return
        here, there = self.site.log.disk, self.cloud.log.disk
        if self.is_burnt:
            self._begin_anew()
        elif self.is_behind:
            self._renew()
        own, given = self.streams
        up = Session(self.site.name, "cloud", own, given, head(here, own), head(here, given))
        down = Session("cloud", self.site.name, given, own, head(there, given), head(there, own))
        hello, answer = up.hello(1, 0).hello, down.hello(1, 0).hello
        down.greet(hello, hash_at(there, given, head_in(hello, given).seq), hash_at(there, own, head_in(hello, own).seq))
        up.greet(answer, hash_at(here, own, head_in(answer, own).seq), hash_at(here, given, head_in(answer, given).seq))
        if up.recovering:
            self._recover(up)
            self.link()
            return
        self.ends = up, down
        self.site.driver.held_by_peer(up.sends, up.acked_seq, greeted=True)
        self.cloud.turn(PeerLinked(self.site.name))
        self.site.turn(PeerLinked("cloud"))
        self.level_at = head(here, own).seq
        self._look()

    def forget(self) -> None:
        """The link is cut, and then all that the cloud keeps of the site's stream: what is under way gets there no more."""
        self.cut()
        self.is_behind = True

    def _renew(self) -> None:
        self.is_behind = False
        given = self.streams[1]
        held, cut = head(self.site.log.disk, given).seq, head(self.cloud.log.disk, given).seq
        renewed = self.cloud.ask(lambda token: RenewStream(token, self.site.name, given, LogCut(given, held, cut)))
        assert renewed == self.streams[1] != given, f"{renewed} goes on from {given}"

    def burn(self, disk: Disk) -> None:
        """The site's disk is lost, or an old copy takes its place, and the cloud has cut what that lacks."""
        self.cut()
        self.site.log.disk = disk
        self.site.restart_quietly()
        self.is_burnt = True

    def _begin_anew(self) -> None:
        self.is_burnt = self.is_behind = False
        site, (own, given) = self.site, self.streams
        held, position = head(site.log.disk, own).seq, head(self.cloud.log.disk, own).seq
        if held >= position:
            return  # Nothing of it is lost.
        behind, lost = head(site.log.disk, given).seq, LogCut(own, held, position)
        lacked = LogCut(given, behind, behind + 1)
        self.cloud.ask(lambda token: RenewStream(token, site.name, given, lacked, lost, position))
        number = self.cloud.planner.reseeding.own(site.name)
        following, told_in = StreamId(f"{site.name}@{number}"), stream_incarnation(self.streams[1])
        site.driver.begin(following, SiteStreamBegun(number, own, told_in, site.clock.wall_ms))
        site.driver.refold(RuntimeError("whole again, as another stream"))
        site.stream = following
        site.recount()

    def _look(self) -> None:
        if self.level_at is not None and head(self.cloud.log.disk, self.site.stream).seq >= self.level_at:
            self.level_at = None
            self.cloud.turn(PeerLevel(self.site.name))

    def _recover(self, up: Session) -> None:
        driver, lost_to = self.site.driver, up.recover_to
        for stream in reversed(self.streams):
            for row in rows_after(self.cloud.log.disk, stream, head(self.site.log.disk, stream).seq):
                driver.store([Recovered(stream, [row._replace(pos=0, prev=0)], self.site.stream, lost_to)])
        driver.refold(RuntimeError("whole again"))
        self.site.recount()

    def send(self, most: int) -> bool:
        """Each end says what it may; then a few messages arrive. False if nothing was to be said."""
        if self.ends is None:
            return False
        for to_cloud, end, disk in ((True, self.ends[0], self.site.log.disk), (False, self.ends[1], self.cloud.log.disk)):
            while (wants := end.wants(head(disk, end.sends).seq)) is not None:
                rows = rows_after(disk, wants.stream, wants.after_seq)[: min(wants.limit, most)]
                self.told.append((to_cloud, end.batch(rows).SerializeToString()))
        was_said = bool(self.told)
        for _ in range(most):
            if self.told and self.ends is not None:
                self._arrive(*self.told.pop(0))
        return was_said

    def _arrive(self, to_cloud: bool, body: bytes) -> None:
        assert self.ends is not None, "nothing arrives over a link that is cut"
        end = self.ends[1] if to_cloud else self.ends[0]
        message = sync_pb2.SyncMessage.FromString(body)
        if message.HasField("ack"):
            end.acknowledged(message.ack)
            if not to_cloud and self.site.driver.held_by_peer(end.sends, end.acked_seq):
                self.site.turn(PeerHolds("cloud"))
        elif message.HasField("credit"):
            end.credits += message.credit.events
        elif rows := end.receive(message.events):
            said = Replicated(rows[0].stream, rows)
            self.cloud.turn(said) if to_cloud else self.site.turn(said)
            self._look()
            for answer in end.durable(rows[0].stream, rows[-1].seq, len(rows)):
                self.told.append((not to_cloud, answer.SerializeToString()))


@dataclass
class Tiers:
    """The whole of it. `runs` are those whose start was acknowledged."""

    plans: list[Plan]
    cloud: Control = field(default_factory=Control)
    wires: dict[str, Wire] = field(default_factory=dict)
    runs: list[str] = field(default_factory=list)
    copies: dict[str, Disk] = field(default_factory=dict)
    museum: dict[str, Run] = field(default_factory=dict)
    operators: Operators = field(init=False)

    def __post_init__(self) -> None:
        self.operators = Operators(self.cloud, self.runs, self.known)
        for name, robots in SITES.items():
            wire = self.wires[name] = Wire(Outpost(name=name), self.cloud)
            wire.site.clock, wire.site.cloud = self.cloud.clock, self.cloud.log.disk
            wire.site.driver.clock = self.cloud.clock
            for robot, capabilities in robots.items():
                wire.site.join(robot, capabilities=capabilities)
            wire.link()
        self.drain()
        self.start(0)
        self.drain()

    def start(self, number: int) -> None:
        self.runs += self.cloud.start(self.plans[number % len(self.plans)], inputs=INPUTS)

    def drain(self) -> None:
        """Until nothing is under way over the links that are up."""
        is_moving = True
        while is_moving:
            is_moving = False
            for wire in self.wires.values():
                is_moving = wire.send(1_000) or is_moving

    def live(self, what: str, name: str, number: int, variant: int) -> None:
        wire = self.wires[name]
        robots = sorted(wire.site.robots)
        robot = wire.site.robots[robots[number % len(robots)]]
        self.check_explained()
        if what in AGENTS:
            self._agent(what, wire.site, robot, variant)
        elif what in (*WORLD, "pass_hours", "burn"):
            self._world(what, wire, number)
        elif what in OPERATORS:
            self.operators.live(what, name, number, variant)
        elif what == "cancel":
            if variant == 0:
                self.cloud.cancel(self.runs[number % len(self.runs)])
        else:
            self._order(what, number, variant)

    def _agent(self, what: str, site: Outpost, robot: Robot, variant: int) -> None:
        if what == "join":
            site.join(robot.name)
        elif what == "lose_line":
            robot.connected = False
        elif what == "reboot":
            robot.restart()
        elif robot.hands:
            key = sorted(robot.hands)[variant % len(robot.hands)]
            if what == "finish":
                robot.finish(key, self._output_of(site, key, variant))
            elif what == "fail":
                robot.fail(key, retryable=variant % 3 > 0)
            else:
                getattr(robot, what)(key)
            site.report(robot)

    def _output_of(self, site: Outpost, key: AttemptKey, variant: int) -> bytes:
        """What the task is to give. A site that has lost its disk may know nothing of the task: then it does not matter."""
        if key.run not in site.core.fragments and key.run not in site.log.disk.saved:
            return b"1"
        fragment = self.seen(site, key.run)
        return output_of(fragment, key.task, variant) if key.task < len(fragment.states) else b"1"

    def seen(self, site: Outpost, run: str) -> Fragment:
        """The fragment at its site, ended or not."""
        if run in site.core.fragments:
            return site.core.fragments[run]
        saved = load_saved(site.log.disk.saved[run].body)
        return Fragment.restore(run, self.plan_of(saved.definition), saved)  # type: ignore[arg-type]

    def plan_of(self, ref: str) -> Plan:
        return self.cloud.planner.plans[ref]

    def _world(self, what: str, wire: Wire, number: int) -> None:
        match what:
            case "start" if len(self.runs) < RUNS_MAX:
                self.start(number)
            case "send":
                wire.send(1 + number)
            case "cut":
                wire.cut()
            case "link":
                wire.link()
            case "forget":
                wire.forget()
            case "burn":
                wire.burn(self.copies.pop(wire.site.name, Disk()) if number % 2 else Disk())
            case "restart_cloud":
                for each in self.wires.values():
                    each.ends = None
                    each.told.clear()
                    each.site.turn(PeerLost("cloud", "restarted"))
                self._restart_cloud(is_saved=number % 2 == 0)
            case "restart_site":
                self._forget(wire)
                self._restart_site(wire.site, is_saved=number % 2 == 0)
            case "copy":
                self.copies[wire.site.name] = copy.deepcopy(wire.site.log.disk)
            case "lose" if wire.site.name in self.copies:
                self._lose(wire)
            case "pass_much":
                self.pass_ms(LEASE_MS // 2 + 600 * number)
            case "pass_hours":
                self.pass_ms(3_600_000)

    def _restart_cloud(self, *, is_saved: bool) -> None:
        """From its log it is what it was, folded or from a snapshot."""
        if is_saved:
            self.cloud.snapshot()
        before = remembered(self.cloud)
        self.cloud.begin_anew()
        after = remembered(self.cloud)
        assert after == before, "the cloud is another one after its restart"
        self.cloud.turn()

    def _restart_site(self, site: Outpost, *, is_saved: bool) -> None:
        """The same."""
        if is_saved:
            site.driver._floor = -(10**9)
            site.turn()
        before = kept(site.core)
        site.restart_quietly()
        assert kept(site.core) == before, f"{site.name} is another one after its restart"
        site.turn()

    def _forget(self, wire: Wire) -> None:
        """The site's end of the link is gone, and the cloud notices."""
        wire.ends = None
        wire.told.clear()
        self.cloud.turn(PeerLost(wire.site.name, "restarted"))

    def _lose(self, wire: Wire) -> None:
        """The site starts from an old copy of its disk; the cloud holds all that it had written."""
        wire.link()
        while wire.send(1_000):
            pass
        self._forget(wire)
        wire.site.log.disk = self.copies.pop(wire.site.name)
        wire.site.restart_quietly()
        wire.link()

    def pass_ms(self, duration_ms: int) -> None:
        self.cloud.pass_ms(duration_ms)
        for wire in self.wires.values():
            wire.site.turn()

    def _order(self, what: str, number: int, variant: int) -> None:
        run = self.runs[(number + variant) % len(self.runs)]
        fragments = [fragment for fragment in self.known(run).fragments if fragment is not None]
        if fragments and (order := random_order(fragments[number % len(fragments)], what, number, variant)) is not None:
            answer = self.cloud.order(run, order)
            assert isinstance(answer, str | Problem), answer

    def known(self, run: str) -> Run:
        """The run as the cloud knows it, ended or not: what was acknowledged is never unknown."""
        found = self.cloud.planner.runs.look(run)
        if found is not None:
            return found
        tombstone = self.cloud.log.disk.saved[run]
        assert tombstone.ended, f"{run} is not known any more"
        saved = load_saved_run(tombstone.body)
        return restore_run(run, self.plan_of(saved.definition), saved)

    # How it comes to an end ---

    def finish(self) -> None:
        """The links heal, agents work, people help: every run ends, and both tiers know the same of it."""
        for _ in range(300):
            for wire in self.wires.values():
                wire.link()
            self.drain()
            self.check_equal()
            if all(self.cloud.outcome(run) for run in self.runs) and not self._open():
                break
            self.operators.help(list(self.wires))
            if not self._work() and not self._help():
                self.drain()  # Who has come back is known before his lease is over again.
                self.pass_ms(60_000)
        left = [(run, state(self.known(run))) for run in self.runs if not self.cloud.outcome(run)]
        assert not left, f"they never end: {left}"
        self.check_facts()
        check_cloud(self.cloud, [wire.site for wire in self.wires.values()])

    def _open(self) -> list[str]:
        return [run for wire in self.wires.values() for run in wire.site.core.fragments if run in self.runs]

    def _work(self) -> bool:
        is_busy = False
        for wire in self.wires.values():
            for robot in wire.site.robots.values():
                robot.capacity = 4
                if not robot.connected:
                    wire.site.join(robot.name)
                for key in sorted(robot.hands):
                    is_busy = True
                    robot.finish(key, self._output_of(wire.site, key, 1))
                wire.site.report(robot)
        return is_busy

    def _help(self) -> bool:
        for run in self.runs:
            if self.cloud.outcome(run):
                continue
            for fragment in self.known(run).fragments:
                order = help_with(fragment) if fragment is not None and not fragment.outcome else None
                if order is not None and isinstance(self.cloud.order(run, order), str):
                    return True
        return False

    # What must hold ---

    def fragments_of(self, run: str) -> Iterator[tuple[Fragment | None, Fragment, str]]:
        """The cloud's replica and the site's own, by site."""
        known = self.known(run)
        for site, replica in zip(known.sites, known.fragments, strict=True):
            outpost = self.wires[site].site
            saved = outpost.log.disk.saved.get(run)
            if run in outpost.core.fragments or (saved is not None and saved.state != "moved"):
                yield replica, self.seen(outpost, run), site

    def check_equal(self) -> None:
        """After all has arrived, replicas are what the homes are, byte for byte."""
        assert (different := self.different()) == [], different

    def different(self) -> list[str]:
        """Where a replica is not what its home is."""
        return [
            f"{run} at {site}: {'not known' if replica is None else f'version {replica.version}'}, version {own.version} at home"
            for run in self.runs
            for replica, own, site in self.fragments_of(run)
            if replica is None or (replica.version, replica.save()) != (own.version, own.save())
        ]

    def check_explained(self) -> None:
        """Of every run with something left to do somebody can say what it waits for."""
        for known in filter(None, map(self.cloud.planner.runs.look, self.runs)):
            told = explained(self.cloud.planner, known, lambda site: LinkView("up" if self.wires[site].ends else "down", 1))
            is_over = any(f is not None and not f.open and not f.outcome for f in known.fragments)  # Its end is on the way.
            is_told = told.waits_for or any(site.reasons or site.note for site in told.sites)
            assert is_told or is_over, f"nobody knows what {known.id} waits for"

    def check_facts(self) -> None:
        """By the sites' own words: nothing is done twice or blindly, before its needs, or after a cancel."""
        for wire in self.wires.values():
            check_site(wire.site.log.disk, wire.site.stream)
            check_told(rows_after(wire.site.log.disk, wire.site.stream, 0), self.plan_of)


def remembered(cloud: Control) -> Any:
    """All that a restart of the cloud must know again."""
    said: Any = cloud.state()
    runs, *others = said
    known = {run: each[:2] for run, each in runs.items()}  # What they wait for is of the moment: who is linked.
    return known, others, cloud.planner.parts.save(), dict(cloud.planner.dependencies.records.watched)


def kept(core: Executor) -> Any:
    """All that a restart of a site must know again."""
    runs = {run: core.fragments.packed(run) for run in core.fragments}
    return runs, core.parts.save(), core.home.paused, sorted(core.plans)


def state(run: Run) -> Any:
    return [[NAMES[s] for s in f.states] if f is not None else None for f in run.fragments], run.waits_for, run.sites


def help_with(fragment: Fragment) -> Order | None:
    """What a person can do about it now."""
    extras = fragment.extras
    for task, now in enumerate(fragment.states):
        if now == RECONCILE or (now == STUCK and task in (extras.incidents if extras is not None else ())):
            return settlement(fragment, task, 0)
    if fragment.stopping:
        return None
    if extras is not None and (extras.paused or extras.paused_tasks):
        return Resume()
    if extras is not None and any("r9" in holds for holds in extras.holds.values()):
        return Lift("", "r9")
    for task, now in enumerate(fragment.states):
        plan = fragment.task(task)
        if now == WAITING and plan.kind is Kind.SIGNAL:
            return Signal(plan.signal, 1)
        if now == WAITING and plan.kind in (Kind.SYNC, Kind.CHILD):
            return Skip(fragment.id_of(task))
    return approval(fragment, 1)
