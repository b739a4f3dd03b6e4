"""The tasks of a site whose question agents decide: asked when their turn comes, and anew after a restart."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import msgspec

from coordination.ballot import BallotClosed, result_of
from coordination.tallying import Rule, Terms, Tie, usual_quorum
from edge.part import Part
from edge.voting.polls import Polls, Question
from sync.values import Now
from workflow.commands import AskVote, CloseVote, Fail
from workflow.expression import ExpressionError
from workflow.fragment import Fragment
from workflow.looking import scope_of
from workflow.resources import Holder
from workflow.states import WAITING
from workflow.tasks import Kind, VotePlan

if TYPE_CHECKING:
    from edge.home import Home

VOTERS_MAX = 100
LOOK_AGAIN_MS = 1_000


@dataclass(slots=True)
class TaskVotes(Part):
    """Invariant: a task that waits for votes is in `wanted` or has an open ballot, `asked`."""

    name: ClassVar[str] = "votes"
    home: "Home"
    polls: Polls
    wanted: dict[Holder, int] = field(default_factory=dict)
    """Tasks that are to be asked, and when their time is over (monotonic ms; 0: it has not begun)."""
    asked: dict[str, dict[int, str]] = field(default_factory=dict)
    """By run and task, the ballot that is open."""
    _met: bool = False

    def ask(self, who: Holder) -> None:
        """The task waits for votes."""
        self.wanted.setdefault(who, 0)

    def review(self, run: str) -> None:
        """Something happened in the run: what waits no longer is asked no more."""
        fragment = self.home.fragments.get(run)
        for task, ballot in list(self.asked.get(run, {}).items()):
            if fragment is None or not _waits(fragment, task):
                self._forget(Holder(run, task))
                self.polls.withdraw(ballot)

    def met(self, agent: str, now: Now, out: list[object]) -> None:
        """Somebody has come who may vote on what nobody could."""
        self._met = bool(self.wanted)

    def settle(self, now: Now, out: list[object]) -> None:
        """Ask what is to be asked."""
        met, self._met = self._met, False
        due = [who for who, until_ms in self.wanted.items() if met or now.mono_ms >= until_ms]
        for who in due:
            fragment = self.home.fragments.get(who.run)
            if fragment is None or not _waits(fragment, who.task):
                del self.wanted[who]
            else:
                self._ask(fragment, who, self.wanted[who], now, out)
                self.home.fragments.rest(who.run)

    def wake_mono_ms(self) -> int | None:
        if self._met:
            return 0
        return min(self.wanted.values(), default=None)

    def _voters(self, fragment: Fragment, task: int) -> list[str]:
        plan = fragment.task(task).vote
        assert plan is not None, f"task {task} asks nothing"
        if plan.agents:
            return list(plan.agents)
        slots = self.home.roster.slots
        found = sorted(name for name, slot in slots.items() if slot.present and plan.capability in slot.capabilities)
        return found[:VOTERS_MAX]

    def _ask(self, fragment: Fragment, who: Holder, until_ms: int, now: Now, out: list[object]) -> None:
        """Ask those who may vote now. While there are too few, the time of the question runs all the same."""
        run, task = who
        plan, voters = fragment.task(task).vote, self._voters(fragment, task)
        assert plan is not None, f"task {task} asks nothing"
        left_ms = until_ms - now.mono_ms if until_ms else plan.deadline_ms
        enough = len(voters) >= max(1, plan.quorum)
        if not enough and left_ms > 0:
            self.wanted[who] = now.mono_ms + left_ms
            return None
        del self.wanted[who]
        if not enough:
            return self._give_up(fragment, who, len(voters), now, out)
        try:
            text = str(msgspec.json.decode(plan.question.render(scope_of(fragment, task))))
            details = fragment.task(task).parameters.render(scope_of(fragment, task))
        except ExpressionError as error:
            self.home.reject(fragment, Fail(task, fragment.attempt(task), "", "expression", str(error), False), now, out)
            return None
        epoch = fragment.version + 1
        self.home.decide(fragment, AskVote(task, "vote", tuple(voters)), now, out)
        name = fragment.id_of(task)
        question = Question(run, task, name, plan.topic, text, details, left_ms)
        self.asked.setdefault(run, {})[task] = f"{run}/{name}"
        self.polls.begin(epoch, question, terms_of(plan, voters), lambda *said: self._closed(who, *said), now, out)
        return None

    def _give_up(self, fragment: Fragment, who: Holder, here: int, now: Now, out: list[object]) -> None:
        plan = fragment.task(who.task).vote
        assert plan is not None, f"task {who.task} asks nothing"
        text = f"{max(1, plan.quorum)} must vote, and {here} at {self.home.site} have {plan.capability}"
        said = {
            "accepted": False,
            "option": "",
            "reason": "no_quorum",
            "ended": "deadline",
            "rule": plan.rule,
            "quorum": max(1, plan.quorum),
        }
        self.home.decide(fragment, CloseVote(who.task, 0, "", msgspec.json.encode(said), text), now, out)

    def _closed(self, who: Holder, closed: BallotClosed, now: Now, out: list[object]) -> None:
        self._forget(who)
        fragment = self.home.fragments.get(who.run)
        if fragment is None:
            return
        against = [f"{agent}: {option}" for agent, option in closed.votes.items() if option]
        why = f"by {closed.rule} ({closed.reason}): {', '.join(against) or 'nobody voted'}"
        decided = CloseVote(who.task, closed.epoch, closed.option, msgspec.json.encode(result_of(closed)), why)
        self.home.decide(fragment, decided, now, out)

    def _forget(self, who: Holder) -> None:
        tasks = self.asked.get(who.run, {})
        tasks.pop(who.task, None)
        if not tasks:
            self.asked.pop(who.run, None)


def terms_of(plan: VotePlan, voters: list[str]) -> Terms:
    """What decides, among those who may vote now. Who was meant to and is not there has no veto, and breaks no tie."""
    weights = dict(plan.weights)
    here = set(voters)
    vetoes = tuple(agent for agent in plan.veto if agent in here)
    has_chair = plan.tie != Tie.CHAIR or plan.chair in here
    rule = Rule(plan.rule) if plan.rule != Rule.VETO or vetoes else Rule.MAJORITY
    return Terms(
        options=plan.options,
        weights={agent: weights.get(agent, 1) for agent in voters},
        rule=rule,
        quorum=plan.quorum or usual_quorum(rule, len(voters)),
        tie=Tie(plan.tie) if has_chair else Tie.REJECT,
        chair=plan.chair,
        vetoes=vetoes,
        no=plan.no,
    )


def _waits(fragment: Fragment, task: int) -> bool:
    return task < len(fragment.states) and fragment.states[task] == WAITING and fragment.task(task).kind is Kind.VOTE
