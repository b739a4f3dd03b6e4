"""What the cloud shows: the answers of the API as values. Every answer about a site says how old it is and where it comes from.

Times are UTC ms; `staleness_ms` is how long ago the cloud last knew itself level with the site, by its own monotonic clock
(-1, and `as_of` 0: not yet since its start).
"""

import msgspec

from cloud.contract_views import ContractView
from sync.link.standing import GroupStanding, StatesCompared
from sync.points.showing import PointView
from workflow.fair import PRIORITY


class LinkView(msgspec.Struct):
    """The link to a site: `up` or `down`, and since when (UTC ms); `unrecorded` where the past is shown, for no log keeps it."""

    state: str
    since: int


class Freshness(msgspec.Struct):
    """Where a value about a site comes from and how old it may be; `versions_behind` are events that the site is known to have
    and the cloud has not, -1 while its link is down."""

    as_of: int
    source: str
    staleness_ms: int
    versions_behind: int = -1


class FragmentView(msgspec.Struct):
    """The part of a run at one site, as the cloud's replica has it."""

    site: str
    epoch: int
    version: int
    state: str
    link: LinkView
    freshness: Freshness


class FailureView(msgspec.Struct):
    """The last failure of a task. `retry_after_ms`: what the agent asked for; `correlation_id` finds the attempt in its log."""

    code: str
    message: str
    retryable: bool
    recoverable: bool
    retry_after_ms: int
    correlation_id: str


class TaskProgressView(msgspec.Struct):
    """What the agent last said of a running task: how far it is (0 to 1; null: only signs of life came), and when (UTC ms)."""

    fraction: float | None
    note: str
    at: int


class TaskView(msgspec.Struct, omit_defaults=True):
    """One task of a run: its state, its latest attempt, times (UTC ms), what came of it, and what it waits for. `path` is where
    in the life of its run it is; of a group, `members` are inside and `members_done` of them are done. `source` is where the
    output is from if no agent gave it (`cache:r1/pick`, `person:ann`, `signal:go`, `run:r2`, `fork:r1`: taken
    over from the run that this one was forked from)."""

    id: str
    state: str
    site: str = ""
    attempt: int = 0
    agent: str = ""
    started: int = 0
    ended: int = 0
    output: msgspec.Raw = msgspec.Raw(b"")
    blob: str = ""
    error: str = ""
    waits_for: str = ""
    failure: FailureView | None = None
    path: str = ""
    members: int = 0
    members_done: int = 0
    progress: TaskProgressView | None = None
    source: str = ""


class IncidentView(msgspec.Struct):
    """A task that failed and waits for a person: retry, skip, settle or roll back."""

    task: str
    site: str
    code: str
    message: str


class ApprovalView(msgspec.Struct):
    """A request that people decide on: `by` may (empty: anybody), `given` have. A decision names its `hash`."""

    task: str
    site: str
    by: list[str]
    request: msgspec.Raw
    hash: str
    asked: int
    given: list[str]


class HoldView(msgspec.Struct):
    """A task that may not start before something outside the run has come."""

    task: str
    site: str
    hold: str
    reason: str


class ConditionView(msgspec.Struct, omit_defaults=True):
    """Where a run is in its life (`path`, as active.executing.step_validation), its stage, and what stands in its way.

    `missing` are tasks that failed and without which the run goes on, or is complete only in part; `kept` are those behind which
    it went back, and whose effects nothing has undone."""

    path: str
    stage: str = ""
    paused: str = ""
    paused_tasks: list[str] = []
    incidents: list[IncidentView] = []
    approvals: list[ApprovalView] = []
    holds: list[HoldView] = []
    missing: list[str] = []
    kept: list[str] = []


class ChildView(msgspec.Struct, omit_defaults=True):
    """A run that a task of this one asked for; `waits` says whether the task waits for its end."""

    run: str
    state: str
    waits: bool
    task: str = ""
    detail: str = ""


class RunSummary(msgspec.Struct, omit_defaults=True):
    """A run in one line. `state`: pending, active, paused, completed, failed or cancelled; `cancelling` while a home
    has not answered."""

    id: str
    definition: str
    state: str
    created: int
    tasks: int
    completed: int
    running: int = 0
    failed: int = 0
    sites: list[str] = []
    labels: dict[str, str] = {}
    ended: int = 0
    detail: str = ""
    cancelling: bool = False
    priority: int = PRIORITY
    fairness_key: str = ""
    percent: int = 0
    parent: str = ""
    partial: bool = False
    forked_from: str = ""


class ProgressView(msgspec.Struct):
    """How far a run is: tasks done (however they ended), pending, and the ids of those between. `remaining_ms` is an estimate
    from earlier runs of the definition, -1 without any; `duration_ms` is since its start, until its end."""

    percent: int
    done: int
    pending: int
    current: list[str]
    duration_ms: int
    retries: int
    remaining_ms: int


