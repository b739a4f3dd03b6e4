"""Events of a fragment besides the life of its attempts: groups and copies, what people ask for, and what follows from it.

`command` is the id of the intent that an event answers; empty where nobody asked.
"""

import msgspec

from workflow.contract import Contract
from workflow.event import Blob, Event


class CommandRequested(Event, frozen=True):
    """An intent of the cloud for the fragments of a run at the sites `homes` (`workflow.orders`, as JSON); each of them answers
    by CommandAnswered. Without any, the cloud decided it: the run had no home yet."""

    command: str
    verb: str
    arguments: bytes
    homes: list[str] = msgspec.field(default_factory=list)


class TaskStarted(Event, frozen=True):
    """A task that no agent does has begun: a group, a wait for a signal, a sync point. `due_ms`: when it is given up, 0 never."""

    task: int
    due_ms: int = 0


class CopiesStarted(Event, frozen=True):
    """A map or repeat made `count` more copies of its body. The first time a map says over which items (a JSON list)."""

    task: int
    count: int
    items: bytes = b""


class TaskSkipped(Event, frozen=True):
    """The task will not be done, and what needs it goes on as if it were not there."""

    task: int
    reason: str
    command: str = ""


class TaskBlocked(Event, frozen=True):
    """The task could start but for these resources, which others hold. A group that is running: it goes on after its end, and
    nothing inside it begins before it has them again (then it has TaskStarted once more)."""

    task: int
    resources: list[str]


class ResourcesTaken(Event, frozen=True):
    """The task has the resources that it stood in line for, from `at_ms` (UTC) on: only an agent is missing."""

    task: int
    at_ms: int = 0


class TaskValidating(Event, frozen=True):
    """The agent says it is done; its output counts once the validator has accepted it. Of attempt 0 `agent` is the source of the
    output (`cache:r1/pick`)."""

    task: int
    attempt: int
    agent: str
    output: bytes
    blob: Blob | None = None


class TasksStopped(Event, frozen=True):
    """These tasks are no longer wanted: those that wait are cancelled, those in an agent's hands are asked to stop."""

    tasks: list[int]
    reason: str


class TasksReset(Event, frozen=True):
    """These tasks begin anew, with all that had come of them: outputs, failures, copies. Attempt numbers go on counting."""

    tasks: list[int]
    reason: str
    command: str = ""


class TaskSettled(Event, frozen=True):
    """A person, or a reconciling task, said what became of an attempt whose outcome was unknown. Its end follows as an event."""

    task: int
    verdict: str
    by: str
    command: str = ""


class TaskDegraded(Event, frozen=True):
    """The task failed, and the run goes on without it: it is complete only in part."""

    task: int
    reason: str


class IncidentOpened(Event, frozen=True):
    """The task failed and nothing automatic is left: a person must retry, skip, settle or roll back."""

    task: int
    code: str
    message: str


class FragmentPaused(Event, frozen=True):
    """Nothing new starts until it is resumed; what runs goes on. `tasks`: only these."""

    command: str
    reason: str
    tasks: list[int] = msgspec.field(default_factory=list)


class FragmentResumed(Event, frozen=True):
    """It goes on exactly where it was. `tasks`: only these."""

    command: str
    tasks: list[int] = msgspec.field(default_factory=list)


class FragmentTerminated(Event, frozen=True):
    """Stopped at once, without waiting and without cleaning up; attempts in agents' hands are abandoned."""

    command: str
    reason: str


class FragmentExpired(Event, frozen=True):
    """The time that the whole run had is over."""

    timeout_ms: int


# In place of a task: nobody waited for the signal, and nobody wants one from before.
UNHEARD = -2


class SignalReceived(Event, frozen=True):
    """Somebody sent a signal. It is kept until a task waits for it."""

    command: str
    name: str
    payload: bytes
    task: int = -1  # The one that was waiting for it.


class SignalTaken(Event, frozen=True):
    """A task began to wait for a signal that had come before: the oldest of this name is used up."""

    task: int
    name: str


