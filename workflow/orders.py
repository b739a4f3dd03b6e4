"""What a person or program may ask of a run: the union that travels as an intent, as JSON with its `verb`.

Tasks are named as people know them (`pick`, `ship[3].label`); the home of the fragment finds them.
"""

from typing import Any, Literal

import msgspec

from workflow.tasks import CoordinationPlan


class _Order(msgspec.Struct, frozen=True, tag_field="verb", forbid_unknown_fields=True, omit_defaults=True):
    pass


class Pause(_Order, frozen=True, tag="pause"):
    """Start nothing new, in the whole run or of these tasks. What runs goes on."""

    tasks: list[str] = []
    reason: str = ""


class Resume(_Order, frozen=True, tag="resume"):
    """Go on exactly where it was."""

    tasks: list[str] = []


class Terminate(_Order, frozen=True, tag="terminate"):
    """Stop at once, without cleaning up. Attempts in agents' hands are abandoned."""

    reason: str = ""


class Signal(_Order, frozen=True, tag="signal"):
    """Send a signal to the task that waits for it, or will."""

    name: str
    payload: Any = None


class Update(_Order, frozen=True, tag="update"):
    """Other parameters for a task that has not begun. They replace those of the same name."""

    task: str
    parameters: dict[str, Any]


class Prioritise(_Order, frozen=True, tag="prioritise"):
    """Who is served first: 0 (least) to 9."""

    priority: int


class ChangeAutonomy(_Order, frozen=True, tag="autonomy"):
    """What the run's homes do with it while the cloud cannot be reached. Times are ms, 0: without an end; so is a budget of 0."""

    when_cut: Literal["continue", "finish_released", "hold", "compensate"]
    horizon_ms: int = 0
    budget: int = 0
    then: Literal["hold", "compensate"] = "hold"


class Retry(_Order, frozen=True, tag="retry"):
    """Failed tasks, all or these, begin anew, with what comes after them. A run that has failed goes on."""

    tasks: list[str] = []


class Skip(_Order, frozen=True, tag="skip"):
    """Go on without the task."""

    task: str
    reason: str = ""


class Rerun(_Order, frozen=True, tag="rerun"):
    """The task and all that comes after it once more, after undoing what can be undone."""

    task: str
    reason: str = ""


class RollBack(_Order, frozen=True, tag="rollback"):
    """Back by `steps` completed tasks, to a named `checkpoint`, to a `version` of the fragment, to before a `task`, or to the
    moment `at` (UTC ms). The cloud says what a moment means to each home: the version that it had (`versions`, by site)."""

    steps: int = 0
    checkpoint: str = ""
    version: int = -1
    task: str = ""
    reason: str = ""
    at: int = 0
    versions: dict[str, int] = {}

    def at_home(self, site: str) -> "RollBack | None":
        """What of the order is for this home; None if nothing is."""
        if not self.versions:
            return self
        return RollBack(version=self.versions[site], reason=self.reason) if site in self.versions else None


class TakeCheckpoint(_Order, frozen=True, tag="checkpoint"):
    """Give the present state a name to come back to."""

    name: str


class Approve(_Order, frozen=True, tag="decide"):
    """One person's decision on a request, bound to its hash; with a `role`, as somebody who has it."""

    task: str
    by: str
    approved: bool
    hash: str
    comment: str = ""
    role: str = ""

    @property
    def who(self) -> str:
        """The person, as messages name him."""
        return f"{self.by or 'nobody'} as {self.role}" if self.role else self.by or "nobody"


class Settle(_Order, frozen=True, tag="settle"):
    """What became of an attempt whose outcome is unknown: `completed` (with its output), `failed`, or not begun: `retry`."""

    task: str
    outcome: str
    by: str = ""
    output: Any = None
    message: str = ""


class AddTasks(_Order, frozen=True, tag="add"):
    """Tasks that the definition does not have, as in a definition. By `links`, tasks that have not begun wait for more."""

    tasks: dict[str, Any]
    by: str = ""
    links: dict[str, list[str]] = {}


