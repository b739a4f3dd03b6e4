"""What falls due at a site: deadlines of attempts, waits that are over, runs and tasks that took too long."""

from dataclasses import dataclass

from edge.dispatch import Dispatch
from edge.home import Home, deadline_of
from sync.inputs import Due
from sync.outputs import ClearTimer, SetTimer
from sync.values import Now
from workflow.commands import Elapse, Expire, Fail, Lose
from workflow.fragment import Fragment
from workflow.states import WAITING
from workflow.tasks import Effect, Kind

SPANS = ("deadline", "run", "start", "sync", "mandate")


@dataclass(slots=True)
class Deadlines:
    """Timers of runs; a timer stays until what came of it is recorded."""

    home: Home
    dispatch: Dispatch

    def is_span(self, run: str, key: str) -> bool:
        """What a schedule says, what a task waits `until`, and when people are to have answered are moments of the calendar."""
        kind, _, number = key.partition("/")
        if kind != "due" or not run:
            return kind in SPANS
        fragment, task = self.home.fragments.look(run), int(number)
        if fragment is None or task >= len(fragment.states):
            return True
        plan = fragment.task(task)
        return plan.kind is not Kind.APPROVAL and plan.until is None

    def of_begun(self, begun_ms: dict[tuple[str, int], int], now: Now) -> list[SetTimer]:
        """The deadlines of what was begun since the last snapshots (task -1: the run). The log's timers hold them, unless the
        events were lost and fetched back. A stamp may run ahead of the clock; a deadline never counts from later than now."""
        timers: list[SetTimer] = []
        for (run, task), begun in begun_ms.items():
            if (fragment := self.home.fragments.look(run)) is None:
                continue
            if task < 0 and fragment.plan.timeout_ms:
                timers.append(SetTimer(run, "run", min(begun, now.wall_ms) + fragment.plan.timeout_ms))
            elif task in fragment.live and fragment.task(task).timeout_ms:
                timers.append(deadline_of(fragment, task, min(begun, now.wall_ms)))
        begun_ms.clear()
        return timers

    def elapse(self, input: Due, now: Now, out: list[object]) -> None:
        """A timer of a run has fallen due."""
        fragment = self.home.fragments.get(input.run)
        if fragment is None:
            out.append(ClearTimer(*input[:2]))
            return
        kind, _, number = input.key.partition("/")
        task = int(number or -1)
        if kind != "deadline" and self.home.gate.defers(fragment, input, now):
            return
        if kind == "deadline":
            self._overdue(fragment, task, now, out)
        elif kind == "due" and task < len(fragment.states) and fragment.states[task] == WAITING:
            self._waited(fragment, task, now, out)
        else:
            out.append(ClearTimer(*input[:2]))  # Of an old copy of the log it may be long over.
            if kind in ("start", "run"):
                self.home.decide(fragment, Expire(task), now, out)

    def _waited(self, fragment: Fragment, task: int, now: Now, out: list[object]) -> None:
        if fragment.task(task).kind is Kind.WORK:
            self.dispatch.queue(fragment, task, now, out)
        else:
            out.append(ClearTimer(fragment.run, f"due/{task}"))
            self.home.decide(fragment, Elapse(task), now, out)

    def _overdue(self, fragment: Fragment, task: int, now: Now, out: list[object]) -> None:
        """The agent has not ended the attempt by its deadline and some grace: stop believing that it will."""
        attempt = fragment.live.get(task)
        if attempt is None:
            out.append(ClearTimer(fragment.run, f"deadline/{task}"))
            return
        said = "timeout", f"no outcome from {attempt.agent} by the deadline", "deadline passed"
        self.give_up(fragment, task, *said, now, out)

    def give_up(self, fragment: Fragment, task: int, code: str, message: str, reason: str, now: Now, out: list[object]) -> None:
        """The agent is told to stop. What may be repeated has failed; of anything else nobody knows what it had done by then."""
        attempt = fragment.live[task]
        self.home.stop(attempt.agent, [self.home.key(fragment, task, attempt)], reason, out)
        if fragment.task(task).effect is Effect.REPEATABLE:
            self.home.leases.lose(fragment, task, attempt, now, out)  # The agent has not said that it has stopped.
            self.home.decide(fragment, Fail(task, attempt.number, attempt.agent, code, message, True), now, out)
        else:
            self.home.decide(fragment, Lose(task, attempt.number, False, reason), now, out)
