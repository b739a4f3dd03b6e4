"""The laws of a fragment: random plans, random commands, and what must hold whatever agents, sites and people say."""

from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sync.values import Now, RunId
from tests.workflow.plans import adopted, documents, plan_of
from workflow.commands import (
    STOPPED_HALFWAY,
    Assign,
    Attend,
    Cancel,
    CancelDone,
    Complete,
    Decline,
    Elapse,
    Fail,
    FragmentCommand,
    Lose,
    Receive,
    TakeUp,
)
from workflow.events import (
    AttemptResumed,
    Blob,
    Event,
    FragmentEnded,
    TaskAssigned,
    TaskCancelled,
    TaskCompleted,
    TaskFailed,
    TaskLost,
    decode,
    encode,
)
from workflow.fragment import Fragment
from workflow.plan import Plan
from workflow.saved import load_saved
from workflow.states import COMPLETED, ELSEWHERE, ENDED, PENDING, READY, RECONCILE, RUNNING, WAITING
from workflow.tasks import Effect

AGENTS = ("anna", "ben")
WHAT = ("fail", "lose", "late", "delay", "elapse", "receive", "cancel_done", "decline", "restore", "cancel")
Happening = tuple[str, int, int]
happenings = st.lists(
    st.tuples(
        st.sampled_from([*("assign", "complete") * 3, *WHAT]),
        st.integers(0, 6),
        st.integers(0, 11),
    ),
    min_size=10,
    max_size=60,
)


