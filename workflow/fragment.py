"""The part of a run that one site executes: a decider.

`decide(command, now, chance)` gives events and changes nothing; `evolve(event)` alone changes state, so a restart and the
cloud's replica run the same few lines. Tasks are integers (their index in the Plan), their states one byte each, and
a completed task costs O(its dependents). After `evolve`, `woken` holds the tasks that want to be attended to, `freed` the
attempts that left their agents' hands, `timed` the waits that began (due in UTC ms) or are over (0).

The rest is in rooms of its own: `workflow.shape` knows how tasks hang together, `workflow.flow` follows the end of a task to the
others, `workflow.folding` and `workflow.steering_folds` fold rare events, `workflow.attempts` decides what agents report,
`workflow.attending` what becomes of a task that is ready or a group that has changed, `workflow.steering` what people ask for,
`workflow.saved` turns a fragment into bytes and back.
"""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from sync.values import Now, RunId
from workflow import anew, attempts, attending, flow, folding, reuse, ruling, saved, seeding, steering, voting
from workflow.commands import (
    AskVote,
    Assign,
    Attend,
    Block,
    Cancel,
    CancelDone,
    CloseVote,
    Complete,
    Decline,
    Elapse,
    Expire,
    Fail,
    FragmentCommand,
    Lose,
    Meet,
    Receive,
    Reuse,
    Steer,
    TakeUp,
)
from workflow.contract import Contract
from workflow.event import Blob, Event
from workflow.events import FragmentAdopted, FragmentEnded, TaskAssigned, TaskCompleted
from workflow.extras import NO_ATTEMPTS, NOBODY, Attempt, Copy, Extras, Tally
from workflow.plan import Plan
from workflow.shape import Shape
from workflow.stage_marks import enter_stage
from workflow.states import (
    BLOCKED,
    COMPLETED,
    ELSEWHERE,
    ENDED,
    FAILED,
    PENDING,
    READY,
    RECONCILE,
    RUNNING,
    SLEEPING,
    VOID,
    WAITING,
)
from workflow.tasks import Role

if TYPE_CHECKING:
    from workflow.standing import Standing


