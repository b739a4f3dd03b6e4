"""A ballot among agents: one question, one decision, with every vote on record.

    open -> proposals go to all who may vote
    Cast, Gone, Returned, Close, time that passed -> decide -> VoteTaken, VoteRefused, BallotClosed
    each event                                    -> evolve

A vote counts once: said again it is harmless, said otherwise it is refused, for a decision may rest on it already. While a
ballot is open it is soft state: votes are acknowledged only with the result that counts them, and a node that restarts asks anew
under a higher epoch, so that a vote of before is a vote of before. Whoever dies before it has voted abstains, and is not counted
for the quorum; whoever returns in time may vote all the same. The ballot ends as soon as nobody who is left can change its
result; only a quorum that those who are there do not make is waited for until the deadline.
"""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import msgspec

from coordination.tallying import Decision, Terms, judge, settled, tally_of
from sync.event import Event

OPTION_CHARACTERS_MAX = 200
STRANGERS_MAX = 100
"""Of so many refusals who was refused is remembered by name; the others are counted."""


class Cast(NamedTuple):
    """An agent votes. `option` empty: it abstains."""

    ballot: str
    epoch: int
    agent: str
    option: str


class Gone(NamedTuple):
    """An agent is dead, or its lease has run out."""

    agent: str
    reason: str = "lost"


class Returned(NamedTuple):
    """An agent is there again."""

    agent: str


class Tick(NamedTuple):
    """Time has passed."""


class Close(NamedTuple):
    """Nobody wants to know any more."""

    reason: str = "withdrawn"


Input = Cast | Gone | Returned | Tick | Close
Refusal = Literal["other_ballot", "old_epoch", "not_invited", "unknown_option", "late", "changed"]


class VoteTaken(Event, frozen=True):
    """The agent's vote, the first that it cast. It counts once the ballot is closed."""

    agent: str
    option: str


class VoteRefused(Event, frozen=True):
    """What an agent said does not count, and why: for programs and for people."""

    agent: str
    code: str
    message: str


class VoterGone(Event, frozen=True):
    """The agent is not waited for any more."""

    agent: str
    reason: str


class VoterReturned(Event, frozen=True):
    """The agent is waited for again."""

    agent: str


class BallotClosed(Event, frozen=True):
    """The result. `option` is empty if the proposal is rejected; `reason` as in Decision, or `withdrawn`, when nothing was
    decided. `ended`: early (nobody could change it), all (all have voted or are gone), deadline, withdrawn."""

    ballot: str
    epoch: int
    question: str
    option: str
    reason: str
    ended: str
    rule: str
    options: list[str]
    votes: dict[str, str]
    missing: dict[str, str]
    weights: dict[str, int]
    tally: dict[str, int]
    quorum: int
    refused: dict[str, int]


class Result(msgspec.Struct, frozen=True):
    """A result as people and programs read it: the output of a task that votes, and what is said of an award."""

    accepted: bool
    option: str
    reason: str
    ended: str
    question: str
    rule: str
    quorum: int
    epoch: int
    votes: dict[str, str | None]
    missing: dict[str, str]
    tally: dict[str, int]
    weights: dict[str, int]
    refused: dict[str, int]


