"""The ballots that are open at a site: who is asked over which session, whose votes come, and what follows when one closes.

Soft state. What was asked and what came of it are events of the run; between the two a restart forgets, and whoever asked asks
anew under a higher epoch. A vote is acknowledged with the result that has it, once that is durable; what does not count is told
at once.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from coordination.ballot import Ballot, BallotClosed, Cast, Close, Gone, Input, Returned, Tick, VoteRefused
from coordination.tallying import Terms
from edge.negotiation import Negotiation
from edge.part import Fold, Part, Step
from edge.voting.inputs import AgentVoted, AnswerVotes, Proposal, ProposeVotes, Reply, Said
from sync.outputs import Confirmed
from sync.values import Now
from workflow.event import Event
from workflow.events import AgentDeparted

if TYPE_CHECKING:
    from edge.home import Home

VOTES = "votes"
"""The feature of an agent's Register that says that it answers questions; others abstain."""
CLOSED_MAX = 1_000
"""Of so many ballots the result is remembered, for votes that are said again."""

SHOWN_MAX = 20

OnClose = Callable[[BallotClosed, Now, list[object]], None]


@dataclass(slots=True)
class Question:
    """What is asked, besides who may vote and what decides. `run` and `task` (its number) say for what."""

    run: str
    task: int
    task_name: str
    topic: str
    text: str
    details: bytes
    wait_ms: int
    what: str = "vote"


@dataclass(slots=True)
class Poll:
    """A ballot that is open. `asked` are the sessions over which agents have the question."""

    ballot: Ballot
    question: Question
    since_ms: int
    on_close: OnClose
    asked: dict[str, int] = field(default_factory=dict)


