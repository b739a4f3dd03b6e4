"""A site with everything: runs of all kinds, people who ask for all that can be asked, agents that cannot be relied upon, kills,
failed commits, lost tails. After every step it is checked against replicas, resources, and what each run waits for.
"""

import copy
import hashlib
from dataclasses import dataclass, field

from hypothesis import strategies as st

from edge.executor import Executor
from edge.inputs import AgentReported, AssignTasks, AttemptKey, Outcome
from sync.clock import wall_ms
from sync.driver import SNAPSHOT_EVERY
from sync.inputs import PeerLinked, PeerLost, Recovered, Replicated
from sync.log_errors import LogFull
from tests.edge.site import CLOUD, HARBOUR, LEASE_MS, Robot, Site
from tests.edge.test_executor_laws import ROBOTS
from tests.ports import Disk
from tests.workflow.asking import PEOPLE, approval, child, output_of, random_order, settlement
from tests.workflow.definitions import RESOURCES
from tests.workflow.witness import Witness
from workflow.attending import holds_resources, is_for_agents, is_lacking
from workflow.commands import Complete
from workflow.events import FragmentAdopted, RunCreated, decode
from workflow.explain import explain
from workflow.fragment import Fragment
from workflow.orders import Lift, Order, Resume, Signal, Skip
from workflow.plan import Plan
from workflow.resources import Holder
from workflow.states import BLOCKED, NAMES, READY, RECONCILE, STUCK, WAITING
from workflow.tasks import Kind

AGENTS = ("join", "finish", "finish", "finish", "report", "report", "fail", "stop", "decline", "lose_line", "hang_up", "reboot")
WORLD = (
    "again",
    "lie",
    "beat",
    "pass_little",
    "pass_much",
    "pass_hours",
    "release",
    "kill",
    "snapshot",
    "fail_commit",
    "copy",
    "lose",
)
LINK = ("cut", "link")
Happening = tuple[str, str, int, int]
happenings: st.SearchStrategy[list[Happening]] = st.lists(
    st.tuples(
        st.sampled_from([*AGENTS * 3, *PEOPLE, *WORLD * 2, *LINK]),
        st.sampled_from(sorted(ROBOTS)),
        st.integers(0, 11),
        st.integers(0, 11),
    ),
    min_size=10,
    max_size=60,
)
# What somebody outside can do something about, or time.
GROUNDS = ("agent", "working", "delay", "time", "signal", "approval", "child", "sync_point", "hold", "pause", "incident")
RUNS_MAX = 4
# Of these a lost holder may still act; the epochs of what there is one of never fall.
LOCK_DELAYS = {"dock": 5_000, "gate": 1_000}
SINGLE = [name for name, units in RESOURCES.items() if units == 1]
INPUTS = b'{"lines":["a","b","c"],"count":2,"flag":true}'


@dataclass
class Replica:
    """A run as the cloud folds it from the site's rows, and who watches it."""

    fragment: Fragment
    witness: Witness = field(default_factory=Witness)


