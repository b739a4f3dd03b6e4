"""Attempts that agents may still be done with though the site has written them off: lost, called off, or done by others.

Only of these can an outcome come that nobody takes and that is no repetition, so what is not among them needs no look. All of it
follows from the events of the site, now and at a restart. What may be repeated is not noted: nothing is lost by it.
"""

from typing import NamedTuple

import msgspec

from workflow.commands import STOPPED_HALFWAY
from workflow.event import Event
from workflow.events import FragmentEnded, TaskCancelled, TaskCompleted, TaskFailed, TaskLost
from workflow.extras import NOBODY, Attempt
from workflow.fragment import Fragment
from workflow.steering_events import TaskValidating
from workflow.tasks import Effect

ATTEMPTS_MAX = 10_000
WRITTEN_OFF = (*STOPPED_HALFWAY, "lost")
"""Failures that the site has decided and not the agent."""


class Gone(NamedTuple):
    """Who had it, and what the task is called."""

    agent: str
    name: str


class OfRun(msgspec.Struct, array_like=True):
    """Those of one run, by `task/attempt`; `outcome` is that of the run here, once it has ended."""

    attempts: dict[str, Gone] = {}
    outcome: str = ""


class Withdrawn:
    """At most `ATTEMPTS_MAX`; beyond them those of the oldest run are `forgotten`, and counted."""

    def __init__(self) -> None:
        self.runs: dict[str, OfRun] = {}
        self.count = self.forgotten = 0

    def note(self, fragment: Fragment, task: int, held: Attempt, events: list[Event]) -> None:
        """The attempt is in nobody's hands any more since these events; it counts if its agent has not said so itself."""
        if held is NOBODY or fragment.task(task).effect is Effect.REPEATABLE:
            return
        if any(is_told_by(event, task, held.number, held.agent) for event in events):
            return
        of_run = self.runs.setdefault(fragment.run, OfRun())
        self.count += _key(task, held.number) not in of_run.attempts
        of_run.attempts[_key(task, held.number)] = Gone(held.agent, fragment.id_of(task))
        while self.count > ATTEMPTS_MAX:
            oldest = self.runs.pop(next(iter(self.runs)))
            self.count -= len(oldest.attempts)
            self.forgotten += len(oldest.attempts)

    def follow(self, run: str, events: list[Event]) -> None:
        """What its agents say of them after all is no surprise any more; and the run may have ended."""
        if (of_run := self.runs.get(run)) is None:
            return
        for event in events:
            if isinstance(event, FragmentEnded):
                of_run.outcome = event.outcome
                continue
            number = getattr(event, "attempt", 0)
            key = _key(getattr(event, "task", -1), number)
            gone = of_run.attempts.get(key)
            if gone is not None and is_told_by(event, event.task, number, gone.agent):  # type: ignore[attr-defined]
                self._forget(run, key)

    def fold(self, fragment: Fragment, event: Event) -> None:
        """The same of an event of the log, which has just been folded."""
        for task, held in fragment.freed or ():
            self.note(fragment, task, held, [event])
        fragment.freed = None
        self.follow(fragment.run, [event])

    def find(self, run: str, task: int, attempt: int, agent: str) -> Gone | None:
        """The attempt, if it is one of these."""
        of_run = self.runs.get(run)
        gone = of_run.attempts.get(_key(task, attempt)) if of_run is not None else None
        return gone if gone is not None and gone.agent == agent else None

    def recorded(self, run: str, ref: str) -> None:
        """That the attempt of this ref was done is on record."""
        of_run = self.runs.get(run)
        for key in list(of_run.attempts) if of_run is not None else ():
            if f"{run}/{key}" == ref:
                self._forget(run, key)

    def _forget(self, run: str, key: str) -> None:
        of_run = self.runs[run]
        del of_run.attempts[key]
        self.count -= 1
        if not of_run.attempts:
            del self.runs[run]

    def save(self) -> bytes:
        """All of them, empty if there are none."""
        return msgspec.msgpack.encode((self.runs, self.forgotten)) if self.runs or self.forgotten else b""

    def restore(self, body: bytes) -> None:
        """Begin from what `save` wrote."""
        self.runs, self.forgotten = _SAVED.decode(body)
        self.count = sum(len(of_run.attempts) for of_run in self.runs.values())


def is_told_by(event: Event, task: int, attempt: int, agent: str) -> bool:
    """Is this the agent's own word on how its attempt ended?"""
    match event:
        case TaskCompleted() | TaskValidating():
            return (event.task, event.attempt, event.agent) == (task, attempt, agent)
        case TaskFailed():
            return (event.task, event.attempt, event.agent) == (task, attempt, agent) and event.code not in WRITTEN_OFF
        case TaskCancelled():
            return (event.task, event.attempt) == (task, attempt)
        case TaskLost():
            return (event.task, event.attempt, event.begun) == (task, attempt, False)
        case _:
            return False


def _key(task: int, attempt: int) -> str:
    return f"{task}/{attempt}"


_SAVED = msgspec.msgpack.Decoder(tuple[dict[str, OfRun], int])
