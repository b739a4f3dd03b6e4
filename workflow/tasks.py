"""One task, compiled: what the engine knows of it besides its place in the graph.

A task is an integer. Tasks of the definition (those inside `parallel` and `sequential` too) share one index space; what a
`map` or `repeat` makes at run time is appended to it, one copy of its `Body` per item or round. Inside a body, tasks count
from 0, and so do the references among them: `LOCAL` tells such a number from one of the run.
"""

from dataclasses import dataclass, field
from enum import IntEnum

import msgspec

from workflow.expression import Expression
from workflow.template import EMPTY, Template
from workflow.terms import Terms

# A reference from within a body: depth << LOCAL_BITS | number inside the body. Depth 1 is the outermost body, 0 the run.
LOCAL_BITS = 24


class Effect(IntEnum):
    """What an unknown outcome of a task allows. The numbers are those of the wire."""

    REPEATABLE = 1
    ONCE = 2
    PHYSICAL = 3


class Kind(IntEnum):
    """Who or what does a task."""

    WORK = 0  # An agent.
    WAIT = 1  # Time: for a while, or until a moment.
    SIGNAL = 2  # A person or program outside, by name.
    CHECK = 3  # Nobody: an expression.
    APPROVAL = 4  # People, who decide.
    CHILD = 5  # Another run.
    GROUP = 6  # The tasks inside it.
    MAP = 7  # A copy of its body per item of a list.
    REPEAT = 8  # A copy of its body per round.
    SYNC = 9  # All parties of a point where they meet.
    VOTE = 10  # Agents, who decide a question.


class Role(IntEnum):
    """What a task is for. All but WORK belong to another task, sleep until that one needs them, and nothing depends on them."""

    WORK = 0
    VALIDATE = 1
    CLEANUP = 2
    COMPENSATE = 3
    RECONCILE = 4


class After(IntEnum):
    """When a need is met: after success, after failure, or after any end (of a task that was skipped too)."""

    SUCCESS = 0
    FAILURE = 1
    END = 2


class RetryPlan(msgspec.Struct, frozen=True, gc=False):
    """How failed attempts are repeated; `max_attempts` counts the first one too. Of the two lists of codes one may be given:
    only `retry_on` is repeated, or all but `give_up_on`."""

    max_attempts: int
    delay_ms: int
    factor: float
    delay_max_ms: int
    jitter: float
    retry_on: tuple[str, ...] = ()
    give_up_on: tuple[str, ...] = ()

    def delay_before(self, attempt: int, chance: float) -> int:
        """The delay in ms after `attempt` (from 1) has failed: exponential, capped, less up to `jitter` of it.

        `chance` is a random number of [0, 1): the jitter spreads those who failed together.
        """
        assert attempt >= 1, f"attempts count from 1, not {attempt}"
        try:
            delay_ms = min(self.delay_max_ms, self.delay_ms * self.factor ** (attempt - 1))
        except OverflowError:
            delay_ms = self.delay_max_ms
        return round(delay_ms * (1 - self.jitter * chance))

    def repeats(self, code: str, retryable: bool) -> bool:
        """May a failure of this kind be repeated at all?"""
        if code in self.give_up_on:
            return False
        return code in self.retry_on if self.retry_on else retryable


class Recovery(msgspec.Struct, frozen=True, gc=False):
    """What follows when retries are used up: `restore` (back to the last checkpoint, `times` at most), `rollback` (to `to`,
    a task, with compensation; -1 is the start; then the task is tried again, `times` at most), `incident` (a person), `degrade`
    (go on without the task)."""

    strategy: str
    times: int = 1
    to: int = -1


class Stages(msgspec.Struct, frozen=True, gc=False):
    """The stages of the definition that the run enters with the task's start, success and failure; empty: none."""

    start: str = ""
    success: str = ""
    failure: str = ""


class CachePlan(msgspec.Struct, frozen=True, gc=False):
    """Under which key a result is kept for other runs, and for how long."""

    key: Template
    lifetime_ms: int


class EscalationPlan(msgspec.Struct, frozen=True, gc=False):
    """After `after_ms` without a decision these may decide, too."""

    after_ms: int
    by: tuple[str, ...]


