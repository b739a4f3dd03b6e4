"""What a fragment can be asked to decide: the union that `Fragment.decide` matches."""

from typing import NamedTuple

import msgspec

from workflow.event import Blob
from workflow.events import TaskFailed
from workflow.orders import Order
from workflow.states import COMPLETED

# What an agent asks for is not believed beyond this.
RETRY_AFTER_MS_MAX = 86_400_000
# Failures by which an attempt was stopped in the middle: what it had done until then is not known.
STOPPED_HALFWAY = ("timeout", "lease_expired", "heartbeat")


class Assign(msgspec.Struct, frozen=True, gc=False):
    """Give the task to an agent (in its process `boot`) with these parameters (JSON, empty if the plan's own)."""

    task: int
    agent: str
    boot: str
    parameters: bytes


class Complete(msgspec.Struct, frozen=True, gc=False):
    """The agent says: this attempt is done."""

    task: int
    attempt: int
    agent: str
    output: bytes
    blob: Blob | None


class Fail(msgspec.Struct, frozen=True, gc=False):
    """The agent, or the deadline, says: this attempt failed. No other begins before `retry_after_ms` have passed."""

    task: int
    attempt: int
    agent: str
    code: str
    message: str
    retryable: bool
    recoverable: bool = False
    retry_after_ms: int = 0

    def event(self, retry_at_ms: int, correlation_id: str, then: str = "") -> TaskFailed:
        """What is recorded of it; `then`: what was decided with it."""
        told = TaskFailed(self.task, self.attempt, self.code, self.message, retry_at_ms, self.agent)
        return msgspec.structs.replace(
            told,
            retryable=self.retryable,
            recoverable=self.recoverable or self.retryable,
            retry_after_ms=min(self.retry_after_ms, RETRY_AFTER_MS_MAX),
            correlation_id=correlation_id,
            then=then,
        )


class Lose(msgspec.Struct, frozen=True, gc=False):
    """The attempt's outcome will not be learned. `certain`: it is known never to have begun."""

    task: int
    attempt: int
    certain: bool
    reason: str


class TakeUp(NamedTuple):
    """The agent whose attempt was given up says that it still has it in its hands."""

    task: int
    attempt: int
    agent: str


class Attend(NamedTuple):
    """See what is to happen with a task that is ready, or a group that has changed."""

    task: int


class Block(NamedTuple):
    """The task could start but for resources that others hold."""

    task: int
    resources: tuple[str, ...]


class Expire(NamedTuple):
    """The time in which the task was to be begun is over; -1: that of the whole run."""

    task: int


class Reuse(msgspec.Struct, frozen=True, gc=False):
    """What another run's task gave is kept, and stands for what this one would give; `source` says whose it is."""

    task: int
    output: bytes
    blob: Blob | None
    source: str


class Meet(NamedTuple):
    """All parties of the sync point are there; `output` says who."""

    task: int
    output: bytes


class AskVote(NamedTuple):
    """Agents are to be asked, for this task; see workflow.voting_events."""

    task: int
    what: str
    voters: tuple[str, ...]


class CloseVote(NamedTuple):
    """What agents have decided. `option` is empty if they rejected it, and `message` says why."""

    task: int
    epoch: int
    option: str
    result: bytes
    message: str


class Steer(NamedTuple):
    """A person or program asks for something; `command` is the intent's id."""

    command: str
    order: Order


class Elapse(NamedTuple):
    """The moment that the task waited for has come."""

    task: int


class Receive(NamedTuple):
    """A task of another site has ended in `state`."""

    task: int
    output: bytes
    blob: Blob | None
    state: int = COMPLETED


class Cancel(NamedTuple):
    """Stop the fragment; `intent` is the command's id."""

    intent: str
    reason: str


class Decline(NamedTuple):
    """The agent says: this attempt was never begun, and why. It is given out again after a while.

    `blames`: the reason lies with the agent. It does not if what the task reads cannot be had anywhere just now.
    """

    task: int
    attempt: int
    agent: str
    reason: str
    blames: bool = True


class CancelDone(NamedTuple):
    """The agent says: this attempt was stopped and left no effect."""

    task: int
    attempt: int
    agent: str


FragmentCommand = (
    Assign
    | Attend
    | Complete
    | Fail
    | Lose
    | TakeUp
    | Elapse
    | Block
    | Meet
    | AskVote
    | CloseVote
    | Reuse
    | Expire
    | Receive
    | Cancel
    | CancelDone
    | Decline
    | Steer
)
