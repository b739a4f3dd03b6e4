"""The planner, a pure core: accepts runs, places their tasks on sites, releases fragments, and folds what the sites report.

What it decides for itself goes into its own stream; what is meant for a site into the stream that it keeps for that site. Once a
fragment is released the cloud decides no more for it: commands become intents, answered by the home's events.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from cloud.admission import Admission
from cloud.arranging import parts_of
from cloud.children import Children
from cloud.conflicts.core import Conflicts
from cloud.control.core import RunOrders
from cloud.dependencies.core import Dependencies
from cloud.documents.core import CloudDocuments
from cloud.escalating.core import Escalations
from cloud.fleet import Fleet
from cloud.hearing import Hearing
from cloud.ids import Ids
from cloud.inputs import NewRun, RegisterDefinition, RunFinished, SiteLoads, StartRuns
from cloud.intents import Intents
from cloud.joining.core import AgentTokens
from cloud.joining.sites import SiteTokens
from cloud.leading.core import SiteGroups
from cloud.measures import Measures
from cloud.merging.core import CloudMerging
from cloud.moving.core import Moving
from cloud.moving.lifetimes import Lifetimes
from cloud.moving.taking import Taking
from cloud.notifying.core import Notifications
from cloud.outcomes import Outcome, outcome_of
from cloud.overdue import Overdue
from cloud.parts import Parts
from cloud.pausing.core import SitePauses
from cloud.placement import Placement, Unplaceable
from cloud.points.relay import PointRelay
from cloud.registering import keep_definitions, know, register, restore_definitions
from cloud.reopening import Reopening
from cloud.reseeding.core import Reseeds
from cloud.ruling.core import RuleBook
from cloud.runs import Child, Run, Runs, created_by, load_saved_run
from cloud.saved import load_saved_node, save_node
from cloud.schedule.core import CloudSchedules
from cloud.starting import start
from cloud.tendering.core import Tendering
from cloud.waiting.core import Waiting
from sync.commit import Snapshot
from sync.conflicts.events import ConflictRecorded
from sync.inputs import Due
from sync.outputs import Append, Save
from sync.values import Now, StreamId, stream_id, stream_reader, stream_writer
from workflow.between_events import ChildEnded
from workflow.events import (
    AgentDeparted,
    AgentRegistered,
    CancelRequested,
    CommandAnswered,
    DefinitionRegistered,
    Event,
    FragmentAdopted,
    FragmentReleased,
    RunCreated,
    RunEnded,
    RunReopened,
    TaskAssigned,
    TaskCompleted,
    decode,
    encode,
)
from workflow.home_events import FactFound, FragmentMoved, FragmentTaken, FragmentYielded
from workflow.homes import BORN_EPOCH, RELEASED_EPOCH
from workflow.plan import Plan
from workflow.steering_events import ChildRequested, CommandRequested, FragmentReopened
from workflow.telling import task_of

TASK_EVENTS = (TaskAssigned, TaskCompleted)


@dataclass(slots=True)
class Planner:
    """All runs that have not ended, the fleet, the definitions. Ended runs leave memory; their tombstones are in the log.

    `era` begins the ids of this start: larger than that of any start before, even one that a restored log does not know of.
    """

    node: str
    era: int
    incarnation: int = 1
    runs: Runs = field(init=False)
    fleet: Fleet = field(default_factory=Fleet)
    plans: dict[str, Plan] = field(default_factory=dict)
    latest: dict[str, str] = field(default_factory=dict)
    intents: Intents = field(default_factory=Intents)
    changed: dict[str, None] = field(default_factory=dict)
    ids: Ids = field(init=False)
    schedules: CloudSchedules = field(init=False)
    children: Children = field(init=False)
    reopening: Reopening = field(init=False)
    orders: RunOrders = field(init=False)
    admission: Admission = field(default_factory=Admission)
    measures: Measures = field(default_factory=Measures)
    notifications: Notifications = field(init=False)
    dependencies: Dependencies = field(init=False)
    pauses: SitePauses = field(init=False)
    rules: RuleBook = field(init=False)
    documents: CloudDocuments = field(init=False)
    conflicts: Conflicts = field(init=False)
    merging: CloudMerging = field(init=False)
    agent_tokens: AgentTokens = field(init=False)
    site_tokens: SiteTokens = field(init=False)
    overdue: Overdue = field(init=False)
    moving: Moving = field(init=False)
    lifetimes: Lifetimes = field(init=False)
    taking: Taking = field(init=False)
    waiting: Waiting = field(init=False)
    groups: SiteGroups = field(init=False)
    point_relay: PointRelay = field(init=False)
    reseeding: Reseeds = field(init=False)
    tendering: Tendering = field(init=False)
    escalations: Escalations = field(init=False)
    parts: Parts = field(init=False)
    unsaved: dict[str, None] = field(default_factory=dict)
    _persisted: set[str] = field(default_factory=set)
    _steps: dict[type, Callable[..., None]] = field(init=False)

    def __post_init__(self) -> None:
        self.ids, self.schedules, self.children = Ids(self.era), CloudSchedules(self), Children(self)
        self.runs, self.reopening, self.orders = Runs(self.plans), Reopening(self), RunOrders(self)
        self.notifications, self.pauses, self.rules = Notifications(self), SitePauses(self), RuleBook(self)
        self.dependencies, self.overdue, self.escalations = Dependencies(self), Overdue(self), Escalations(self)
        self.moving, self.taking, self.lifetimes, self.groups = Moving(self), Taking(self), Lifetimes(self), SiteGroups(self)
        self.reseeding, self.waiting, self.tendering = Reseeds(self), Waiting(self), Tendering(self)
        self.documents, self.conflicts, self.merging = CloudDocuments(self), Conflicts(self), CloudMerging(self)
        self.agent_tokens, self.site_tokens, self.point_relay = AgentTokens(self), SiteTokens(self), PointRelay(self)
        self.parts = Parts(parts_of(self))
        self._steps = {
            **Hearing(self).steps(),
            StartRuns: partial(start, self),
            RegisterDefinition: partial(register, self),
            SiteLoads: lambda input, now, out: self.fleet.note_loads(input),
            **self.orders.steps(),
            **self.schedules.steps(),
            **self.reopening.steps(),
            **self.parts.steps,
            Due: self._elapse,
        }

    @property
    def stream(self) -> StreamId:
        """The cloud's own stream."""
        return stream_id(self.node, self.incarnation)

    def site_stream(self, site: str) -> StreamId:
        """The stream that the cloud keeps for a site."""
        return stream_id(self.node, self.reseeding.incarnation(site), site)

    # The Driver's side ------------------------------------------------------------------------------------------------

    def step(self, input: object, now: Now) -> list[object]:
        """Decide one input and fold what was decided."""
        out: list[object] = []
        if (step := self._steps.get(type(input))) is not None:
            step(input, now, out)
        return out

    def settle(self, now: Now) -> list[object]:
        """After a batch: whoever's turn it is gets a place, as far as there are free ones."""
        out: list[object] = []
        self.schedules.settle(now, out)
        self.parts.settle(now, out)
        for run, placement in self.tendering.turns(lambda: self.admission.next(self.fleet.version), now, out):
            self._place(run, placement, now, out)
        self.measures.persist(now.wall_ms, out)
        self.runs.tidy()
        return out

    def evolve(self, stream: StreamId, run: str, event: object, time_ms: int) -> None:
        """Fold one event of any stream: our own, those we keep for sites, and the sites' own."""
        writer = stream_writer(stream)
        if writer == self.node:
            self._evolve_own(stream_reader(stream), run, event, time_ms)
        elif self.taking.superseded and self.taking.is_late(writer, run):
            self.taking.fold_late(writer, run, event)
            if isinstance(event, ConflictRecorded):
                self.conflicts.record(writer, run, event)
            return
        elif run and (known := self.runs.get(run)) is not None:
            self._evolve_fragment(known, writer, event)
        elif isinstance(event, CommandAnswered):
            self.intents.answer(event, writer)
            self.reopening.answered(event.command)
        elif isinstance(event, FragmentReopened):
            if (opened := self.reopening.evolve_site(run, writer, event)) is not None:
                self._evolve_fragment(opened, writer, event)
        elif isinstance(event, RunCreated):
            self._take_in(run, writer, event)
        elif isinstance(event, AgentRegistered | AgentDeparted):
            self.fleet.evolve(writer, event, time_ms)
        elif isinstance(event, Event):
            self.schedules.evolve_site(writer, event)
        if writer != self.node and (folds := self.parts.site_folds.get(type(event))):
            for fold in folds:
                fold(writer, run, event, time_ms)  # type: ignore[arg-type]

    def restore(self, snapshots: Sequence[Snapshot], persisted: dict[str, bytes]) -> None:
        """Begin from the last snapshots."""
        self.measures.restore(persisted)
        self._persisted = restore_definitions(self, persisted)
        for snapshot in snapshots:
            if not snapshot.run:
                saved_node = load_saved_node(snapshot.body)
                self.fleet.restore(saved_node.fleet)
                self.intents.restore(saved_node.commands)
                self.schedules.restore(saved_node.schedules)
                self.parts.restore(saved_node.parts)
                continue
            if snapshot.ended:
                self.reopening.restore(snapshot)
                continue
            saved = load_saved_run(snapshot.body)
            self.runs.put(snapshot.run, snapshot.body)
            self.ids.note(snapshot.run)
            self.admission.accept(snapshot.run, saved.priority, saved.fairness_key)
            if saved.sites:
                self.admission.activate(snapshot.run)
            elif saved.held:
                self.admission.hold(snapshot.run)

    def restored(self, now: Now) -> list[object]:
        """The log has been folded: count what each site has, and look for places anew."""
        self.reopening.folded()
        for _, run in self.runs.revive():
            self.count_in(run)
            run.forget_news()
        for entry in self.fleet.sites.values():
            entry.linked, entry.linked_since_ms = False, now.wall_ms
        out: list[object] = []
        keep_definitions(self, self._persisted, out)
        for _, run in self.runs.whole():
            self.end(run, outcome_of(run), now, out)
        self.schedules.restored(out)
        self.parts.restored(now, out)
        return out

    def saves(self) -> list[Save]:
        """What has changed since the last time."""
        unsaved, self.unsaved = self.unsaved, {}
        held = [(run, self.runs.state(run), self.runs.packed(run)) for run in unsaved if run in self.runs]
        commands = list(self.intents.commands.values())
        node = save_node(self.fleet.save(), commands, self.schedules.save(), self.parts.save())
        return [Save("", False, "node", node), *(Save(run, False, state, body) for run, state, body in held)]

    def holds(self, run: str) -> bool:
        """Is the run in memory here?"""
        return run == "" or run in self.runs

    def is_span(self, run: str, key: str) -> bool:
        """Does the timer end a span of time? What schedules say are moments of the calendar."""
        return key.startswith("begin/")

    def asking(self) -> list[int]:
        """Whose questions wait for a tombstone."""
        return self.reopening.asking()

    def wake_mono_ms(self) -> int | None:
        """When a run may be given or taken without a site that is not heard; at once, while a site is still to be given more."""
        wakes = self.moving.wake_mono_ms(), self.taking.wake_mono_ms(), self.reseeding.wake_mono_ms()
        return min((wake for wake in wakes if wake is not None), default=None)

    # An event's payload and back; called for every event of a node.
    encode = staticmethod(encode)
    decode = staticmethod(decode)

    # Folding ----------------------------------------------------------------------------------------------------------

    def _evolve_own(self, reader: str, run: str, event: object, time_ms: int) -> None:
        if run:
            self.unsaved[run] = None
        if isinstance(event, ChildEnded | CommandRequested) and (known := self.runs.get(run)) is not None:
            self.children.evolve(known, event)
        match event:
            case RunCreated():
                self.ids.note(run)
                if run not in self.runs:
                    self._admit(run, event)
            case FragmentReleased():
                self.ids.note(run)
                if run not in self.runs:
                    # The cloud's own stream was lost with its disk; the site has kept this one, which tells all of the run.
                    self._admit(run, created_by(event))
                self.runs[run].release(event)
                self.admission.activate(run)
            case FragmentMoved() if run not in self.runs:
                self.ids.note(run)
                self._admit(run, event.created)
                self.admission.activate(run)
            case DefinitionRegistered(ref, document):
                know(self, ref, document)
                if reader:
                    self.fleet.site(reader).definitions.add(ref)
            case CancelRequested() | CommandRequested():
                self.orders.evolve(reader, run, event, time_ms)
            case RunEnded(outcome, detail, output):
                if (ended := self.runs.pop(run, None)) is not None:
                    ended.outcome, ended.detail, ended.output, ended.ended_ms = outcome, detail, output, time_ms
                    self.admission.forget(run)
                    self.reopening.keep(ended)
            case RunReopened():
                self.reopening.evolve(run, event)
            case _:
                self.schedules.evolve_own(reader, event)  # type: ignore[arg-type]
        for fold in self.parts.own_folds.get(type(event), ()):
            fold(reader, run, event, time_ms)  # type: ignore[arg-type]

    def _admit(self, run: str, created: RunCreated) -> None:
        self.runs[run] = Run.create(run, self.plans[created.definition], created)
        self.admission.accept(run, created.priority, created.fairness_key)

    def _take_in(self, run: str, site: str, event: RunCreated) -> None:
        """A site has begun a run by itself, for a schedule or a parent there: it is the run's home from the first event on."""
        self._admit(run, event)
        known = self.runs[run]
        known.sites, known.places, known.fragments = [site], bytes(len(known.plan.tasks)), [None]
        self.admission.activate(run)
        self.touch(run)

    def _evolve_fragment(self, run: Run, site: str, event: object) -> None:
        self.touch(run.id)
        kind = type(event)
        if kind is FragmentAdopted:
            if site in run.sites:
                run.adopt(event)  # type: ignore[arg-type]
            return
        if kind is FragmentYielded or kind is FactFound:
            return  # It tells of the state, or for another home, and changes nothing of it.
        if kind is FragmentTaken:
            if site in run.sites:
                run.take(event, site)  # type: ignore[arg-type]
            return
        if kind is CommandAnswered:
            self.intents.answer(event, site)  # type: ignore[arg-type]
            self.reopening.answered(event.command)  # type: ignore[attr-defined]
        elif isinstance(event, ChildRequested):
            run.children.setdefault(event.child, Child(event.task, site, event.waits, here=event.here))
        fragment = run.fragment(site)
        if kind is ConflictRecorded and fragment is not None and fragment.outcome:
            return  # The site had ended its part by then, and counts it no more.
        if fragment is not None and task_of(event) < len(fragment.states):
            fragment.evolve(event)  # type: ignore[arg-type]
            fragment.quiet()
            if not fragment.live:
                self.runs.rest(run.id)

    # Runs -------------------------------------------------------------------------------------------------------------

    def begin(self, run: str, definition: str, new: NewRun, now: Now, out: list[object]) -> None:
        """Create the run; it is given to a site when its turn comes."""
        created = RunCreated(definition, new.inputs, new.labels, now.wall_ms, *new[2:6], new.origin, new.contract)
        self.emit(self.stream, run, BORN_EPOCH, created, now, out)
        self.changed[run] = None

    def _place(self, run: Run, placement: Placement | Unplaceable, now: Now, out: list[object]) -> None:
        self.changed[run.id] = None
        self.unsaved[run.id] = None
        if isinstance(placement, Unplaceable):
            run.waits_for = placement.waits_for
            self.overdue.watch(run, now, out)
            return
        for site in placement.sites:
            self.release(run, site, placement, now, out)
            self.fleet.site(site).take_on(placement.places.count(placement.sites.index(site)))
        self.dependencies.released(run.id, now, out)

    def release(self, run: Run, site: str, placement: Placement, now: Now, out: list[object]) -> None:
        """Give the site its part of the run, in the stream that is kept for it."""
        self.acquaint(site, run.plan, now, out)
        released = FragmentReleased(
            run.plan.ref,
            run.inputs,
            site,
            placement.sites,
            placement.places,
            RELEASED_EPOCH,
            run.labels,
            run.created_ms,
            run.priority,
            run.fairness_key,
            run.parent,
            run.depth,
            run.origin,
            run.contract,
        )
        self.emit(self.site_stream(site), run.id, RELEASED_EPOCH, released, now, out)

    def acquaint(self, site: str, plan: Plan, now: Now, out: list[object]) -> None:
        """Let the site know the definition, once, and what its runs may start: the site may be cut off by then."""
        for known in (plan, *self.children.started_by(plan)):
            if known.ref not in self.fleet.site(site).definitions:
                is_latest = self.latest.get(known.ref.partition("@")[0]) == known.ref
                self.note(site, DefinitionRegistered(known.ref, known.packed, is_latest), now, out)

    def stop(self, run: Run, reason: str, now: Now, out: list[object]) -> str:
        """Ask the run's homes to cancel it; the command's id, or nothing if it had no home yet and has ended at once."""
        return self.orders.stop(run, reason, now, out)

    def end(self, run: Run, how: Outcome, now: Now, out: list[object]) -> None:
        """The run has ended, if it has an outcome."""
        if not how.outcome:
            return
        self.emit(self.stream, run.id, BORN_EPOCH, RunEnded(how.outcome, how.detail, how.output), now, out)
        self.measures.end(run)
        out.append(Save(run.id, True, how.outcome, run.save()))
        self.children.end(run, how, now, out)
        self.parts.ended(run, how, now, out)
        self.changed[run.id] = None
        out.append(RunFinished(run.id))

    def touch(self, run: str) -> None:
        """The run has changed."""
        self.unsaved[run] = self.changed[run] = None

    def count_in(self, run: Run) -> None:
        """Its sites have its tasks to do."""
        for number, (site, fragment) in enumerate(zip(run.sites, run.fragments, strict=True)):
            if fragment is None or not fragment.outcome:
                self.fleet.site(site).take_on(run.places.count(number))

    def _elapse(self, input: Due, now: Now, out: list[object]) -> None:
        elapse = self.parts.timers.get(input.key.partition("/")[0], self.schedules.elapse)
        elapse(input, now, out)

    # Ids and events ---------------------------------------------------------------------------------------------------

    def note(self, reader: str, event: Event, now: Now, out: list[object]) -> None:
        """An event of no run, for our own stream or the one for a site."""
        self.emit(self.site_stream(reader) if reader else self.stream, "", 0, event, now, out)

    def emit(self, stream: StreamId, run: str, epoch: int, event: Event, now: Now, out: list[object]) -> None:
        out.append(Append(stream, run, epoch, event))
        self._evolve_own(stream_reader(stream), run, event, now.wall_ms)
