"""Handing out: ready tasks wait in one queue per capability until the protocol names an agent with room.

Tasks of older runs go first (run ids sort by time), so what was begun is finished before more is begun.
"""

from dataclasses import dataclass, field
from heapq import heappop, heappush

import msgspec

from coordination.direct import Assigner
from edge.home import Home, attempt_epoch, deadline_of, value_of
from edge.inputs import Assigned, AssignTasks, AttemptKey
from edge.roster import Slot
from sync.outputs import Append, ClearTimer
from sync.values import AgentId, Now
from workflow.commands import Assign, Delay, Fail
from workflow.expression import ExpressionError
from workflow.fragment import Fragment
from workflow.plan import TaskPlan
from workflow.states import READY, RUNNING, WAITING


@dataclass(slots=True)
class Dispatch:
    """The queues of a site. An entry is looked at again when its turn comes: it may have been cancelled meanwhile."""

    home: Home
    assigner: Assigner
    _queues: dict[str, list[tuple[str, int]]] = field(default_factory=dict)
    _queued: set[tuple[str, int]] = field(default_factory=set)

    def settle(self, now: Now, out: list[object]) -> None:
        """Queue what has become ready, then give away what agents have room for."""
        self._enqueue_woken(now, out)
        for name in [name for name, queue in self._queues.items() if queue]:
            self._assign_queue(name, now, out)

    def ready_tasks(self) -> int:
        """How many tasks wait for an agent."""
        return sum(len(queue) for queue in self._queues.values())

    def _enqueue_woken(self, now: Now, out: list[object]) -> None:
        while self.home.woken:
            woken, self.home.woken = self.home.woken, []
            for fragment in woken:
                tasks, fragment.woken = fragment.woken, None
                for task in tasks or ():
                    if fragment.plan.tasks[task].wait_ms:
                        self.home.decide(fragment, Delay(task), now, out)
                    else:
                        self.queue(fragment, task)

    def queue(self, fragment: Fragment, task: int) -> None:
        """The task may begin as soon as an agent has room."""
        plan = fragment.plan.tasks[task]
        name = plan.capability or f"@{plan.agent}"
        queue = self._queues.get(name)
        if queue is None:
            queue = self._queues[name] = []
        if (fragment.run, task) not in self._queued:
            self._queued.add((fragment.run, task))
            heappush(queue, (fragment.run, task))

    def _assign_queue(self, name: str, now: Now, out: list[object]) -> None:
        """Give the queue's tasks away, those of the oldest run first, while any agent has room."""
        queue, orders = self._queues[name], dict[str, list[Assigned]]()
        choose = self.assigner.choose
        while queue:
            agent = choose(name)
            if agent is None:
                break
            run, task = place = heappop(queue)
            self._queued.discard(place)
            fragment = self.home.fragments.get(run)
            if fragment is None or fragment.stopping or fragment.states[task] not in (READY, WAITING):
                continue
            if not fragment.can_read(task):
                continue  # Woken again when the value comes.
            item = self._assign(fragment, task, agent, now, out)
            if item is not None:
                orders.setdefault(agent, []).append(item)
        for agent_id, items in orders.items():
            out.append(AssignTasks(self.home.roster.slots[agent_id].session, agent_id, items))

    def _assign(self, fragment: Fragment, task: int, agent: AgentId, now: Now, out: list[object]) -> Assigned | None:
        slot, plan = self.home.roster.slots[agent], fragment.plan.tasks[task]
        constant = plan.parameters.constant
        rendered = b"" if constant is not None else self._render(fragment, plan)
        if isinstance(rendered, ExpressionError):
            self._fail_unassigned(fragment, task, str(rendered), slot, now, out)
            return None
        was_waiting = fragment.states[task] == WAITING
        for event in fragment.decide(Assign(task, agent, slot.boot, rendered), now):
            out.append(Append(self.home.stream, fragment.run, fragment.epoch, event))
            fragment.evolve(event)
        assert fragment.states[task] == RUNNING
        self.home.changed[fragment.run] = None
        attempt = fragment.attempt(task)
        self.home.roster.take(slot, fragment.run, task, attempt, now)
        if was_waiting:
            out.append(ClearTimer(fragment.run, f"retry/{task}"))
        if plan.timeout_ms:
            out.append(deadline_of(fragment, task, now.wall_ms))
        key = AttemptKey(fragment.run, task, attempt, attempt_epoch(fragment.epoch, attempt))
        return Assigned(key, plan.id, plan.capability, rendered if constant is None else constant, plan.effect, plan.timeout_ms)

    def _render(self, fragment: Fragment, plan: TaskPlan) -> bytes | ExpressionError:
        outputs = {task: value_of((fragment.outputs or {})[task]) for task in plan.parameters.reads}
        try:
            return plan.parameters.render(msgspec.json.decode(fragment.inputs), outputs, fragment.run)
        except ExpressionError as error:
            return error

    def _fail_unassigned(self, fragment: Fragment, task: int, message: str, slot: Slot, now: Now, out: list[object]) -> None:
        """The task's parameters cannot be computed: an attempt that fails before anybody is asked."""
        for event in fragment.decide(Assign(task, slot.agent, slot.boot, b""), now):
            out.append(Append(self.home.stream, fragment.run, fragment.epoch, event))
            fragment.evolve(event)
        failed = Fail(task, fragment.attempt(task), slot.agent, "expression", message, False)
        self.home.decide(fragment, failed, now, out)
