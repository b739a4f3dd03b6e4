"""A cloud without sockets: the planner under a real Driver in memory, and sites that fold and answer what it writes for them."""

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from cloud.admission import Admission
from cloud.control.inputs import OrderRun
from cloud.dependencies.inputs import Wait
from cloud.inputs import CancelRun, NewRun, RegisterDefinition, RunFinished, StartRuns
from cloud.planner import Planner
from cloud.port import Problem, Started
from sync.chain import GENESIS, Head, record_hash
from sync.commit import Row
from sync.driver import Driver
from sync.inputs import PeerLinked, PeerLost, Recalled, Replicated
from sync.outputs import Recall, Reply
from sync.values import RunId, StreamId, stream_id
from tests.ports import MemoryLog, StillClock
from workflow.attending import is_for_agents
from workflow.commands import Assign, Attend, Cancel, Complete, Fail, FragmentCommand, Receive, Steer
from workflow.events import (
    AgentDeparted,
    AgentRegistered,
    CancelRequested,
    CommandAnswered,
    DefinitionRegistered,
    Event,
    FragmentAdopted,
    FragmentReleased,
    ValueHanded,
    decode,
    encode,
)
from workflow.fragment import Fragment
from workflow.orders import Order, decode_order, encode_order
from workflow.plan import Plan, plan_from_document
from workflow.states import READY
from workflow.steering import AFTER_THE_END
from workflow.steering_events import CommandRequested, FragmentReopened


@dataclass
class Outpost:
    """A site as the cloud knows it: its stream, folded from real fragments. What it says waits in `unsent` for `Control.hear`."""

    name: str
    head: Head = GENESIS
    heard_seq: int = 0
    plans: dict[str, Plan] = field(default_factory=dict)
    fragments: dict[str, Fragment] = field(default_factory=dict)
    ended: dict[str, str] = field(default_factory=dict)
    closed: dict[str, Fragment] = field(default_factory=dict)
    inbox: list[tuple[str, Event]] = field(default_factory=list)
    unsent: list[Row] = field(default_factory=list)
    registrations: list[str] = field(default_factory=list)

    @property
    def stream(self) -> StreamId:
        return stream_id(self.name, 1)

    def say(self, run: str, event: Event, epoch: int = 2) -> None:
        seq, time, payload = self.head.seq + 1, 1_800_000_000_000 << 16, encode(event)
        digest = record_hash(self.head.hash, self.stream.encode(), seq, epoch, event.kind, run, time, payload)
        self.unsent.append(Row(0, self.stream, seq, epoch, event.kind, run, time, payload, digest, 0))
        self.head = Head(seq, digest)

    def take(self) -> None:
        """Act upon the next event of the cloud."""
        run, event = self.inbox.pop(0)
        match event:
            case DefinitionRegistered(ref, document):
                self.registrations.append(ref)
                self.plans[ref] = plan_from_document(document)
            case FragmentReleased(definition, inputs, site, sites, placement, epoch):
                assert run not in self.fragments
                assert run not in self.ended, "released twice"
                adopted = FragmentAdopted(definition, inputs, site, sites, placement, epoch, event.priority, event.origin)
                self.fragments[run] = Fragment.adopt(RunId(run), self.plans[definition], adopted)
                self.say(run, adopted)
                self.fold(run, self.fragments[run], [])
            case ValueHanded(task, output, blob, state):
                self.decide(run, Receive(task, output, blob, state))
            case CommandRequested(command, _, arguments) if run in self.fragments:
                self.decide(run, Steer(command, decode_order(arguments)))
            case CommandRequested(command, _, arguments) if run in self.closed and isinstance(
                order := decode_order(arguments), AFTER_THE_END
            ):
                self.reopen(run, order, command)
            case CommandRequested(command):
                self.say("", CommandAnswered(command, False, f"run {run} has already ended at {self.name}"))
            case CancelRequested(command, reason) if run in self.fragments:
                self.decide(run, Cancel(command, reason))
            case CancelRequested(command):
                self.say("", CommandAnswered(command, False, f"run {run} has already ended at {self.name}"))
            case CommandRequested(command, _, arguments) if run in self.fragments:
                self.decide(run, Steer(command, decode_order(arguments)))
            case CommandRequested(command):
                self.say("", CommandAnswered(command, False, f"run {run} has already ended at {self.name}; allowed: fork"))

    def decide(self, run: str, command: FragmentCommand) -> None:
        fragment = self.fragments.get(run)
        if fragment is None:
            return
        self.fold(run, fragment, fragment.decide(command, StillClock().now()))

    def fold(self, run: str, fragment: Fragment, events: list[Event]) -> None:
        """Say what was decided, and what follows by itself: as the edge does, without agents."""
        for event in events:
            fragment.evolve(event)
            self.say(run, event)
        for event in fragment.decide_rules(events):
            fragment.evolve(event)
            self.say(run, event)
        if ending := fragment.decide_ending():
            self.fold(run, fragment, ending)
            return
        if fragment.outcome:
            self.ended[run] = fragment.outcome
            self.closed[run] = self.fragments.pop(run, fragment)
            return
        while fragment.woken:
            woken, fragment.woken = fragment.woken, None
            for task in woken:
                if attended := fragment.decide(Attend(task), StillClock().now()):
                    self.fold(run, fragment, attended)

    def reopen(self, run: str, order: Order, command: str = "c") -> None:
        """Carry out an order for a run that has ended here."""
        fragment = self.closed[run]
        events = fragment.decide(Steer(command, order), StillClock().now())
        if not isinstance(events[0], FragmentReopened):
            for event in events:
                self.say("", event)
            return
        del self.closed[run], self.ended[run]
        self.fragments[run] = fragment
        self.fold(run, fragment, events)

    def ready(self, run: str) -> list[int]:
        fragment = self.fragments.get(run)
        if fragment is None:
            return []
        return [task for task, state in enumerate(fragment.states) if state == READY and is_for_agents(fragment, task)]

    def waiting(self, run: str) -> list[int]:
        """Tasks that wait for a moment."""
        fragment = self.fragments.get(run)
        return [] if fragment is None else sorted(fragment.due or ())

    def begin(self, run: str, task: int) -> None:
        """An agent of the site has the task in its hands."""
        self.decide(run, Assign(task, "anna", "b1", b""))

    def attend(self, run: str, task: int) -> None:
        """The site looks at a task that no agent does."""
        self.decide(run, Attend(task))

    def work(self, run: str, task: int, output: bytes = b"1", *, fail: str = "") -> None:
        """An agent of the site does the task, or fails for good; what it reads must have come."""
        fragment = self.fragments[run]
        assert fragment.can_read(task), "a value that it reads has not come"
        self.begin(run, task)
        self.finish(run, task, output, fail=fail)

    def finish(self, run: str, task: int, output: bytes = b"1", *, fail: str = "") -> None:
        """What an agent has in its hands is done, or has failed for good."""
        attempt = self.fragments[run].attempt(task)
        failed = Fail(task, attempt, "anna", "jam", fail, False)
        self.decide(run, failed if fail else Complete(task, attempt, "anna", output, None))


