"""Who watches a fragment, event by event, and knows by the letter of the definition what must hold."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from workflow.event import Event
from workflow.events import AttemptResumed, CommandAnswered, FragmentEnded, TaskAssigned, TaskCompleted, TaskLost
from workflow.extras import NOBODY, Attempt
from workflow.fragment import Fragment
from workflow.states import (
    ABSENT,
    CANCELLED,
    COMPLETED,
    ENDED,
    FAILED,
    NAMES,
    PENDING,
    READY,
    RUNNING,
    SKIPPED,
    VOID,
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
from workflow.tasks import After, Effect, Role


@dataclass
class Witness:
    """Is told of each event before and after it is folded into the fragment."""

    held: set[tuple[int, int]] = field(default_factory=set)
    completed: set[int] = field(default_factory=set)
    undoing: list[int] = field(default_factory=list)
    resets: set[int] = field(default_factory=set)
    freed: list[tuple[int, Attempt]] = field(default_factory=list)  # By the last event.

    def expect(self, fragment: Fragment, event: Event) -> None:
        """The event is about to be folded."""
        assert not fragment.outcome or isinstance(event, CommandAnswered | FragmentReopened), f"{event} after the end"
        if isinstance(event, TaskAssigned | TaskStarted | CopiesStarted | ApprovalRequested | ChildRequested):
            task = event.task
            if task < 0:
                return  # A rule starts a run, and no task waits for it.
            role = fragment.task(task).role
            if fragment.states[task] != RUNNING:
                assert fragment.may_start(task), f"{fragment.id_of(task)} may not start"
            if role is Role.WORK:
                _check_needs(fragment, task)
            elif role is Role.COMPENSATE:
                assert task in self.undoing, f"{fragment.id_of(task)} undoes what was not done"
        if isinstance(event, TaskLost) and event.redeliver and event.begun:
            assert fragment.task(event.task).effect is Effect.REPEATABLE, f"{fragment.id_of(event.task)} is done blindly again"
        if isinstance(event, TaskCompleted) and fragment.task(event.task).role is Role.WORK:
            assert event.task not in self.completed, f"{fragment.id_of(event.task)} is completed twice"
        if isinstance(event, RollbackBegun):
            owners = {fragment.base_of(t) + fragment.task(t).owner for t in event.compensations}
            assert all(fragment.states[owner] == COMPLETED for owner in owners), "what did not complete would be undone"
        if isinstance(event, FragmentEnded):
            assert all(state in ENDED or state in ABSENT for state in fragment.states), (
                f"it ends with {[NAMES[state] for state in fragment.states]}"
            )

    def saw(self, fragment: Fragment, event: Event, before: bytes) -> None:
        """The event was folded; `before` are the states before it."""
        self._check_hands(fragment, event)
        if isinstance(event, TaskCompleted) and fragment.task(event.task).role is Role.WORK:
            self.completed.add(event.task)
        if isinstance(event, RollbackBegun):
            self.undoing += event.compensations
            self.resets |= set(event.resets)
        if isinstance(event, RollbackEnded):
            self._check_rollback(fragment, before)
            self.undoing, self.resets = [], set()
        if isinstance(event, TasksReset | RollbackEnded):
            self.completed = {task for task in self.completed if fragment.states[task] in ENDED}

    def _check_hands(self, fragment: Fragment, event: Event) -> None:
        if isinstance(event, TaskAssigned | AttemptResumed):
            self.held.add((event.task, event.attempt))
        self.freed, fragment.freed = fragment.freed or [], None
        for task, attempt in self.freed:
            if attempt is not NOBODY:
                self.held.remove((task, attempt.number))
        assert self.held == {(task, attempt.number) for task, attempt in fragment.live.items()}, "hands are miscounted"

    def _check_rollback(self, fragment: Fragment, before: bytes) -> None:
        """What was to be done anew has not begun; what was not, is as it was, but for groups around."""
        around = {parent for task in self.resets for parent in _around(fragment, task)}
        for task, state in enumerate(fragment.states):
            if task in self.resets:
                assert state in (PENDING, READY, SKIPPED, CANCELLED) or state in ABSENT, f"{fragment.id_of(task)}: {NAMES[state]}"
            elif before[task] == COMPLETED and fragment.task(task).role is Role.WORK:
                assert state == COMPLETED or task in around or state in ABSENT, f"{fragment.id_of(task)} was not to be touched"


def _check_needs(fragment: Fragment, task: int) -> None:
    """By the letter of the definition, not by what was counted."""
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
        ended += state in ENDED or state == VOID  # Of an earlier try, which counts as passed.
        met += state in ENDED if after is After.END else state == (FAILED if after is After.FAILURE else COMPLETED)
        if after is After.SUCCESS and not plan.join:
            assert state in (COMPLETED, SKIPPED, FAILED, VOID), f"{fragment.id_of(task)} begins after {NAMES[state]}"
    if plan.join:
        assert met + fragment.is_first(task) >= plan.join
    else:
        assert ended == len(needs), f"{fragment.id_of(task)} begins too early"
        assert met or not needs or fragment.is_first(task), f"{fragment.id_of(task)} begins though nothing led to it"


def _around(fragment: Fragment, task: int) -> Iterator[int]:
    while (task := fragment.parent_of(task)) >= 0:
        yield task
