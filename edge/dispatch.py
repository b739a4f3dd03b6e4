"""Handing out: ready tasks wait in one queue per capability until an agent has room, or for the protocol that they ask for.

Tasks of a higher priority go first, then those of older runs (run ids sort by time), so what was begun is finished before more
is begun.
"""

from collections import Counter
from dataclasses import dataclass, field
from heapq import heappop, heappush

import msgspec

from coordination.direct import Assigner
from edge.cache import ResultCache
from edge.coordinating.core import Coordinating
from edge.coordinating.seeker import Given, Lot
from edge.home import Home, deadline_of
from edge.inputs import Assigned, AssignTasks, AttemptKey
from sync.outputs import ClearTimer, Confirmed, SetTimer
from sync.values import AgentId, Now
from workflow.attending import is_for_agents, wants_resources
from workflow.commands import Assign, Attend, Block, Fail, Meet
from workflow.coordinating import Award, coordination_of
from workflow.coordination_events import TaskAwarded
from workflow.expression import ExpressionError
from workflow.fragment import Fragment
from workflow.generations import generation_of
from workflow.homes import attempt_epoch
from workflow.looking import scope_of
from workflow.resources import Holder
from workflow.states import BLOCKED, RUNNING, WAITING
from workflow.tasks import CoordinationPlan, Effect, Kind, SyncPlan, TaskPlan

PREVIEW_BYTES_MAX = 16_384
"""Of the parameters of a task that agents are told before it is theirs."""
DIRECT_MAX = 4_096
"""Beyond so many it is looked which of them still want an agent."""


@dataclass(slots=True)
class Orders:
    """What agents are about to be given, together by agent. What belongs to strong runs leaves once the cloud holds it."""

    soon: dict[str, list[Assigned]] = field(default_factory=dict)
    strong: dict[str, list[Assigned]] = field(default_factory=dict)

    def add(self, home: Home, fragment: Fragment, agent: str, item: Assigned) -> None:
        """One assignment more."""
        awaited = fragment.contract is not None and home.gate.is_strong(fragment.run)
        (self.strong if awaited else self.soon).setdefault(agent, []).append(item)

    def send(self, home: Home, out: list[object]) -> None:
        """Let all of them go."""
        if self.soon:
            out += [AssignTasks(home.roster.slots[agent].session, agent, items) for agent, items in self.soon.items()]
            self.soon = {}
        if self.strong:
            slots = home.roster.slots
            out += [Confirmed(AssignTasks(slots[agent].session, agent, items)) for agent, items in self.strong.items()]
            self.strong = {}


