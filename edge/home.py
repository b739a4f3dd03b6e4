"""The fragments whose home is this site: deciding, folding, and what follows from it."""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

import msgspec

from edge.health import judge
from edge.inputs import AttemptKey, StopTasks
from edge.roster import Roster
from sync.outputs import Append, ClearTimer, Save, SetTimer
from sync.values import Now, SiteId, StreamId
from workflow.commands import Cancel, CancelDone, Complete, Fail, FragmentCommand
from workflow.events import Blob, TaskDelayed, TaskFailed
from workflow.expression import LargeOutput
from workflow.fragment import Attempt, Fragment
from workflow.plan import Plan

DEADLINE_GRACE_MS = 5_000


class Chance(Protocol):
    """A seeded generator: jitter is an argument too."""

    def random(self) -> float: ...


@dataclass(slots=True)
class Home:
    """All living fragments of the site. `woken` are those with tasks that became ready, `changed` those not saved since."""

    site: SiteId
    stream: StreamId
    chance: Chance
    roster: Roster
    fragments: dict[str, Fragment] = field(default_factory=dict)
    plans: dict[str, Plan] = field(default_factory=dict)
    changed: dict[str, None] = field(default_factory=dict)
    woken: list[Fragment] = field(default_factory=list)

    def decide(self, fragment: Fragment, command: FragmentCommand, now: Now, out: list[object]) -> bool:
        """Decide, fold, and see what follows; False if nothing came of it."""
        if type(command) is Complete:
            return self._complete(fragment, command, now, out)
        task = getattr(command, "task", -1)
        before = fragment.live.get(task)
        waiting = list(fragment.due) if fragment.due and type(command) in (Cancel, CancelDone, Fail) else ()
        events = fragment.decide(command, now, self.chance.random() if type(command) is Fail else 0.0)
        for event in events:
            out.append(Append(self.stream, fragment.run, fragment.epoch, event))
            fragment.evolve(event)
            if type(event) is TaskFailed and event.retry_at_ms:
                out.append(SetTimer(fragment.run, f"retry/{event.task}", event.retry_at_ms))
            elif type(event) is TaskDelayed:
                out.append(SetTimer(fragment.run, _timer_key(fragment, event.task), event.due_ms))
        over = [waiter for waiter in waiting if waiter not in (fragment.due or ())]
        out.extend(ClearTimer(fragment.run, _timer_key(fragment, waiter)) for waiter in over)
        if before is not None and task not in fragment.live:
            self._free(fragment, task, before, command, now, out)
        if events:
            self.after(fragment, out)
        return bool(events)

    def _complete(self, fragment: Fragment, command: Complete, now: Now, out: list[object]) -> bool:
        """The path of nearly every result: one event, nothing to wait for."""
        held = fragment.live.get(command.task)
        waited = fragment.due is not None and command.task in fragment.due
        events = fragment.decide(command, now)
        for event in events:
            out.append(Append(self.stream, fragment.run, fragment.epoch, event))
            fragment.evolve(event)
            if held is not None:
                self._free(fragment, command.task, held, command, now, out)
            elif waited:
                out.append(ClearTimer(fragment.run, _timer_key(fragment, command.task)))
            self.after(fragment, out)
        return bool(events)

    def _free(self, fragment: Fragment, task: int, held: Attempt, command: FragmentCommand, now: Now, out: list[object]) -> None:
        self.roster.drop(held.agent, fragment.run, task, judge(command, fragment.run, held), now)
        if fragment.plan.tasks[task].timeout_ms:
            out.append(ClearTimer(fragment.run, f"deadline/{task}"))
        if getattr(command, "agent", held.agent) != held.agent:
            key = self.key(fragment, task, held)
            self.stop(held.agent, [key], "done by an earlier attempt", out)

    def after(self, fragment: Fragment, out: list[object]) -> None:
        """Note what the fragment's last events woke, and its end."""
        self.changed[fragment.run] = None
        if fragment.woken:
            self.woken.append(fragment)
        if fragment.open and not fragment.stopping:
            return
        # Nothing can be due any more: whatever waited was cancelled, and its timers with it.
        for event in fragment.decide_ending():
            out.append(Append(self.stream, fragment.run, fragment.epoch, event))
            fragment.evolve(event)
            del self.fragments[fragment.run]
            out.append(Save(fragment.run, True, fragment.outcome, fragment.save()))

    def stop(self, agent: str, keys: list[AttemptKey], reason: str, out: list[object]) -> None:
        slot = self.roster.slots.get(agent)
        if slot is not None and slot.session:
            out.append(StopTasks(slot.session, agent, keys, reason))

    def key(self, fragment: Fragment, task: int, attempt: Attempt) -> AttemptKey:
        return AttemptKey(fragment.run, task, attempt.number, attempt_epoch(fragment.epoch, attempt.number))


def attempt_epoch(fragment_epoch: int, attempt: int) -> int:
    """The fencing token of an attempt: grows with every attempt, and with every new home of the fragment."""
    return (fragment_epoch << 20) | attempt


def deadline_of(fragment: Fragment, task: int, begun_ms: int) -> SetTimer:
    """When an attempt that was given out, or taken up again, at `begun_ms` (UTC) has had its time and some grace."""
    due_ms = begun_ms + fragment.plan.tasks[task].timeout_ms + DEADLINE_GRACE_MS
    return SetTimer(fragment.run, f"deadline/{task}", due_ms)


def timers_of(fragment: Fragment) -> list[SetTimer]:
    """The timers of a fragment's waiting tasks: kept in the log, but not by a peer that a lost stream was fetched back from."""
    return [SetTimer(fragment.run, _timer_key(fragment, task), due_ms) for task, due_ms in (fragment.due or {}).items()]


def _timer_key(fragment: Fragment, task: int) -> str:
    return _task_key("wait" if fragment.plan.tasks[task].wait_ms else "retry", task)


@lru_cache(maxsize=4_096)
def _task_key(kind: str, task: int) -> str:
    """One string for the timers of all runs that wait in the same place."""
    return f"{kind}/{task}"


def value_of(output: bytes | Blob) -> object:
    """An output as expressions see it: decoded JSON, or a reference that the agent resolves at use."""
    if isinstance(output, Blob):
        return LargeOutput({"$blob": {"sha256": output.sha256.hex(), "size": output.size}})
    return msgspec.json.decode(output)