class Control:
    """The cloud. Everything between it and its outposts happens when a test says so, or at once with `settle`."""

    def __init__(self, active_max: int = 1_000) -> None:
        self.active_max = active_max
        self.log, self.clock = MemoryLog(at_once=True, node="cloud"), StillClock()
        self.outposts: dict[str, Outpost] = {}
        self.sent: list[object] = []
        self.recalls: list[str] = []
        self.tokens = 0
        self.driver = self._begin()

    def _begin(self) -> Driver:
        return Driver(self._make_core, self.log, self.clock, self)

    def _make_core(self) -> Planner:
        core = Planner("cloud", self.log.boot, admission=Admission(self.active_max))
        core.runs.whole_max = 0  # Whatever rests is packed at once: nobody may notice.
        return core

    @property
    def planner(self) -> Planner:
        assert isinstance(self.driver.core, Planner)
        return self.driver.core

    def restart(self, boot: int | None = None) -> None:
        """kill -9: a new process on the same log."""
        self.begin_anew(boot)
        self.turn()
        self.link(*self.outposts)

    def begin_anew(self, boot: int | None = None) -> None:
        """A new process on the log; nobody has linked yet."""
        self.log.crash(durable=0)
        self.recalls.clear()
        self.log.boot = boot or self.log.boot
        self.driver = self._begin()

    def snapshot(self) -> None:
        """The next commit saves what has changed: a restart begins there."""
        self.driver._floor = -(10**9)
        self.turn()
        assert self.log.disk.floor == self.driver.pos

    def turn(self, *inputs: object) -> None:
        self.driver.turn(inputs)
        while self.recalls:
            saved = self.log.disk.saved.get(run := self.recalls.pop(0))
            self.driver.turn([Recalled(run, saved if saved is not None and saved.ended else None)])
        for outpost in self.outposts.values():
            stream = self.planner.site_stream(outpost.name)
            for row in self.log.disk.rows:
                if row.stream == stream and row.seq > outpost.heard_seq:
                    outpost.heard_seq = row.seq
                    outpost.inbox.append((row.run, decode(row.kind, row.payload)))

    def ask(self, make: Callable[[int], object]) -> object:
        """The durable answer to an input."""
        self.tokens += 1
        self.turn(make(self.tokens))
        (value,) = [effect.value for effect in self.sent if isinstance(effect, Reply) and effect.token == self.tokens]
        return value

    # What clients ask

    def register(self, plan: Plan) -> Plan | Problem:
        answer = self.ask(lambda token: RegisterDefinition(token, plan.ref, plan.document))
        assert isinstance(answer, Plan | Problem)
        return answer

    def start(
        self,
        plan: Plan,
        count: int = 1,
        inputs: bytes = b"{}",
        after: tuple[Wait, ...] = (),
        labels: dict[str, str] | None = None,
    ) -> list[str]:
        """Register if need be, and start runs; their ids."""
        self.register(plan)
        runs = [NewRun(inputs, labels or {}, after=after, contract=plan.contract) for _ in range(count)]
        started = msgspec.convert(
            self.ask(lambda token: StartRuns(token, plan.ref, runs, None)), list[Started], from_attributes=True
        )
        return [run.id for run in started]

    def pass_ms(self, duration_ms: int) -> None:
        """Time passes, and every timer is heard at its moment, or at once if that is past."""
        end_ms = self.clock.wall_ms + duration_ms
        while (due_ms := self.driver.due()) is not None and due_ms <= end_ms:
            self.clock.pass_ms(max(0, due_ms - self.clock.wall_ms))
            self.turn(*self.driver.take_due())
        self.clock.pass_ms(end_ms - self.clock.wall_ms)

    def cancel(self, run: str, reason: str = "not wanted") -> object:
        return self.ask(lambda token: CancelRun(token, run, reason))

    def order(self, run: str, order: Order) -> object:
        """Ask for something of a run: the command's id, or why not."""
        return self.ask(lambda token: OrderRun(token, run, encode_order(order)))

    # What sites do

    def link(self, *names: str) -> None:
        """Sites dial in, known before or not."""
        for name in names:
            self.outposts.setdefault(name, Outpost(name))
            self.turn(PeerLinked(name))

    def cut(self, name: str) -> None:
        self.turn(PeerLost(name, "cut"))

    def join(self, site: str, *capabilities: str, agent: str = "anna", capacity: int = 4) -> None:
        """An agent registers at a site, which is linked if it was not."""
        if site not in self.outposts:
            self.link(site)
        self.outposts[site].say("", AgentRegistered(agent, "robot", "b1", list(capabilities), capacity))
        self.hear(site)

    def leave(self, site: str, reason: str, agent: str = "anna") -> None:
        self.outposts[site].say("", AgentDeparted(agent, reason))
        self.hear(site)

    def hear(self, site: str, count: int = 1_000) -> None:
        """The next events of a site reach the cloud."""
        outpost = self.outposts[site]
        rows, outpost.unsent = outpost.unsent[:count], outpost.unsent[count:]
        if rows:
            self.turn(Replicated(outpost.stream, rows))

    def settle(self) -> None:
        """Until nothing is under way any more in either direction."""
        rounds = 0
        while any(outpost.inbox or outpost.unsent for outpost in self.outposts.values()):
            assert (rounds := rounds + 1) < 200, "they never come to rest"
            for name, outpost in self.outposts.items():
                while outpost.inbox:
                    outpost.take()
                self.hear(name)

    def work_all(self, run: str) -> None:
        """Every site does whatever is ready, until nothing is."""
        self.settle()
        while any(outpost.ready(run) for outpost in self.outposts.values()):
            for outpost in self.outposts.values():
                for task in outpost.ready(run):
                    outpost.work(run, task)
            self.settle()

    # The Driver's Out

    def send(self, effects: list[object]) -> None:
        self.sent += effects
        self.recalls += [effect.run for effect in effects if isinstance(effect, Recall)]

    def committed(self, rows: list[Row]) -> None:
        """The links would send them on."""

    def refolded(self, error: BaseException) -> None:
        assert "whole again" in str(error), "nothing fails here"

    # Looking

    def outcome(self, run: str) -> str:
        """How the run ended, empty if it has not."""
        tombstone = self.log.disk.saved.get(run)
        return tombstone.state if tombstone is not None and tombstone.ended else ""

    def finished(self) -> list[str]:
        return [effect.run for effect in self.sent if isinstance(effect, RunFinished)]

    def said_to(self, site: str) -> list[tuple[str, str]]:
        """Runs and kinds of all that the cloud wrote for a site."""
        stream = self.planner.site_stream(site)
        return [(row.run, row.kind) for row in self.log.disk.rows if row.stream == stream]

    def state(self) -> object:
        """All that the planner knows and a restart must know again; links are of the moment."""
        planner = self.planner
        runs = {
            run: (known.save(), known.state(), "" if planner.admission.waits_for(run) else known.waits_for)
            for run, known in sorted(planner.runs.items())
        }
        commands = {name: msgspec.to_builtins(view) for name, view in planner.intents.commands.items()}
        loads = {name: (site.active_runs, site.open_tasks) for name, site in sorted(planner.fleet.sites.items())}
        schedules = msgspec.to_builtins(planner.schedules.save())
        return runs, commands, loads, planner.fleet.save(), planner.latest, sorted(planner.plans), schedules
