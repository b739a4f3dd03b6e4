"""What the cloud's API answers, as types: each is the JSON as it came. Times are UTC ms.

TiercelError
|- ApiError             the API refused, and says why
|- ServerUnreachable    nobody answered, or not with an API of ours
"""

from typing import Any, NotRequired, TypedDict, final

from tiercel.errors import TiercelError


class ApiError(TiercelError):
    """A refusal. `code` is stable, for programs; `problems` has one line for each single mistake."""

    def __init__(self, status: int, code: str, detail: str, problems: list[str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail, self.problems = status, code, detail, problems or []


class ServerUnreachable(TiercelError):
    """The server at `server` did not answer. Whether it has done what was asked is not known."""

    def __init__(self, server: str, reason: str) -> None:
        super().__init__(f"the server {server} cannot be reached: {reason}")
        self.server = server


class Problem(TypedDict):
    """Why one run of a batch was refused."""

    status: int
    code: str
    detail: str
    problems: NotRequired[list[str]]


class RunRequest(TypedDict, total=False):
    """One run of a batch."""

    inputs: dict[str, object]
    labels: dict[str, str]
    priority: int
    fairness_key: str
    after: list[dict[str, object]]
    consistency: str | dict[str, object]
    autonomy: str | dict[str, object]


class Started(TypedDict):
    """One run of a batch: started, or refused with `error`; what a single start answers has no `error`."""

    id: str
    state: str
    definition: str
    error: NotRequired[Problem]


class Link(TypedDict):
    """The link to a site: `up` or `down`, and since when."""

    state: str
    since: int


class Freshness(TypedDict):
    """Where a value comes from, and how old it may be."""

    as_of: int
    source: str
    staleness_ms: int
    versions_behind: NotRequired[int]


class Fragment(TypedDict):
    """The part of a run at one site."""

    site: str
    epoch: int
    version: int
    state: str
    link: Link
    freshness: Freshness


class Failure(TypedDict):
    """The last failure of a task. `correlation_id` (run/task/attempt) finds the attempt in its agent's log."""

    code: str
    message: str
    retryable: bool
    recoverable: bool
    retry_after_ms: int
    correlation_id: str


class TaskProgress(TypedDict):
    """What the agent last said of a running task; a fraction of None: it only gave signs of life. `at` is UTC ms."""

    fraction: float | None
    note: str
    at: int


class Task(TypedDict):
    """One task of a run."""

    id: str
    state: str
    site: NotRequired[str]
    attempt: NotRequired[int]
    agent: NotRequired[str]
    started: NotRequired[int]
    ended: NotRequired[int]
    output: NotRequired[Any]
    blob: NotRequired[str]
    error: NotRequired[str]
    waits_for: NotRequired[str]
    failure: NotRequired[Failure]
    progress: NotRequired[TaskProgress]
    source: NotRequired[str]


class RunSummary(TypedDict):
    """A run in one line. `state`: pending, active, paused, completed, failed or cancelled."""

    id: str
    definition: str
    state: str
    created: int
    tasks: int
    completed: int
    running: NotRequired[int]
    failed: NotRequired[int]
    sites: NotRequired[list[str]]
    labels: NotRequired[dict[str, str]]
    ended: NotRequired[int]
    detail: NotRequired[str]
    cancelling: NotRequired[bool]
    priority: NotRequired[int]
    fairness_key: NotRequired[str]
    percent: NotRequired[int]
    parent: NotRequired[str]
    partial: NotRequired[bool]
    forked_from: NotRequired[str]


class Progress(TypedDict):
    """How far a run is. `current` are tasks that have begun; `remaining_ms` is an estimate, -1 without earlier runs."""

    percent: int
    done: int
    pending: int
    current: list[str]
    duration_ms: int
    retries: int
    remaining_ms: int


class RunTotals(TypedDict):
    """What the ended runs of a definition tell; of all definitions if it is empty."""

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


@final
class Run(TypedDict):
    """The whole picture of a run."""

    run: RunSummary
    inputs: dict[str, object]
    tasks: list[Task]
    fragments: NotRequired[list[Fragment]]
    waits_for: NotRequired[str]
    progress: NotRequired[Progress | None]
    output: NotRequired[Any]
    condition: NotRequired[dict[str, Any]]
    children: NotRequired[list[dict[str, Any]]]
    tasks_left_out: NotRequired[int]
    as_of: NotRequired[int]
    contract: NotRequired[dict[str, Any] | None]


class HistoryEntry(TypedDict):
    """One event of a run."""

    stream: str
    seq: int
    epoch: int
    kind: str
    time: int
    event: dict[str, object]


@final
class Command(TypedDict):
    """An intent for the homes of a run. `state`: pending, accepted or refused.

    `homes` are the sites that decide; `link` is the link to the one that is hardest to reach.
    """

    command: str
    run: str
    kind: str
    state: str
    created: int
    homes: list[str]
    detail: NotRequired[str]
    link: NotRequired[Link]


class Definition(TypedDict):
    """A definition; `document` is its canonical JSON. `migrations` are the steps that brought it to today's form when it was
    read, and `left_out` the fields of its older form that say nothing today. `latest`: its name alone means this version."""

    ref: str
    name: str
    version: str
    tasks: int
    document: dict[str, Any]
    migrations: list[str]
    left_out: list[str]
    latest: bool


class AgentStatus(TypedDict):
    """An agent as its site last reported it. `state`: available, unreachable or left; `path` says more (online.working,
    online.draining, ...), and since when. `health`: ok, degraded or open, which it is until `open_until` (UTC ms) at least: it
    kept failing and is given no work. `seen`: when its site last heard of it."""

    id: str
    site: str
    kind: str
    state: str
    capabilities: list[str]
    capacity: int
    running: int
    since: int
    labels: dict[str, str]
    health: NotRequired[str]
    open_until: NotRequired[int]
    documents: NotRequired[list[str]]
    path: NotRequired[str]
    path_since: NotRequired[int]
    why: NotRequired[str]
    seen: NotRequired[int]
    load: NotRequired[int]


class Clock(TypedDict):
    """A site's clock is ahead of the cloud's: by how much, as of when, and how many stamps were not believed for it."""

    ahead_ms: int
    at: int
    count: int


class ResultCache(TypedDict):
    """The results that a site keeps for other runs; hits and misses since the site's start."""

    entries: int
    bytes: int
    hits: int
    misses: int


class SitePause(TypedDict):
    """A site that an operator has paused: pausing or resuming while the site has not taken the order."""

    state: str
    since: int
    reason: str


class SiteBox(TypedDict):
    """A box of a site of several: does it vote, was it heard of late, how many entries does it lack?"""

    node: str
    voter: bool
    here: bool
    lag: int


class SiteGroup(TypedDict):
    """The boxes of a site, as the one that leads told last."""

    leader: str
    term: int
    members: list[SiteBox]


class Site(TypedDict):
    """A site: its link, how far its log is known at the cloud, and what it is doing."""

    id: str
    link: Link
    freshness: Freshness
    events_received: int
    events_unacknowledged: int
    agents: int
    capacity: int
    active_runs: int
    running_tasks: int
    ready_tasks: int
    clock: Clock | None
    cache: NotRequired[ResultCache | None]
    refused: NotRequired[str]
    pause: NotRequired[SitePause | None]
    group: NotRequired[SiteGroup | None]


class Diff(TypedDict):
    """Cloud against site: fragments compared at equal versions, and what differs."""

    site: str
    compared: int
    equal: int
    behind: int
    different: list[str]
    at: int


class Frame(TypedDict):
    """One message to a watcher. `type`: `snapshot` (forget what you had) or `update` (these have changed).

    `more`: updates that belong to this one follow at once.
    """

    type: str
    runs: list[RunSummary]
    sites: list[Site]
    at: int
    more: bool


class RunPage(TypedDict):
    """Some runs, and the cursor of the next ones; empty at the end."""

    items: list[RunSummary]
    next: str


class HistoryPage(TypedDict):
    """Some events of a run, and after which one the next page begins; 0 at the end."""

    items: list[HistoryEntry]
    next: int
