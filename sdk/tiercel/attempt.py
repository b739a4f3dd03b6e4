"""One assignment in hand, and the result that its end is."""

import asyncio
from typing import TYPE_CHECKING, Any

from tiercel.capability import Capability
from tiercel.context import TaskContext, correlation_id_of
from tiercel.encoding import Key, encode
from tiercel.errors import Superseded, TaskCancelled, TaskError
from tiercel.secrets import redact
from tiercel.v1 import agent_pb2

if TYPE_CHECKING:
    from tiercel.work import Work

TEXT_CHARACTERS_MAX = 4000

CANCEL, TIMEOUT, LEASE, HEARTBEAT, CLOSING = "cancel", "timeout", "lease_expired", "heartbeat", "agent_stopped"
"""Why an attempt was asked to stop. Those in the middle are also the codes of its failure."""


class Attempt:
    """What the agent knows of an assignment between its arrival and its result."""

    __slots__ = (
        "_work",
        "assignment",
        "capability",
        "context",
        "durable",
        "heard_s",
        "is_begun",
        "key",
        "physical",
        "queued",
        "stop_cause",
        "task",
        "timer",
        "used_secrets",
        "watch",
    )

    def __init__(self, work: "Work", key: Key, assignment: agent_pb2.Assignment, capability: Capability) -> None:
        self._work = work
        self.key = key
        self.assignment = assignment
        self.capability = capability
        self.context: TaskContext | None = None
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.watch: asyncio.TimerHandle | None = None  # Of a task with a heartbeat.
        self.heard_s = 0.0  # When the function last gave a sign of life; it may be set from its thread.
        self.is_begun = False  # Until the function is called nobody expects a sign of it.
        effect = assignment.effect
        # A durable result must be on disk before it is sent: the effect must not be repeated.
        self.durable = effect != agent_pb2.EFFECT_REPEATABLE
        self.physical = effect == agent_pb2.EFFECT_PHYSICAL
        self.stop_cause = ""
        # Holds one mark while it waits for a thread. Whoever takes the mark decides: the thread to run it, or `stop`
        # to end it.
        self.queued: list[None] = []
        self.used_secrets: dict[str, str] = {}

    @property
    def correlation_id(self) -> str:
        """What this attempt is called in logs and histories: run/task/attempt."""
        return correlation_id_of(self.assignment)

    def begin(self) -> None:
        """The function is about to be called, perhaps in a thread."""
        self.heard_s, self.is_begun = self._work.now_s(), True

    def forget_timers(self) -> None:
        """It is over."""
        for timer in (self.timer, self.watch):
            if timer is not None:
                timer.cancel()

    def stop(self, cause: str, reason: str) -> None:
        """Ask it to stop; the first cause stands. It ends when the function ends, and not before."""
        if self.stop_cause:
            return
        self.stop_cause = cause
        if self.context is not None:
            self.context.cancel(reason)
        if self.task is not None:
            self.task.cancel()
        if self.queued:
            try:
                self.queued.pop()
            except IndexError:
                return  # A thread was quicker.
            self.settle(None, TaskCancelled(reason))

    def settle(self, value: Any, error: BaseException | None) -> None:
        """The function ended; called in the loop."""
        self._work.settled(self, value, error)

    def output(self, value: Any) -> bytes:
        """What the function returned, as JSON, without the secrets it was given. Raises when it is none."""
        return encode(redact(value, self.used_secrets) if self.used_secrets else value)

    def not_json(self, problem: Exception) -> agent_pb2.TaskResult:
        """The result when the output cannot be sent."""
        text = f"capability {self.capability.name!r} returned what JSON cannot hold: {problem}"
        return self.failure("output_not_json", text, retryable=False)

    def unfinished(self, error: BaseException) -> agent_pb2.TaskResult:
        """The result when the function raised."""
        match error:
            case asyncio.CancelledError() | TaskCancelled():
                return self._stopped()
            case TaskError():
                return self._said(error)
            case _:
                text = f"capability {self.capability.name!r} raised {type(error).__name__}: {error}"
                return self.failure(type(error).__name__, text, retryable=True)

    def failure(self, code: str, message: str, *, retryable: bool) -> agent_pb2.TaskResult:
        """The result when it failed without saying more."""
        if self.used_secrets:
            message = redact(message, self.used_secrets)
        return failed(self.assignment.key, code, message, retryable=retryable, correlation_id=self.correlation_id)

    def _said(self, error: TaskError) -> agent_pb2.TaskResult:
        """The result when the capability said itself what its failure means."""
        result = self.failure(error.code, str(error), retryable=error.retryable)
        result.failure.recoverable, result.failure.retry_after_ms = error.recoverable, error.retry_after_ms
        if isinstance(error, Superseded):
            result.failure.superseded_by = error.by
        return result

    def _stopped(self) -> agent_pb2.TaskResult:
        cause = self.stop_cause
        if not cause and self.context is not None and self.context.cancelled:
            cause = LEASE  # The context noticed before the loop did.
        if cause == CANCEL:
            return agent_pb2.TaskResult(key=self.assignment.key, cancelled=True)
        name = self.capability.name
        # What was stopped halfway may have had half its effect: only what may be repeated is called retryable.
        retryable = not self.durable
        match cause:
            case "timeout":
                text = f"capability {name!r} was stopped after its timeout of {self.assignment.timeout_ms} ms"
            case "heartbeat":
                silent_ms = self.assignment.heartbeat_ms
                text = f"capability {name!r} was stopped: no task.progress() or task.heartbeat() for {silent_ms} ms"
            case "lease_expired":
                text = f"capability {name!r} was stopped because the agent's lease was running out"
            case _:
                cause, text = "cancelled_itself", f"capability {name!r} cancelled itself without being asked"
        return self.failure(cause, text, retryable=retryable)


def failed(
    key: agent_pb2.AttemptKey, code: str, message: str, *, retryable: bool, correlation_id: str = ""
) -> agent_pb2.TaskResult:
    """A failure as the wire has it."""
    failure = agent_pb2.TaskFailure(
        code=readable(code),
        message=readable(message),
        retryable=retryable,
        recoverable=retryable,
        correlation_id=correlation_id,
    )
    return agent_pb2.TaskResult(key=key, failure=failure)


def readable(text: str) -> str:
    """Text that the wire takes: not too long, and without the halves of characters that file names may hold."""
    return text[:TEXT_CHARACTERS_MAX].encode(errors="replace").decode()
