"""A random story of a fragment: agents, time and people, in any order; what must hold is checked at every event."""

from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import strategies as st

from tests.workflow.asking import PEOPLE, approval, child, output_of, random_order, settlement
from tests.workflow.definitions import RESOURCES
from tests.workflow.play import RUN, Busy, Play
from tests.workflow.witness import Witness
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
from workflow.extras import Attempt
from workflow.fragment import Fragment
from workflow.orders import (
    Lift,
    Order,
    Resume,
    Signal,
)
from workflow.resources import Resources
from workflow.saved import load_saved
from workflow.states import (
    BLOCKED,
    READY,
    RECONCILE,
    STUCK,
    WAITING,
)
from workflow.tasks import Kind

Happening = tuple[str, int, int]
AGENTS = ("done", "fail", "lose", "decline", "stopped", "late")
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


def stocked() -> Resources:
    """A site that has what random definitions ask for."""
    resources = Resources()
    for name, units in RESOURCES.items():
        resources.declare(name, units)
    return resources


def _nothing(task: str, parameters: object) -> object:
    raise Busy


@dataclass
class Story(Play):
    """A play whose agents answer when the story says so."""

    script: Callable[[str, object], object] = _nothing
    resources: Resources = field(default_factory=stocked)
    witness: Witness = field(default_factory=Witness)
    returned: list[tuple[int, Attempt]] = field(default_factory=list)

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
        elif (order := random_order(self.fragment, what, number, variant)) is not None:
            self.order(order)

    def give(self, number: int) -> bool:
        """Give one of the tasks that wait to the agent."""
        waiting, self.queue = self.queue, []
        self.queue += [task for task in waiting if is_for_agents(self.fragment, task) and not self._lacks_resources(task)]
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
                return Complete(*who, output_of(self.fragment, who[0], variant), None)
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
                if self.queue or fragment.states[task] != BLOCKED:
                    return True
        for task, state in enumerate(fragment.states):
            if state in (STUCK, RECONCILE):
                return self._accepted(settlement(self.fragment, task, 0))
            if state == WAITING and fragment.task(task).kind is Kind.SIGNAL:
                return self._accepted(Signal(fragment.task(task).signal, 1))
        for order in (approval(self.fragment, 1), child(self.fragment, 1)):
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
            self.witness.expect(self.fragment, event)
            before = bytes(self.fragment.states)
            super()._fold([event])
            self.witness.saw(self.fragment, event, before)
            self.returned += self.witness.freed

    def _give_back(self) -> None:
        self.fragment.freed, self.returned = [*self.returned, *(self.fragment.freed or ())], []
        super()._give_back()

    def check_returned(self) -> None:
        """Whatever the run held of the site's resources is free, and nobody waits in a line."""
        assert [(name, used, line) for name, _, used, line in self.resources.in_use() if used or line] == []


KINDS = ("work", "wait", "signal", "check", "approval", "run", "parallel", "sequential", "map", "repeat")