class ApprovalPlan(msgspec.Struct, frozen=True, gc=False):
    """`count` of `by` (empty: anybody) must approve what `request` renders to; one rejection decides against it."""

    by: tuple[str, ...]
    count: int
    request: Template
    deadline_ms: int = 0
    escalate: tuple[EscalationPlan, ...] = ()
    rejection_fails: bool = True


class ChildPlan(msgspec.Struct, frozen=True, gc=False):
    """Another run: of `definition` (a name takes the latest version), with `inputs`; waited for, or only begun."""

    definition: str
    inputs: Template
    waits: bool = True
    cancels: bool = True  # A cancelled parent cancels it.


class GroupPlan(msgspec.Struct, frozen=True, gc=False):
    """`members` are the tasks directly inside; `first` those that start with the group. `quorum` of them (0: all) complete it;
    the others are then cancelled, unless `finishes`."""

    members: tuple[int, ...]
    first: tuple[int, ...]
    quorum: int = 0
    finishes: bool = False


class SyncPlan(msgspec.Struct, frozen=True, gc=False):
    """A point where `parties` agents or runs meet under one name."""

    point: str
    parties: int


class VotePlan(msgspec.Struct, frozen=True, gc=False):
    """A question to agents: all with `capability`, or `agents`. What decides, see coordination.tallying.Terms. `quorum` 0: the
    usual one for so many voters."""

    question: Template
    options: tuple[str, ...]
    capability: str
    agents: tuple[str, ...]
    topic: str
    rule: str
    weights: tuple[tuple[str, int], ...]
    veto: tuple[str, ...]
    quorum: int
    deadline_ms: int
    tie: str
    chair: str
    no: str
    on_reject: str


class GroupOfAgents(msgspec.Struct, frozen=True, array_like=True):
    """Who takes part in a protocol: all with a capability, these agents, or those with a label `key=value`. Of several that is
    given it is one; a `name` is what the group is called."""

    name: str = ""
    capability: str = ""
    agents: tuple[str, ...] = ()
    label: str = ""


class CoordinationPlan(msgspec.Struct, frozen=True, array_like=True):
    """By which protocol an agent is found. Times are ms; `price_max` -1: any price. Events carry it: fields are only added at the
    end, with a default. What belongs to another protocol is empty."""

    protocol: str
    group: GroupOfAgents | None = None
    evaluator: str = ""
    score: str = ""
    window_ms: int = 0
    wait_ms: int = 0
    price_max: float = -1.0
    rounds: int = 0
    rule: str = ""
    weights: tuple[tuple[str, float], ...] = ()
    veto: tuple[str, ...] = ()
    quorum: int = 0
    tie: str = ""
    levels: tuple["LevelPlan", ...] = ()
    otherwise: str = "wait"
    ttl_ms: int = 0
    lock_delay_ms: int = 0
    priority: tuple[tuple[str, int], ...] = ()
    alone_ms: int = 0  # How long agents that have lost their site may begin it by themselves; 0: not at all.


class LevelPlan(msgspec.Struct, frozen=True, array_like=True):
    """One level of a hierarchy (cloud, site, group, agent): how it chooses, how many tasks it may give away (0: any number), and
    how long without being told anew (ms; 0: without an end). `by` is the label that says in which group an agent is; `on_loss`
    what is still allowed while the level above cannot be heard. `cost_max` (-1: any) is what its tasks may cost together, in the
    unit of bids; it decides on these `capabilities`, and chooses among these `names` (sites, groups, agents); empty: all."""

    level: str
    coordination: CoordinationPlan
    budget: int = 0
    expires_ms: int = 0
    by: str = ""
    on_loss: str = "continue"
    cost_max: float = -1.0
    capabilities: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    @property
    def has_budget(self) -> bool:
        """Is what it may give away counted?"""
        return self.budget > 0 or self.cost_max >= 0

    @property
    def is_bounded(self) -> bool:
        """Does its mandate say anything?"""
        return self.has_budget or any((self.expires_ms, self.capabilities, self.names, self.on_loss != "continue"))