@dataclass(slots=True)
class Dispatch:
    """The queues of a site. An entry is looked at again when its turn comes: it may have been cancelled meanwhile."""

    home: Home
    assigner: Assigner
    cache: ResultCache
    coordinating: Coordinating = field(init=False)
    _queues: dict[str, list[tuple[int, str, int]]] = field(default_factory=dict)
    _queued: set[tuple[str, int]] = field(default_factory=set)
    _orders: Orders = field(default_factory=Orders)
    # Tasks for which a protocol found nobody, and by which plan: until an agent has them, they go directly.
    _direct: dict[Lot, CoordinationPlan] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.coordinating = Coordinating(self.home, ())

    def settle(self, now: Now, out: list[object]) -> None:
        """Queue what has become ready, then give away what agents have room for. What ends without an agent on the way (by a
        result that is kept, by parameters without a value) may make more ready."""
        while not self.home.paused:  # While it is, all that is ready keeps its place.
            self._enqueue_woken(now, out)
            if self.coordinating.sought:
                self.coordinating.hand_out(now, out)
            for name in [name for name, queue in self._queues.items() if queue]:
                self._assign_queue(name, now, out)
            self._orders.send(self.home, out)
            if not self.home.woken:
                break
        self.home.fragments.tidy()

    def ready_tasks(self) -> int:
        """How many tasks wait for an agent."""
        return len(self._queued) + len(self.coordinating.sought)

    def queued(self) -> Counter[str]:
        """How many tasks wait for an agent, by capability (`@name`: for one agent), within what is over meanwhile. It is asked
        every few seconds, so it does not walk over what waits."""
        return Counter({name: len(queue) for name, queue in self._queues.items()}) + self.coordinating.wanted()

    def _enqueue_woken(self, now: Now, out: list[object]) -> None:
        while self.home.woken:
            woken, self.home.woken = self.home.woken, []
            for fragment in woken:
                tasks, fragment.woken = fragment.woken, None
                for task in tasks or ():
                    self._attend(fragment, task, now, out)
                if not fragment.live:
                    self.home.fragments.rest(fragment.run)

    def _attend(self, fragment: Fragment, task: int, now: Now, out: list[object]) -> None:
        """Most tasks only want an agent; the others are for the fragment to look at."""
        plan = fragment.task(task)
        if fragment.contract is not None and self._is_barred(fragment, task, plan, now):
            return
        gate = self.home.gate
        if (gate.doubted and gate.doubts(fragment.run, now)) or (gate.grown and gate.bars_added(fragment, task, now)):
            return
        if plan.kind is Kind.WORK and plan.when is None and plan.stages is None and fragment.states[task] != BLOCKED:
            self._queue(fragment, task, plan, now, out)
        elif fragment.outcome or self._lacks_resources(fragment, task, now, out):
            return
        elif self.home.decide(fragment, Attend(task), now, out):
            if plan.sync is not None and fragment.states[task] == WAITING:
                self._meet(plan.sync, Holder(fragment.run, task), now, out)
            elif plan.vote is not None and fragment.states[task] == WAITING:
                self.home.votes.ask(Holder(fragment.run, task))
        elif is_for_agents(fragment, task):
            self.queue(fragment, task, now, out)

    def _is_barred(self, fragment: Fragment, task: int, plan: TaskPlan, now: Now, begins: int = 1) -> bool:
        """Does its contract hold the run back? Of what the site decides itself it is known how much it would record; to begin
        work is so many events."""
        gate, is_decided = self.home.gate, plan.kind is not Kind.WORK or fragment.states[task] == RUNNING
        if fragment.outcome or not (is_decided or fragment.may_start(task)):
            return False
        events = len(fragment.decide(Attend(task), now)) if is_decided and fragment.run in gate.lag.watched else begins
        return events > 0 and gate.bars(fragment, now, role=plan.role, events=events)

    def _meet(self, sync: SyncPlan, who: Holder, now: Now, out: list[object]) -> None:
        """One more party is at a sync point; with the last one all of them go on, in one turn."""
        self.home.meetings.arrive(sync.point, who)
        parties = self.home.meetings.gather(sync.point, sync.parties)
        names = [f"{run}/{self.home.fragments[run].id_of(task)}" for run, task in parties]
        output = msgspec.json.encode({"point": sync.point, "parties": names})
        for run, task in parties:
            self.home.decide(self.home.fragments[run], Meet(task, output), now, out)

    def _lacks_resources(self, fragment: Fragment, task: int, now: Now, out: list[object]) -> bool:
        """Must the task wait for what others hold? It stands in line from now on."""
        plan = fragment.task(task)
        if not plan.resources or not wants_resources(fragment, task):
            return False
        if self.home.claim(fragment, task, out):
            return False
        if fragment.states[task] not in (BLOCKED, RUNNING):
            names = tuple(name for name, _ in plan.resources)
            self.home.decide(fragment, Block(task, names), now, out)
        return True

    def queue(self, fragment: Fragment, task: int, now: Now, out: list[object]) -> None:
        """The task may begin as soon as an agent has room."""
        self._queue(fragment, task, fragment.task(task), now, out)

    def _queue(self, fragment: Fragment, task: int, plan: TaskPlan, now: Now, out: list[object]) -> None:
        may_be_kept = plan.cache is not None and is_for_agents(fragment, task)
        if may_be_kept and self.cache.serve(fragment, task, now, out, is_last=False):
            return
        if plan.start_timeout_ms and fragment.attempt(task) == 0:
            out.append(SetTimer(fragment.run, f"start/{task}", now.wall_ms + plan.start_timeout_ms))
        is_plain = plan.coordination is None and fragment.extras is None
        if is_plain or not self._is_negotiated(fragment, task, now, out):
            self._queue_direct(fragment, task, plan)

    def _is_negotiated(self, fragment: Fragment, task: int, now: Now, out: list[object]) -> bool:
        """Does a protocol find its agent? One that did before, and does no longer, gives it back."""
        found, lot = coordination_of(fragment, task), Lot(fragment.run, task)
        if found is not None and self._direct.get(lot) != found and self.coordinating.seek(fragment, task, found, now, out):
            self._queued.discard((fragment.run, task))
            return True
        self.coordinating.renounce(fragment, task, out)
        return False

    def _queue_direct(self, fragment: Fragment, task: int, plan: TaskPlan) -> None:
        name = plan.capability or f"@{plan.agent}"
        queue = self._queues.get(name)
        if queue is None:
            queue = self._queues[name] = []
        if (fragment.run, task) not in self._queued:
            self._queued.add((fragment.run, task))
            heappush(queue, (-fragment.priority(), fragment.run, task))

    def _assign_queue(self, name: str, now: Now, out: list[object]) -> None:
        """Give the queue's tasks away, those of the oldest run first, while any agent has room."""
        queue, queued, choose = self._queues[name], self._queued, self.assigner.choose
        while queue:
            agent = choose(name)
            if agent is None:
                break
            _, run, task = heappop(queue)
            if (run, task) not in queued:
                continue  # A protocol finds its agent now.
            queued.discard((run, task))
            fragment = self.home.fragments.get(run)
            if fragment is None or not is_for_agents(fragment, task):
                continue  # Over, or paused, or woken again when a value comes.
            plan = fragment.task(task)
            if self._is_kept_back(fragment, task, plan, now, out):
                continue
            item = self._assign(fragment, task, plan, agent, now, out)
            if item is not None:
                self._orders.add(self.home, fragment, agent, item)

    def _is_kept_back(
        self, fragment: Fragment, task: int, plan: TaskPlan, now: Now, out: list[object], *, events: int = 1
    ) -> bool:
        """An agent would have room for the task, but something else is in the way, or it is done by a result that is kept.
        `events`: so many would be recorded."""
        if fragment.contract is not None and self._is_barred(fragment, task, plan, now, events):
            return True
        if self.home.gate.doubted and self.home.gate.doubts(fragment.run, now):
            return True
        if plan.cache is not None and self.cache.serve(fragment, task, now, out):
            return True
        if self.home.leases.locked and self.home.leases.bars(fragment, task):
            return True  # It is woken when nobody who was lost may still act there.
        return bool(plan.resources) and self._lacks_resources(fragment, task, now, out)

    # What protocols decide --------------------------------------------------------------------------------------------

    def is_sought(self, lot: Lot) -> bool:
        """Does the task still want an agent?"""
        fragment = self.home.fragments.get(lot.run)
        return fragment is not None and lot.task < len(fragment.states) and is_for_agents(fragment, lot.task)

    def forget(self, lot: Lot) -> None:
        """It is sought for no longer."""
        self.coordinating.withdraw(lot)

    def parameters_of(self, lot: Lot) -> bytes:
        """What the task would be given now; empty if that has no value."""
        fragment = self.home.fragments.get(lot.run)
        if fragment is None:
            return b""
        plan = fragment.task(lot.task)
        rendered = self._render(fragment, lot.task, plan)
        return b"" if isinstance(rendered, ExpressionError) else rendered or plan.parameters.constant or b"{}"

    def give(self, lot: Lot, agent: AgentId, award: tuple[str, Award], now: Now, out: list[object], *, units: int = 1) -> Given:
        """Award the task (protocol, why) to an agent. After `gone` and `held` it is sought for no more, until it is queued
        again."""
        fragment = self.home.fragments.get(lot.run)
        if fragment is None or not self.is_sought(lot):
            self.coordinating.withdraw(lot)
            return "gone"
        if self.assigner.room(agent) < units:
            return "no_room"
        plan = fragment.task(lot.task)
        self.coordinating.withdraw(lot)
        if self._is_kept_back(fragment, lot.task, plan, now, out, events=2):  # The award, and the assignment.
            return "held"
        item = self._assign(fragment, lot.task, plan, agent, now, out, award, units)
        if item is None:
            return "gone"
        self._orders.add(self.home, fragment, agent, item)
        return "given"

    def take_up(self, lot: Lot, agent: AgentId, award: tuple[str, Award], now: Now, out: list[object]) -> bool:
        """The agent does the task already, whatever room it has: award it, and tell the agent nothing."""
        fragment = self.home.fragments.get(lot.run)
        self.coordinating.withdraw(lot)
        if fragment is None or not self.is_sought(lot):
            return False
        return self._assign(fragment, lot.task, fragment.task(lot.task), agent, now, out, award) is not None

    def preview(self, lot: Lot) -> Assigned | None:
        """What an agent that has lost the site would do by itself. None if it may not, or needs more than it can be told: nothing
        that takes a resource, or that is promised to be consistent."""
        fragment = self.home.fragments.get(lot.run)
        if fragment is None or not self.is_sought(lot) or fragment.contract is not None:
            return None
        plan, parameters = fragment.task(lot.task), self.parameters_of(lot)
        is_bound = plan.resources or (self.home.leases.granted and self.home.leases.of(fragment, lot.task))
        if plan.effect is not Effect.REPEATABLE or is_bound or not 0 < len(parameters) <= PREVIEW_BYTES_MAX:
            return None
        return self._told(fragment, lot.task, plan, fragment.attempt(lot.task) + 1, parameters)

    def give_up(self, lot: Lot, otherwise: str, award: tuple[str, Award], code: str, now: Now, out: list[object]) -> bool:
        """Nobody was found: the task goes to whoever has room, or has failed. Either is recorded with its reason. False if it has
        to wait for that."""
        self.coordinating.withdraw(lot)
        fragment = self.home.fragments.get(lot.run)
        if fragment is None or not self.is_sought(lot):
            return True
        if fragment.contract is not None and self._is_barred(fragment, lot.task, fragment.task(lot.task), now):
            return False  # It is sought anew when its contract lets the run go on.
        self.home.fold(fragment, [_awarded(fragment, lot.task, "", award)], out)
        self.home.changed[fragment.run] = None
        if otherwise == "fail":
            message = f"{award[0]}: {award[1].reason}"
            self.home.reject(fragment, Fail(lot.task, fragment.attempt(lot.task), "", code, message, False), now, out)
        else:
            self._go_directly(fragment, lot)
        return True

    def _go_directly(self, fragment: Fragment, lot: Lot) -> None:
        """It may be held back now and then before an agent has it: the protocol is not asked again for that."""
        if len(self._direct) >= DIRECT_MAX:
            self._direct = {known: plan for known, plan in self._direct.items() if self.is_sought(known)}
        if (plan := coordination_of(fragment, lot.task)) is not None:
            self._direct[lot] = plan
        self._queue_direct(fragment, lot.task, fragment.task(lot.task))

    # Assigning --------------------------------------------------------------------------------------------------------

    def _assign(
        self,
        fragment: Fragment,
        task: int,
        plan: TaskPlan,
        agent: AgentId,
        now: Now,
        out: list[object],
        award: tuple[str, Award] | None = None,
        units: int = 1,
    ) -> Assigned | None:
        slot = self.home.roster.slots[agent]
        constant = plan.parameters.constant
        if constant is not None and fragment.extras is None:
            rendered: bytes | ExpressionError = b""
        else:
            rendered = self._render(fragment, task, plan)
        if isinstance(rendered, ExpressionError):
            failed = Fail(task, fragment.attempt(task), "", "expression", str(rendered), False)
            self.home.reject(fragment, failed, now, out)
            return None
        events = fragment.decide(Assign(task, agent, slot.boot, rendered), now)
        if self._direct:
            self._direct.pop(Lot(fragment.run, task), None)
        if award is not None:
            events.insert(0, _awarded(fragment, task, agent, award))
        self.home.fold(fragment, events, out)
        assert fragment.states[task] == RUNNING
        self.home.changed[fragment.run] = None
        attempt = fragment.attempt(task)
        if fragment.contract is not None:
            self.home.gate.note_begun(fragment.run)
        self.home.roster.take(slot, fragment.run, task, attempt, now, units)
        if fragment.timed:
            self.home.time(fragment, out)
        if plan.start_timeout_ms and attempt == 1:
            out.append(ClearTimer(fragment.run, f"start/{task}"))
        if plan.timeout_ms:
            out.append(deadline_of(fragment, task, now.wall_ms))
        if plan.heartbeat_ms:
            self.home.vigil.watch(fragment.run, task, attempt, plan.heartbeat_ms, now)
        leases = self.home.leases.of(fragment, task) if self.home.leases.granted else ()
        if award is not None and award[1].under:
            leases = (*leases, *sorted(award[1].under.items()))
        return self._told(fragment, task, plan, attempt, rendered or constant or b"{}", leases)

    def _told(
        self,
        fragment: Fragment,
        task: int,
        plan: TaskPlan,
        attempt: int,
        parameters: bytes,
        leases: tuple[tuple[str, int], ...] = (),
    ) -> Assigned:
        key = AttemptKey(fragment.run, task, attempt, attempt_epoch(fragment.epoch, attempt))
        name = plan.id if task < len(fragment.plan.tasks) else fragment.id_of(task)
        generation = generation_of(fragment, task) if fragment.extras is not None else 0
        times = plan.timeout_ms, generation, plan.heartbeat_ms
        return Assigned(key, name, plan.capability, parameters, plan.effect, *times, leases)

    def _render(self, fragment: Fragment, task: int, plan: TaskPlan) -> bytes | ExpressionError:
        """The parameters, with those that a person gave instead. Empty if they are the plan's own."""
        try:
            rendered = b"" if plan.parameters.constant is not None else plan.parameters.render(scope_of(fragment, task))
        except ExpressionError as error:
            return error
        changed = fragment.extras.overrides.get(task) if fragment.extras is not None else None
        if changed is None:
            return rendered
        base = msgspec.json.decode(rendered or plan.parameters.constant or b"{}")
        return msgspec.json.encode({**base, **msgspec.json.decode(changed)})


def _awarded(fragment: Fragment, task: int, agent: str, award: tuple[str, Award]) -> TaskAwarded:
    protocol, why = award
    epoch = attempt_epoch(fragment.epoch, fragment.attempt(task) + 1)
    return TaskAwarded(task, protocol, agent, epoch, msgspec.json.encode(why))
