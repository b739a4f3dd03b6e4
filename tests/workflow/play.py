"""A fragment brought to life without a site: ready tasks are given to one agent, whose answers a script gives."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from sync.values import Now, RunId
from tests.workflow.plans import adopted, plan_of
from workflow.attending import is_for_agents, wants_resources
from workflow.commands import Assign, Attend, Block, Cancel, Complete, Elapse, Fail, FragmentCommand, Steer
from workflow.event import Event
from workflow.events import CommandAnswered, FragmentAdopted, TaskAssigned, TaskCompleted, decode, encode
from workflow.expression import ExpressionError
from workflow.fragment import Fragment
from workflow.generations import generation_of
from workflow.looking import scope_of
from workflow.orders import Order
from workflow.plan import Plan
from workflow.resources import Holder, Resources
from workflow.saved import load_saved
from workflow.states import BLOCKED, NAMES, SLEEPING, VOID
from workflow.tasks import Kind

START_MS = 1_800_000_000_000
RUN = RunId("r1")


class Jam(Exception):
    """The script says: this attempt fails, with a code."""

    def __init__(self, code: str = "jam", *, retryable: bool = False) -> None:
        super().__init__(code)
        self.code, self.retryable = code, retryable


class Busy(Exception):
    """The script says: this attempt does not end yet."""


Script = Callable[[str, Any], Any]


def echo(task: str, parameters: Any) -> Any:
    """An agent that gives back what it was given."""
    return parameters


@dataclass
class Play:
    """A fragment and what has happened in it. After every event a twin that folds the same bytes must be in the same state."""

    plan: Plan
    script: Script = echo
    inputs: dict[str, Any] = field(default_factory=dict)
    now_ms: int = START_MS
    events: list[Event] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    begun: list[str] = field(default_factory=list)
    parameters: dict[str, Any] = field(default_factory=dict)
    queue: list[int] = field(default_factory=list)
    answers: dict[str, str] = field(default_factory=dict)
    resources: Resources = field(default_factory=Resources)
    claims: int = 0
    keys: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        begin = self.adopt()
        self.fragment, self.twin = Fragment.adopt(RUN, self.plan, begin), Fragment.adopt(RUN, self.plan, begin)
        self._settle()

    def adopt(self) -> FragmentAdopted:
        """How the run comes to the site."""
        return adopted(self.plan, inputs=msgspec.json.encode(self.plan.check_inputs(self.inputs)))

    # What a test does ---

    def run(self, steps_max: int = 10_000) -> "Play":
        """Let agents work until nothing can go on by itself."""
        for _ in range(steps_max):
            if not self._work():
                return self
        raise AssertionError(f"it does not come to rest: {self.states()}")

    def step(self) -> bool:
        """Let one more task be done; False if none could."""
        return self._work()

    def wait(self, seconds: float) -> "Play":
        """Time passes: what was waited for that long elapses."""
        self.now_ms += int(seconds * 1000)
        while due := [task for task, due_ms in sorted((self.fragment.due or {}).items()) if due_ms <= self.now_ms]:
            task = due[0]
            if self.fragment.task(task).kind is Kind.WORK:
                self.fragment.forget_timer(task)
                self.twin.forget_timer(task)
                self.queue.append(task)
            else:
                self.decide(Elapse(task))
        return self.run()

    def order(self, order: Order) -> str:
        """Ask for something; the answer is empty if it was accepted, else the refusal."""
        command = f"c{len(self.answers) + 1}"
        self.decide(Steer(command, order))
        return self.answers[command]

    def cancel(self, reason: str = "a person asked") -> None:
        self.decide(Cancel("cancel", reason))

    def decide(self, command: FragmentCommand) -> list[Event]:
        before = self.fragment.save()
        events = self.fragment.decide(command, Now(self.now_ms, 0, 1))
        assert self.fragment.save() == before, "deciding changed the state"
        self._fold(events)
        self._settle()
        return events

    def state(self, task: str) -> str:
        return NAMES[self.fragment.states[self.fragment.index_of(task)]]

    def states(self) -> dict[str, str]:
        """All tasks that count, by name."""
        fragment = self.fragment
        shown = [task for task, state in enumerate(fragment.states) if state not in (SLEEPING, VOID)]
        return {fragment.id_of(task): NAMES[fragment.states[task]] for task in shown}

    def output(self, task: str) -> Any:
        """The last output of a task."""
        index = self.fragment.index_of(task)
        found = [e for e in self.events if type(e).__name__ == "TaskCompleted" and getattr(e, "task", -1) == index]
        return msgspec.json.decode(found[-1].output)  # type: ignore[attr-defined]

    def kinds(self) -> list[str]:
        return [type(event).__name__ for event in self.events]

    def complete(self, task: int) -> None:
        """The agent is done with what it has in its hands."""
        held = self.fragment.live[task]
        self.decide(Complete(task, held.number, held.agent, b"null", None))

    # What a site does ---

    def _settle(self) -> None:
        while True:
            self._give_back()
            woken, self.fragment.woken = self.fragment.woken, None
            if woken:
                for task in dict.fromkeys(woken):
                    self._attend(task)
                continue
            events = self.fragment.decide_ending()
            if not events:
                return
            self._fold(events)

    def _give_back(self) -> None:
        freed, self.fragment.freed = self.fragment.freed, None
        for task, _ in freed or ():
            for holder in self.resources.free(Holder(RUN, task)) if self.fragment.task(task).resources else ():
                self.fragment.wake(holder.task)

    def _lacks_resources(self, task: int) -> bool:
        plan, state = self.fragment.task(task), self.fragment.states[task]
        if not wants_resources(self.fragment, task):
            return False
        self.claims += 1
        if self.resources.take(Holder(RUN, task), plan.resources, self.fragment.priority(), self.claims):
            return False
        if state != BLOCKED:
            self.decide(Block(task, tuple(name for name, _ in plan.resources)))
        return True

    def _attend(self, task: int) -> None:
        if self._lacks_resources(task):
            return
        events = self.fragment.decide(Attend(task), Now(self.now_ms, 0, 1))
        self._fold(events)
        if not events and is_for_agents(self.fragment, task) and task not in self.queue:
            self.queue.append(task)

    def _work(self) -> bool:
        """Give the first task that waits to the agent, and take its answer."""
        fragment = self.fragment
        waiting, self.queue = self.queue, []
        self.queue += [task for task in waiting if is_for_agents(fragment, task) and not self._lacks_resources(task)]
        if not self.queue:
            return False
        task = self.queue.pop(0)
        plan = fragment.task(task)
        name = fragment.id_of(task)
        try:
            rendered = plan.parameters.render(scope_of(fragment, task))
        except ExpressionError as error:
            raise AssertionError(f"{name}: {error}") from None
        changed = fragment.extras.overrides.get(task) if fragment.extras is not None else None
        parameters = {**msgspec.json.decode(rendered), **(msgspec.json.decode(changed) if changed else {})}
        self.decide(Assign(task, "anna", "b1", rendered))
        self.begun.append(name)
        self.parameters[name] = parameters
        self.answer(task, name, parameters)
        return True

    def answer(self, task: int, name: str, parameters: Mapping[str, Any]) -> None:
        attempt = self.fragment.attempt(task)
        try:
            output = self.script(name, parameters)
        except Jam as jam:
            self.decide(Fail(task, attempt, "anna", jam.code, "the belt is jammed", jam.retryable))
        except Busy:
            pass
        else:
            self.done.append(name)
            self.decide(Complete(task, attempt, "anna", msgspec.json.encode(output), None))

    def _fold(self, events: list[Event]) -> None:
        self._fold_each(events)
        self._fold_each(self.fragment.decide_rules(events))
        self.fragment.news = self.twin.news = None

    def _fold_each(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, CommandAnswered):
                self.answers[event.command] = "" if event.accepted else event.detail
            if isinstance(event, TaskAssigned):
                assert self.fragment.may_start(event.task), "it may not start"
            if isinstance(event, TaskCompleted) and self.fragment.task(event.task).kind is Kind.WORK:
                key = f"{self.fragment.id_of(event.task)}#{generation_of(self.fragment, event.task) + 1}"
                assert key not in self.keys, f"{key} is done twice: whoever keeps what was done would answer with the first"
                self.keys.append(key)
            self.events.append(event)
            self.fragment.evolve(event)
            self.twin.evolve(decode(event.kind, encode(event)))
            self.twin.quiet()
        saved = self.fragment.save()
        assert self.twin.save() == saved, "the replica is in another state"
        again = Fragment.restore(RUN, self.plan, load_saved(saved))
        assert again.save() == saved, "saving and restoring changes it"
        assert again.open == self.fragment.open
        self._check_counts(again)

    def _check_counts(self, again: Fragment) -> None:
        """What is counted as one goes is what counting anew gives."""
        for task, state in enumerate(self.fragment.states):
            if NAMES[state] == "pending" and not self.fragment.stopping:
                assert again.missing[task] == self.fragment.missing[task], f"{self.fragment.id_of(task)} waits for another number"
        tallies = {t: tally for t, tally in (self.fragment.tallies or {}).items() if NAMES[self.fragment.states[t]] == "running"}
        if not self.fragment.stopping:
            assert {t: (x.left, x.done, x.is_failing) for t, x in tallies.items()} == {
                t: (x.left, x.done, x.is_failing) for t, x in (again.tallies or {}).items()
            }
        assert all((due in (self.fragment.due or {})) for due in (again.due or {}))


def play(tasks: Mapping[str, Any], script: Script = echo, inputs: dict[str, Any] | None = None, **fields: Any) -> Play:
    """A play of these tasks; whoever names nobody gets the capability `work`."""
    schemas: dict[str, Any] = {name: {} for name in inputs or {}}
    return Play(plan_of(tasks, inputs=schemas, **fields), script, inputs or {})