class Seen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an editor of a plan saw of the tasks that its edit names: their fields, and the edges at them (need, task, kind)."""

    nodes: dict[str, dict[str, Any]] = {}
    edges: list[tuple[str, str, str]] = []


class EditPlan(_Order, frozen=True, tag="edit"):
    """Operations on the run's plan (see workflow.planning.editing), made on top of what was `seen`; `latest`: on whatever is
    there when they are decided."""

    operations: list[dict[str, Any]]
    seen: Seen = Seen()
    by: str = ""
    latest: bool = False


class ChangeContext(_Order, frozen=True, tag="context"):
    """Another value for a document of the run (see workflow.context). `what`: put, merge or delete; `edit` is its id."""

    name: str
    what: Literal["put", "merge", "delete"]
    value: Any = None
    expected: int = -1
    edit: str = ""
    by: str = ""


class ChangeCoordination(_Order, frozen=True, tag="coordination"):
    """How tasks find their agents from here on: `task`, or all of the run that agents do."""

    coordination: CoordinationPlan
    task: str = ""


class OpenIncident(_Order, frozen=True, tag="incident"):
    """Nobody below the cloud can decide who does the task, and no other site can do it: a person is asked."""

    task: str
    code: str
    message: str


class ArriveAt(_Order, frozen=True, tag="arrive"):
    """An agent is at a sync point. `generation` 0: the present one. The cloud says at which `site` it knows the agent, and what
    that can do; the agent itself says in which of its processes (`boot`) it waits, and which of its waits this is."""

    point: str
    agent: str
    arrival: str = ""
    generation: int = 0
    site: str = ""
    capabilities: list[str] = []
    boot: str = ""
    wait: int = 0


class WithdrawFrom(_Order, frozen=True, tag="withdraw"):
    """An agent waits at a sync point no longer. `generation` 0: the present one. `boot`: only if it is this one of its processes
    that waits. `crashed`: it does not say so itself, the process that waited at another site is gone (from the cloud)."""

    point: str
    agent: str
    generation: int = 0
    wait: int = 0
    boot: str = ""
    crashed: bool = False


class ResetPoint(_Order, frozen=True, tag="reset_point"):
    """Who waits at the sync point is told that it is broken, and it begins anew."""

    point: str
    reason: str = ""


class TellParty(_Order, frozen=True, tag="party"):
    """An agent of another `site` that may be a party of the run's sync points is gone, for this `reason`, or (without one) there
    again. It concerns these `points`, all without. From the cloud, never from people."""

    agent: str
    site: str
    reason: str = ""
    points: list[str] = []


class Hold(_Order, frozen=True, tag="hold"):
    """The task (empty: every task that has not begun) may not start until the hold is lifted."""

    task: str
    hold: str
    reason: str = ""


class Lift(_Order, frozen=True, tag="lift"):
    """What the task waited for outside the run has come; if not `met`, it cannot come and the task is skipped."""

    task: str
    hold: str
    met: bool = True


class EndChild(_Order, frozen=True, tag="end_child"):
    """A run that a task waits for has ended."""

    child: str
    outcome: str
    output: Any = None
    detail: str = ""


class Anew(_Order, frozen=True, tag="anew"):
    """Tasks of other sites begin anew: what was told of them here counts no more, and all that comes after them here begins
    anew, too. In a part that was cancelled with the others, so does what was cancelled. From the cloud, never from people.
    Without `opens` the run is being stopped: a part that has ended only notes what counts no more, for when it goes on."""

    tasks: list[str] = []
    reason: str = ""
    opens: bool = True


class Wound(_Order, frozen=True, tag="wound"):
    """The task gives way in a circle of waits (`deadlock`, the id of what was found), or gives up. With `yields_to` there is no
    circle yet: it gives way to that one (wound-wait). From cloud and site, never from people."""

    task: str
    deadlock: str
    reason: str = ""
    gives_up: bool = False
    yields_to: str = ""


Order = (
    Pause
    | Resume
    | Terminate
    | Signal
    | Update
    | Prioritise
    | ChangeAutonomy
    | Retry
    | Skip
    | Rerun
    | RollBack
    | TakeCheckpoint
    | Approve
    | Settle
    | AddTasks
    | EditPlan
    | ChangeContext
    | ChangeCoordination
    | OpenIncident
    | ArriveAt
    | WithdrawFrom
    | ResetPoint
    | TellParty
    | Hold
    | Lift
    | EndChild
    | Anew
    | Wound
)

_DECODER: msgspec.json.Decoder[Order] = msgspec.json.Decoder(Order)
encode_order = msgspec.json.Encoder().encode


def decode_order(body: bytes) -> Order:
    """The order in a JSON object with its `verb`. Raises msgspec.ValidationError, which says what is wrong with which field."""
    return _DECODER.decode(body)
