"""The fragments whose home is this site: deciding, folding, and what follows from it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

from edge.gate import Gate
from edge.health import UNKNOWN, judge
from edge.inputs import AttemptKey, StopTasks
from edge.leasing import SiteLeases
from edge.meetings import Meetings
from edge.part import Fold
from edge.roster import Roster
from edge.vigil import Vigil
from edge.voting.polls import Polls
from edge.voting.tasks import TaskVotes
from edge.withdrawn import Withdrawn
from sync.lag import Lag
from sync.outputs import Append, ClearTimer, Confirmed, Save, SetTimer
from sync.values import Now, RunId, SiteId, StreamId
from workflow.attempts import failure
from workflow.attending import holds_resources
from workflow.commands import Block, Complete, Fail, FragmentCommand, Lose
from workflow.event import Event
from workflow.events import FragmentAdopted, FragmentCancelling, FragmentEnded, TaskCompleted
from workflow.extras import NOBODY, Attempt
from workflow.fragment import Fragment
from workflow.homes import attempt_epoch
from workflow.plan import Plan
from workflow.resources import Holder, Resources
from workflow.saved import load_saved
from workflow.shelf import Shelf
from workflow.standing import Standing
from workflow.states import BLOCKED, READY, RECONCILE, RUNNING, WAITING
from workflow.steering_events import (
    ChildRequested,
    FragmentExpired,
    FragmentTerminated,
    RollbackBegun,
    RollbackEnded,
    TasksReset,
    TasksStopped,
)
from workflow.steering_folds import wake_all
from workflow.tasks import Kind

DEADLINE_GRACE_MS = 5_000
# After these, attempts in agents' hands may no longer be wanted.
CALLS_OFF = (TasksStopped, RollbackBegun, FragmentCancelling, FragmentExpired, FragmentTerminated)


# After these, groups that had ended may go on.
RESETS = (TasksReset, RollbackEnded)
# In these a task holds its resources, or stands in line for them. While nobody knows what became of an attempt, the forklift may
# still be in use: it comes back when that is settled.
CLAIMING = (READY, WAITING, BLOCKED, RUNNING, RECONCILE)


class Chance(Protocol):
    """A seeded generator: jitter is an argument too."""

    def random(self) -> float: ...


class Children(Protocol):
    """Who begins the runs that others ask for; `living` are those that were begun here, by parent."""

    living: dict[str, dict[str, None]]

    def note(self, fragment: Fragment) -> None: ...
    def claim(self, fragment: Fragment, asked: ChildRequested) -> ChildRequested: ...
    def review(self, parent: Fragment, events: list[Event], now: Now, out: list[object]) -> None: ...
    def end(self, fragment: Fragment) -> None: ...


@dataclass(slots=True)
class Home:
    """All living fragments of the site. `woken` are those with tasks that became ready, `changed` those not saved since."""

    site: SiteId
    stream: StreamId
    chance: Chance
    roster: Roster
    fragments: Shelf[Fragment] = field(init=False)
    plans: dict[str, Plan] = field(default_factory=dict)
    changed: dict[str, None] = field(default_factory=dict)
    woken: list[Fragment] = field(default_factory=list)
    resources: Resources = field(default_factory=Resources)
    meetings: Meetings = field(default_factory=Meetings)
    polls: Polls = field(init=False)
    votes: TaskVotes = field(init=False)
    vigil: Vigil = field(default_factory=Vigil)
    withdrawn: Withdrawn = field(default_factory=Withdrawn)
    leases: SiteLeases = field(init=False)
    claims: dict[str, set[int]] = field(default_factory=dict)
    claimed: int = 0  # Who came first to a line is told by the number of its claim.
    standing: Standing | None = None  # None without any, so that nobody pays for what is not there.
    paused: bool = False  # By an operator: nothing new starts (see edge.pausing).
    folds: dict[type, list[Fold]] = field(default_factory=dict)  # Of the Parts around it (see edge.part).
    children: Children = field(init=False)
    gate: Gate = field(init=False)  # Of runs with a contract.
    watch: Callable[[Fragment, Now], None] = field(init=False)  # One with a contract has come.

    def __post_init__(self) -> None:
        self.gate, self.leases = Gate(Lag(self.stream)), SiteLeases(self)
        self.polls = Polls(self)
        self.votes = TaskVotes(self, self.polls)
        self.fragments = Shelf(Fragment.save, self._unpack, Fragment.rests)

    def _unpack(self, run: str, body: bytes) -> Fragment:
        saved = load_saved(body)
        fragment = Fragment.restore(RunId(run), self.plans[saved.definition], saved)
        fragment.quiet()  # What it wanted to be attended to was, before it came to rest.
        return fragment

    def decide(self, fragment: Fragment, command: FragmentCommand, now: Now, out: list[object]) -> bool:
        """Decide, fold, and see what follows; False if nothing came of it."""
        chance = self.chance.random() if type(command) is Fail else 0.0
        events = fragment.decide(command, now, chance)
        if events:
            self.fold(fragment, events, out)
            self._follow(fragment, events, command, now, out)
        return bool(events)

    def fold(self, fragment: Fragment, events: list[Event], out: list[object]) -> None:
        """Record and fold what was decided, and what the definition's rules say to it."""
        folds = self.folds
        for event in events:
            said = self.children.claim(fragment, event) if type(event) is ChildRequested else event
            out.append(Append(self.stream, fragment.run, fragment.epoch, said))
            fragment.evolve(said)
            if type(event) in folds:
                self.tell(fragment.run, said)
        if fragment.contract is not None:
            for event in events:
                self.gate.decided(fragment.run, event)
        if fragment.plan.rules or self.standing:
            self._obey_rules(fragment, events, out)
        fragment.news = None

    def _obey_rules(self, fragment: Fragment, events: list[Event], out: list[object]) -> None:
        """What rules say to the end of a run stands before it in the log: what is told of a run after its end, nobody hears."""
        ended = out.pop() if fragment.outcome and type(events[-1]) is FragmentEnded else None
        for event in fragment.decide_rules(events, self.standing):
            events.append(event)
            said = self.children.claim(fragment, event) if type(event) is ChildRequested else event
            out.append(Append(self.stream, fragment.run, fragment.epoch, said))
            fragment.evolve(said)
            self.tell(fragment.run, said)
            if fragment.contract is not None:
                self.gate.decided(fragment.run, event)
        if ended is not None:
            out.append(ended)

    def note(self, event: Event, out: list[object], watch: str = "") -> None:
        """Record and fold an event of the site that belongs to no run. `watch`: under which name the Lag counts it."""
        out.append(Append(self.stream, "", 0, event, watch))
        self.tell("", event)

    def tell(self, run: str, event: Event, *, is_own: bool = True, time_ms: int = 0) -> None:
        """Let the Parts fold an event; `time_ms` (UTC) is 0 of what has just been decided."""
        for fold in self.folds.get(type(event), ()):
            fold(is_own, run, event, time_ms)

    def _follow(
        self, fragment: Fragment, events: list[Event], command: FragmentCommand | None, now: Now, out: list[object]
    ) -> None:
        """What comes of events for agents, resources and timers; then what the fragment does next by itself."""
        self._free(fragment, events, command, now, out)
        if self.withdrawn.runs:
            self.withdrawn.follow(fragment.run, events)
        if fragment.run in self.claims:
            self._give_up_claims(fragment)
        if fragment.run in self.meetings:
            self.meetings.review(fragment.run, lambda task: fragment.states[task] == WAITING)
        if fragment.run in self.votes.asked:
            self.votes.review(fragment.run)
        if fragment.timed:
            self.time(fragment, out)
        if not events or type(events[0]) is not TaskCompleted:
            self._call_off(fragment, events, out)
            if any(type(event) in RESETS for event in events):
                self._claim_again(fragment, now, out)
        if fragment.run in self.children.living:
            self.children.review(fragment, events, now, out)
        self.changed[fragment.run] = None
        if fragment.woken:
            self.woken.append(fragment)
        elif not fragment.live:
            self.fragments.rest(fragment.run)
        if fragment.open and not fragment.stopping and fragment.extras is None:
            return
        if following := fragment.decide_ending():
            self.fold(fragment, following, out)
            if fragment.outcome:
                self._end(fragment, following, out)
            else:
                self._follow(fragment, following, None, now, out)

    def reject(self, fragment: Fragment, failed: Fail, now: Now, out: list[object]) -> None:
        """A task whose parameters cannot be computed fails before anybody is asked."""
        events = failure(fragment, failed, now, 0.0)
        self.fold(fragment, events, out)
        self._follow(fragment, events, failed, now, out)

    def adopt(self, fragment: Fragment, adopted: FragmentAdopted, now: Now, out: list[object]) -> None:
        """The fragment has just come here, by an event that is recorded already."""
        if fragment.contract is not None:
            self.watch(fragment, now)
        self._obey_rules(fragment, [adopted], out)
        if fragment.plan.timeout_ms:
            out.append(SetTimer(fragment.run, "run", now.wall_ms + fragment.plan.timeout_ms))
        self.resume(fragment, now, out)

    def reopen(self, fragment: Fragment, events: list[Event], now: Now, out: list[object]) -> None:
        """The fragment had ended and was decided to go on: it is in memory again, and has its whole time once more."""
        assert fragment.run not in self.fragments, f"run {fragment.run} is here already"
        self.fragments[fragment.run] = fragment
        self.children.note(fragment)
        if fragment.contract is not None:
            self.watch(fragment, now)
        if fragment.plan.timeout_ms:
            out.append(SetTimer(fragment.run, "run", now.wall_ms + fragment.plan.timeout_ms))
        self.record(fragment, events, now, out)

    def take_in(self, fragment: Fragment, begun_ms: int, now: Now, out: list[object]) -> None:
        """A run has come from another site with all its state, by an event that is recorded already. Its waits go on as they
        were, and so does the time of the whole run, which counts since `begun_ms` (UTC)."""
        self.fragments[fragment.run] = fragment
        if fragment.contract is not None:
            self.watch(fragment, now)
        if fragment.plan.timeout_ms:
            out.append(SetTimer(fragment.run, "run", begun_ms + fragment.plan.timeout_ms))
        out += timers_of(fragment)
        wake_all(fragment)
        for task, state in enumerate(fragment.states):
            if state == BLOCKED:
                fragment.wake(task)
            elif state == WAITING and (sync := fragment.task(task).sync) is not None:
                self.meetings.arrive(sync.point, Holder(fragment.run, task))
            elif state == WAITING and fragment.task(task).vote is not None:
                self.votes.ask(Holder(fragment.run, task))
        self._claim_again(fragment, now, out)
        self.resume(fragment, now, out)

    def record(self, fragment: Fragment, events: list[Event], now: Now, out: list[object]) -> None:
        """Record what was decided by other than the fragment itself, and see what follows."""
        self.fold(fragment, events, out)
        self._follow(fragment, events, None, now, out)

    def resume(self, fragment: Fragment, now: Now, out: list[object]) -> None:
        """See what the fragment does next by itself: nothing was decided just now."""
        self._follow(fragment, [], None, now, out)

    def _free(
        self, fragment: Fragment, events: list[Event], command: FragmentCommand | None, now: Now, out: list[object]
    ) -> None:
        """Agents have hands free, and resources are given back; who still works on what is over is told to stop."""
        freed, fragment.freed = fragment.freed, None
        if not freed:
            return
        for task, held in freed:
            if held is NOBODY:
                self.give_back(fragment.run, task)
                continue
            verdict = judge(command, fragment.run, held) if command is not None else UNKNOWN
            plan = fragment.task(task)
            self.roster.drop(held.agent, fragment.run, task, verdict, now, plan.capability)
            if self.vigil:
                self.vigil.forget(fragment.run, task)
            if plan.timeout_ms:
                out.append(ClearTimer(fragment.run, f"deadline/{task}"))
            if self.leases.granted and fragment.states[task] != RECONCILE and not is_about(command, held):
                self.leases.lose(fragment, task, held, now, out)
            if plan.resources and fragment.states[task] != RECONCILE:
                self.give_back(fragment.run, task)
            if type(command) is Complete and command.attempt == held.number and command.agent == held.agent:
                continue
            self.withdrawn.note(fragment, task, held, events)
            if type(command) is not Lose and not is_about(command, held):
                self.stop(held.agent, [self.key(fragment, task, held)], "done otherwise", out)

    def _give_up_claims(self, fragment: Fragment) -> None:
        """What has ended without an agent holds nothing and waits for nothing: a group, or a task that never began. Nor does what
        is held back: it may wait for a run that needs the very same."""
        for task in sorted(self.claims[fragment.run]):
            if fragment.states[task] not in CLAIMING or fragment.is_held_back(task):
                self.give_back(fragment.run, task)

    def hold_resources(self, fragment: Fragment, task: int) -> None:
        """What the task had before a restart, it has."""
        if needs := fragment.task(task).resources:
            self.claims.setdefault(fragment.run, set()).add(task)
            self.resources.hold(Holder(fragment.run, task), needs)

    def reclaim(self, fragment: Fragment) -> None:
        """What was held before the restart is held again; who waited stands in line again."""
        for task, state in enumerate(fragment.states):
            plan = fragment.task(task)
            if plan.resources and holds_resources(fragment, task):
                self.hold_resources(fragment, task)
            elif state == BLOCKED:
                fragment.wake(task)
            elif state == WAITING and plan.sync is not None:
                self.meetings.arrive(plan.sync.point, Holder(fragment.run, task))
            elif state == WAITING and plan.vote is not None:
                self.votes.ask(Holder(fragment.run, task))

    def _claim_again(self, fragment: Fragment, now: Now, out: list[object]) -> None:
        """A group that had ended and goes on, for something inside it is done anew, had given back what it held: it stands in
        line for that again, and until it has it nothing inside begins."""
        known = self.claims.get(fragment.run, ())
        for task, state in enumerate(fragment.states):
            plan = fragment.task(task)
            if state != RUNNING or not plan.resources or task in known or plan.kind is Kind.WORK:
                continue
            if not fragment.may_start(task) or not self.claim(fragment, task, out):
                self.decide(fragment, Block(task, tuple(name for name, _ in plan.resources)), now, out)

    def claim(self, fragment: Fragment, task: int, out: list[object]) -> bool:
        """Has the task got all its resources? If not, it stands in line from now on."""
        self.claimed += 1
        self.claims.setdefault(fragment.run, set()).add(task)
        needs = fragment.task(task).resources
        if not self.resources.take(Holder(fragment.run, task), needs, fragment.priority(), self.claimed):
            return False
        self.leases.grant(fragment, task, out)
        return True

    def give_back(self, run: str, task: int) -> None:
        """The task needs its resources no longer; those that waited for them may start."""
        claims = self.claims.get(run, set())
        claims.discard(task)
        if not claims:
            self.claims.pop(run, None)
        self.start(self.leases.end(run, task))

    def start(self, holders: list[Holder]) -> None:
        """These have all they need now."""
        for holder in holders:
            if (waiting := self.fragments.get(holder.run)) is not None:
                waiting.wake(holder.task)
                self.woken.append(waiting)

    def time(self, fragment: Fragment, out: list[object]) -> None:
        """Set and clear the timers of waits that began or are over."""
        timed, fragment.timed = fragment.timed, None
        for task, due_ms in (timed or {}).items():
            key = due_key(task)
            out.append(SetTimer(fragment.run, key, due_ms) if due_ms else ClearTimer(fragment.run, key))

    def _call_off(self, fragment: Fragment, events: list[Event], out: list[object]) -> None:
        """Ask agents to stop what has just become unwanted."""
        if not any(type(event) in CALLS_OFF for event in events):
            return
        stops: dict[str, list[AttemptKey]] = {}
        for task, attempt in sorted(fragment.live.items()):
            if not fragment.is_wanted(task):
                stops.setdefault(attempt.agent, []).append(self.key(fragment, task, attempt))
        for agent, keys in stops.items():
            self.stop(agent, keys, fragment.detail or "no longer wanted", out)

    def _end(self, fragment: Fragment, events: list[Event], out: list[object]) -> None:
        self.withdrawn.follow(fragment.run, events)
        # Whatever waited was cancelled, and its timers with it.
        if fragment.plan.timeout_ms:
            out.append(ClearTimer(fragment.run, "run"))
        del self.fragments[fragment.run]
        if fragment.contract is not None:
            self.gate.forget(fragment.run)
        self.children.end(fragment)
        out.append(Save(fragment.run, True, fragment.outcome, fragment.save()))

    def stop(self, agent: str, keys: list[AttemptKey], reason: str, out: list[object]) -> None:
        slot = self.roster.slots.get(agent)
        if slot is not None and slot.session:
            strong = [key for key in keys if self.gate.is_strong(key.run)] if self.gate.lag.strong else []
            if strong:
                out.append(Confirmed(StopTasks(slot.session, agent, strong, reason)))
                keys = [key for key in keys if key not in strong]
            if keys:
                out.append(StopTasks(slot.session, agent, keys, reason))

    def key(self, fragment: Fragment, task: int, attempt: Attempt) -> AttemptKey:
        return AttemptKey(fragment.run, task, attempt.number, attempt_epoch(fragment.epoch, attempt.number))


def deadline_of(fragment: Fragment, task: int, begun_ms: int) -> SetTimer:
    """When an attempt that was given out, or taken up again, at `begun_ms` (UTC) has had its time and some grace."""
    due_ms = begun_ms + fragment.task(task).timeout_ms + DEADLINE_GRACE_MS
    return SetTimer(fragment.run, f"deadline/{task}", due_ms)


def timers_of(fragment: Fragment) -> list[SetTimer]:
    """The timers of a fragment's waiting tasks: kept in the log, but not by a peer that a lost stream was fetched back from."""
    return [SetTimer(fragment.run, due_key(task), due_ms) for task, due_ms in (fragment.due or {}).items()]


def is_about(command: FragmentCommand | None, held: Attempt) -> bool:
    """Does its agent itself tell of this very attempt?"""
    said = getattr(command, "agent", ""), getattr(command, "attempt", 0)
    return said == (held.agent, held.number)


@lru_cache(maxsize=4_096)
def due_key(task: int) -> str:
    """One string for the timers of all runs that wait in the same place."""
    return f"due/{task}"