class Polls(Part):
    """All ballots of the site, by id: `run/task`."""

    name: ClassVar[str] = "polls"

    def __init__(self, home: "Home") -> None:
        self._home = home
        self.open: dict[str, Poll] = {}
        self.refused: Counter[str] = Counter()
        self._voters: dict[str, dict[str, None]] = {}  # By agent, the ballots that wait for it.
        self._closed: dict[str, BallotClosed] = {}
        self._gone: dict[str, str] = {}
        self._news: dict[str, None] = {}

    def steps(self) -> dict[type, Step]:
        return {AgentVoted: self._hear}

    def folds(self) -> dict[type, Fold]:
        return {AgentDeparted: self._depart}

    # Whoever asks -----------------------------------------------------------------------------------------------------

    def begin(self, epoch: int, question: Question, terms: Terms, on_close: OnClose, now: Now, out: list[object]) -> None:
        """Ask. `on_close` is called once, in a later turn, unless the poll is withdrawn."""
        name = f"{question.run}/{question.task_name}"
        assert not terms.problems(), f"ballot {name} cannot be voted on: {terms.problems()}"
        ballot = Ballot(name, epoch, question.text, terms, now.mono_ms + question.wait_ms)
        self.open[name] = poll = Poll(ballot, question, now.wall_ms, on_close)
        for agent in sorted(terms.weights):
            self._voters.setdefault(agent, {})[name] = None
            slot = self._home.roster.slots.get(agent)
            if slot is None or not slot.present:
                ballot.step(Gone(agent, "unreachable" if slot is not None else "unknown"), now.mono_ms)
            elif slot.session and VOTES not in slot.features:
                ballot.step(Gone(agent, "cannot_vote"), now.mono_ms)
            elif slot.session:
                self._ask(poll, agent, slot.session, now, out)
        self._news[name] = None

    def withdraw(self, ballot: str) -> None:
        """Nobody wants to know any more. Agents that still think about it are told so when they vote."""
        if (poll := self.open.pop(ballot, None)) is not None:
            self._forget(ballot, poll)
            poll.ballot.step(Close(), 0)
            if poll.ballot.closed is not None:
                self._remember(poll.ballot.closed)

    def shown(self, now: Now) -> Iterator[Negotiation]:
        """The questions of tasks that are open: who has said what, and who is waited for."""
        for poll in self.open.values():
            question, ballot = poll.question, poll.ballot
            if question.what != "vote":
                continue  # Shown by the protocol that asks.
            weights, votes = ballot.terms.weights, ballot.votes
            waits_for = ", ".join(ballot.waited_for()[:SHOWN_MAX]) or "nobody"
            why = f"{len(votes)} of {len(weights)} agents have voted; waits for {waits_for}"
            until = now.wall_ms + ballot.deadline_mono_ms - now.mono_ms
            given: list[dict[str, object]] = [{"agent": agent, "option": votes[agent] or None} for agent in sorted(votes)]
            about = question.run, question.task, "vote", "open", why, 1, poll.since_ms, until
            yield Negotiation(*about, sorted(weights)[:SHOWN_MAX], given[:SHOWN_MAX])

    # Agents -----------------------------------------------------------------------------------------------------------

    def met(self, agent: str, now: Now, out: list[object]) -> None:
        """The agent has a session, again: it may not know what it was asked."""
        self._gone.pop(agent, None)
        slot = self._home.roster.slots[agent]
        for name in list(self._voters.get(agent, ())):
            poll = self.open[name]
            if VOTES not in slot.features:
                self._take(poll, Gone(agent, "cannot_vote"), now, out)
                continue
            self._take(poll, Returned(agent), now, out)
            if agent not in poll.ballot.votes and poll.asked.get(agent) != slot.session:
                self._ask(poll, agent, slot.session, now, out)

    def _ask(self, poll: Poll, agent: str, session: int, now: Now, out: list[object]) -> None:
        ballot, question = poll.ballot, poll.question
        due_ms = max(0, ballot.deadline_mono_ms - now.mono_ms)
        about = question.topic, question.text, ballot.terms.options, question.details, due_ms, str(ballot.terms.rule)
        proposal = Proposal(ballot.ballot, ballot.epoch, *about, question.run, question.task_name, question.what)
        poll.asked[agent] = session
        self._send(question.run, ProposeVotes(session, agent, [proposal]), out)

    def _hear(self, input: AgentVoted, now: Now, out: list[object]) -> None:
        if self._home.roster.admit(input.agent, input.session, now) is None:
            return
        replies = [reply for said in input.votes if (reply := self._cast(input.agent, said, now, out)) is not None]
        if replies:
            out.append(AnswerVotes(input.session, input.agent, replies))

    def _cast(self, agent: str, said: Said, now: Now, out: list[object]) -> Reply | None:
        poll = self.open.get(said.ballot)
        if poll is None:
            return self._reply_late(agent, said)
        events = self._take(poll, Cast(said.ballot, said.epoch, agent, said.option), now, out)
        refused = next((event for event in events if isinstance(event, VoteRefused)), None)
        if refused is None:
            return None  # It is acknowledged with the result.
        self.refused[refused.code] += 1
        return Reply(said.ballot, said.epoch, refused.code, refused.message)

    def _reply_late(self, agent: str, said: Said) -> Reply:
        closed = self._closed.get(said.ballot)
        if closed is not None and closed.epoch == said.epoch and closed.votes.get(agent) == said.option:
            return Reply(said.ballot, said.epoch, result=closed.option)
        code = "late" if closed is not None and closed.epoch == said.epoch else "other_ballot"
        self.refused[code] += 1
        message = f"ballot {said.ballot} is not open under epoch {said.epoch}" + ("" if closed is None else ": its result stands")
        return Reply(said.ballot, said.epoch, code, message)

    def _depart(self, is_own: bool, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, AgentDeparted)
        if event.agent in self._voters:
            self._gone[event.agent] = event.reason

    # Time -------------------------------------------------------------------------------------------------------------

    def settle(self, now: Now, out: list[object]) -> None:
        """Who has gone is not waited for; what has closed, or is out of time, is told to whoever asked."""
        if not self.open:
            return
        gone, self._gone = self._gone, {}
        for agent, reason in gone.items():
            for name in list(self._voters.get(agent, ())):
                self._take(self.open[name], Gone(agent, reason), now, out)
        if any(now.mono_ms >= poll.ballot.deadline_mono_ms for poll in self.open.values()):
            for poll in list(self.open.values()):
                self._take(poll, Tick(), now, out)
        news, self._news = self._news, {}
        for name in news:
            found = self.open.get(name)
            if found is not None and found.ballot.closed is not None:
                self._close(name, found, found.ballot.closed, now, out)

    def wake_mono_ms(self) -> int | None:
        if self._news or self._gone:
            return 0
        return min((poll.ballot.deadline_mono_ms for poll in self.open.values()), default=None)

    def _take(self, poll: Poll, input: Input, now: Now, out: list[object]) -> list[Event]:
        events = poll.ballot.step(input, now.mono_ms)
        if poll.ballot.closed is not None:
            self._news[poll.ballot.ballot] = None
        return events

    def _close(self, name: str, poll: Poll, closed: BallotClosed, now: Now, out: list[object]) -> None:
        del self.open[name]
        self._forget(name, poll)
        self._remember(closed)
        poll.on_close(closed, now, out)
        reply = Reply(name, closed.epoch, result=closed.option)
        for agent in closed.votes:
            slot = self._home.roster.slots.get(agent)
            if slot is not None and slot.session:
                self._send(poll.question.run, AnswerVotes(slot.session, agent, [reply]), out)

    def _send(self, run: str, order: ProposeVotes | AnswerVotes, out: list[object]) -> None:
        """What is said of a strong run waits for the cloud, as everything that it decides."""
        out.append(Confirmed(order) if self._home.gate.is_strong(run) else order)

    def _forget(self, name: str, poll: Poll) -> None:
        for agent in poll.ballot.terms.weights:
            names = self._voters.get(agent, {})
            names.pop(name, None)
            if not names:
                self._voters.pop(agent, None)

    def _remember(self, closed: BallotClosed) -> None:
        self._closed.pop(closed.ballot, None)
        self._closed[closed.ballot] = closed
        if len(self._closed) > CLOSED_MAX:
            del self._closed[next(iter(self._closed))]