class TaskPlan(msgspec.Struct, frozen=True, gc=False):
    """One task. Indices of other tasks (parent, validator ...) are of the same space as its own; -1: none; time 0: no limit."""

    index: int
    id: str
    capability: str = ""
    agent: str = ""
    wait_ms: int = 0
    parameters: Template = EMPTY
    effect: Effect = Effect.ONCE
    timeout_ms: int = 0
    retry: RetryPlan = RetryPlan(3, 1_000, 2.0, 30_000, 0.2)
    site: Template | None = None
    kind: Kind = Kind.WORK
    role: Role = Role.WORK
    owner: int = -1  # Of a task with another role than WORK: the task that it serves.
    parent: int = -1  # The group around it.
    join: int = 0  # How many needs start it; 0: all that are not skipped.
    when: Expression | None = None
    check: Expression | None = None
    resources: tuple[tuple[str, int], ...] = ()  # Sorted by name.
    start_timeout_ms: int = 0
    heartbeat_ms: int = 0
    validate: Expression | None = None  # Over `output`.
    validator: int = -1
    cleanup: int = -1
    compensate: int = -1
    reconciler: int = -1
    optional: bool = False
    cancels: tuple[int, ...] = ()  # What is not wanted any more once the task is completed.
    grows: bool = False  # Its output may add tasks to the run.
    recovery: tuple[Recovery, ...] = ()
    stages: Stages | None = None
    cache: CachePlan | None = None
    until: Template | None = None
    signal: str = ""
    is_kept: bool = True  # A signal that comes before the task waits for it counts.
    approval: ApprovalPlan | None = None
    child: ChildPlan | None = None
    group: GroupPlan | None = None
    body: "Body | None" = None
    sync: SyncPlan | None = None
    vote: VotePlan | None = None
    output_schema: bytes = b""
    coordination: CoordinationPlan | None = None  # Of what agents do; None: direct.
    # Every task whose output, state or error an expression of this one reads; parameters' own are in `parameters.reads`.
    reads: tuple[int, ...] = ()


class AwaitPlan(msgspec.Struct, frozen=True, gc=False):
    """Runs of the definition (`of_task` empty: as a whole) wait for the run, or RUN/TASK, or the list of these that `run` renders
    to, and for the task of it that `on_task` does. `kind` is one of `workflow.between`; `said` is the place, and its text."""

    of_task: str
    run: Template
    on_task: Template
    kind: str
    said: str
    terms: Terms | None = None


class RulePlan(msgspec.Struct, frozen=True, gc=False):
    """When `on` (task.<state>, run.<state>, stage.<name>, enter.<path>, exit.<path>) happens and `when` holds of `event`,
    `action` is done: pause, cancel, start (a run of `definition` with `inputs`), notify (the address `target`), skip (`task`;
    -1: the one that it happened to), escalate (to `target`)."""

    on: str
    action: str
    when: Expression | None = None
    task: int = -1
    target: str = ""
    definition: str = ""
    inputs: Template = EMPTY


@dataclass(frozen=True, slots=True)
class Graph:
    """Who waits for whom, among tasks that count from 0.

    `needs[i]` are the tasks that task i waits for. `dependents[i]` wait for its success or its end; those of them that take any
    end are in `ends` as (task, dependent); `fallbacks[i]` wait for its failure. The first tasks of a group wait for its start.
    """

    tasks: tuple[TaskPlan, ...]
    needs: tuple[tuple[int, ...], ...]
    dependents: tuple[tuple[int, ...], ...]
    retained: tuple[bool, ...]  # Outputs that some expression reads.
    fallbacks: dict[int, tuple[int, ...]] = field(default_factory=dict)
    ends: frozenset[tuple[int, int]] = frozenset()


@dataclass(frozen=True, slots=True)
class Body:
    """What a `map` or `repeat` makes copies of. `depth` counts bodies from the outermost, which is 1.

    A map has `over` (a list) and runs at most `concurrency` copies at once (0: all); `quorum` of them complete it (0: all). A
    repeat goes on while `again` is true, `rounds_max` at most; `again` reads the round's own tasks.
    """

    graph: Graph
    depth: int
    first: tuple[int, ...]  # Tasks without needs among the members.
    members: tuple[int, ...]  # Tasks that are in no group inside the body, and have no other role than WORK.
    over: Expression | None = None
    concurrency: int = 0
    quorum: int = 0
    finishes: bool = False
    again: Expression | None = None
    rounds_max: int = 0
