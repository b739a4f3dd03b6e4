"""The work in hand: assignments come in, capabilities run, results go to delivery.

An attempt is never started twice: one that is running is left alone, one that is done is answered from the journal.
It is over when its function has ended and not before; until then it is named at every registration, so the gateway
knows what still runs.
"""

import asyncio
import contextvars
import logging
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from tiercel import attempt as causes
from tiercel.attempt import Attempt, failed, readable
from tiercel.blobs import REFERENCE, Blobs
from tiercel.capability import Capability, Runs
from tiercel.context import TaskContext, correlation_id_of
from tiercel.delivery import Delivery
from tiercel.documents import Channel, Documents
from tiercel.encoding import Key, decode, key_of
from tiercel.errors import BlobUnavailable, SecretUnavailable, SessionLost, TaskCancelled, TaskError
from tiercel.fences import home_of
from tiercel.lease import Lease
from tiercel.outbox import Outbox
from tiercel.secrets import PREFIX, Secrets, redact
from tiercel.stepping import Stepper
from tiercel.sync_points import SyncPoints
from tiercel.threads import Threads
from tiercel.v1 import agent_pb2

BATCH = 256
"""Assignments that are run before the loop has its turn again."""

LATE_S = 0.25
"""By so much a timer is late only when the loop was blocked."""

UNACKNOWLEDGED_MAX = 20_000
"""Results that wait for the gateway. It acknowledges late and together while new work comes at once: at 50,000 tasks a
second this is 0.4 s. There is no holding back, because acknowledgements come by the same stream as the work."""

log = logging.getLogger("tiercel.work")


@dataclass(frozen=True, slots=True)
class Tools:
    """What the work needs from the rest of the agent."""

    agent: str
    capacity: int
    capabilities: Mapping[str, Capability]
    threads: Threads
    lease: Lease
    secrets: Secrets
    blobs: Blobs
    documents: Channel
    outbox: Outbox
    delivery: Delivery