@dataclass(slots=True, kw_only=True)
class Fragment(Shape):
    """One run's tasks at one site. Invariant: `open` counts this site's tasks that have not ended.

    A hundred thousand runs may wait at a timer, so what most of them lack (`live`, `outputs`, `woken` ...) is None or shared.
    """

    site: str
    epoch: int
    inputs: bytes
    missing: "array[int]"
    open: int
    attempts: "array[int] | None" = None
    stamps: "array[int] | None" = None  # At which version a task ended; 0 if it has not.
    live: dict[int, Attempt] = field(default_factory=lambda: NO_ATTEMPTS)
    failures: dict[int, int] | None = None
    outputs: dict[int, bytes | Blob] | None = None
    due: dict[int, int] | None = None
    past: dict[tuple[int, int], str] | None = None
    unmet: dict[int, tuple[int, int]] | None = None  # Needs of pending tasks that were passed, and that are dead.
    extras: Extras | None = None
    tallies: dict[int, Tally] | None = None
    woken: list[int] | None = None
    freed: list[tuple[int, Attempt]] | None = None
    timed: dict[int, int] | None = None
    news: list[int] | None = None
    version: int = 0
    stopping: str = ""
    ending: str = ""  # How it will end once all is done, if not completed: a task failed, and the others went on.
    outcome: str = ""
    detail: str = ""
    # Tasks that others have done (other sites, or the run that this one is a fork of), in the order in which that became known.
    handed: dict[int, None] | None = None
    labels: dict[str, str] | None = None
    given_priority: int = -1  # With which the run was started; -1: that of its definition.
    contract: Contract | None = None  # None: the default.

    @classmethod
    def adopt(cls, run: RunId, plan: Plan, adopted: FragmentAdopted) -> "Fragment":
        """A fragment in which nothing has happened yet. `placement[i]` indexes `sites`; other sites' tasks are ELSEWHERE."""
        states = first_states(plan, adopted)
        fragment = cls(
            run=run,
            plan=plan,
            site=adopted.site,
            epoch=adopted.epoch,
            inputs=adopted.inputs,
            states=states,
            missing=plan.first_missing(),
            open=sum(map(states.count, (PENDING,))),
            given_priority=adopted.priority,
            labels=adopted.labels or None,
            contract=adopted.contract,
        )
        if adopted.origin is not None:
            seeding.sow(fragment, adopted.origin)
            return fragment
        for task in range(len(states)):
            if fragment.missing[task] == 0 and states[task] == PENDING:
                states[task] = READY
                fragment.wake(task)
        return fragment

    @classmethod
    def restore(cls, run: RunId, plan: Plan, body: saved.Saved) -> "Fragment":
        """The fragment that `save` wrote."""
        return saved.restore(cls, run, plan, body)

    def save(self) -> bytes:
        """The whole state: equal states give equal bytes, on every node and under every hash seed."""
        return saved.save(self)

    # Looking ----------------------------------------------------------------------------------------------------------

    def attempt(self, task: int) -> int:
        """The number of the task's latest attempt; 0 if there was none."""
        return self.attempts[task] if self.attempts is not None else 0

    def can_read(self, task: int) -> bool:
        """Is everything here that the task's expressions read? What completed elsewhere may be under way."""
        for number in self.reads_of(task):
            read = self.resolve(task, number)
            state = self.states[read]
            if state == ELSEWHERE or (state == COMPLETED and self.is_retained(read) and read not in (self.outputs or {})):
                return False
        return True

    def may_start(self, task: int) -> bool:
        """Is nothing in the way but agents and resources: no end, pause, rollback, or hold from outside?"""
        role, extras = self.task(task).role, self.extras
        if self.stopping:
            return role in (Role.CLEANUP, Role.RECONCILE)
        if extras is None:
            return True
        if extras.rollback is not None:
            return role in (Role.COMPENSATE, Role.CLEANUP, Role.RECONCILE)
        if extras.paused or task in extras.paused_tasks or extras.holds.get(task):
            return False
        if extras.yielding and not attending.holds_around(self, task):
            return False
        return not extras.lacking or attending.lacking_around(self, task) < 0

    def is_held_back(self, task: int) -> bool:
        """May the task, or its next attempt, not begin before something outside the run, or a group around it, has come?"""
        held = self.extras is not None and (bool(self.extras.holds.get(task)) or attending.lacking_around(self, task) >= 0)
        return held and self.states[task] in (READY, WAITING, BLOCKED)

    def is_own(self, task: int) -> bool:
        """False of a task that others have done: nothing here does it anew."""
        return self.handed is None or task not in self.handed

    def is_wanted(self, task: int) -> bool:
        """False of an attempt that was asked to stop."""
        return not self.stopping and (self.extras is None or task not in self.extras.unwanted)

    def is_unbegun(self, task: int) -> bool:
        """Has nobody been asked to do the task yet, or to decide on it?"""
        if self.extras is not None and task in self.extras.approvals:
            return False
        return self.states[task] in (PENDING, READY, BLOCKED) or (self.states[task] == WAITING and not self.attempt(task))

    def after(self, task: int) -> list[int]:
        """The task and all that comes after it."""
        return anew.closure(self, [task])

    def rests(self) -> bool:
        """Does nothing happen here before a timer, a person or another site names the run?"""
        if self.live or self.outcome or self.woken or self.freed or self.timed or self.news:
            return False
        # Whoever waits for what an unsettled task keeps is told so, which those at rest are not asked for.
        return READY not in self.states and BLOCKED not in self.states and RECONCILE not in self.states

    def priority(self) -> int:
        """0 (least) to 9: who is served first."""
        if self.extras is None:
            return self.given_priority if self.given_priority >= 0 else self.plan.priority
        return next((said for said in (self.extras.priority, self.given_priority) if said >= 0), self.plan.priority)

    def split_items(self, task: int) -> list[bytes]:
        """The items of a map, each as JSON."""
        items = self.extras.items.get(task, b"") if self.extras is not None else b""
        return [bytes(item) for item in _ITEMS.decode(items)] if items else []

    # Deciding ---------------------------------------------------------------------------------------------------------

    def decide(self, command: FragmentCommand, now: Now, chance: float = 0.5) -> list[Event]:
        """The events that follow from `command`; none if it is late, a repetition or not allowed. `chance` in [0, 1) jitters
        a retry's delay. What comes next by itself is decided apart, by `decide_ending`, once the events are folded."""
        match command:
            case Complete():
                return attempts.complete(self, command, now, chance)
            case Assign(task, agent, boot, parameters):
                if self.states[task] not in (READY, WAITING, BLOCKED) or not self.may_start(task):
                    return []
                assigned = TaskAssigned(task, self.attempt(task) + 1, agent, boot, parameters)
                return [assigned, *enter_stage(self, task, "start")] if self.plan.stages else [assigned]
            case Attend(task):
                return attending.attend(self, task, now, chance)
            case Fail():
                return attempts.fail(self, command, now, chance)
            case Lose():
                return attempts.lose(self, command, now)
            case TakeUp():
                return attempts.take_up(self, command)
            case CancelDone():
                return attempts.stopped(self, command, now, chance)
            case Decline():
                return attempts.decline(self, command, now)
            case Reuse():
                return reuse.reuse(self, command, now, chance)
            case Elapse() | Block() | Expire() | Meet():
                return attending.wait(self, command, now, chance)
            case AskVote() | CloseVote():
                return voting.vote(self, command, now)
            case Receive(task, output, blob, state):
                return attending.receive(self, task, output, blob, state)
            case Cancel(intent, reason):
                return steering.cancel(self, intent, reason)
            case Steer():
                return steering.steer(self, command, now)

    def decide_rules(self, events: list[Event], standing: "Standing | None" = None) -> list[Event]:
        """What the definition's rules, and those that stand beside it, say to events that have just been folded."""
        return ruling.follow(self, events, standing) if self.plan.rules or standing else []

    def decide_ending(self) -> list[Event]:
        """What comes by itself once nothing else is left to do: the end of a rollback, the end of the fragment."""
        if self.outcome or self.live:
            return []
        if self.extras is not None and self.extras.rollback is not None:
            return steering.advance_rollback(self)
        if self.open:
            return []
        if not (self.stopping or self.ending) and FAILED in self.states and (detail := flow.standing_failure(self)):
            return [FragmentEnded("failed", self.detail or detail)]
        return [FragmentEnded(self.stopping or self.ending or "completed", self.detail)]

    # Folding ----------------------------------------------------------------------------------------------------------

    def evolve(self, event: Event) -> None:
        """Fold one event. Every event counts in `version`, so equal versions of equal epochs mean equal states."""
        self.version += 1
        if type(event) is TaskCompleted:
            if self.plan.is_plain and self.extras is None:
                self._complete_plain(event.task, event.blob or event.output)
            else:
                folding.complete(self, event)
        elif type(event) is TaskAssigned:
            self._assign(event)
        else:
            folding.fold(self, event)

    def _assign(self, event: TaskAssigned) -> None:
        task = event.task
        self.states[task] = RUNNING
        self.count_attempt(task, event.attempt)
        self.hold(task, event.attempt, event.agent, event.boot, event.parameters)
        if self.due is not None:
            self.forget_timer(task)
        if self.extras is not None:
            self.forget_taken(task)

    def _complete_plain(self, task: int, output: bytes | Blob) -> None:
        """The path of nearly every task: all needs are after success, and all of them count."""
        plan, states, missing = self.plan, self.states, self.missing
        self.release(task)
        if self.due is not None:
            self.forget_timer(task)
        if states[task] not in ENDED:
            self.open -= 1
        states[task] = COMPLETED
        if self.stamps is None:
            self.stamps = array("I", bytes(4 * len(states)))
        self.stamps[task] = self.version
        if plan.retained[task]:
            self.outputs = self.outputs or {}
            self.outputs[task] = output
        for dependent in plan.dependents[task]:
            left = missing[dependent] = missing[dependent] - 1
            if left == 0 and states[dependent] == PENDING:
                flow.make_ready(self, dependent)

    # What folding is made of ---

    def count_attempt(self, task: int, number: int) -> None:
        """The latest attempt has this number."""
        if self.attempts is None:
            self.attempts = array("I", bytes(4 * len(self.states)))
        self.attempts[task] = number

    def hold(self, task: int, number: int, agent: str, boot: str, parameters: bytes) -> None:
        """The attempt is in an agent's hands."""
        if self.live is NO_ATTEMPTS:
            self.live = {}
        self.live[task] = Attempt(number, agent, boot, parameters)

    def release(self, task: int) -> None:
        """The attempt is in nobody's hands any more."""
        held = self.live.pop(task, None)
        if held is None:
            return
        if self.freed is None:
            self.freed = [(task, held)]
        else:
            self.freed.append((task, held))

    def give_back(self, task: int) -> None:
        """The task needs its resources no longer, and stands in no line for them: nobody's attempt tells that of a group, or
        of a task that never began."""
        if self.task(task).resources:
            self.freed = [*(self.freed or ()), (task, NOBODY)]

    def forget_taken(self, task: int) -> None:
        """The task no longer waits for an agent with resources in its hands."""
        if self.extras is not None and self.extras.taken:
            self.extras.taken.pop(task, None)

    def keep(self, task: int, output: bytes | Blob) -> None:
        """Keep an output that some expression reads."""
        if self.is_retained(task):
            self.outputs = self.outputs or {}
            self.outputs[task] = output

    def stamp(self, task: int, version: int = -1) -> None:
        """Note at which version the task ended: checkpoints are told by it."""
        if self.stamps is None:
            self.stamps = array("I", bytes(4 * len(self.states)))
        self.stamps[task] = self.version if version < 0 else version

    def wake(self, task: int) -> None:
        """The task wants to be attended to."""
        if self.woken is None:
            self.woken = [task]
        else:
            self.woken.append(task)

    def set_timer(self, task: int, due_ms: int) -> None:
        """The task waits for a moment."""
        self.due = self.due or {}
        self.due[task] = due_ms
        self.timed = self.timed or {}
        self.timed[task] = due_ms

    def forget_timer(self, task: int) -> None:
        """The task no longer waits for a moment."""
        if self.due is not None and self.due.pop(task, None) is not None:
            self.timed = self.timed or {}
            self.timed[task] = 0

    def quiet(self) -> None:
        """A replica does not act: forget what folding would have the home do."""
        self.woken = self.freed = self.timed = None

    def more(self) -> Extras:
        """The rare part, made when it is first needed."""
        if self.extras is None:
            self.extras = Extras()
        return self.extras

    def grow(self, states: bytearray, missing: Iterable[int]) -> None:
        """Append tasks."""
        self.states += states
        self.missing.extend(missing)
        self.open += states.count(PENDING)
        for numbers in (self.attempts, self.stamps):
            if numbers is not None:
                numbers.frombytes(bytes(4 * len(states)))

    def void_made(self, copy: Copy) -> None:
        """The copy belongs to an earlier try."""
        extras = self.more()
        for place, made in enumerate(extras.made):
            if made[0] == copy.owner and made[1] == copy.number and not made[3]:
                extras.made[place] = (*made[:3], True)
                return

    def recount(self, tasks: Iterable[int]) -> None:
        """Count anew what each of the pending tasks waits for."""
        for task in tasks:
            if self.states[task] != PENDING:
                continue
            missing, passed, dead = 0, 0, 0
            for need in self.needs_of(task):
                if self.states[need] == VOID:  # Of an earlier try: nobody will tell any more how it would have ended.
                    passed += 1
                    continue
                if self.states[need] not in ENDED:
                    missing += 1
                    continue
                outcome = flow.outcome_of(self, need, self.after_of(need, task))
                passed, dead = passed + (outcome == flow.PASSED), dead + (outcome == flow.DEAD)
            if self.is_first(task):
                parent = self.parent_of(task)
                missing += self.states[parent] in (PENDING, READY, BLOCKED, ELSEWHERE)
            self.missing[task] = missing
            if passed or dead:
                self.unmet = self.unmet or {}
                self.unmet[task] = (passed, dead)
            elif self.unmet:
                self.unmet.pop(task, None)


def first_states(plan: Plan, adopted: FragmentAdopted) -> bytearray:
    """Pending, elsewhere or asleep: how each task begins."""
    here, placement = adopted.sites.index(adopted.site), adopted.placement
    states = bytearray(len(plan.tasks))
    if len(adopted.sites) > 1:
        for task, place in enumerate(placement):
            if place != here:
                states[task] = ELSEWHERE
    if not plan.is_plain:
        for servant in plan.tasks:
            if servant.role is not Role.WORK:
                states[servant.index] = SLEEPING
    return states


_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])
