"""A random story of a fragment: agents, time and people, in any order; what must hold is checked at every event."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from hypothesis import strategies as st

from tests.workflow.play import RUN, Busy, Play
from workflow.attending import is_for_agents
from workflow.commands import (
    Assign,
    Block,
    Cancel,
    CancelDone,
    Complete,
    Decline,
    Elapse,
    Expire,
    Fail,
    FragmentCommand,
    Lose,
    TakeUp,
)
from workflow.event import Event
from workflow.events import AttemptResumed, CommandAnswered, FragmentEnded, TaskAssigned, TaskCompleted
from workflow.fragment import Fragment
from workflow.orders import (
    Approve,
    EndChild,
    Hold,
    Lift,
    Order,
    Pause,
    Prioritise,
    Rerun,
    Resume,
    Retry,
    RollBack,
    Settle,
    Signal,
    Skip,
    TakeCheckpoint,
    Terminate,
    Update,
)
from workflow.saved import load_saved
from workflow.states import (
    ABSENT,
    BLOCKED,
    CANCELLED,
    COMPLETED,
    ENDED,
    FAILED,
    NAMES,
    PENDING,
    READY,
    RECONCILE,
    RUNNING,
    SKIPPED,
    STUCK,
    WAITING,
)
from workflow.steering_events import (
    ApprovalRequested,
    ChildRequested,
    CopiesStarted,
    FragmentReopened,
    RollbackBegun,
    RollbackEnded,
    TasksReset,
    TaskStarted,
)
from workflow.tasks import After, Kind, Role

Happening = tuple[str, int, int]
AGENTS = ("done", "fail", "lose", "decline", "stopped", "late")
PEOPLE = (
    "pause",
    "resume",
    "signal",
    "skip",
    "retry",
    "rerun",
    "steps",
    "version",
    "back",
    "update",
    "hold",
    "lift",
    "settle",
    "checkpoint",
    "approve",
    "child",
    "priority",
    "terminate",
    "cancel",
)
SITES = ("restore", "time", "block", "expire")
happenings: st.SearchStrategy[list[Happening]] = st.lists(
    st.tuples(
        st.sampled_from([*("assign", "done") * 8, *AGENTS * 2, *PEOPLE, *SITES * 2]),
        st.integers(0, 11),
        st.integers(0, 11),
    ),
    min_size=8,
    max_size=50,
)


def _nothing(task: str, parameters: object) -> object:
    raise Busy


@dataclass
class Story(Play):
    """A play whose agents answer when the story says so."""

    script: Callable[[str, object], object] = _nothing
    held: set[tuple[int, int]] = field(default_factory=set)
    completed: set[int] = field(default_factory=set)
    undoing: list[int] = field(default_factory=list)
    resets: set[int] = field(default_factory=set)

    # What happens ---

    def live(self, what: str, number: int, variant: int) -> None:
        """One thing happens, if there is anything that it could happen to."""
        if what == "restore":
            self._restore()
        elif what == "time":
            self.elapse(variant * 5)
        elif what == "assign":
            self.give(number)
        elif what == "cancel":
            if variant == 0:
                self.decide(Cancel("cancel", "a person asked"))
        elif (command := self._command(what, number, variant)) is not None:
            self.decide(command)
        elif (order := self._order(what, number, variant)) is not None:
            self.order(order)

    def give(self, number: int) -> bool:
        """Give one of the tasks that wait to the agent."""
        self.queue = [task for task in self.queue if is_for_agents(self.fragment, task)]
        if not self.queue:
            return False
        task = self.queue.pop(number % len(self.queue))
        self.begun.append(self.fragment.id_of(task))
        return bool(self.decide(Assign(task, "anna", "b1", b"")))

    def elapse(self, seconds: int) -> bool:
        """Time passes; True if anything had waited for it."""
        self.now_ms += seconds * 1000
        due = sorted((due_ms, task) for task, due_ms in (self.fragment.due or {}).items() if due_ms <= self.now_ms)
        for due_ms, task in due:
            if (self.fragment.due or {}).get(task) != due_ms:
                continue
            if self.fragment.task(task).kind is Kind.WORK:
                if task not in self.queue:
                    self.queue.append(task)
            else:
                self.decide(Elapse(task))
        return bool(due)

    def _restore(self) -> None:
        self.fragment = Fragment.restore(RUN, self.plan, load_saved(self.fragment.save()))
        waiting = [task for task in self.queue if self.fragment.states[task] == WAITING]
        self.queue = waiting
        self._settle()

    def _command(self, what: str, number: int, variant: int) -> FragmentCommand | None:
        fragment = self.fragment
        holders = sorted(fragment.live)
        if what in AGENTS and what != "late" and holders:
            task = holders[number % len(holders)]
            held = fragment.live[task]
            return self._word(what, (task, held.number, held.agent), variant)
        if what == "late" and fragment.past:
            (task, attempt), agent = sorted(fragment.past.items())[number % len(fragment.past)]
            word = ("done", "fail", "decline", "stopped", "taken")[variant % 5]
            return self._word(word, (task, attempt, agent), variant)
        ready = [task for task, state in enumerate(fragment.states) if state == READY]
        if what == "block" and ready:
            return Block(ready[number % len(ready)], ("forklift",))
        if what == "expire":
            if variant == 0:
                return Expire(-1)
            return Expire(ready[number % len(ready)]) if ready else None
        return None

    def _word(self, what: str, who: tuple[int, int, str], variant: int) -> FragmentCommand:
        match what:
            case "done":
                is_verdict = self.fragment.task(who[0]).role is Role.VALIDATE
                output = (b"true" if variant % 3 else b"false") if is_verdict else b'{"n":1}' if variant % 5 else b"null"
                return Complete(*who, output, None)
            case "fail":
                return Fail(*who, "timeout" if variant % 4 == 1 else "jam", "it broke", variant % 3 > 0)
            case "lose":
                return Lose(who[0], who[1], variant % 4 == 0, "agent unreachable")
            case "decline":
                return Decline(*who, "busy")
            case "taken":
                return TakeUp(*who)
            case _:
                return CancelDone(*who)

    def _order(self, what: str, number: int, variant: int) -> Order | None:
        fragment = self.fragment
        shown = [fragment.id_of(task) for task, state in enumerate(fragment.states) if state not in ABSENT]
        name = shown[(number + variant) % len(shown)]
        stuck = [t for t, s in enumerate(fragment.states) if s in (STUCK, RECONCILE)]
        orders: dict[str, Callable[[], Order | None]] = {
            "pause": lambda: Pause([name] if variant % 2 else []),
            "resume": Resume,
            "signal": lambda: Signal("go", variant),
            "skip": lambda: Skip(name),
            "retry": lambda: Retry([name] if variant % 2 else []),
            "rerun": lambda: Rerun(name),
            "steps": lambda: RollBack(steps=1 + variant % 3),
            "version": lambda: RollBack(version=fragment.version * number // 12),
            "back": lambda: RollBack(task=name),
            "update": lambda: Update(name, {"x": variant}),
            "hold": lambda: Hold(name, "r9", "waits for run r9"),
            "lift": lambda: Lift("", "r9", met=variant % 3 > 0),
            "settle": lambda: self._settlement(stuck[number % len(stuck)], variant) if stuck else None,
            "checkpoint": lambda: TakeCheckpoint(f"n{variant}"),
            "approve": lambda: self._approval(variant),
            "child": lambda: self._child(variant),
            "priority": lambda: Prioritise(variant % 10),
            "terminate": lambda: Terminate() if variant == 0 else None,
        }
        return orders[what]() if what in orders else None

    def _settlement(self, task: int, variant: int) -> Order:
        return Settle(self.fragment.id_of(task), ("completed", "failed", "retry")[variant % 3], "ann", {"n": 1})

    def _approval(self, variant: int) -> Order | None:
        asked = self.fragment.extras.approvals if self.fragment.extras is not None else {}
        if not asked:
            return None
        task, approval = next(iter(sorted(asked.items())))
        free = [person for person in approval.by or ["ann", "bob"] if person not in approval.given]
        return Approve(self.fragment.id_of(task), free[0] if free else "", variant % 4 > 0, approval.hash)

    def _child(self, variant: int) -> Order | None:
        children = self.fragment.extras.children if self.fragment.extras is not None else {}
        waiting = [child for task, child in sorted(children.items()) if self.fragment.states[task] == WAITING]
        return EndChild(waiting[0], "completed" if variant % 3 else "failed", 7) if waiting else None

    # How it comes to an end ---

    def finish(self) -> None:
        """All agents answer, all time passes, people settle what waits for them: the run must end."""
        for _ in range(600):
            if self.fragment.outcome:
                return
            if not self._help():
                raise AssertionError(f"it is stuck: {self.states()}, {self.fragment.extras}")
        raise AssertionError(f"it goes round for ever: {self.states()}")

    def _help(self) -> bool:
        fragment, extras = self.fragment, self.fragment.extras
        for task, held in sorted(fragment.live.items()):
            who = (task, held.number, held.agent)
            self.decide(self._word("done" if fragment.is_wanted(task) or task % 2 else "stopped", who, 1))
            return True
        if extras is not None and (extras.paused or extras.paused_tasks):
            return self._accepted(Resume())
        if extras is not None and extras.holds:
            return self._accepted(Lift("", next(iter(sorted(next(iter(extras.holds.values())))))))
        if self.give(0):
            return True
        for task, state in enumerate(fragment.states):
            if state == BLOCKED:  # The resource is free.
                fragment.wake(task)
                self._settle()
                return bool(self.queue) or fragment.states[task] != BLOCKED
        for task, state in enumerate(fragment.states):
            if state in (STUCK, RECONCILE):
                return self._accepted(self._settlement(task, 0))
            if state == WAITING and fragment.task(task).kind is Kind.SIGNAL:
                return self._accepted(Signal(fragment.task(task).signal, 1))
        for order in (self._approval(1), self._child(1)):
            if order is not None:
                return self._accepted(order)
        return self.elapse(3_600)

    def _accepted(self, order: Order) -> bool:
        answer = self.order(order)
        assert not answer, f"{order}: {answer}; {self.states()}"
        return True

    # What must hold ---

    def _fold(self, events: list[Event]) -> None:
        for event in events:
            self._check_fact(event)
            before = bytes(self.fragment.states)
            super()._fold([event])
            self._check_hands(event)
            self._note(event, before)

    def _check_fact(self, event: Event) -> None:
        fragment = self.fragment
        assert not fragment.outcome or isinstance(event, CommandAnswered | FragmentReopened), f"{event} after the end"
        if isinstance(event, TaskAssigned | TaskStarted | CopiesStarted | ApprovalRequested | ChildRequested):
            task = event.task
            role = fragment.task(task).role
            if fragment.states[task] != RUNNING:
                assert fragment.may_start(task), f"{fragment.id_of(task)} may not start"
            if role is Role.WORK:
                self._check_needs(task)
            elif role is Role.COMPENSATE:
                assert task in self.undoing, f"{fragment.id_of(task)} undoes what was not done"
        if isinstance(event, TaskCompleted) and fragment.task(event.task).role is Role.WORK:
            assert event.task not in self.completed, f"{fragment.id_of(event.task)} is completed twice"
        if isinstance(event, RollbackBegun):
            owners = {fragment.base_of(t) + fragment.task(t).owner for t in event.compensations}
            assert all(fragment.states[owner] == COMPLETED for owner in owners), "what did not complete would be undone"
        if isinstance(event, FragmentEnded):
            assert all(state in ENDED or state in ABSENT for state in fragment.states), f"it ends with {self.states()}"

    def _check_needs(self, task: int) -> None:
        """By the letter of the definition, not by what was counted."""
        fragment = self.fragment
        plan, met, ended = fragment.task(task), 0, 0
        parent = fragment.parent_of(task)
        if parent >= 0:
            around = fragment.task(parent)
            may_finish = around.group.finishes if around.group is not None else around.body is not None and around.body.finishes
            allowed = (RUNNING, COMPLETED) if may_finish else (RUNNING,)
            assert fragment.states[parent] in allowed, f"{fragment.id_of(task)} begins in {NAMES[fragment.states[parent]]}"
        needs = fragment.needs_of(task)
        for need in needs:
            state, after = fragment.states[need], fragment.after_of(need, task)
            ended += state in ENDED
            met += state in ENDED if after is After.END else state == (FAILED if after is After.FAILURE else COMPLETED)
            if after is After.SUCCESS and not plan.join:
                assert state in (COMPLETED, SKIPPED, FAILED), f"{fragment.id_of(task)} begins after {NAMES[state]}"
        if plan.join:
            assert met + fragment.is_first(task) >= plan.join
        else:
            assert ended == len(needs), f"{fragment.id_of(task)} begins too early"
            assert met or not needs or fragment.is_first(task), f"{fragment.id_of(task)} begins though nothing led to it"

    def _check_hands(self, event: Event) -> None:
        if isinstance(event, TaskAssigned | AttemptResumed):
            self.held.add((event.task, event.attempt))
        freed, self.fragment.freed = self.fragment.freed, None
        for task, attempt in freed or ():
            self.held.remove((task, attempt.number))
        assert self.held == {(task, attempt.number) for task, attempt in self.fragment.live.items()}, "hands are miscounted"

    def _note(self, event: Event, before: bytes) -> None:
        if isinstance(event, TaskCompleted) and self.fragment.task(event.task).role is Role.WORK:
            self.completed.add(event.task)
        if isinstance(event, RollbackBegun):
            self.undoing += event.compensations
            self.resets |= set(event.resets)
        if isinstance(event, RollbackEnded):
            self._check_rollback(before)
            self.undoing, self.resets = [], set()
        if isinstance(event, TasksReset | RollbackEnded):
            self.completed = {task for task in self.completed if self.fragment.states[task] in ENDED}

    def _check_rollback(self, before: bytes) -> None:
        """What was to be done anew has not begun; what was not, is as it was, but for groups around."""
        fragment = self.fragment
        around = {parent for task in self.resets for parent in self._around(task)}
        for task, state in enumerate(fragment.states):
            if task in self.resets:
                assert state in (PENDING, READY, SKIPPED, CANCELLED) or state in ABSENT, f"{fragment.id_of(task)}: {NAMES[state]}"
            elif before[task] == COMPLETED and fragment.task(task).role is Role.WORK:
                assert state == COMPLETED or task in around or state in ABSENT, f"{fragment.id_of(task)} was not to be touched"

    def _around(self, task: int) -> Iterator[int]:
        while (task := self.fragment.parent_of(task)) >= 0:
            yield task


KINDS = ("work", "wait", "signal", "check", "approval", "run", "parallel", "sequential", "map", "repeat")
