"""How an agent votes: the site asks, a function of the agent's author answers.

@agent.vote("inspect")
def judge(proposal: Proposal) -> str | None:
    return "accept" if proposal.details["weight"] < 20 else "reject"    # None: abstain
"""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tiercel.asking import Asking
from tiercel.concern import Concern, Hear
from tiercel.outbox import Outbox
from tiercel.v1 import agent_pb2

SAID_MAX = 1_000
"""Of so many ballots it is remembered what was said, so that the same is said again."""

log = logging.getLogger("tiercel.voting")
Voter = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Proposal:
    """A question to the agent. `details` is what the task gives `with`; the answer is wanted within `due_s`."""

    ballot: str
    epoch: int
    topic: str
    question: str
    options: tuple[str, ...]
    details: dict[str, Any]
    due_s: float
    rule: str
    run: str
    task: str
    what: str = "vote"


class Voting(Concern):
    """Answers each question once. Asked again (over a new session), it says the same; under a higher epoch it thinks anew."""

    def __init__(self, voters: Mapping[str, Voter], asking: Asking, outbox: Outbox) -> None:
        self._voters = voters
        self._asking = asking
        self._outbox = outbox
        self._said: dict[tuple[str, int], str | None] = {}  # None while it is thought about.

    def features(self) -> tuple[str, ...]:
        return ("votes",)

    def hears(self) -> Mapping[str, Hear]:
        return {"proposals": self._asked, "vote_replies": self._told}

    def _asked(self, proposals: Any) -> None:
        for item in proposals.items:
            key = item.ballot, item.epoch
            if key in self._said:
                if (said := self._said[key]) is not None:
                    self._say(key, said)
                continue
            self._remember(key)
            voter = self._voters.get(item.topic) or self._voters.get("")
            if voter is None:
                self._answer(key, tuple(item.options), least_loaded(_proposal(item)) if item.what == "consensus" else None)
                continue
            self._ask(voter, key, _proposal(item))

    def _ask(self, voter: Voter, key: tuple[str, int], proposal: Proposal) -> None:
        def then(answer: Any) -> None:
            self._answer(key, proposal.options, answer)

        def failed(_: Exception) -> None:
            self._answer(key, proposal.options, None)

        self._asking.ask(f"the vote on {proposal.ballot}", voter, proposal, max(proposal.due_s, 0.001), then, failed)

    def _answer(self, key: tuple[str, int], options: tuple[str, ...], answer: Any) -> None:
        if answer is not None and answer not in options:
            log.error("the vote on %s gave %r, which is none of %s: the agent abstains", key[0], answer, ", ".join(options))
            answer = None
        self._said[key] = said = answer or ""
        self._say(key, said)

    def _say(self, key: tuple[str, int], option: str) -> None:
        vote = agent_pb2.Vote(ballot=key[0], epoch=key[1], option=option)
        self._outbox.add(agent_pb2.AgentMessage(votes=agent_pb2.Votes(items=[vote])))

    def _told(self, replies: Any) -> None:
        for reply in replies.items:
            self._said.pop((reply.ballot, reply.epoch), None)
            if not reply.counted:
                log.warning("a vote on %s does not count (%s): %s", reply.ballot, reply.code, reply.message)

    def _remember(self, key: tuple[str, int]) -> None:
        self._said[key] = None
        if len(self._said) > SAID_MAX:
            del self._said[next(iter(self._said))]


def _proposal(item: Any) -> Proposal:
    details = json.loads(item.details or b"{}")
    about = item.ballot, item.epoch, item.topic, item.question, tuple(item.options), details
    return Proposal(*about, item.due_ms / 1000, item.rule, item.run, item.task, item.what)


def least_loaded(proposal: Proposal) -> str:
    """Whom an agent without an opinion of its own votes for: the candidate with the smallest share of its capacity in use, the
    first by name. All such agents agree."""
    candidates: dict[str, dict[str, Any]] = proposal.details["candidates"]
    return min(sorted(candidates), key=lambda agent: candidates[agent]["load"] / candidates[agent]["capacity"])