class Work:
    """Runs in one event loop, which owns it. Threads reach it only through `call_soon_threadsafe`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, tools: Tools) -> None:
        self._loop = loop
        self._tools = tools
        self._delivery = tools.delivery
        self._stepper = Stepper(loop)
        self._running: dict[Key, Attempt] = {}
        self._from_threads: deque[tuple[Attempt, Any, BaseException | None]] = deque()
        self._collecting = False
        self._lease_watch: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()
        self.inline_bytes_max = 65536
        self.closing = False

    def accept(self, assignments: Iterable[agent_pb2.Assignment]) -> None:
        """Begin these. Those that finish at once are recorded and on their way when this returns."""
        with self._stepper.stepping():
            for assignment in assignments:
                self._accept_one(assignment)
        self._delivery.flush()

    def cancel(self, keys: Iterable[agent_pb2.AttemptKey], reason: str) -> None:
        """Ask attempts to stop. One that is already over has reported what really happened."""
        for key in keys:
            if later := self._delivery.fences.later_than(key):
                self._refuse(key, later, f"{key.run}/{key.task}/{key.attempt}", "stop", retryable=False)
                continue
            attempt = self._running.get(key_of(key))
            if attempt is not None:
                attempt.stop(causes.CANCEL, reason)

    def cancel_all(self, reason: str) -> None:
        """The agent stops: ask everything to stop."""
        for attempt in list(self._running.values()):
            attempt.stop(causes.CLOSING, reason)

    async def idle(self) -> None:
        """Returns when nothing runs."""
        while self._running:
            self._changed.clear()
            await self._changed.wait()

    def close(self) -> None:
        """No more work. What still runs in threads is left to them."""
        self._stepper.close()
        self._tools.threads.close()
        if self._lease_watch is not None:
            self._lease_watch.cancel()

    def holding(self) -> list[agent_pb2.AttemptKey]:
        """Every attempt in the agent's hands: running, or done and not acknowledged."""
        return [attempt.assignment.key for attempt in self._running.values()] + self._delivery.unacknowledged()

    def in_hand(self) -> list[agent_pb2.Assignment]:
        """What runs."""
        return [attempt.assignment for attempt in self._running.values()]

    def now_s(self) -> float:
        """The agent's clock. Any thread may look at it."""
        return self._tools.lease.now_s()

    def settled(self, attempt: Attempt, value: Any, error: BaseException | None) -> None:
        """The function of an attempt ended; called in the loop."""
        if self._running.pop(attempt.key, None) is not None:
            self._changed.set()
        attempt.forget_timers()
        if attempt.context is not None:
            self._tools.outbox.forget_progress(attempt.key)
        if attempt.stop_cause == causes.CLOSING and isinstance(error, asyncio.CancelledError | TaskCancelled):
            return  # The goodbye says that it was not done; what its effect allows is for the site to decide.
        if error is not None:
            self._delivery.finish(attempt.key, _logged(attempt, error), durable=attempt.durable)
            return
        try:
            output = attempt.output(value)
        except Exception as problem:  # noqa: BLE001 - objects of a capability may raise anything while they are read.
            self._delivery.finish(attempt.key, attempt.not_json(problem), durable=attempt.durable)
            return
        if len(output) <= self.inline_bytes_max:
            result = agent_pb2.TaskResult(key=attempt.assignment.key, output=output)
            self._delivery.finish(attempt.key, result, durable=attempt.durable)
        else:
            self._delivery.finish_large(attempt.key, attempt.assignment.key, output, durable=attempt.durable)

    def _accept_one(self, assignment: agent_pb2.Assignment) -> None:
        key = key_of(assignment.key)
        if self._delivery.known(key):
            self._delivery.send_again(key)  # What was done is a fact, whoever asks for it.
            return
        if self._delivery.fences.highest and (later := self._delivery.fences.later_than(assignment.key)):
            self._refuse(assignment.key, later, correlation_id_of(assignment), "begin", retryable=True)
            return
        if key in self._running:
            return
        if self._delivery.count >= UNACKNOWLEDGED_MAX:
            raise SessionLost(f"the gateway sends work and acknowledges none of {UNACKNOWLEDGED_MAX} results")
        capability = self._tools.capabilities.get(assignment.capability)
        if capability is None:
            offered = ", ".join(sorted(self._tools.capabilities)) or "none"
            text = f"agent {self._tools.agent!r} has no capability {assignment.capability!r}; it has {offered}"
            self._decline(assignment, "unknown_capability", text, retryable=False)
        elif reason := self._why_not_now(assignment):
            self._decline(assignment, "not_started", f"agent {self._tools.agent!r} {reason}", retryable=True)
        else:
            self._begin(Attempt(self, key, assignment, capability), assignment.parameters)

    def _why_not_now(self, assignment: agent_pb2.Assignment) -> str:
        """Why this cannot begin at the moment, although it may later or elsewhere; empty when it can."""
        if self.closing:
            return "is stopping"
        if len(self._running) >= 2 * self._tools.capacity:
            # The capacity was agreed; as much again may be work that the gateway gave up on and that still runs.
            return f"has {len(self._running)} tasks running, and a capacity of {self._tools.capacity}"
        effect = assignment.effect
        if effect == agent_pb2.EFFECT_REPEATABLE:
            return ""
        if not self._delivery.durable_possible:
            return "cannot write its journal; its log says why"
        if effect == agent_pb2.EFFECT_PHYSICAL and self._tools.lease.stopped:
            return "has a lease that is running out"
        return ""

    def _refuse(self, key: agent_pb2.AttemptKey, later: int, name: str, what: str, *, retryable: bool) -> None:
        """An order of a home that the run has left. It is not obeyed, and whoever gave it is told by what it was overtaken."""
        ordered = f"ordered by its home of epoch {home_of(key.epoch)}, and this agent has had orders of the home of epoch {later}"
        message = f"agent {self._tools.agent!r} does not {what} it: {ordered}"
        log.warning("%s: %s", name, message)
        result = failed(key, "not_started", message, retryable=retryable, correlation_id=name)
        result.failure.superseded_by = later
        self._delivery.refuse(result)

    def _decline(self, assignment: agent_pb2.Assignment, code: str, message: str, *, retryable: bool) -> None:
        # It is on disk like a result, because the gateway may ask again: the answer must not change to "done".
        durable = assignment.effect != agent_pb2.EFFECT_REPEATABLE
        named = correlation_id_of(assignment)
        log.info("%s: declined (%s): %s", named, code, message)
        result = failed(assignment.key, code, message, retryable=retryable, correlation_id=named)
        self._delivery.finish(key_of(assignment.key), result, durable=durable)

    def _begin(self, attempt: Attempt, raw: bytes) -> None:
        capability = attempt.capability
        try:
            parameters = decode(raw) if raw else {}
        except ValueError as error:
            self._invalid(attempt, f"capability {capability.name!r}: the parameters are not JSON: {error}")
            return
        if not isinstance(parameters, dict):
            self._invalid(attempt, f"capability {capability.name!r}: the parameters are not a JSON object")
        elif problem := capability.problem(parameters):
            self._invalid(attempt, problem)
        elif SECRET_MARK in raw and (problem := self._reveal(attempt, parameters)):
            self._delivery.finish(
                attempt.key, attempt.failure("secret_unavailable", problem, retryable=False), durable=attempt.durable
            )
        elif REFERENCE_MARK in raw:
            self._fetch_then_call(attempt, parameters)
        else:
            self._call(attempt, parameters)

    def _invalid(self, attempt: Attempt, message: str) -> None:
        result = attempt.failure("validation", message, retryable=False)
        self._delivery.finish(attempt.key, result, durable=attempt.durable)

    def _reveal(self, attempt: Attempt, parameters: dict[str, Any]) -> str:
        """Replace references to secrets in place; why that cannot be. Before blobs are fetched: what is in a blob is data."""
        try:
            revealed, attempt.used_secrets = self._tools.secrets.resolve(parameters)
        except SecretUnavailable as error:
            return str(error)
        parameters.update(revealed)
        return ""

    def _fetch_then_call(self, attempt: Attempt, parameters: dict[str, Any]) -> None:
        def fetched(value: Any, error: BaseException | None) -> None:
            attempt.task = None
            if isinstance(error, ValueError):
                self._abandon(attempt, attempt.failure("validation", f"a blob is not JSON: {error}", retryable=False))
            elif isinstance(error, BlobUnavailable):
                # The function was not called: while the blob is away the site gives the task out again, as if nothing had been.
                code = "blob_away" if error.away else "blob_unavailable"
                self._abandon(attempt, attempt.failure(code, str(error), retryable=not error.permanent))
            elif error is not None or attempt.stop_cause:
                attempt.settle(None, error or asyncio.CancelledError())
            else:
                with self._stepper.stepping():
                    self._call(attempt, value)

        self._keep(attempt)
        attempt.task = self._stepper.start(self._tools.blobs.fetch_values(parameters), fetched)

    def _call(self, attempt: Attempt, parameters: dict[str, Any]) -> None:
        capability = attempt.capability
        if capability.context:
            parameters[capability.context] = attempt.context = self._context_of(attempt)
        match capability.runs:
            case Runs.LOOP:
                attempt.begin()
                attempt.task = self._stepper.start(capability.function(**parameters), attempt.settle)
                if attempt.task is not None:
                    self._keep(attempt)
            case Runs.INLINE:
                attempt.settle(*_outcome(partial(capability.function, **parameters)))
            case Runs.THREAD:
                attempt.queued.append(None)
                self._keep(attempt)
                call = partial(contextvars.copy_context().run, attempt.capability.function, **parameters)
                self._tools.threads.submit(partial(self._run_in_thread, attempt, call))

    def _run_in_thread(self, attempt: Attempt, call: "partial[Any]") -> None:
        try:
            attempt.queued.pop()
        except IndexError:
            return  # It was stopped before a thread was free, and has been settled.
        attempt.begin()
        self._from_threads.append((attempt, *_outcome(call)))
        if not self._collecting:
            self._collecting = True
            try:
                self._loop.call_soon_threadsafe(self._collect)
            except RuntimeError:
                log.warning("%s: ended after its agent had stopped; its result is lost", attempt.correlation_id)

    def _collect(self) -> None:
        # The mark goes first: a thread that still sees it has put its outcome where the loop below finds it.
        self._collecting = False
        while self._from_threads:
            attempt, value, error = self._from_threads.popleft()
            attempt.settle(value, error)
        self._delivery.flush()

    def _keep(self, attempt: Attempt) -> None:
        """It goes on beyond this turn of the loop: from now on it is watched."""
        if attempt.key in self._running:
            return
        self._running[attempt.key] = attempt
        if attempt.assignment.timeout_ms:
            attempt.timer = self._loop.call_later(attempt.assignment.timeout_ms / 1000, self._time_out, attempt)
        if attempt.assignment.heartbeat_ms:
            self._watch_heartbeat(attempt, attempt.assignment.heartbeat_ms / 1000)
        if attempt.physical and self._lease_watch is None:
            self._watch_lease()

    def _abandon(self, attempt: Attempt, result: agent_pb2.TaskResult) -> None:
        """It ended before its function was called."""
        if self._running.pop(attempt.key, None) is not None:
            self._changed.set()
        attempt.forget_timers()
        self._delivery.finish(attempt.key, result, durable=attempt.durable)

    def _time_out(self, attempt: Attempt) -> None:
        text = f"its timeout of {attempt.assignment.timeout_ms} ms is over"
        if attempt.capability.runs is Runs.THREAD:
            log.warning("%s: %s; its thread is taken until it looks at task.cancelled", attempt.correlation_id, text)
        attempt.stop(causes.TIMEOUT, text)

    def _watch_heartbeat(self, attempt: Attempt, wait_s: float) -> None:
        due_s = self._loop.time() + wait_s
        attempt.watch = self._loop.call_at(due_s, self._check_heartbeat, attempt, due_s)

    def _check_heartbeat(self, attempt: Attempt, due_s: float) -> None:
        """Look again when it would have been silent for too long; a sign of life moves that on."""
        allowed_s = attempt.assignment.heartbeat_ms / 1000
        if not attempt.is_begun:
            # It waits for a thread, or for a blob: the gateway is told for it that nobody is stuck.
            self._report(attempt.key, agent_pb2.Progress(key=attempt.assignment.key, beat=True))
            self._watch_heartbeat(attempt, allowed_s)
            return
        left_s = attempt.heard_s + allowed_s - self.now_s()
        if left_s > 0:
            self._watch_heartbeat(attempt, max(0.001, left_s))
            return
        if (late_s := self._loop.time() - due_s) > LATE_S:
            # The loop was blocked, by whomever: those who work in it could not speak, and get as long to do so.
            self._watch_heartbeat(attempt, min(late_s, allowed_s))
            return
        text = f"it gave no sign of life for {attempt.assignment.heartbeat_ms} ms"
        log.warning("%s: stopped, %s", attempt.correlation_id, text)
        attempt.stop(causes.HEARTBEAT, text)

    def _watch_lease(self) -> None:
        """Look again when the lease would have run out; a renewal moves that on."""
        self._lease_watch = None
        physical = [attempt for attempt in self._running.values() if attempt.physical]
        if self._tools.lease.stopped:
            for attempt in physical:
                log.warning("%s: stopped, the lease runs out", attempt.correlation_id)
                attempt.stop(causes.LEASE, "the lease runs out")
        elif physical:
            wait_s = max(0.001, self._tools.lease.stop_in_s())
            self._lease_watch = self._loop.call_later(wait_s, self._watch_lease)

    def _context_of(self, attempt: Attempt) -> TaskContext:
        def report(fraction: float | None, note: str) -> None:
            attempt.heard_s = self.now_s()
            progress = agent_pb2.Progress(key=attempt.assignment.key)
            if fraction is None:
                progress.beat = True
            else:
                note = redact(note, attempt.used_secrets) if attempt.used_secrets else note
                progress.fraction, progress.note = fraction, readable(note)
            self._loop.call_soon_threadsafe(self._report, attempt.key, progress)

        context = TaskContext(self._tools.agent, attempt.assignment, self._tools.lease, report)
        who = self._tools.documents, self._tools.agent, self._loop, context.idempotency_key, context.run
        context.documents, context.sync_points = Documents(*who), SyncPoints(*who)
        return context

    def _report(self, key: Key, progress: agent_pb2.Progress) -> None:
        if key in self._running:
            self._tools.outbox.add_progress(key, progress)


def _logged(attempt: Attempt, error: BaseException) -> agent_pb2.TaskResult:
    """The result of an attempt that raised, told to the log too. A traceback could hold a secret, so then there is none."""
    result = attempt.unfinished(error)
    if result.HasField("failure"):
        expected = bool(attempt.used_secrets) or isinstance(error, TaskError | TaskCancelled | asyncio.CancelledError)
        text = result.failure.code, result.failure.message
        log.info("%s: failed (%s): %s", attempt.correlation_id, *text, exc_info=None if expected else error)
    return result


def _outcome(call: "partial[Any]") -> tuple[Any, BaseException | None]:
    try:
        return call(), None
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - whatever a capability raises is its outcome, sys.exit too.
        return None, error


SECRET_MARK = PREFIX.encode()
REFERENCE_MARK = f'"{REFERENCE}"'.encode()
