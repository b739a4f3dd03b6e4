"""What is decided about who does a task, as facts: which protocol is in force, and how each of its decisions came about."""

import msgspec

from workflow.events import Event, register
from workflow.tasks import CoordinationPlan


class CoordinationChanged(Event, frozen=True):
    """From here on `task` (-1: every task of the run that agents do) finds its agent by another protocol. What was said of single
    tasks before is over when it is said of the whole run."""

    command: str
    task: int
    coordination: CoordinationPlan


class TaskAwarded(Event, frozen=True):
    """A protocol has named who does the task; TaskAssigned follows. Without an `agent` it named nobody, and the detail says what
    is done instead. `epoch` is the fencing token of the attempt that it is for, `detail` a JSON object (see
    workflow.coordinating.Award)."""

    task: int
    protocol: str
    agent: str
    epoch: int
    detail: bytes = msgspec.field(default=b"{}")


class TaskDelegated(Event, frozen=True):
    """Of protocol hierarchical: `level` has handed the decision on the task down to `to`, by a protocol and for a reason.
    `epoch` is that of the mandate under which `to` decides."""

    task: int
    level: str
    to: str
    protocol: str
    epoch: int
    reason: str


class TaskEscalated(Event, frozen=True):
    """Of protocol hierarchical: `name`, of `level`, could not decide the task, which is for `to` to decide now (`cloud`: nobody
    at the site can). `reason` is one of coordination.hierarchy.Reason. `whose` are the levels whose mandate is what ended, as
    `group north`."""

    task: int
    level: str
    name: str
    to: str
    reason: str
    message: str
    whose: tuple[str, ...] = ()


class MandateGiven(Event, frozen=True):
    """Of protocol hierarchical: the last of `path` (names from the site on), a `level`, decides from here on by the mandate that
    the run's definition, or a person, gives it through the level above. `until_ms` is when it ends, as the clock stood then (UTC;
    0: never); what is empty, 0 or -1 (`cost`) is without a bound."""

    level: str
    path: tuple[str, ...]
    epoch: int
    tasks: int = 0
    cost: float = -1.0
    until_ms: int = 0
    capabilities: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    on_loss: str = "continue"


class MandateEnded(Event, frozen=True):
    """Of protocol hierarchical: the time of a mandate is over. What was awarded under it goes on."""

    path: tuple[str, ...]
    epoch: int


class TaskOffered(Event, frozen=True):
    """Standing offers: these agents may do the task by themselves, as the attempt of `epoch`, while they cannot hear the site. It
    gives the task to nobody else for `alone_ms` after it has lost one of them."""

    task: int
    epoch: int
    agents: list[str]
    alone_ms: int


class AttemptLeft(Event, frozen=True):
    """An attempt that was only offered. Without an `agent` the offer is over, and the next attempt has a higher number. With one,
    it had begun the attempt by itself and did not get the task: what it did all the same is a fact."""

    task: int
    attempt: int
    agent: str = ""
    reason: str = ""


register(CoordinationChanged, TaskAwarded, TaskDelegated, TaskEscalated, MandateGiven, MandateEnded, TaskOffered, AttemptLeft)
