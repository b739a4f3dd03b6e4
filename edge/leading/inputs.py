"""What a leader is asked and says, and what its group is told."""

from typing import NamedTuple

from coordination.delegating import Follower, Refused, Wanted


class PlanMade(NamedTuple):
    """An agent says who does what. `by_site`: it has no opinion, and the site spreads the tasks."""

    session: int
    agent: str
    group: str
    epoch: int
    number: int
    plan: list[Wanted]
    by_site: bool


class LeaderSpoke(NamedTuple):
    """A leader gives its term back. `successor` empty: to whoever is next."""

    session: int
    agent: str
    group: str
    epoch: int
    successor: str


class MoveTerm(NamedTuple):
    """An operator on the site's own machine wants `to` to lead (empty: whoever is next); with an `epoch`, only while that is the
    group's latest."""

    token: int
    group: str
    to: str
    epoch: int


class TermMoved(NamedTuple):
    """What came of it. `code` empty: done; `leader` empty: it leads from when the one before cannot act any more."""

    code: str
    detail: str
    leader: str = ""
    epoch: int = 0


class LeadTask(NamedTuple):
    """One task that a leader is asked about. `parameters` is a JSON object, empty if it is large."""

    id: str
    run: str
    task_name: str
    capability: str
    parameters: bytes


class AskLeader(NamedTuple):
    """Order: ask the leader who does these, under its epoch."""

    session: int
    agent: str
    group: str
    epoch: int
    number: int
    tasks: list[LeadTask]
    followers: list[tuple[Follower, dict[str, str]]]
    due_ms: int


class AnswerLeader(NamedTuple):
    """Order: tell an agent what of its plan does not count; with `number` 0, that its word as a leader does not."""

    session: int
    agent: str
    group: str
    epoch: int
    number: int
    refused: list[Refused]


class TellLeader(NamedTuple):
    """Order: tell a member who leads its group; `leader` empty: the term of this epoch is over. It is believed for `ttl_ms`."""

    session: int
    agent: str
    group: str
    epoch: int
    leader: str
    ttl_ms: int = 0