class Harbour(Site):
    """A site with resources, whose rows are folded as they become durable."""

    def __init__(self, plans: list[Plan]) -> None:
        self.plans = {plan.ref: plan for plan in plans}
        self.replicas: dict[str, Replica] = {}
        self.said: list[Replicated] = []
        self.folded = 0
        self.refolds = self.failed = 0
        self.fails = False  # Does the next commit?
        self.digest = hashlib.sha256()
        self.epochs: dict[str, int] = {}
        super().__init__()

    def _make_core(self) -> Executor:
        core = super()._make_core()
        for name, units in RESOURCES.items():
            core.home.resources.declare(name, units)
        core.home.leases.delays.update(LOCK_DELAYS)
        return core

    def turn(self, *inputs: object) -> None:
        self.said += [input for input in inputs if isinstance(input, Replicated)]
        if self.fails:
            self._fail_commit(inputs)
        else:
            super().turn(*inputs)

    def send(self, effects: list[object]) -> None:
        self.digest.update(repr(effects).encode())
        for item in (item for effect in effects if isinstance(effect, AssignTasks) for item in effect.items):
            for name, epoch in item.leases:
                assert name not in SINGLE or epoch >= self.epochs.get(name, 0), f"{name}: {epoch} after {self.epochs[name]}"
                self.epochs[name] = max(epoch, self.epochs.get(name, 0))
        super().send(effects)

    def refolded(self, error: BaseException) -> None:
        """All sessions end: they hung on the old core."""
        self.refolds += 1
        for robot in self.robots.values():
            robot.connected = False
        self.sessions += 1_000

    def _fail_commit(self, inputs: tuple[object, ...]) -> None:
        """The commit of this turn fails, if it makes one; then the disk has room again: the core is folded anew, and the cloud
        says again what was not stored."""
        self.log.at_once = False
        self.driver.turn([*self.driver.take_due(), *inputs])
        fails = bool(self.log.queue)
        if fails:
            self.fails, self.failed = False, self.failed + 1
            self.recalls.clear()
            self.log.fail(LogFull("the disk is full"))
            self.log.finish_all()
            self.log.tell()
        self.log.at_once = True
        if fails:
            self.greet()
        else:
            self.settle()

    def greet(self) -> None:
        """The link is up anew: the cloud says what is missing here."""
        held = self.driver.heads[CLOUD].seq if CLOUD in self.driver.heads else 0
        missing = [row for said in self.said for row in said.rows if row.seq > held]
        Site.turn(self, *([Replicated(CLOUD, missing)] if missing else []), PeerLinked("cloud"))

    def check(self) -> None:
        super().check()
        self._fold_rows()
        for run, replica in self.replicas.items():
            fragment = replica.fragment
            if run in self.core.fragments:
                assert not fragment.outcome
                assert self.core.fragments.packed(run) == fragment.save(), f"{run}: the replica is in another state"
            else:
                assert fragment.outcome, f"{run} has left memory and has not ended"
                if (saved := self.log.disk.saved[run]).ended:
                    assert saved.body == fragment.save(), f"{run}: its tombstone is of another state"
        self._check_resources()

    def _fold_rows(self) -> None:
        rows = self.log.disk.rows[self.folded :]
        self.folded = len(self.log.disk.rows)
        for row in rows:
            if row.stream != HARBOUR or not row.run:
                continue
            event = decode(row.kind, row.payload)
            if isinstance(event, FragmentAdopted):
                assert row.run not in self.replicas, "adopted twice"
                self.replicas[row.run] = Replica(Fragment.adopt(row.run, self.plans[event.definition], event))  # type: ignore[arg-type]
                continue
            if isinstance(event, RunCreated):
                continue  # The site begins it by itself, and adopts it next.
            replica = self.replicas[row.run]
            fragment, before = replica.fragment, bytes(replica.fragment.states)
            replica.witness.expect(fragment, event)
            fragment.evolve(event)
            replica.witness.saw(fragment, event, before)
            fragment.quiet()
            fragment.news = None

    def _check_resources(self) -> None:
        """By the log, and by the site's own count: what is in use is there."""
        used: dict[str, int] = dict.fromkeys(RESOURCES, 0)
        for replica in self.replicas.values():
            fragment = replica.fragment
            for task in range(len(fragment.states)) if not fragment.outcome else ():
                is_held = holds_resources(fragment, task)
                who = Holder(fragment.run, task)
                assert not is_held or self.core.home.resources.holds(who), f"{who} does not hold what its run says"
                for name, units in fragment.task(task).resources if is_held else ():
                    used[name] += units
        for name, capacity, taken, _ in self.core.home.resources.in_use():
            assert used[name] <= taken <= capacity, f"{name}: {taken} of {capacity} taken, {used[name]} in use"

    def refold(self) -> dict[str, bytes]:
        """What a start makes of the log as it is, without touching the site."""
        core, loaded = self._make_core(), self.log.load()
        core.restore(loaded.snapshots, loaded.persisted)
        for row in loaded.tail:
            core.evolve(row.stream, row.run, core.decode(row.kind, row.payload), wall_ms(row.time))
        return {run: core.fragments.packed(run) for run in core.fragments}


