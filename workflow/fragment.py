"""The part of a run that one site executes: a decider.

`decide(command, now, chance)` gives events and changes nothing; `evolve(event)` alone changes state, so a restart and the
cloud's replica run the same few lines. Tasks are integers (their index in the Plan), their states one byte each, and
a completed task costs O(its dependents). After `evolve`, `woken` holds the tasks that became ready.
"""

from array import array
from dataclasses import dataclass, field
from typing import assert_never

import msgspec

from sync.values import Now, RunId
from workflow.commands import (
    RETRY_AFTER_MS_MAX,
    Assign,
    Cancel,
    CancelDone,
    Complete,
    Decline,
    Delay,
    Elapse,
    Fail,
    FragmentCommand,
    Lose,
    Receive,
    Resume,
)
from workflow.events import (
    AttemptResumed,
    Blob,
    CommandAnswered,
    Event,
    FragmentAdopted,
    FragmentCancelling,
    FragmentEnded,
    TaskAssigned,
    TaskCancelled,
    TaskCompleted,
    TaskDelayed,
    TaskFailed,
    TaskLost,
    ValueHanded,
)
from workflow.plan import Effect, Plan
from workflow.saved import Saved, flat_output
from workflow.states import (
    CANCELLED,
    COMPLETED,
    ELSEWHERE,
    ENDED,
    FAILED,
    PENDING,
    READY,
    RECONCILE,
    RUNNING,
    WAITING,
)

# Failures by which an attempt was stopped in the middle: what it had done until then is not known.
STOPPED_HALFWAY = ("timeout", "lease_expired")
DECLINED_DELAY_MS = 1_000
# A task that ends every agent that takes it must not go round for ever.
DELIVERIES_MAX = 100
DECLINES_MAX = 3_600


class Attempt(msgspec.Struct, gc=False):
    """An attempt in an agent's hands: who holds it, and the process of the agent that it was given to.

    One that was resumed has no `boot`: it is known to have begun, so no process that lacks it proves that it never arrived.
    """

    number: int
    agent: str
    boot: str
    parameters: bytes


