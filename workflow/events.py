"""What can happen to a run, as facts in the past tense.

Here are the events of runs, fragments, attempts and agents, and the codec of all events; `workflow.steering_events` has what
people ask for and what follows from it.
"""

import msgspec

from workflow import steering_events
from workflow.contract import Contract
from workflow.event import Blob, Event
from workflow.origin import Origin
from workflow.states import COMPLETED

__all__ = ["Blob", "Event"]


class DefinitionRegistered(Event, frozen=True):
    """A definition `name@version` is known from here on; it never changes. `document` is its canonical JSON, compressed
    if it is large (`workflow.packing`). `is_latest`: what asks for the name alone gets this version from here on."""

    ref: str
    document: bytes
    is_latest: bool = True


class RunCreated(Event, frozen=True):
    """The cloud accepted a run: its definition, its checked inputs (a JSON object), the client's labels, and its place among
    those that wait (see workflow.fair). A task of `parent` asked for it; `depth` counts the runs above it. A fork has an
    `origin`; one with a `contract` is promised more, or less, than eventual consistency."""

    definition: str
    inputs: bytes
    labels: dict[str, str]
    created_ms: int
    priority: int = 4
    fairness_key: str = ""
    parent: str = ""
    depth: int = 0
    origin: Origin | None = None
    contract: Contract | None = None


class FragmentReleased(Event, frozen=True):
    """The cloud gave a run's fragment to a site and decides no more for it. `placement[i]` is the index in `sites` of task i.

    It says all that RunCreated says: a cloud that has lost its own stream knows the run from here. A priority of -1 was not said.
    """

    definition: str
    inputs: bytes
    site: str
    sites: list[str]
    placement: bytes
    epoch: int
    labels: dict[str, str]
    created_ms: int
    priority: int = -1
    fairness_key: str = ""
    parent: str = ""
    depth: int = 0
    origin: Origin | None = None
    contract: Contract | None = None


class FragmentAdopted(Event, frozen=True):
    """The site became the fragment's home and decides for it from here on. A priority of -1: that of the definition."""

    definition: str
    inputs: bytes
    site: str
    sites: list[str]
    placement: bytes
    epoch: int
    priority: int = -1
    origin: Origin | None = None
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    contract: Contract | None = None


class TaskAssigned(Event, frozen=True):
    """An attempt was given to an agent. `parameters` is the JSON object that its expressions gave, empty if it holds none."""

    task: int
    attempt: int
    agent: str
    boot: str
    parameters: bytes = b""


class TaskCompleted(Event, frozen=True):
    """The task is done. `output` is JSON; a large one is a blob instead. Attempt 0: no agent did it, but a timer, or what
    `source` names (`cache:r1/pick`, `person:ann`, `signal:go`, `run:r2`)."""

    task: int
    attempt: int
    agent: str = ""
    output: bytes = b"null"
    blob: Blob | None = None
    source: str = ""


class TaskFailed(Event, frozen=True):
    """An attempt failed. `retry_at_ms` (UTC) is when the next may begin; 0: the task has failed for good.

    `retryable` and `recoverable` are what was said of the failure; `correlation_id` (run/task/attempt) is what the agent's log
    calls the attempt. `then` names what was decided with it and follows: incident, degrade, restore, rollback.
    """

    task: int
    attempt: int
    code: str
    message: str
    retry_at_ms: int = 0
    agent: str = ""
    retryable: bool = False
    recoverable: bool = False
    retry_after_ms: int = 0
    correlation_id: str = ""
    then: str = ""


class TaskLost(Event, frozen=True):
    """The outcome of an attempt is unknown. `redeliver`: its effect class allows another; otherwise somebody must settle it. One
    that is known never to have begun (`begun` is false) had none."""

    task: int
    attempt: int
    reason: str
    redeliver: bool
    begun: bool = True


class AttemptResumed(Event, frozen=True):
    """An attempt whose outcome was unknown is in its agent's hands after all: the task runs again, and nothing was repeated."""

    task: int
    attempt: int
    agent: str


class TaskDelayed(Event, frozen=True):
    """The task waits for a moment: `due_ms`, UTC."""

    task: int
    due_ms: int


class TaskCancelled(Event, frozen=True):
    """The task will not be done, or was stopped before it had an effect."""

    task: int
    attempt: int
    reason: str = ""


class ValueHanded(Event, frozen=True):
    """A task of another site has ended, by default well; its output, through the cloud, for those who need it here."""

    task: int
    output: bytes
    blob: Blob | None = None
    state: int = COMPLETED


class CancelRequested(Event, frozen=True):
    """An intent of the cloud for a fragment whose home is the site: it answers by CommandAnswered."""

    command: str
    reason: str


class FragmentCancelling(Event, frozen=True):
    """The home took the intent: nothing new begins; what runs is asked to stop. `outcome` is what it ends as."""

    command: str
    reason: str
    outcome: str = "cancelled"


class CommandAnswered(Event, frozen=True):
    """What the home did about an intent: `accepted`, or why not."""

    command: str
    accepted: bool
    detail: str = ""


class FragmentEnded(Event, frozen=True):
    """Nothing of the fragment is left to do: completed, failed or cancelled."""

    outcome: str
    detail: str = ""


class RunEnded(Event, frozen=True):
    """All fragments have ended, so the run has. `output` is what the definition's `outputs` gave (JSON), empty without any."""

    outcome: str
    detail: str = ""
    output: bytes = b""


class RunReopened(Event, frozen=True):
    """The run had ended, the versions of its fragments being `version` together; its homes are asked to let it go on."""

    version: int


class AgentRegistered(Event, frozen=True):
    """An agent opened a session at the site. `boot` tells a restart of its process from a reconnect."""

    agent: str
    agent_kind: str
    boot: str
    capabilities: list[str]
    capacity: int
    labels: dict[str, str] = msgspec.field(default_factory=dict)


class AgentDeparted(Event, frozen=True):
    """The agent's lease ended (`unreachable`) or it said goodbye (`left`). Silent is not dead: it may come back."""

    agent: str
    reason: str


KINDS: dict[str, type[Event]] = {}
_DECODERS: dict[str, msgspec.msgpack.Decoder[Event]] = {}


def register(*kinds: type[Event]) -> None:
    """Let `decode` know these kinds. Modules with events of their own call it, and whoever folds these imports the module."""
    for event in kinds:
        event.kind = event.__name__
        KINDS[event.kind] = event
        _DECODERS[event.kind] = msgspec.msgpack.Decoder(event)


assert steering_events.CommandRequested in Event.__subclasses__(), "the codec knows all events of a fragment"
register(*Event.__subclasses__())

encode = msgspec.msgpack.Encoder().encode


class UnknownEvent(Exception):
    """The log holds a kind of event that this version does not know: it was written by a newer one."""


def decode(kind: str, payload: bytes) -> Event:
    """The event that `encode` made `payload` of. Raises UnknownEvent, or msgspec.DecodeError if the bytes are not one."""
    decoder = _DECODERS.get(kind)
    if decoder is None:
        raise UnknownEvent(f"event kind {kind!r} is not known here: this node is older than the writer, update it first")
    return decoder.decode(payload)
