"""What agents say when they vote, and what they are asked and told."""

from typing import NamedTuple


class Said(NamedTuple):
    """One vote. `option` empty: the agent abstains."""

    ballot: str
    epoch: int
    option: str


class AgentVoted(NamedTuple):
    """A batch of votes of one agent."""

    session: int
    agent: str
    votes: list[Said]


class Proposal(NamedTuple):
    """A question to one agent. `details` is a JSON object; `due_ms` how long from now."""

    ballot: str
    epoch: int
    topic: str
    question: str
    options: tuple[str, ...]
    details: bytes
    due_ms: int
    rule: str
    run: str
    task: str
    what: str


class ProposeVotes(NamedTuple):
    """Order: ask the agent."""

    session: int
    agent: str
    items: list[Proposal]


class Reply(NamedTuple):
    """What became of one vote. `code` is empty if it counts; `result` is the option that won."""

    ballot: str
    epoch: int
    code: str = ""
    message: str = ""
    result: str = ""


class AnswerVotes(NamedTuple):
    """Order: tell the agent what became of its votes."""

    session: int
    agent: str
    items: list[Reply]