@dataclass(slots=True)
class Ballot:
    """One question under one epoch. `deadline_mono_ms` is on the clock of the node that asks."""

    ballot: str
    epoch: int
    question: str
    terms: Terms
    deadline_mono_ms: int
    votes: dict[str, str] = field(default_factory=dict)
    gone: dict[str, str] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    closed: BallotClosed | None = None

    def decide(self, input: Input, now_ms: int) -> list[Event]:
        """What follows from an input at `now_ms` (monotonic); nothing if it is a repetition."""
        if isinstance(input, Cast):
            return self._hear(input, now_ms)
        if self.closed is not None:
            return []
        match input:
            case Gone(agent, reason):
                if agent not in self.terms.weights or agent in self.votes or agent in self.gone:
                    return []
                return [VoterGone(agent, reason), *self._end(self.votes, {**self.gone, agent: reason})]
            case Returned(agent):
                return [VoterReturned(agent)] if agent in self.gone else []
            case Tick():
                return [self._closed("deadline", self.votes, self.gone)] if now_ms >= self.deadline_mono_ms else []
            case Close(reason):
                return [self._closed(reason, self.votes, self.gone)]

    def evolve(self, event: Event) -> None:
        """Fold what was decided."""
        match event:
            case VoteTaken(agent, option):
                self.votes[agent] = option
                self.gone.pop(agent, None)
            case VoteRefused(_, code):
                self.refused[code] = self.refused.get(code, 0) + 1
            case VoterGone(agent, reason):
                self.gone[agent] = reason
            case VoterReturned(agent):
                self.gone.pop(agent, None)
            case BallotClosed():
                self.closed = event

    def step(self, input: Input, now_ms: int) -> list[Event]:
        """Decide, and fold it."""
        events = self.decide(input, now_ms)
        for event in events:
            self.evolve(event)
        return events

    def waited_for(self) -> list[str]:
        """Who may still vote and is there, by name."""
        return [agent for agent in sorted(self.terms.weights) if agent not in self.votes and agent not in self.gone]

    def _hear(self, cast: Cast, now_ms: int) -> list[Event]:
        if refusal := self._refusal(cast, now_ms):
            return [VoteRefused(cast.agent, *refusal)]
        if cast.agent in self.votes:
            return []
        votes = {**self.votes, cast.agent: cast.option}
        gone = {agent: why for agent, why in self.gone.items() if agent != cast.agent}
        return [VoteTaken(cast.agent, cast.option), *self._end(votes, gone)]

    def _refusal(self, cast: Cast, now_ms: int) -> tuple[Refusal, str] | None:
        name, said = cast.agent, self.votes.get(cast.agent)
        if cast.ballot != self.ballot:
            return "other_ballot", f"this is ballot {self.ballot}, not {cast.ballot[:OPTION_CHARACTERS_MAX]}"
        if cast.epoch != self.epoch:
            return "old_epoch", f"ballot {self.ballot} is asked under epoch {self.epoch}, not {cast.epoch}: vote again"
        if name not in self.terms.weights:
            return "not_invited", f"{name} is not among those who may vote in {self.ballot}"
        if cast.option and cast.option not in self.terms.options:
            options = ", ".join(self.terms.options)
            return (
                "unknown_option",
                f"{cast.option[:OPTION_CHARACTERS_MAX]!r} is no option of {self.ballot}; there are: {options}",
            )
        if said is not None:
            return None if said == cast.option else ("changed", f"{name} has voted {said or 'nothing'!r}; that stands")
        if self.closed is not None or now_ms >= self.deadline_mono_ms:
            return "late", f"ballot {self.ballot} is over: its result stands"
        return None

    def _end(self, votes: dict[str, str], gone: dict[str, str]) -> list[Event]:
        missing = [agent for agent in sorted(self.terms.weights) if agent not in votes and agent not in gone]
        decision = settled(self.terms, votes, missing)
        if decision is None or (gone and decision.reason == "no_quorum"):
            return []  # Who is gone may be back in time, and make the quorum.
        return [self._closed("early" if missing else "all", votes, gone)]

    def _closed(self, ended: str, votes: dict[str, str], gone: dict[str, str]) -> BallotClosed:
        terms = self.terms
        missing = {agent: gone.get(agent, "silent") for agent in sorted(terms.weights) if agent not in votes}
        option, reason = self._decision(ended, votes, missing)
        cast = {agent: votes[agent] for agent in sorted(votes)}
        tally, weights = tally_of(terms, cast), dict(sorted(terms.weights.items()))
        about = self.ballot, self.epoch, self.question, option, reason, ended, str(terms.rule), list(terms.options)
        return BallotClosed(*about, cast, missing, weights, tally, terms.quorum, dict(sorted(self.refused.items())))

    def _decision(self, ended: str, votes: dict[str, str], missing: dict[str, str]) -> Decision:
        if ended in ("all", "deadline"):
            return judge(self.terms, votes)
        if ended == "early" and (decision := settled(self.terms, votes, sorted(missing))) is not None:
            return decision
        return Decision("", ended)


def result_of(closed: BallotClosed) -> Result:
    """The result as it is shown."""
    votes: dict[str, str | None] = {agent: option or None for agent, option in closed.votes.items()}
    about = bool(closed.option), closed.option, closed.reason, closed.ended, closed.question, closed.rule, closed.quorum
    return Result(*about, closed.epoch, votes, closed.missing, closed.tally, closed.weights, closed.refused)
