"""How far a run is, and how long it may still take.

The estimate is the larger of two lower bounds of any schedule (Graham 1966; Brent 1974): the longest path over what is left, and
all work that is left over as many tasks as ran at once in earlier runs. How long each task takes is what it took on average in
earlier runs of the same definition; a task that was never measured takes as long as they do on average. It is an estimate: it
knows nothing of queues that have become longer, and none is given before any run has been measured.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from workflow.graph import Needs
from workflow.states import COMPLETED, ENDED, NAMES, PENDING, READY, SKIPPED
from workflow.statistics import Durations

# States of tasks that count in nothing: those of another site, and those not wanted now.
UNCOUNTED = bytes(state for state, name in enumerate(NAMES) if name in ("elsewhere", "sleeping", "void"))


@dataclass(frozen=True, slots=True)
class Progress:
    """Of `total` tasks `done` have ended, `pending` have not begun; `current` are those between, by index."""

    total: int
    done: int
    pending: int
    current: tuple[int, ...]

    @property
    def percent(self) -> int:
        """In whole percent, rounded down: 100 only when all is done."""
        return percent(self.done, self.total)


def percent(done: int, total: int, under_way: float = 0.0) -> int:
    """Rounded down; of nothing all is done. `under_way` is what tasks that run have done of themselves, together, in tasks."""
    if done >= total:
        return 100
    return min(99, int((done + under_way) * 100 / total)) if under_way else done * 100 // total


def percent_of(states: bytes | bytearray, under_way: float = 0.0) -> int:
    """The percentage of `progress_of`, without a look at each task."""
    return percent(*_counts(states), under_way)


def percent_reached(states: bytes | bytearray) -> int:
    """How far a run came that ended without being completed: what failed or was cancelled counts as not done; 99 at most."""
    done, total = states.count(COMPLETED) + states.count(SKIPPED), _counts(states)[1]
    return min(99, done * 100 // total) if total else 0


def progress_of(states: bytes | bytearray) -> Progress:
    """How far a run is whose tasks have these states, one byte each."""
    done, total = _counts(states)
    idle = bytes((*ENDED, *UNCOUNTED, PENDING, READY))
    current = tuple(task for task, state in enumerate(states) if state not in idle)
    return Progress(total, done, total - done - len(current), current)


def _counts(states: bytes | bytearray) -> tuple[int, int]:
    """How many tasks have ended, and how many there are."""
    return sum(map(states.count, ENDED)), len(states) - sum(map(states.count, UNCOUNTED))


def remaining_ms(
    needs: Needs,
    states: bytes | bytearray,
    durations: Durations,
    *,
    elapsed_ms: Mapping[int, int],
    concurrency: float,
    known_ms: Sequence[int] = (),
) -> int | None:
    """How long the run may still take; None if nothing was measured that could tell.

    Tasks are in topological order. `elapsed_ms` is how long those that run have run; `known_ms` how long a task takes by its
    definition (a timer), 0 if it says nothing.
    """
    assert concurrency >= 1.0, f"{concurrency} tasks at once"
    left = _left(needs, states, durations, elapsed_ms, known_ms)
    if left is None:
        return None
    finish: list[float] = []
    for task, its_needs in enumerate(needs):
        finish.append(left[task] + max((finish[need] for need in its_needs), default=0.0))
    return round(max(max(finish, default=0.0), sum(left) / concurrency))


def _left(
    needs: Needs, states: bytes | bytearray, durations: Durations, elapsed_ms: Mapping[int, int], known_ms: Sequence[int]
) -> list[float] | None:
    """What is left of each task; None if one is left of which nothing is known, nor of any other."""
    typical = durations.typical_ms()
    left: list[float] = []
    for task in range(len(needs)):
        if states[task] in ENDED or states[task] in UNCOUNTED:
            left.append(0.0)
            continue
        mean = durations.mean_ms(task)
        if mean is None:
            mean = known_ms[task] if known_ms and known_ms[task] else typical
        if mean is None:
            return None
        # A task that takes longer than usual may end at any moment: nothing better is known of it.
        left.append(max(0.0, mean - elapsed_ms.get(task, 0)))
    return left
