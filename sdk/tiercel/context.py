"""What a capability may know about the task it is doing."""

import logging
import threading
from collections.abc import Callable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

from tiercel.encoding import decode
from tiercel.errors import TaskCancelled
from tiercel.fences import home_of
from tiercel.secrets import PREFIX
from tiercel.v1 import agent_pb2

if TYPE_CHECKING:
    from tiercel.documents import Documents
    from tiercel.lease import Lease
    from tiercel.sync_points import Met, SyncPoints

Report = Callable[[float | None, str], None]
"""A fraction and a note; without a fraction a sign of life alone."""

log = logging.getLogger("tiercel.task")


def correlation_id_of(assignment: agent_pb2.Assignment) -> str:
    """What one attempt is called in logs and histories."""
    return f"{assignment.key.run}/{assignment.task_name}/{assignment.key.attempt}"


class _Correlated(logging.LoggerAdapter):  # type: ignore[type-arg] # It is generic for the type checker alone.
    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        extra = self.extra or {}
        kwargs["extra"] = {**extra, **(kwargs.get("extra") or {})}
        return f"{extra['correlation_id']}: {msg}", kwargs


class TaskContext:
    """One attempt at one task. Declare a parameter of this type and the agent passes it. Any thread may use it."""

    __slots__ = ("_assignment", "_lease", "_reason", "_report", "_stop", "agent", "documents", "sync_points")

    def __init__(self, agent: str, assignment: agent_pb2.Assignment, lease: "Lease", report: Report) -> None:
        self.agent = agent
        self._assignment = assignment
        self._lease = lease
        self._report = report
        self._stop = threading.Event()
        self._reason = ""
        self.documents: Documents
        """The documents of the site; set by the agent. Edits are named by the task, so an attempt that does it again does not
        edit again."""
        self.sync_points: SyncPoints
        """The sync points of the run, and of others at the site; set by the agent."""

    @property
    def run(self) -> str:
        """The id of the workflow run."""
        return self._assignment.key.run

    @property
    def task(self) -> str:
        """The task's name in the workflow definition."""
        return self._assignment.task_name

    @property
    def attempt(self) -> int:
        """Which attempt this is, from 1."""
        return self._assignment.key.attempt

    @property
    def epoch(self) -> int:
        """The fencing token of the attempt: hand it to what you act on, so that it can refuse an older attempt at the task."""
        return self._assignment.key.epoch

    @property
    def fence(self) -> int:
        """The fencing token of the run: one for all its tasks while it has one home, and a higher one with the next. Hand it to
        what several tasks act on, and have what is lower than the highest refused: a site orders it that the run has left."""
        return home_of(self._assignment.key.epoch)

    @property
    def leases(self) -> Mapping[str, int]:
        """The epochs under which the site gave its resources to this task, and to the groups around it: by name. Hand it to what
        you act on (`tiercel.FencedResource`), so that it can refuse whoever had it before."""
        return self._assignment.leases

    @property
    def may_act(self) -> bool:
        """Ask before each step that moves something: false when asked to stop, when the lease has run out, and when the machine
        has slept and the site has not confirmed yet that the lease still holds (the next heartbeat does)."""
        return not self.cancelled and self._lease.may_act()

    @property
    def capability(self) -> str:
        return self._assignment.capability

    @property
    def effect(self) -> str:
        """What an unknown outcome of this task allows: "repeatable", "once" or "physical"."""
        return agent_pb2.Effect.Name(self._assignment.effect).removeprefix("EFFECT_").lower()

    def was_secret(self, parameter: str) -> bool:
        """Did the task give this parameter as a reference to a secret of the site, and not as a value of its own?"""
        given = decode(self._assignment.parameters or b"{}").get(parameter)
        return isinstance(given, str) and given.startswith(PREFIX)

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt at this task of this run: write under it, and a repetition changes nothing.

        `run/task`; once somebody has the task done anew (a rollback, a rerun, a person's retry) `run/task#2`, then `#3`.
        """
        again = self._assignment.generation
        return f"{self._assignment.key.run}/{self._assignment.task_name}" + (f"#{again + 1}" if again else "")

    @property
    def correlation_id(self) -> str:
        """Of this attempt, `run/task/attempt`: what the agent's log, the failure and the run's history all call it."""
        return correlation_id_of(self._assignment)

    @property
    def log(self) -> "logging.LoggerAdapter[logging.Logger]":
        """A logger whose lines begin with the correlation id; records have it as `correlation_id` too."""
        return _Correlated(log, {"correlation_id": self.correlation_id})

    @property
    def cancelled(self) -> bool:
        """Stop now. For physical work this turns true on time even if the agent's event loop hangs."""
        return self._stop.is_set() or self._lost_its_lease()

    @property
    def reason(self) -> str:
        """Why it was cancelled."""
        return self._reason or ("the lease ran out" if self._lost_its_lease() else "")

    def wait_cancelled(self, seconds: float) -> bool:
        """Sleep, and wake early when cancelled; whether it is. For functions that run in a thread."""
        if self._assignment.effect == agent_pb2.EFFECT_PHYSICAL:
            seconds = min(seconds, max(0.0, self._lease.stop_in_s()))
        return self._stop.wait(seconds) or self.cancelled

    def raise_if_cancelled(self) -> None:
        """Raises TaskCancelled when the attempt was asked to stop: the end of work that undid what it had begun."""
        if self.cancelled:
            raise TaskCancelled(self.reason)

    def progress(self, fraction: float, note: str = "") -> None:
        """Tell how far it is, from 0 to 1. Call it as often as you like: only the last word of each moment travels.

        It is a sign of life, too. What is no fraction is only that, and the log says so: work does not fail by it.
        """
        if not 0 <= fraction <= 1:  # Of what is not a number neither holds.
            self.log.warning("progress of %r is no fraction: allowed is 0 to 1; it counts as a sign of life only", fraction)
            self.heartbeat()
            return
        self._report(float(fraction), note)

    def heartbeat(self) -> None:
        """Give a sign of life. A task with `heartbeat: 10s` is stopped when it gives none, and no progress, for so long."""
        self._report(None, "")

    @property
    def heartbeat_s(self) -> float:
        """How long the task may be silent, in seconds; 0: as long as it likes."""
        return self._assignment.heartbeat_ms / 1000

    async def sync_point(self, point: str, *, timeout_s: float | None = None) -> "Met":
        """Wait at a sync point of the run until all of its parties are there; see `SyncPoints.arrive`. In functions that run in a
        thread: `wait_sync_point`."""
        return await self.sync_points.arrive(point, timeout_s=timeout_s)

    def wait_sync_point(self, point: str, *, timeout_s: float | None = None) -> "Met":
        """The same in a thread. Raises TaskCancelled when the attempt is asked to stop meanwhile."""
        return self.sync_points.arrive_in_thread(point, timeout_s, self)

    def cancel(self, reason: str) -> None:
        """Ask the work to stop."""
        self._reason = self._reason or reason
        self._stop.set()

    def _lost_its_lease(self) -> bool:
        return self._assignment.effect == agent_pb2.EFFECT_PHYSICAL and self._lease.stopped
