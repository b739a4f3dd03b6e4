"""What reaches the executor of a site from its agents, and what it orders in return."""

from typing import NamedTuple

import msgspec

from workflow.commands import CancelDone, Complete, Decline, Fail


class AttemptKey(NamedTuple):
    """One attempt at one task of one run."""

    run: str
    task: int
    attempt: int
    epoch: int


class Claimed(NamedTuple):
    """An attempt that an agent began by agreement with its peers, for which bid (more is better), and all that were bid."""

    key: AttemptKey
    bid: float
    bids: tuple[tuple[str, float], ...]


class AgentOpened(NamedTuple):
    """An agent registered over a new session; `holding` is every attempt that it still has in its hands, `peer` where others
    reach it while the site cannot be heard."""

    session: int
    agent: str
    agent_kind: str
    boot: str
    capabilities: tuple[str, ...]
    capacity: int
    labels: dict[str, str]
    holding: tuple[AttemptKey, ...]
    features: frozenset[str] = frozenset()
    peer: str = ""
    claims: tuple[Claimed, ...] = ()


class AgentSeen(NamedTuple):
    """A heartbeat: the session's lease counts anew."""

    session: int
    agent: str


class AgentDraining(NamedTuple):
    """The agent takes no more work, and ends what it has in hand."""

    session: int
    agent: str
    reason: str


class AgentClosed(NamedTuple):
    """The session ended; with `goodbye` if the agent means to leave."""

    session: int
    agent: str
    goodbye: bool


class Outrun(msgspec.Struct, frozen=True, gc=False):
    """The agent did not do what the home of `epoch` ordered: it has had orders of the run from that of the later epoch `by`."""

    task: int
    attempt: int
    agent: str
    epoch: int
    by: int
    reason: str


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What an agent reports of one attempt at a task of `run`."""

    run: str
    command: Complete | Fail | CancelDone | Decline | Outrun


class AgentReported(NamedTuple):
    """A batch of outcomes of one agent. `receipt` goes back to it unread once they are durable."""

    session: int
    agent: str
    outcomes: list[Outcome]
    receipt: object


class Word(NamedTuple):
    """What an agent says of an attempt in its hands: how far it is (0 to 1), and a note. A `beat` is a sign of life alone."""

    key: AttemptKey
    fraction: float
    note: str
    beat: bool


class AgentProgressed(NamedTuple):
    """A batch of words of one agent: telemetry."""

    session: int
    agent: str
    words: list[Word]


class ProgressHeard(NamedTuple):
    """Effect: there is progress that the cloud has not been told of."""


class Welcome(NamedTuple):
    """Order: tell the agent that its session is open."""

    session: int
    agent: str
    lease_ms: int


class Assigned(msgspec.Struct, frozen=True, gc=False):
    """One item of an `AssignTasks` order."""

    key: AttemptKey
    task_name: str
    capability: str
    parameters: bytes
    effect: int
    timeout_ms: int
    generation: int = 0
    heartbeat_ms: int = 0
    leases: tuple[tuple[str, int], ...] = ()


class AssignTasks(NamedTuple):
    """Order: hand these attempts to the agent."""

    session: int
    agent: str
    items: list[Assigned]


class AcknowledgeResults(NamedTuple):
    """Order: tell the agent that a batch of results is durable here (or was not wanted): it may forget them."""

    session: int
    agent: str
    receipt: object


class StopTasks(NamedTuple):
    """Order: ask the agent to stop these attempts."""

    session: int
    agent: str
    keys: list[AttemptKey]
    reason: str


class CloseSession(NamedTuple):
    """Order: end the session."""

    session: int
    agent: str
    code: str
    message: str
