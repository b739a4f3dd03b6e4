"""Which runs may be active: so many at once, and whose turn it is when one of them ends.

A run that has been accepted is pending until a site is given its fragment. It stands in line for a free place; when its turn
comes and no site can do it, it steps aside, so that it holds up nobody, and stands in line again when the fleet has changed.
"""

from dataclasses import dataclass, field

from cloud.port import Problem
from workflow.fair import FairQueue

RUNS_ACTIVE_MAX = 200_000
RUNS_PENDING_MAX = 200_000


@dataclass(slots=True)
class Admission:
    """The pending runs. `active` counts those that have left them for a site and have not ended."""

    active_max: int = RUNS_ACTIVE_MAX
    pending_max: int = RUNS_PENDING_MAX
    active: int = 0
    pending: dict[str, tuple[int, str]] = field(default_factory=dict)  # Their priority and fairness key.
    held: set[str] = field(default_factory=set)  # Pending, and paused: not in line until they are resumed.
    bound: set[str] = field(default_factory=set)  # Pending, and waiting for other runs: not in line until these have ended.
    _line: FairQueue = field(init=False)
    _fleet_version: int = -1

    def __post_init__(self) -> None:
        # The bound is held at the door, by `refusal`: what was once accepted always has its place in line.
        self._line = FairQueue(1 << 62)

    def refusal(self, count: int) -> Problem | None:
        """Why no `count` more runs can be accepted; None if they can."""
        if self.active + len(self.pending) + count <= self.active_max + self.pending_max:
            return None
        detail = (
            f"{self.active:,} of {self.active_max:,} runs are active and {len(self.pending):,} wait for a place, at most "
            f"{self.pending_max:,} may: nothing was started; try again when some have ended, or raise --runs-active-max"
        )
        return Problem(503, "queue_full", detail)

    def accept(self, run: str, priority: int, fairness_key: str) -> None:
        """The run is pending, and in line; also one that was held until now."""
        self.pending[run] = (priority, fairness_key)
        self.held.discard(run)
        if run not in self.bound:
            self._line.push(run, priority, fairness_key)

    def bind(self, run: str) -> None:
        """The run waits for others: its turn does not come until it is set free."""
        if run in self.pending:
            self.bound.add(run)
            self._line.remove(run)

    def free(self, run: str) -> None:
        """The run waits for no other any more."""
        if run in self.bound:
            self.bound.discard(run)
            if run not in self.held:
                self._line.push(run, *self.pending[run])

    def hold(self, run: str) -> None:
        """The run is paused: its turn does not come until it is accepted again."""
        self.held.add(run)
        self._line.remove(run)

    def move(self, run: str, priority: int) -> None:
        """The run has another priority, and stands behind those that have it already."""
        _, key = self.pending[run]
        self.pending[run] = (priority, key)
        if self._line.remove(run):
            self._line.push(run, priority, key)

    def activate(self, run: str) -> None:
        """A site has been given a fragment of the run."""
        if self.pending.pop(run, None) is not None:
            self._unqueue(run)
            self.active += 1

    def forget(self, run: str) -> None:
        """The run has ended, pending or active."""
        if self.pending.pop(run, None) is None:
            self.active -= 1
        else:
            self._unqueue(run)

    def _unqueue(self, run: str) -> None:
        self.held.discard(run)
        self.bound.discard(run)
        self._line.remove(run)

    def next(self, fleet_version: int) -> str | None:
        """The run whose turn it is to be given to a site; None if there is none, or no free place.

        It is not in line any more: if no site can do it, it waits until the fleet has another version.
        """
        if fleet_version != self._fleet_version:
            self._fleet_version = fleet_version
            for run, (priority, fairness_key) in self.pending.items():
                if run not in self._line and run not in self.held and run not in self.bound:
                    self._line.push(run, priority, fairness_key)
        return self._line.pop() if self.active < self.active_max else None

    def waits_for(self, run: str) -> str:
        """What a run in line waits for; empty if it is in none."""
        position = self._line.position(run)
        if not position:
            return ""
        return f"a free place: {self.active:,} of {self.active_max:,} runs are active, it is number {position:,} in the queue"