class RunTotals(msgspec.Struct):
    """The ended runs of a definition, or of all ("" as definition). The success rate leaves out cancelled runs; the duration is
    the mean of the completed ones, with its standard deviation."""

    definition: str
    ended: int
    completed: int
    failed: int
    cancelled: int
    success_rate: float
    duration_ms: int
    duration_deviation_ms: int
    tasks_completed: int
    tasks_failed: int
    retries: int


class RunView(msgspec.Struct, omit_defaults=True):
    """The whole picture of a run. `tasks_left_out` says how many more it has than are shown. With `as_of` (UTC ms) it is as
    it was then, and nothing of what came later is in it."""

    run: RunSummary
    inputs: msgspec.Raw
    tasks: list[TaskView]
    fragments: list[FragmentView] = []
    waits_for: str = ""
    progress: ProgressView | None = None
    output: msgspec.Raw = msgspec.Raw(b"")
    condition: ConditionView | None = None
    children: list[ChildView] = []
    tasks_left_out: int = 0
    as_of: int = 0
    contract: ContractView | None = None
    sync_points: list[PointView] = []


class HistoryEntry(msgspec.Struct):
    """One event of a run: where it was decided, under which epoch, when, and what it says."""

    stream: str
    seq: int
    epoch: int
    kind: str
    time: int
    event: dict[str, object]


class AgentView(msgspec.Struct):
    """An agent as its site last reported it. `state`: available, unreachable or left. `path` says more (online.working,
    offline.unreachable, ...; coordination/presence.py), since when, and `why` if that is known. `seen`: when its site last heard
    of it, 0 if that has not said. `load`: units of its capacity that are taken.

    `health`: ok, degraded (its last attempts failed) or open (it gets no work until `open_until`, UTC ms, as it kept failing).
    `documents`: the ids of those that are its own.
    """

    id: str
    site: str
    kind: str
    state: str
    capabilities: list[str]
    capacity: int
    running: int
    since: int
    labels: dict[str, str] = {}
    health: str = "ok"
    open_until: int = 0
    documents: list[str] = []
    path: str = ""
    path_since: int = 0
    why: str = ""
    seen: int = 0
    load: int = 0


class ClockView(msgspec.Struct):
    """A site's clock is ahead of the cloud's: by how much, as of when, and how many stamps were not believed for it.

    Until the clocks agree, what that site stamps is ordered by the cloud's own clock.
    """

    ahead_ms: int
    at: int
    count: int


class CacheView(msgspec.Struct):
    """The results that a site keeps for other runs, and how often one was taken, or looked for in vain, since its start."""

    entries: int
    bytes: int
    hits: int
    misses: int


class PauseView(msgspec.Struct):
    """A site that an operator has paused, or is resuming. `state`: pausing or resuming while the site has not taken the order."""

    state: str
    since: int
    reason: str = ""


class SiteView(msgspec.Struct):
    """A site: its link, how far its log is known here, how far ours is known there, and what it is doing. `refused`: why its link
    stays down until somebody has looked; `certificate`: what is to be done about the site's certificate, empty if nothing."""

    id: str
    link: LinkView
    freshness: Freshness
    events_received: int
    events_unacknowledged: int
    agents: int
    capacity: int
    active_runs: int
    running_tasks: int
    ready_tasks: int
    clock: ClockView | None = None
    cache: CacheView | None = None
    refused: str = ""
    pause: PauseView | None = None
    certificate: str = ""
    states: StatesCompared | None = None
    group: GroupStanding | None = None


class DiffView(msgspec.Struct):
    """Cloud against site: fragments whose states were compared at equal versions, and what differs."""

    site: str
    compared: int
    equal: int
    behind: int
    different: list[str]
    at: int


class CommandView(msgspec.Struct, omit_defaults=True):
    """An intent for the homes of a run. `state`: pending (no home has answered), accepted or refused.

    `homes` are the sites that decide; `link` is the link to the one that is hardest to reach: down before up, longest first.
    """

    command: str
    run: str
    kind: str
    state: str
    created: int
    homes: list[str]
    detail: str = ""
    link: LinkView | None = None


class DefinitionView(msgspec.Struct):
    """A definition; `document` is its canonical JSON. `migrations` are the steps that brought it to today's form when it was
    read, and `left_out` the fields of its older form that say nothing today. `latest`: its name alone means this version."""

    ref: str
    name: str
    version: str
    tasks: int
    document: msgspec.Raw = msgspec.Raw(b"")
    migrations: list[str] = []
    left_out: list[str] = []
    latest: bool = False
