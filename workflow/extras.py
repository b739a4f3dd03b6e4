"""What only some fragments have: copies of bodies, added tasks, and all that people asked for. Most runs carry none of it."""

import msgspec

from sync.points.state import Point
from workflow.context_state import RunDocument
from workflow.event import Blob
from workflow.tasks import After, Body, CoordinationPlan, Graph, TaskPlan

SIGNALS_MAX = 1_000
CHECKPOINTS_MAX = 1_000


class Attempt(msgspec.Struct, gc=False):
    """An attempt in an agent's hands: who holds it, and the process of the agent that it was given to.

    One that was resumed has no `boot`: it is known to have begun, so no process that lacks it proves that it never arrived.
    """

    number: int
    agent: str
    boot: str
    parameters: bytes


# Stands for the holder of resources where no attempt held them: a group, or a task that stood in line for them.
NOBODY = Attempt(0, "", "", b"")
# Shared by all fragments in whose agents' hands nothing is, and never written to.
NO_ATTEMPTS: dict[int, Attempt] = {}


class Copy(msgspec.Struct, gc=False):
    """One copy of the body of task `owner`: its tasks begin at `base`. `left` of its members have not ended; a void copy
    belongs to an earlier try. Without an owner (-1) it holds tasks that were added to the run."""

    body: Body
    owner: int
    number: int
    base: int
    item: bytes
    bases: tuple[int, ...]
    left: int = 0
    is_failed: bool = False
    is_void: bool = False


class Tally(msgspec.Struct, gc=False):
    """What a running group has inside: members (of a map or repeat: copies) that have not ended, those that ended well, whether
    one failed with nothing to take it up. A group that is watched wants to know of every end."""

    left: int
    done: int = 0
    is_failing: bool = False
    is_watched: bool = False


class Approval(msgspec.Struct, array_like=True):
    """A request that people decide on. `given` maps who has approved to nothing but their comment."""

    hash: str
    request: bytes
    asked_ms: int
    by: list[str]
    level: int = 0
    given: dict[str, str] = {}


class Rollback(msgspec.Struct, array_like=True):
    """A rollback under way: compensations still to run (the first is running once nothing else is), tasks to be reset, and those
    that other sites do anew."""

    version: int
    compensations: list[int]
    resets: list[int]
    command: str = ""
    elsewhere: list[int] = []


class Incident(msgspec.Struct, array_like=True, frozen=True):
    """Why a task waits for a person."""

    code: str
    message: str


class Checkpoint(msgspec.Struct, array_like=True, frozen=True):
    """A state with a name."""

    name: str
    version: int
    time_ms: int


class Extras(msgspec.Struct, array_like=True):
    """The rare part of a fragment's state. Saved as it stands, but for what follows from the rest (see `Fragment.restore`)."""

    # Copies in the order they were made: (owner, number, item, is_void).
    made: list[tuple[int, int, bytes, bool]] = []
    items: dict[int, bytes] = {}
    added: list[tuple[bytes, dict[str, list[str]]]] = []
    paused: str = ""
    paused_tasks: list[int] = []
    signals: list[tuple[str, bytes]] = []
    holds: dict[int, dict[str, str]] = {}
    incidents: dict[int, Incident] = {}
    approvals: dict[int, Approval] = {}
    children: dict[int, str] = {}
    rollback: Rollback | None = None
    checkpoints: list[Checkpoint] = []
    stage: str = ""
    priority: int = -1
    overrides: dict[int, bytes] = {}
    degraded: list[int] = []
    recoveries: dict[int, int] = {}
    errors: dict[int, tuple[str, str]] = {}
    unwanted: list[int] = []
    validating: dict[int, tuple[int, str, bytes, Blob | None]] = {}
    generations: dict[int, int] = {}
    place: str = ""  # The leaf of the run's machine that was last recorded, for rules on states.
    lacking: list[int] = []  # Groups that go on after their end, and have not got their resources again.
    taken: dict[int, int] = {}  # Since when (UTC ms) tasks that stood in line have their resources, and wait for an agent.
    kept: list[int] = []  # Tasks with an effect that stayed when the run went back behind them.
    # Tasks of other sites that began anew while this part was being stopped: what it did after them is undone when it goes on.
    withdrawn: list[int] = []
    yielding: str = ""  # Why its home gives the run up: it moves to another site, and nothing new is given out.
    context: dict[str, RunDocument] = {}  # What its tasks have written down for each other.
    coordination: dict[int, CoordinationPlan] = {}  # What people said of how tasks find their agents (-1: all of the run).
    points: dict[str, Point] = {}  # Where agents wait, or have waited, for each other.
    wounds: dict[int, int] = {}  # How often tasks have given way in a circle of waits.
    # How often, and for whom last, they have to an older or more urgent one, before there was a circle (wound-wait).
    stood_aside: dict[int, tuple[int, str]] = {}


class Network:
    """The tasks that a run has beyond its definition, in the order in which they were appended."""

    __slots__ = ("copies", "copy_of", "dependents", "needs", "read", "tasks")

    def __init__(self) -> None:
        self.tasks: list[TaskPlan] = []
        self.copy_of: list[Copy | None] = []
        self.copies: dict[int, list[Copy]] = {}
        # Edges that were drawn at run time, in both directions, and whose outputs are read because of them.
        self.needs: dict[int, list[tuple[int, After]]] = {}
        self.dependents: dict[int, list[tuple[int, After]]] = {}
        self.read: set[int] = set()

    def add_edge(self, need: int, task: int, after: After) -> None:
        """The task waits for `need` from now on."""
        self.needs.setdefault(task, []).append((need, after))
        self.dependents.setdefault(need, []).append((task, after))

    def add_copy(self, copy: Copy) -> None:
        """Append the tasks of one copy."""
        graph: Graph = copy.body.graph
        copy.left = len(copy.body.members)
        self.copies.setdefault(copy.owner, []).append(copy)
        self.tasks.extend(graph.tasks)
        self.copy_of.extend([copy] * len(graph.tasks))