@dataclass
class Life:
    """A fragment, all events of it so far, and a twin that was restored from its saved state at some point."""

    plan: Plan
    places: list[int]
    now_ms: int = 1_800_000_000_000
    events: list[Event] = field(default_factory=list)
    completed: set[int] = field(default_factory=set)
    unknown: set[int] = field(default_factory=set)
    said: FragmentCommand | None = None

    def __post_init__(self) -> None:
        self.fragment = self.begin()
        self.twin = self.begin()

    def begin(self) -> Fragment:
        return Fragment.adopt(RunId("r1"), self.plan, adopted(self.plan, self.places))

    def live(self, what: str, task: int, variant: int) -> None:
        if what == "restore":
            self.twin = Fragment.restore(RunId("r1"), self.plan, load_saved(self.fragment.save()))
        elif task < len(self.plan.tasks) and (command := self.command(what, task, variant)) is not None:
            self.decide(command)

    def command(self, what: str, task: int, variant: int) -> FragmentCommand | None:
        """The command that fits the fragment's state, or with some variants one that does not fit it."""
        agent, attempt = AGENTS[variant % 2], 1 + variant // 2
        held = self.fragment.live.get(task)
        if held is not None and variant < 8:
            agent, attempt = held.agent, held.number
        match what:
            case "assign" if not self.plan.tasks[task].wait_ms:
                return Assign(task, agent, f"boot-{variant}", b"{}" if variant % 3 else b"")
            case "complete":
                return Complete(task, attempt, agent, b'{"n":1}', None if variant % 4 else Blob(b"s" * 32, 70_000))
            case "late" if self.fragment.past:
                (task, attempt), agent = sorted(self.fragment.past.items())[variant % len(self.fragment.past)]
                late = (
                    Complete(task, attempt, agent, b'"late"', None),
                    Fail(task, attempt, agent, "broken", "it broke", variant % 5 > 0),
                    Fail(task, attempt, agent, "timeout", "stopped halfway", True),
                    CancelDone(task, attempt, agent),
                    Decline(task, attempt, agent, "busy"),
                    TakeUp(task, attempt, agent),
                )
                return late[variant % len(late)]
            case "fail":
                return Fail(task, attempt, agent, "timeout" if variant % 4 == 1 else "broken", "it broke", variant % 3 > 0)
            case "lose":
                return Lose(task, attempt, variant % 4 == 0, "agent unreachable")
            case "delay":
                return Attend(task) if self.plan.tasks[task].wait_ms else None
            case "elapse":
                return Elapse(task)
            case "receive" if not self.fragment.outcome:
                return Receive(task, b"7", None)
            case "cancel_done":
                return CancelDone(task, attempt, agent)
            case "decline":
                return Decline(task, attempt, agent, "busy")
            case "cancel" if variant == 0:
                return Cancel("c1", "a person asked")
        return None

    def decide(self, command: FragmentCommand) -> None:
        self.now_ms += 7
        self.said = command
        now = Now(self.now_ms, 0, 1)
        before = self.fragment.save()
        decided = self.fragment.decide(command, now)
        assert self.fragment.save() == before, "deciding changed the state"
        assert self.twin.decide(command, now) == decided, "the restored twin decides otherwise"
        self.fold(decided)
        for fragment in (self.fragment, self.twin):
            assert fragment.save() == self.fragment.save()
        ending = self.fragment.decide_ending()
        assert self.twin.decide_ending() == ending
        self.fold(ending)
        self.check()

    def fold(self, events: list[Event]) -> None:
        for event in events:
            self.check_fact(event)
            self.events.append(event)
            before, self.fragment.woken = bytes(self.fragment.states), None
            self.fragment.evolve(event)
            ready = [task for task, state in enumerate(self.fragment.states) if state == READY != before[task]]
            woken = self.woken()
            assert set(ready) <= set(woken), "nobody would give it out"
            assert len(set(woken)) == len(woken), "it would be queued twice"
            assert all(self.fragment.states[task] == READY for task in woken)
            self.twin.evolve(decode(event.kind, encode(event)))

    def woken(self) -> list[int]:
        return sorted(self.fragment.woken or [])

    def check_fact(self, event: Event) -> None:
        """What may be decided at all."""
        states = self.fragment.states
        self.check_effects(event)
        assert not self.fragment.outcome or event.kind in ("CommandAnswered", "ValueHanded")
        match event:
            case TaskAssigned(task, attempt):
                assert all(states[need] == COMPLETED for need in self.plan.needs[task]), "before its needs"
                assert not self.fragment.stopping, "after the stop"
                assert states[task] != RUNNING, "twice at once"
                assert attempt == self.fragment.attempt(task) + 1
            case AttemptResumed(task, attempt, agent):
                assert states[task] == RECONCILE, "only what nobody knows is resumed"
                assert (attempt, agent) == (self.fragment.attempt(task), (self.fragment.past or {})[(task, attempt)])
            case TaskCompleted(task):
                assert task not in self.completed, "completed twice"
                self.completed.add(task)
            case FragmentEnded():
                assert not self.fragment.live

    def check_effects(self, event: Event) -> None:
        """What may have happened, and may not happen twice, is never given out by itself: who held it tells, or a person."""
        match event:
            case TaskLost(task, redeliver=redeliver) if self.plan.tasks[task].effect is not Effect.REPEATABLE:
                never_begun = isinstance(self.said, Decline) or (isinstance(self.said, Lose) and self.said.certain)
                assert redeliver is never_begun, "it is not known that nothing was done"
                if redeliver:
                    self.unknown.discard(task)
                else:
                    self.unknown.add(task)
            case TaskFailed(task, code=code) if self.plan.tasks[task].effect is not Effect.REPEATABLE:
                assert code not in STOPPED_HALFWAY, "half of it may be done"
                self.unknown.discard(task)
            case AttemptResumed(task) | TaskCompleted(task) | TaskCancelled(task):
                self.unknown.discard(task)
            case TaskAssigned(task):
                assert task not in self.unknown, "given out again after an uncertain loss"

    def check(self) -> None:
        """What holds between any two commands."""
        fragment, plan = self.fragment, self.plan
        own = [state for task, state in enumerate(fragment.states) if self.places[task] == 0]
        assert fragment.open == sum(state not in ENDED for state in own)
        for task, state in enumerate(fragment.states):
            if state == PENDING:
                assert fragment.missing[task] == sum(fragment.states[need] != COMPLETED for need in plan.needs[task])
            assert (task in fragment.live) is (state == RUNNING)
            assert (task in (fragment.due or {})) is (state == WAITING)
            if state in (READY, RUNNING, WAITING, RECONCILE):
                assert fragment.missing[task] == 0
                assert self.places[task] == 0
        outcome = fragment.outcome
        assert not outcome or fragment.open == 0
        if outcome == "completed":
            assert all(state == COMPLETED for state in own)

    def finish(self) -> None:
        """Agents, sites and clocks answer all that is open; the fragment must come to its end."""
        for _ in range(4 * len(self.plan.tasks) + 4):
            if self.fragment.outcome:
                return
            for task in range(len(self.plan.tasks)):
                self.answer(task)
        assert self.fragment.outcome, f"it never ends: {list(self.fragment.states)}"

    def answer(self, task: int) -> None:
        if self.fragment.outcome:
            return
        state, held = self.fragment.states[task], self.fragment.live.get(task)
        if state == ELSEWHERE:
            self.decide(Receive(task, b"7", None))
        elif held is not None:
            self.decide(Complete(task, held.number, held.agent, b"1", None))
        elif state == RECONCILE:
            (_, attempt), agent = max((key, agent) for key, agent in (self.fragment.past or {}).items() if key[0] == task)
            self.decide(Complete(task, attempt, agent, b"1", None))
        elif self.plan.tasks[task].wait_ms:
            self.decide(Attend(task))
            self.decide(Elapse(task))
        elif state in (READY, WAITING):
            self.decide(Assign(task, "anna", "boot", b""))


@settings(max_examples=150, deadline=None)
@given(documents(), st.lists(st.integers(0, 2).map(lambda place: place // 2), min_size=7, max_size=7), happenings)
def test_a_fragment_keeps_its_laws(tasks: dict[str, dict[str, Any]], places: list[int], story: list[Happening]) -> None:
    """No task before its needs or after a stop, none completed twice, `open` counts, the fragment ends if all answer, and
    the events alone, or a saved state and what follows, give the same state byte for byte."""
    plan = plan_of(tasks)
    life = Life(plan, [0, *places][: len(plan.tasks)])
    life.check()
    for happening in story:
        life.live(*happening)
    life.finish()
    replayed = life.begin()
    for event in life.events:
        replayed.evolve(decode(event.kind, encode(event)))
    assert replayed.save() == life.fragment.save() == life.twin.save()
    assert replayed.version == len(life.events)
    again = Fragment.restore(RunId("r1"), plan, load_saved(replayed.save()))
    assert again.save() == replayed.save()