@dataclass(slots=True)
class Fragment:
    """One run's tasks at one site. Invariant: `open` counts this site's tasks that have not ended.

    A hundred thousand runs may wait at a timer, so what most of them lack (`live`, `outputs`, `woken` ...) is None or shared.
    """

    run: RunId
    plan: Plan
    site: str
    epoch: int
    inputs: bytes
    states: bytearray
    missing: "array[int]"
    open: int
    attempts: "array[int] | None" = None
    live: dict[int, Attempt] = field(default_factory=lambda: _NO_ATTEMPTS)
    failures: dict[int, int] | None = None
    outputs: dict[int, bytes | Blob] | None = None
    due: dict[int, int] | None = None
    past: dict[tuple[int, int], str] | None = None
    woken: list[int] | None = None
    version: int = 0
    stopping: str = ""
    outcome: str = ""
    detail: str = ""

    @classmethod
    def adopt(cls, run: RunId, plan: Plan, adopted: FragmentAdopted) -> "Fragment":
        """A fragment in which nothing has happened yet. `placement[i]` indexes `sites`; other sites' tasks are ELSEWHERE."""
        site, sites, placement = adopted.site, adopted.sites, adopted.placement
        count = len(plan.tasks)
        here = sites.index(site)
        states = bytearray(count)
        for task, place in enumerate(placement):
            if place != here:
                states[task] = ELSEWHERE
        missing = array("I", [len(needs) for needs in plan.needs])
        fragment = cls(
            run=run,
            plan=plan,
            site=site,
            epoch=adopted.epoch,
            inputs=adopted.inputs,
            states=states,
            missing=missing,
            open=placement.count(here) if len(sites) > 1 else count,
        )
        for task in range(count):
            if missing[task] == 0 and states[task] == PENDING:
                states[task] = READY
                fragment._wake(task)
        return fragment

    def attempt(self, task: int) -> int:
        """The number of the task's latest attempt; 0 if there was none."""
        return self.attempts[task] if self.attempts is not None else 0

    def can_read(self, task: int) -> bool:
        """Are all outputs here that the task's parameters read?"""
        reads = self.plan.tasks[task].parameters.reads
        return not reads or (self.outputs is not None and all(read in self.outputs for read in reads))

    # Deciding ---------------------------------------------------------------------------------------------------------

    def decide(self, command: FragmentCommand, now: Now, chance: float = 0.5) -> list[Event]:
        """The events that follow from `command`; none if it is late, a repetition or not allowed. `chance` in [0, 1) jitters
        a retry's delay. Ending is decided apart, by `decide_ending`, once the events are folded."""
        match command:
            case Complete():
                return self._decide_complete(command)
            case Assign(task, agent, boot, parameters):
                if self.stopping or self.states[task] not in (READY, WAITING):
                    return []
                return [TaskAssigned(task, self.attempt(task) + 1, agent, boot, parameters)]
            case Fail():
                return self._decide_failure(command, now, chance)
            case Lose(task, attempt, certain, reason):
                return self._decide_loss(task, attempt, certain, reason)
            case Resume(task, attempt, agent):
                return [AttemptResumed(task, attempt, agent)] if self._is_unsettled(task, attempt, agent) else []
            case Delay(task):
                waits = self.states[task] == READY and not self.stopping
                return [TaskDelayed(task, now.wall_ms + self.plan.tasks[task].wait_ms)] if waits else []
            case Elapse(task):
                waits = self.states[task] == WAITING and self.plan.tasks[task].wait_ms > 0
                return [TaskCompleted(task, 0)] if waits else []
            case Receive(task, output, blob):
                return [ValueHanded(task, output, blob)] if self.states[task] == ELSEWHERE else []
            case Cancel(intent, reason):
                return self._decide_cancel(intent, reason)
            case CancelDone(task, attempt, agent):
                if not self.stopping:
                    # Nobody asked for it; without an end of the task, what needs it would wait for ever.
                    failed = Fail(task, attempt, agent, "stopped", "its agent stopped it, unasked", True)
                    return self._decide_failure(failed, now, chance)
                told = self._holds(task, attempt, agent) or self._is_unsettled(task, attempt, agent)
                return [TaskCancelled(task, attempt, "stopped by its agent")] if told else []
            case Decline(task, attempt, agent, reason):
                if not (self._holds(task, attempt, agent) or self._is_unsettled(task, attempt, agent)):
                    return []
                if attempt >= DECLINES_MAX:
                    message = f"{reason}; declined {attempt} times"
                    return [self._failed(Fail(task, attempt, agent, "declined", message, True, True), 0)]
                lost = TaskLost(task, attempt, reason, True)
                return [lost] if self.stopping else [lost, TaskDelayed(task, now.wall_ms + DECLINED_DELAY_MS)]
            case _:
                assert_never(command)

    def decide_ending(self) -> list[Event]:
        """FragmentEnded, if nothing is left to do and it has not been said."""
        if self.outcome or self.live:
            return []
        if self.stopping:
            unsettled = self.states.find(RECONCILE) >= 0
            return [] if unsettled else [FragmentEnded(self.stopping, self.detail)]
        return [FragmentEnded("completed")] if self.open == 0 else []

    def _decide_complete(self, command: Complete) -> list[Event]:
        task = command.task
        if self.states[task] in ENDED or not self._held(task, command.attempt, command.agent):
            return []
        return [TaskCompleted(task, command.attempt, command.agent, command.output, command.blob)]

    def _decide_failure(self, command: Fail, now: Now, chance: float) -> list[Event]:
        task, told = command.task, (command.task, command.attempt, command.agent)
        if not (self._holds(*told) or self._is_unsettled(*told)):
            return []
        if command.code in STOPPED_HALFWAY and self.plan.tasks[task].effect is not Effect.REPEATABLE:
            return self._decide_loss(task, command.attempt, False, f"{command.code}: {command.message}")
        retry = self.plan.tasks[task].retry
        failures = (self.failures or {}).get(task, 0) + 1
        retry_at_ms = 0
        if command.retryable and not self.stopping and failures < retry.max_attempts:
            asked_ms = min(command.retry_after_ms, RETRY_AFTER_MS_MAX)
            retry_at_ms = now.wall_ms + max(1, asked_ms, retry.delay_before(failures, chance))
        return [self._failed(command, retry_at_ms)]

    def _failed(self, said: Fail, retry_at_ms: int) -> TaskFailed:
        return said.event(retry_at_ms, f"{self.run}/{self.plan.tasks[said.task].id}/{said.attempt}")

    def _decide_loss(self, task: int, attempt: int, certain: bool, reason: str) -> list[Event]:
        held = self.live.get(task)
        if held is None or held.number != attempt:
            return []
        redeliver = certain or self.plan.tasks[task].effect is Effect.REPEATABLE
        if redeliver and attempt >= DELIVERIES_MAX:
            given_up = f"{reason}; given out {attempt} times without an outcome"
            return [self._failed(Fail(task, attempt, held.agent, "lost", given_up, False), 0)]
        return [TaskLost(task, attempt, reason, redeliver)]

    def _decide_cancel(self, intent: str, reason: str) -> list[Event]:
        if self.outcome:
            return [CommandAnswered(intent, False, f"run {self.run} has already ended here: {self.outcome}")]
        return [FragmentCancelling(intent, reason), CommandAnswered(intent, True)]

    def _holds(self, task: int, attempt: int, agent: str) -> bool:
        held = self.live.get(task)
        return held is not None and held.number == attempt and held.agent == agent

    def _is_unsettled(self, task: int, attempt: int, agent: str) -> bool:
        """Is it this attempt whose outcome nobody knows? Then whoever held it can still tell it, or go on with it."""
        waits = self.states[task] == RECONCILE and attempt == self.attempt(task)
        return waits and self.past is not None and self.past.get((task, attempt)) == agent

    def _held(self, task: int, attempt: int, agent: str) -> bool:
        """Does or did the agent hold this attempt? A result is a fact, adopted even when another attempt has begun."""
        return self._holds(task, attempt, agent) or (self.past is not None and self.past.get((task, attempt)) == agent)

    # Folding ----------------------------------------------------------------------------------------------------------

    def evolve(self, event: Event) -> None:
        """Fold one event. Every event counts in `version`, so equal versions of equal epochs mean equal states."""
        self.version += 1
        if type(event) is TaskCompleted:
            self._end_task(event.task, COMPLETED)
            self._hand_on(event.task, event.blob or event.output)
        elif type(event) is TaskAssigned:
            task = event.task
            self.states[task] = RUNNING
            if self.attempts is None:
                self.attempts = array("I", bytes(4 * len(self.states)))
            self.attempts[task] = event.attempt
            if self.live is _NO_ATTEMPTS:
                self.live = {}
            self.live[task] = Attempt(event.attempt, event.agent, event.boot, event.parameters)
            if self.due is not None:
                self.due.pop(task, None)
        else:
            self._evolve_rare(event)

    def _evolve_rare(self, event: Event) -> None:
        match event:
            case TaskFailed(task, attempt, code, message, retry_at_ms):
                self._part(task, attempt, unknown=code in STOPPED_HALFWAY)
                self._fail_task(task, f"{self.plan.tasks[task].id}: {code}: {message}", retry_at_ms)
            case TaskLost(task, attempt, _, redeliver):
                self._part(task, attempt, unknown=True)
                self._lose_task(task, redeliver)
            case AttemptResumed(task, attempt, agent):
                self._part(task, attempt, unknown=False)
                self.states[task] = RUNNING
                self.live = {**self.live, task: Attempt(attempt, agent, "", b"")}
            case TaskDelayed(task, due_ms):
                self._wait(task, due_ms)
            case TaskCancelled(task):
                self._end_task(task, CANCELLED)
            case ValueHanded(task, output, blob):
                self._wake_readers(task)
                self.states[task] = COMPLETED
                self._hand_on(task, blob or output)
            case FragmentCancelling(_, reason):
                self._stop("cancelled", reason)
            case FragmentEnded(outcome, detail):
                self.outcome, self.detail = outcome, detail
                self.woken = None
            case _:
                pass  # Answers and agents' comings and goings change no fragment.

    def _end_task(self, task: int, state: int) -> None:
        self.live.pop(task, None)
        if self.due is not None:
            self.due.pop(task, None)
        if self.states[task] not in ENDED:
            self.open -= 1
        self.states[task] = state

    def _hand_on(self, task: int, output: bytes | Blob) -> None:
        plan, missing, states = self.plan, self.missing, self.states
        if plan.retained[task]:
            self.outputs = self.outputs or {}
            self.outputs[task] = output
        for dependent in plan.dependents[task]:
            left = missing[dependent] = missing[dependent] - 1
            if left == 0 and states[dependent] == PENDING:
                states[dependent] = READY
                if not self.stopping:
                    self._wake(dependent)

    def _part(self, task: int, attempt: int, *, unknown: bool) -> None:
        """The attempt is over here. While what came of it is `unknown`, its agent's word on it is still taken."""
        held = self.live.pop(task, None)
        if unknown and held is not None:
            self.past = self.past or {}
            self.past[(task, attempt)] = held.agent
        elif not unknown and self.past is not None:
            self.past.pop((task, attempt), None)

    def _fail_task(self, task: int, detail: str, retry_at_ms: int) -> None:
        self.failures = self.failures or {}
        self.failures[task] = self.failures.get(task, 0) + 1
        if retry_at_ms:
            self._wait(task, retry_at_ms)
            return
        self._end_task(task, FAILED)
        if not self.stopping:
            self._stop("failed", detail)

    def _lose_task(self, task: int, redeliver: bool) -> None:
        self.states[task] = READY if redeliver else RECONCILE
        if redeliver and self.stopping:
            self._end_task(task, CANCELLED)
        elif redeliver:
            self._wake(task)

    def _wake_readers(self, done: int) -> None:
        """A value from elsewhere may come after all that a task needs: a task that was ready and only lacked it goes on."""
        if self.plan.retained[done] and not self.stopping:
            for task, state in enumerate(self.states):
                if state == READY and done in self.plan.tasks[task].parameters.reads and task not in (self.woken or ()):
                    self._wake(task)

    def _wake(self, task: int) -> None:
        if self.woken is None:
            self.woken = [task]
        else:
            self.woken.append(task)

    def _wait(self, task: int, due_ms: int) -> None:
        self.states[task] = WAITING
        if self.woken is not None and task in self.woken:
            self.woken.remove(task)
        self.due = self.due or {}
        self.due[task] = due_ms

    def _stop(self, outcome: str, detail: str) -> None:
        """Nothing new begins: whatever has not started is cancelled, what runs is waited for."""
        self.stopping, self.detail = outcome, detail
        self.woken = None
        # A person who cancels settles what nobody else could: the outcome of those attempts stays unknown, and is said to be.
        stopped = (PENDING, READY, WAITING, RECONCILE) if outcome == "cancelled" else (PENDING, READY, WAITING)
        for task, state in enumerate(self.states):
            if state in stopped:
                self._end_task(task, CANCELLED)

    # Saving -----------------------------------------------------------------------------------------------------------

    def save(self) -> bytes:
        """The whole state: equal states give equal bytes, on every node and under every hash seed."""
        outputs = self.outputs or {}
        return msgspec.msgpack.encode(
            Saved(
                definition=self.plan.ref,
                site=self.site,
                epoch=self.epoch,
                version=self.version,
                inputs=self.inputs,
                states=bytes(self.states),
                failures=sorted((self.failures or {}).items()),
                attempts=self.attempts.tolist() if self.attempts is not None else [],
                live=[(t, a.number, a.agent, a.boot, a.parameters) for t, a in sorted(self.live.items())],
                past=sorted((t, n, agent) for (t, n), agent in (self.past or {}).items()),
                outputs=[flat_output(task, outputs[task]) for task in sorted(outputs)],
                due=sorted((self.due or {}).items()),
                stopping=self.stopping,
                outcome=self.outcome,
                detail=self.detail,
            )
        )

    @classmethod
    def restore(cls, run: RunId, plan: Plan, saved: Saved) -> "Fragment":
        """The fragment that `save` wrote; what follows from the states (needs still missing, open tasks) is counted anew."""
        states = bytearray(saved.states)
        missing = array("I", [sum(states[need] != COMPLETED for need in needs) for needs in plan.needs])
        return cls(
            run=run,
            plan=plan,
            site=saved.site,
            epoch=saved.epoch,
            inputs=saved.inputs,
            states=states,
            missing=missing,
            open=sum(state not in ENDED and state != ELSEWHERE for state in states),
            attempts=array("I", saved.attempts) if saved.attempts else None,
            failures=dict(saved.failures) or None,
            live={t: Attempt(n, agent, boot, parameters) for t, n, agent, boot, parameters in saved.live} or _NO_ATTEMPTS,
            outputs={t: Blob(sha, size) if sha else output for t, output, sha, size in saved.outputs} or None,
            due=dict(saved.due) or None,
            past={(t, n): agent for t, n, agent in saved.past} or None,
            woken=[task for task, state in enumerate(states) if state == READY] or None,
            version=saved.version,
            stopping=saved.stopping,
            outcome=saved.outcome,
            detail=saved.detail,
        )


# Shared by all that have none, and never written to.
_NO_ATTEMPTS: dict[int, Attempt] = {}