@dataclass
class World:
    """The site, its robots, and what happens to them."""

    plans: list[Plan]
    site: Harbour = field(init=False)
    runs: list[str] = field(default_factory=list)
    old: Disk | None = None
    sent: AgentReported | None = None
    asked: int = 0
    steps: int = 0
    has_lost: bool = False

    def __post_init__(self) -> None:
        self.site = Harbour(self.plans)
        for name, capabilities in ROBOTS.items():
            self.site.join(name, capabilities=capabilities)
        self.release(0)

    def release(self, number: int) -> None:
        plan = self.plans[number % len(self.plans)]
        self.runs.append(f"r{len(self.runs)}")
        self.site.release(plan, self.runs[-1], inputs=INPUTS)

    def live(self, what: str, name: str, number: int, variant: int) -> None:
        """One thing happens, if there is anything that it could happen to."""
        self.steps += 1
        if what in AGENTS:
            self._agent(what, self.site.robots[name], number, variant)
        elif what in (*WORLD, *LINK):
            self._world(what, self.site.robots[name], number, variant)
        elif what == "cancel":
            if variant == 0:
                self.asked += 1
                self.site.cancel(self.runs[number % len(self.runs)], f"cancel-{self.asked}")
        else:
            run = self.runs[(number + variant) % len(self.runs)]
            replica = self.site.replicas[run]
            if (order := random_order(replica.fragment, what, number, variant)) is not None:
                self.ask(run, order)
        self.check_grounds()
        if self.steps % 7 == 0:
            self.check_refold()

    def ask(self, run: str, order: Order) -> str:
        self.asked += 1
        answer = self.site.order(order, run, f"ask-{self.asked}")
        assert answer, f"{order} was not answered"
        return answer

    def _agent(self, what: str, robot: Robot, number: int, variant: int) -> None:
        match what:
            case "join":
                robot.capacity = 1 + number % 3
                self.site.join(robot.name)
            case "finish" | "fail" | "stop" | "decline" if robot.hands:
                key = sorted(robot.hands)[number % len(robot.hands)]
                if what == "finish":
                    robot.finish(key, self.output(key, variant))
                elif what == "fail":
                    robot.fail(key, retryable=variant % 3 > 0)
                else:
                    getattr(robot, what)(key)
            case "report" if robot.journal and robot.connected:
                keys = sorted(robot.journal)[: 1 + number]
                self.sent = AgentReported(robot.session, robot.name, [Outcome(key.run, robot.journal[key]) for key in keys], keys)
                self.site.turn(self.sent)
            case "lose_line":
                robot.connected = False
            case "hang_up" if robot.session and robot.connected:
                self.site.hang_up(robot, goodbye=number % 4 == 0)
            case "reboot":
                robot.restart()

    def output(self, key: AttemptKey, variant: int) -> bytes:
        return output_of(self.site.replicas[key.run].fragment, key.task, variant)

    def _world(self, what: str, robot: Robot, number: int, variant: int) -> None:
        match what:
            case "again" if self.sent is not None:
                self.site.turn(self.sent)
            case "lie" if robot.connected:
                self.lie(robot, number, variant)
            case "beat":
                self.site.beat(*self.site.robots.values())
            case "pass_little":
                self.site.pass_ms(number * 300)
            case "pass_much":
                self.site.pass_ms(LEASE_MS // 2 + 600 * number)
            case "pass_hours":
                self.site.pass_ms(3_600_000 * (1 + variant % 3))
            case "release" if len(self.runs) < RUNS_MAX:
                self.release(number)
            case "kill":
                before = self.site.refold()
                self.site.restart_quietly()
                assert {run: self.site.core.fragments.packed(run) for run in before} == before
                self.site.greet()
            case "snapshot":
                self.site.driver._floor = self.site.driver.pos - SNAPSHOT_EVERY
                self.site.turn()
            case "fail_commit":
                self.site.fails = True
            case "cut":
                self.site.turn(PeerLost("cloud", "cut"))
            case "link":
                self.site.greet()
            case "copy":
                self.old = copy.deepcopy(self.site.log.disk)
            case "lose" if self.old is not None:
                self.lose(self.old)
                self.old = None

    def lie(self, robot: Robot, number: int, variant: int) -> None:
        """A result for an attempt that is another agent's, or nobody's: nothing may come of it."""
        run = self.runs[number % len(self.runs)]
        fragment = self.site.replicas[run].fragment
        task = variant % (len(fragment.states) + 1)
        attempt = fragment.attempt(task) if task < len(fragment.states) else 1
        held = fragment.live.get(task)
        if (held is not None and held.agent == robot.name) or (fragment.past or {}).get((task, attempt)) == robot.name:
            return
        before = fragment.save()
        self.site.lie(robot, AttemptKey(run, task, attempt, 1), Complete(task, attempt, robot.name, b'"a lie"', None))
        if number % 3 == 0:
            assert self.site.replicas[run].fragment.save() == before or self.site.driver.due() is not None

    def lose(self, old: Disk) -> None:
        """The disk is an old copy: what is missing comes back from the cloud, and the site is what it was."""
        self.has_lost = True
        site, full = self.site, self.site.log.disk
        before = site.refold()
        due = dict(full.due)
        site.log.disk = old
        site.log.crash(durable=0)
        for robot in site.robots.values():
            robot.connected = False
        site.sessions += 1_000
        site.recalls.clear()
        site.begin()
        head = full.heads[HARBOUR].seq
        for stream in (CLOUD, HARBOUR):
            held = old.heads[stream].seq if stream in old.heads else 0
            for row in full.rows:
                if row.stream == stream and row.seq > held:
                    site.driver.store([Recovered(stream, [row._replace(pos=0, prev=0)], HARBOUR, head)])
        site.driver.refold(RuntimeError("whole again"))
        site.folded, site.replicas = 0, {}
        site._fold_rows()
        assert {run: site.core.fragments.packed(run) for run in site.core.fragments} == before
        assert {timer: ms for timer, ms in due.items() if timer not in site.log.disk.due} == {}, "a deadline is forgotten"
        site.greet()
        site.recount()

    # What must hold ---

    def check_refold(self) -> None:
        """The log alone gives the same site."""
        fragments = self.site.core.fragments
        assert self.site.refold() == {run: fragments.packed(run) for run in fragments}

    def check_grounds(self) -> None:
        """Whatever has not ended waits for something that can come: nothing is forgotten, no run is stuck without a reason."""
        self._check_points()
        for run, fragment in self.site.core.fragments.looks():
            reasons = list(explain(fragment))
            for task, state in enumerate(fragment.states):
                self._check_task(run, fragment, task, state)
            kinds = {reason.kind for reason in reasons}
            grounds = kinds & {*GROUNDS, "reconcile", "resource"}
            assert grounds, f"{run} is stuck: {[(r.task, r.kind, r.why) for r in reasons]}"

    def _check_points(self) -> None:
        for point, here in self.site.core.home.meetings._here.items():
            for run, task in here:
                fragment = self.site.core.fragments.look(run)
                assert fragment is not None, f"{run} has ended, and is at {point}"
                assert fragment.states[task] == WAITING, f"{run} is at {point}, and does not wait"

    def _check_task(self, run: str, fragment: Fragment, task: int, state: int) -> None:
        core, name, plan = self.site.core, f"{run}/{fragment.id_of(task)}", fragment.task(task)
        if state == WAITING and (due_ms := (fragment.due or {}).get(task, 0)):
            is_set = self.site.log.disk.due.get((run, f"due/{task}")) == due_ms
            is_next = plan.kind is Kind.WORK and (run, task) in core.dispatch._queued
            barred = plan.kind is Kind.WORK and not fragment.may_start(task)
            assert is_set or is_next or barred, f"{name} waits for a timer that nobody set"
        if state == WAITING and plan.sync is not None:
            here = core.home.meetings._here.get(plan.sync.point, {})
            assert Holder(fragment.run, task) in here, f"{name} waits at a point where nobody knows of it"
            assert len(here) < plan.sync.parties, f"all are at {plan.sync.point}, and do not go on"
        if not fragment.may_start(task) or self._waits_for_link(fragment, task):
            return
        if state == BLOCKED:
            who = Holder(fragment.run, task)
            for_agent = (run, task) in core.dispatch._queued  # It claims, or has got, what it needs as soon as one has room.
            assert for_agent or core.home.resources.waiting_for(who) is not None, f"{name} waits in no line"
        if is_lacking(fragment, task):
            assert core.home.resources.waiting_for(Holder(fragment.run, task)) is not None, f"{name} waits in no line"
        if state == READY and is_for_agents(fragment, task):
            waits = core.home.resources.waiting_for(Holder(fragment.run, task)) is not None
            waits = waits or core.home.leases.bars(fragment, task)
            assert (run, task) in core.dispatch._queued or waits, f"{name} is ready, and nobody will give it out"
        if state == READY and plan.kind is not Kind.WORK:
            assert not fragment.can_read(task), f"{name} is ready, and nobody looks at it"

    def _waits_for_link(self, fragment: Fragment, task: int) -> bool:
        """Was the task added while the site is cut off? Then it waits for the link, and the site says so of its run."""
        gate = self.site.core.home.gate
        is_added = gate.waits_as_added(fragment, task, self.site.clock.now())
        return is_added and gate.parked.get(fragment.run, (0, ""))[1] == "added"

    # How it comes to an end ---

    def finish(self) -> None:
        """The link and everybody come back, all agents answer, time passes, people decide: every run ends, and gives back all
        it held. What was added while the site was cut off waits for the link, so without it nothing would end."""
        self.site.greet()
        for _ in range(400):
            if not self.site.core.fragments:
                break
            self._help_agents()
            for run in list(self.site.core.fragments):
                if (order := self._help(run)) is not None:
                    self.ask(run, order)
                    break
            else:
                self.site.pass_ms(60_000 if not any(robot.hands for robot in self.site.robots.values()) else 100)
            self.check_grounds()
        left = {run: self.site.replicas[run].fragment for run in self.site.core.fragments}
        assert not left, f"they never end: {[(r, [NAMES[s] for s in f.states], list(explain(f))) for r, f in left.items()]}"
        self._help_agents()  # What of the queues is of nobody any more goes when somebody could take it.
        self.site.fails = False  # A site that is folded anew begins those delays anew.
        self.site.pass_ms(60_000)  # Delays after lost holders are over.
        if self.has_lost and (timers := self.site.log.disk.due):  # Deadlines that came back with a copy fire into nothing.
            self.site.pass_ms(max(timers.values()) - self.site.clock.wall_ms)
        self.check_returned()
        self.check_refold()

    def _help_agents(self) -> None:
        for name in sorted(ROBOTS):
            robot = self.site.robots[name]
            robot.capacity = 4
            if not robot.connected:
                self.site.join(name)
            for key in sorted(robot.hands):
                robot.finish(key, self.output(key, 1))
            self.site.report(robot)

    def _help(self, run: str) -> Order | None:
        """What a person can do about it now."""
        fragment = self.site.replicas[run].fragment
        extras = fragment.extras
        for task, state in enumerate(fragment.states):
            if state == RECONCILE or (state == STUCK and task in (extras.incidents if extras is not None else ())):
                return settlement(fragment, task, 0)
        if fragment.stopping:
            return child(fragment, 1)
        if extras is not None and (extras.paused or extras.paused_tasks):
            return Resume()
        if extras is not None and extras.holds:
            return Lift("", next(iter(sorted(next(iter(extras.holds.values()))))))
        for task, state in enumerate(fragment.states):
            plan = fragment.task(task)
            if state == WAITING and plan.kind is Kind.SIGNAL:
                return Signal(plan.signal, 1)
            if state == WAITING and plan.kind is Kind.SYNC:
                return Skip(fragment.id_of(task))
        return approval(fragment, 1) or child(fragment, 1)

    def check_returned(self) -> None:
        """Nothing is held any more, nobody stands in a line, and no timer is left in the log."""
        core = self.site.core
        assert [each for each in core.home.resources.in_use() if each[2] or each[3]] == []
        assert core.home.claims == {}
        assert (core.home.leases.granted, core.home.leases.locked) == ({}, {})
        assert not any(slot.held for slot in core.roster.slots.values())
        assert self.site.log.disk.due == {}
        assert core.dispatch._queued == set()
        assert core.home.meetings.counts() == {}
        assert self.site.recalls == []
