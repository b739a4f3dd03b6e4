"""The executor of a site, a pure core: it releases ready tasks to agents, takes their results, and records all of it.

One turn: results and released fragments come in, each is decided and folded at once, then `settle` hands every ready task to an
agent with room. Orders to agents are effects, so they leave only when their events are durable. The executor never waits for
the cloud.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from coordination.direct import Assigner, Direct
from coordination.leading import TransferRequested
from coordination.lease import LeaseTable
from edge.autonomy import CUT, SiteAutonomy
from edge.beginning import write
from edge.cache import ResultCache
from edge.children import SiteChildren
from edge.conflicts import SiteConflicts
from edge.coordinating.alone import Alone
from edge.coordinating.core import Coordinating
from edge.coordinating.mandates import Mandates
from edge.coordinating.protocols import make_seekers
from edge.deadlines import Deadlines
from edge.deadlocks import SiteDeadlocks
from edge.definitions import Definitions
from edge.dispatch import Dispatch
from edge.documents import SiteDocuments
from edge.doubts import Doubts
from edge.far_points import FarPoints
from edge.folding import fold
from edge.heartbeats import Heartbeats
from edge.home import Chance, Home, timers_of
from edge.inputs import AcknowledgeResults, AgentReported, Outrun
from edge.joining import AgentTokens
from edge.leading.groups import Leading
from edge.leading.orders import TermOrders
from edge.merging import SiteMerging
from edge.part import Part
from edge.parts import Parts
from edge.pausing import SitePause
from edge.points import SyncPoints
from edge.reopening import Reopening, keep_unheard
from edge.reseeding import SiteReseeding
from edge.roster import Roster
from edge.run_documents import RunDocuments
from edge.saved import load_saved_site, save_site
from edge.schedules import SiteSchedules
from edge.sessions import Sessions
from edge.standing import StandingRules
from edge.unheard import UNHEARD, Unheard
from edge.wounds import SiteWounds
from edge.yielding import Yielding
from sync.commit import Snapshot
from sync.inputs import LACKS_TO, Due, FromPeer, PeerLinked, PeerLost, Recalled
from sync.lag import Lag
from sync.outputs import Append, Confirmed, Persist, Save
from sync.values import Now, SiteId, StreamId, stream_id
from workflow.commands import Cancel, Receive, Steer
from workflow.events import (
    Blob,
    CancelRequested,
    CommandAnswered,
    DefinitionRegistered,
    Event,
    FragmentAdopted,
    FragmentReleased,
    RunCreated,
    ValueHanded,
    decode,
    encode,
)
from workflow.fragment import Fragment
from workflow.orders import decode_order
from workflow.plan import Plan
from workflow.schedule_events import ScheduleEvent, ScheduleFired
from workflow.shelf import Shelf
from workflow.steering_events import ChildRequested, CommandRequested
from workflow.steering_folds import wake_all

LEASE_MS = 10_000


@dataclass(slots=True)
class Executor:
    """All fragments whose home is this site, and the agents that work for them.

    Invariant: a task in `Fragment.live` is in exactly one agent's `held`, and the reverse.
    """

    site: SiteId
    stream: StreamId
    chance: Chance
    lease_ms: int = LEASE_MS
    assigner: Assigner = field(default_factory=Direct)
    holds_blob: Callable[[Blob], bool] = lambda blob: True
    roster: Roster = field(init=False)
    home: Home = field(init=False)
    cache: ResultCache = field(init=False)
    dispatch: Dispatch = field(init=False)
    deadlines: Deadlines = field(init=False)
    fragments: Shelf[Fragment] = field(init=False)
    definitions: Definitions = field(init=False)
    children: SiteChildren = field(init=False)
    plans: dict[str, Plan] = field(init=False)
    schedules: SiteSchedules = field(init=False)
    reopening: Reopening = field(init=False)
    heartbeats: Heartbeats = field(init=False)
    sessions: Sessions = field(init=False)
    yielding: Yielding = field(init=False)
    conflicts: SiteConflicts = field(init=False)
    parts: Parts = field(init=False)
    autonomy: SiteAutonomy = field(init=False)
    documents: SiteDocuments = field(init=False)
    merging: SiteMerging = field(init=False)
    run_documents: RunDocuments = field(init=False)
    points: SyncPoints = field(init=False)
    tokens: AgentTokens = field(init=False)
    reseeding: SiteReseeding = field(init=False)
    lag: Lag = field(init=False)
    leading: Leading = field(init=False)
    term_orders: TermOrders = field(init=False)
    mandates: Mandates = field(init=False)
    alone: Alone = field(init=False)
    unheard: Unheard = field(default_factory=Unheard)
    begun_ms: dict[tuple[str, int], int] = field(default_factory=dict)
    doubts: Doubts = field(default_factory=Doubts)
    lost: dict[str, int] = field(default_factory=dict)  # Up to where own streams had lost events.
    replaced: dict[str, bytes] = field(default_factory=dict)  # Runs of before the stream began anew, while the log is folded.
    _steps: dict[type, Callable[..., None]] = field(init=False)

    def __post_init__(self) -> None:
        self.roster = Roster(self.assigner, LeaseTable(self.lease_ms))
        self.home = Home(self.site, self.stream, self.chance, self.roster)
        self.cache = ResultCache(self.home, self.holds_blob)
        self.dispatch = Dispatch(self.home, self.assigner, self.cache)
        self.leading, self.mandates, self.alone = Leading(self.home), Mandates(self.home), Alone(self.home, self.dispatch)
        beside = self.leading, self.mandates, self.alone
        self.dispatch.coordinating = Coordinating(self.home, make_seekers(self.home, self.dispatch, *beside))
        self.deadlines = Deadlines(self.home, self.dispatch)
        self.fragments, self.plans = self.home.fragments, self.home.plans
        self.schedules = SiteSchedules(self.home, self._cancel)
        self.reopening = Reopening(self.home)
        self.heartbeats = Heartbeats(self.home, self.deadlines)
        self.definitions = Definitions(self.plans)
        self.home.children = self.children = SiteChildren(self.home, self.definitions)
        self.lag, self.autonomy = self.home.gate.lag, SiteAutonomy(self.home, self.home.gate)
        self.home.watch = self.autonomy.watch
        self.yielding, self.conflicts = Yielding(self.home), SiteConflicts(self.home)
        self.sessions, self.parts = Sessions(self), Parts(self._make_parts())
        self.home.folds = self.parts.folds
        self._steps = {
            AgentReported: self._report,
            **self.sessions.steps(),
            FromPeer: self._hear,
            PeerLinked: self._compared,
            Recalled: self._recall,
            Due: self._elapse,
            PeerLost: self._lose,
            **self.parts.steps,
        }

    def _make_parts(self) -> tuple[Part, ...]:
        """What stands beside the fragments, in the order in which it sees what happens."""
        self.term_orders = TermOrders(self.home, self.leading, self._put_off)
        pause, rules = SitePause(self.home, self.schedules), StandingRules(self.home)
        self.merging, self.tokens, self.reseeding = SiteMerging(self.home), AgentTokens(self.home), SiteReseeding(self.home)
        self.documents = SiteDocuments(self.home, self.merging)
        self.run_documents = RunDocuments(self.home)
        far_points = FarPoints(self.home, self.run_documents)
        self.points = SyncPoints(self.home, self.run_documents, far_points)
        first = (self.home.leases, self.autonomy, self.heartbeats, self.cache, self.children, pause, rules, self.yielding)
        votes = (self.home.polls, self.home.votes, self.leading, self.term_orders, self.mandates, self.alone)
        more = (self.documents, self.run_documents, self.points, far_points, self.merging, self.tokens, self.reseeding, *votes)
        waits = SiteWounds(self.home), SiteDeadlocks(self.home, self.points)
        return (*first, self.conflicts, *more, self.dispatch.coordinating, *waits)

    # The Driver's side ------------------------------------------------------------------------------------------------

    def step(self, input: object, now: Now) -> list[object]:
        """Decide one input and fold what was decided. Inputs of other cores are ignored."""
        out: list[object] = []
        if (step := self._steps.get(type(input))) is not None:
            step(input, now, out)
        return out

    def honours(self, session: int, agent: str) -> Mapping[str, int] | None:
        """The groups that the agent leads, with the epochs of its terms; None if this is no session of it, as decided by now."""
        return self.leading.led_by(agent) if self.roster.honours(agent, session) else None

    def settle(self, now: Now) -> list[object]:
        """After a batch: take back what leases no longer cover, then hand ready tasks to agents with room."""
        out: list[object] = []
        end_ms = self.roster.leases.next_end_ms()
        if end_ms is not None and end_ms <= now.mono_ms:
            self.sessions.expire(now, out)
        self.roster.recheck(now)
        self.schedules.settle(now, out)
        self.parts.settle(now, out)
        self.dispatch.settle(now, out)
        while self.children.finish(now, out):
            self.dispatch.settle(now, out)
        self.yielding.settle(now, out)  # A group may have come to its end just now, and given back what it held.
        return out

    def evolve(self, stream: StreamId, run: str, event: object, time_ms: int = 0) -> None:
        """Fold one event of the log; of fragments that have ended, nothing is left to fold."""
        fold(self, stream, run, event, time_ms)
        if type(event) in self.parts.folds:
            self.home.tell(run, event, is_own=stream == self.stream, time_ms=time_ms)  # type: ignore[arg-type]

    def restore(self, snapshots: Sequence[Snapshot], persisted: dict[str, bytes]) -> None:
        """Begin from the last snapshots: definitions, agents, fragments."""
        self.unheard = Unheard.load(persisted.get(UNHEARD, b""))
        self.lost = {key.removeprefix(LACKS_TO): int(seq) for key, seq in persisted.items() if key.startswith(LACKS_TO)}
        self.definitions.restore(persisted)
        self.autonomy.recall(persisted.get(CUT))
        for snapshot in snapshots:
            if not snapshot.run:
                node = load_saved_site(snapshot.body)
                self.roster.restore(node.roster)
                self.schedules.book.restore(node.schedules)
                self.parts.restore(node.parts)
                write(self, stream_id(self.site, self.reseeding.last.own))
                continue
            if snapshot.ended:
                self.reopening.restore(snapshot)
            else:
                self.fragments.put(snapshot.run, snapshot.body)
        self.doubts = Doubts.load(self.lost.get(self.stream, 0), persisted.get("doubts", b""))

    def restored(self, now: Now) -> list[object]:
        """The log has been folded: put attempts back into their agents' hands and give these a lease to return in.

        What the cloud had said and our log does not answer is left alone until the link has compared both sides: after a crash in
        the middle of a recovery our answers are among what is still to come back, and a second answer would take their place.
        Without a link the site goes on with what it had adopted; it only takes nothing new, which without a link it could not.
        """
        out: list[object] = []
        self.reopening.folded(self.doubts.lost_to > 0, out)
        for run, fragment in self.fragments.revive():
            for task, attempt in fragment.live.items():
                self.roster.slots[attempt.agent].held[(run, task)] = attempt.number
            fragment.quiet()  # What was folded has been acted upon.
            fragment.news = None
            wake_all(fragment)
            self.children.note(fragment)
            if fragment.contract is not None:
                self.autonomy.watch(fragment)
            self.home.reclaim(fragment)
            out += timers_of(fragment)
        self.home.woken += [fragment for _, fragment in self.fragments.whole() if fragment.woken]
        self.doubts.cast((run, task, number) for s in self.roster.slots.values() for (run, task), number in s.held.items())
        self.roster.await_return(now)
        out += self.deadlines.of_begun(self.begun_ms, now)
        out += [Save(run, True, "moved", body) for run, body in self.replaced.items() if run not in self.fragments]
        self.replaced.clear()
        self.schedules.restored(out)
        self.parts.restored(now, out)
        self.definitions.restored(out)
        keep_unheard(self.unheard, out)
        return out

    def _compared(self, input: PeerLinked, now: Now, out: list[object]) -> None:
        """Our stream is whole: nothing that we had decided is still to come back. So what is unanswered was not answered, or its
        answer is gone for good, and what has nothing left to do and did not end, ends now."""
        for run, event in self.unheard.take():
            self._hear(FromPeer(self.stream, run, event, now.wall_ms), now, out)
        keep_unheard(self.unheard, out)
        for run in [run for run, fragment in self.fragments.looks() if fragment.stopping or not fragment.open]:
            self.home.resume(self.fragments[run], now, out)
        if self.doubts.settle():
            out.append(Persist("doubts", self.doubts.save()))
        self.parts.linked(now, out)

    def _lose(self, input: PeerLost, now: Now, out: list[object]) -> None:
        self.home.gate.silent_ms = input.silent_ms
        self.parts.lost(now, out)

    def saves(self) -> list[Save]:
        """What has changed since the last time."""
        changed, self.home.changed = self.home.changed, {}
        held = [(run, self.fragments.packed(run)) for run in changed if run in self.fragments]
        node = save_site(self.roster.save(), self.schedules.book.save(), self.parts.save())
        return [Save("", False, "node", node), *(Save(run, False, "active", body) for run, body in held)]

    def holds(self, run: str) -> bool:
        """Is the run in memory here?"""
        return run == "" or run in self.fragments

    def is_span(self, run: str, key: str) -> bool:
        """Does the timer end a span of time?"""
        return self.deadlines.is_span(run, key)

    def asking(self) -> list[int]:
        """Who waits for more than a commit: for agents that are to come back."""
        return self.term_orders.asking()

    def wake_mono_ms(self) -> int | None:
        """When the next lease ends, an agent that kept failing may prove itself, or a Part wants a turn."""
        dues = self.roster.wake_ms(), self.parts.wake_mono_ms()
        return min((due for due in dues if due is not None), default=None)

    # An event's payload and back; called for every event of a node.
    encode = staticmethod(encode)
    decode = staticmethod(decode)

    def ready_tasks(self) -> int:
        """How many tasks wait for an agent."""
        return self.dispatch.ready_tasks()

    # From the cloud ---------------------------------------------------------------------------------------------------

    def _hear(self, input: FromPeer, now: Now, out: list[object]) -> None:
        run, event = input.run, input.event
        match event:
            case DefinitionRegistered():
                self.definitions.hear(event, out)
            case ChildRequested():
                self.children.resume(run, event, now, out)
            case ScheduleFired() | RunCreated():
                self.schedules.resume(run, event, now, out)
            case FragmentReleased(definition, inputs, site, sites, placement, epoch):
                if run not in self.fragments:
                    more = event.priority, event.origin, event.labels, event.contract
                    adopted = FragmentAdopted(definition, inputs, site, sites, placement, epoch, *more)
                    self.emit(run, adopted, out, epoch)
                    self.home.adopt(self.fragments[run], adopted, now, out)
            case ValueHanded(task, output, blob, state):
                self._decide(run, Receive(task, output, blob, state), now, out)
            case CommandRequested():
                self._steer(run, event, now, out)
            case CancelRequested(command, reason):
                self._cancel(run, command, reason, now, out)
            case ScheduleEvent():
                self.schedules.hear(event, now, out)
            case _:
                pass
        if type(event) in self.parts.hears or type(event) in self.parts.folds:
            self.home.tell(run, event, is_own=False, time_ms=input.time_ms)  # type: ignore[arg-type]
            for hear in self.parts.hears.get(type(event), ()):
                hear(run, event, now, out)  # type: ignore[arg-type]

    def _cancel(self, run: str, command: str, reason: str, now: Now, out: list[object]) -> None:
        fragment = self.fragments.get(run)
        if fragment is None and run in self.yielding.gone:
            return  # The cloud sends it on.
        if fragment is None:
            answer = CommandAnswered(command, False, f"run {run} has already ended at {self.site}")
            self.emit("", answer, out)
            return
        self._decide(run, Cancel(command, reason), now, out)

    def _steer(self, run: str, request: CommandRequested, now: Now, out: list[object]) -> None:
        fragment = self.fragments.get(run)
        if fragment is None and run in self.yielding.gone:
            return  # The cloud sends it on.
        try:
            order = decode_order(request.arguments)
        except msgspec.ValidationError as error:
            # The cloud has checked it: it knows an order that this site does not.
            answer = CommandAnswered(request.command, False, f"site {self.site} cannot do this: {error}")
            self.emit(run if fragment is not None else "", answer, out, fragment.epoch if fragment is not None else 0)
            return
        if fragment is None:
            self.reopening.ask(run, request, order, self.unheard, out)
        elif (obey := self.parts.orders.get(type(order))) is not None:
            obey(fragment, order, request.command, now, out)
        else:
            self.home.decide(fragment, Steer(request.command, order), now, out)

    def _put_off(self, order: TransferRequested, waits: bool, out: list[object]) -> None:
        """Keep an order of the cloud that waits until it is answered, whatever dies in between."""
        if waits:
            self.unheard.note("", order)
        else:
            self.unheard.answer("", CommandAnswered(order.command, True))
        keep_unheard(self.unheard, out)

    def _recall(self, input: Recalled, now: Now, out: list[object]) -> None:
        self.reopening.recalled(input, self.unheard, now, out, is_gone=input.run in self.yielding.gone)

    # From agents ------------------------------------------------------------------------------------------------------

    def _report(self, input: AgentReported, now: Now, out: list[object]) -> None:
        """Fold a batch of outcomes. Every one is acknowledged, wanted or not: the agent has done its part."""
        session, agent, outcomes, receipt = input
        slot = self.roster.admit(agent, session, now)
        if slot is None:
            return
        if self.alone.claims:
            self.alone.hear(agent, outcomes, now, out)
        lag, here = self.lag, self.fragments
        is_awaited = lag.is_anything_awaited and any(lag.awaits(o.run, is_here=o.run in here) for o in outcomes)
        for outcome in outcomes:
            command = outcome.command
            if self.home.leases.locked:
                self.home.leases.hear(outcome.run, command.task, command.attempt, agent, out)
            fragment = self.fragments.get(outcome.run)
            if fragment is None or isinstance(command, Outrun):
                if not self.yielding.hear_agent(outcome.run, command, now, out):
                    self.conflicts.hear(outcome.run, command, now, out)
                continue  # It has ended here; the result was adopted before, or is on record now.
            if command.task >= len(fragment.states) or not self.home.decide(fragment, command, now, out):
                slot.refused += 1
                self.conflicts.hear(outcome.run, command, now, out)
        acknowledged = AcknowledgeResults(session, agent, receipt)
        out.append(Confirmed(acknowledged) if is_awaited else acknowledged)

    def _elapse(self, input: Due, now: Now, out: list[object]) -> None:
        if (elapse := self.parts.timers.get(input.key.partition("/")[0])) is not None:
            elapse(input, now, out)
        elif not input.run:
            self.schedules.elapse(input, now, out)
        else:
            self.deadlines.elapse(input, now, out)

    # Folding what was decided ----

    def _decide(self, run: str, command: Receive | Cancel, now: Now, out: list[object]) -> None:
        if (fragment := self.fragments.get(run)) is not None:
            self.home.decide(fragment, command, now, out)

    def emit(self, run: str, event: Event, out: list[object], epoch: int = 0) -> None:
        """Record and fold an event."""
        out.append(Append(self.stream, run, epoch, event))
        self.evolve(self.stream, run, event)