class ParametersChanged(Event, frozen=True):
    """These parameters (a JSON object) take the place of those of the same name, in attempts that begin from now on."""

    command: str
    task: int
    parameters: bytes


class PriorityChanged(Event, frozen=True):
    """Tasks of runs with a higher priority are handed out first."""

    command: str
    priority: int


class ContractChanged(Event, frozen=True):
    """The run is promised something else from here on; None: the default."""

    command: str
    contract: Contract | None


class CheckpointTaken(Event, frozen=True):
    """The state as of this event has a name to come back to."""

    command: str
    name: str
    time_ms: int


class RollbackBegun(Event, frozen=True):
    """Back to the state at `version`: what runs is asked to stop, then `compensations` run one after the other. `kept` are
    tasks with an effect that nothing undoes. `elsewhere` are tasks of other sites that begin anew there: what was handed over of
    them counts until the end of the rollback, for compensations may read it."""

    command: str
    version: int
    reason: str
    compensations: list[int]
    resets: list[int]
    kept: list[int] = msgspec.field(default_factory=list)
    elsewhere: list[int] = msgspec.field(default_factory=list)


class RollbackEnded(Event, frozen=True):
    """The tasks of the rollback are as they were; the run goes on from there."""

    version: int


class StageEntered(Event, frozen=True):
    """The run is in this stage of its definition."""

    stage: str
    task: int = -1


class StateEntered(Event, frozen=True):
    """The run has come to this leaf of its machine, out of or into a state that a rule of its definition names."""

    path: str


class StageRefused(Event, frozen=True):
    """A task wanted to take the run to a stage that cannot follow the present one."""

    stage: str
    task: int
    allowed: list[str]


class ApprovalRequested(Event, frozen=True):
    """People are asked to decide. A decision must name `hash`, the SHA-256 of exactly this asking: the run, the task, the epoch
    and version of the fragment, `asked_ms`, and the request (JSON)."""

    task: int
    request: bytes
    hash: str
    asked_ms: int
    due_ms: int = 0


class ApprovalGiven(Event, frozen=True):
    """One person's decision, which counts once, whatever `role` it was given in."""

    command: str
    task: int
    by: str
    approved: bool
    comment: str = ""
    role: str = ""


class ApprovalEscalated(Event, frozen=True):
    """Nobody decided in time: more people may."""

    task: int
    level: int
    by: list[str]
    due_ms: int = 0


class ChildRequested(Event, frozen=True):
    """A task starts another run under this id, once: the cloud does, which may place it, or the task's own site if it says
    `here`. The site then says so in the commit that records this, and nobody else ever starts it."""

    task: int
    child: str
    definition: str
    inputs: bytes
    waits: bool
    due_ms: int = 0
    here: bool = False


class RuleFired(Event, frozen=True):
    """Rule `rule` of the definition (from 0), or the standing rule `name` (then `rule` is -1), took up what happened. Who is to
    be notified, or escalated to, is `target`."""

    rule: int
    on: str
    action: str
    target: str
    detail: bytes
    error: str = ""
    name: str = ""


class TaskHeld(Event, frozen=True):
    """The task may not start until `hold` is lifted: it waits for something outside the run."""

    command: str
    task: int
    hold: str
    reason: str


class HoldLifted(Event, frozen=True):
    """What a task waited for outside the run has come, or cannot come any more (`met` is false: then the task is skipped)."""

    command: str
    task: int
    hold: str
    met: bool = True


class TasksAdded(Event, frozen=True):
    """Tasks that the definition does not have (a JSON object, id -> task), `by` a task's result or a person; by `links`, tasks
    of the run that have not begun wait for them."""

    command: str
    tasks: bytes
    by: str
    links: dict[str, list[str]] = msgspec.field(default_factory=dict)


class NeedsAdded(Event, frozen=True):
    """By `links`, tasks of the run that have not begun wait for others of its tasks from now on."""

    command: str
    links: dict[str, list[str]]
    by: str = ""


class FragmentReopened(Event, frozen=True):
    """The fragment had ended, at `version`, and goes on: some of its tasks are done anew."""

    command: str
    reason: str
    version: int = 0
