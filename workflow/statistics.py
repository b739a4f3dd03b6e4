"""What earlier runs of a definition tell: how they ended, how long they and each of their tasks took. Folded, never summed anew.

Means and deviations are kept by Welford's recurrence (1962), which does not lose the small differences of large numbers, and two
of them are joined as by Chan, Golub and LeVeque (1979).
"""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import sqrt

import msgspec


class Mean(msgspec.Struct, array_like=True):
    """The mean of what was added, and the sum of squared distances from it."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, value: float) -> None:
        """Fold one more value."""
        self.count += 1
        distance = value - self.mean
        self.mean += distance / self.count
        self.squares += distance * (value - self.mean)

    def remove(self, value: float) -> None:
        """Take back one value that was added."""
        if self.count <= 1:
            self.count, self.mean, self.squares = 0, 0.0, 0.0
            return
        distance = value - self.mean
        self.count -= 1
        self.mean -= distance / self.count
        self.squares = max(0.0, self.squares - distance * (value - self.mean))

    def join(self, other: "Mean") -> None:
        """Fold all that the other has folded."""
        if not other.count:
            return
        count, distance = self.count + other.count, other.mean - self.mean
        self.squares += other.squares + distance * distance * self.count * other.count / count
        self.mean += distance * other.count / count
        self.count = count

    @property
    def deviation(self) -> float:
        """The standard deviation of the values (of a sample: divided by one less); 0 below two of them."""
        return sqrt(self.squares / (self.count - 1)) if self.count > 1 else 0.0


class Totals(msgspec.Struct, array_like=True):
    """Ended runs. `duration_ms` is from start to end of those that completed; `span_ms` from their first task's begin, `work_ms`
    all their tasks' time together, so that work over span is how many of their tasks ran at once."""

    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    tasks_completed: int = 0
    tasks_failed: int = 0
    retries: int = 0
    duration_ms: Mean = msgspec.field(default_factory=Mean)
    span_ms: Mean = msgspec.field(default_factory=Mean)
    work_ms: Mean = msgspec.field(default_factory=Mean)

    @property
    def ended(self) -> int:
        return self.completed + self.failed + self.cancelled

    @property
    def success_rate(self) -> float:
        """Of the runs that came to an end of their own, so without the cancelled ones; 0 if there are none."""
        decided = self.completed + self.failed
        return self.completed / decided if decided else 0.0

    @property
    def concurrency(self) -> float:
        """How many tasks ran at once on average, at least 1."""
        return max(1.0, self.work_ms.mean / self.span_ms.mean) if self.span_ms.mean > 0 else 1.0

    def join(self, other: "Totals") -> None:
        """Fold the runs of another definition, too."""
        for name in ("completed", "failed", "cancelled", "tasks_completed", "tasks_failed", "retries"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("duration_ms", "span_ms", "work_ms"):
            getattr(self, name).join(getattr(other, name))


class Ended(msgspec.Struct):
    """How one run ended. `span_ms` and `work_ms` are 0 where they were not measured from its first task on."""

    outcome: str
    duration_ms: int
    tasks_completed: int
    tasks_failed: int
    retries: int
    span_ms: int = 0
    work_ms: int = 0


def fold_run(totals: Totals, ended: Ended) -> None:
    """Count a run that has ended."""
    setattr(totals, ended.outcome, getattr(totals, ended.outcome) + 1)
    totals.tasks_completed += ended.tasks_completed
    totals.tasks_failed += ended.tasks_failed
    totals.retries += ended.retries
    if ended.outcome == "completed":
        totals.duration_ms.add(ended.duration_ms)
        if ended.span_ms > 0:
            totals.span_ms.add(ended.span_ms)
            totals.work_ms.add(ended.work_ms)


def unfold_run(totals: Totals, ended: Ended) -> None:
    """The run goes on, and is counted when it ends again. What its tasks took has been measured all the same."""
    setattr(totals, ended.outcome, max(0, getattr(totals, ended.outcome) - 1))
    totals.tasks_completed -= min(totals.tasks_completed, ended.tasks_completed)
    totals.tasks_failed -= min(totals.tasks_failed, ended.tasks_failed)
    totals.retries -= min(totals.retries, ended.retries)
    if ended.outcome == "completed":
        totals.duration_ms.remove(ended.duration_ms)


@dataclass(slots=True)
class Durations:
    """The mean duration of each task of a definition, by its index; without a deviation, to be two numbers each. `changed` is for
    whoever keeps them."""

    counts: "array[int]" = field(default_factory=lambda: array("Q"))
    means: "array[float]" = field(default_factory=lambda: array("d"))
    changed: bool = False

    def add(self, task: int, duration_ms: int) -> None:
        """Fold how long a task took."""
        if task >= len(self.counts):
            missing = task + 1 - len(self.counts)
            self.counts.extend([0] * missing)
            self.means.extend([0.0] * missing)
        count = self.counts[task] = self.counts[task] + 1
        self.means[task] += (duration_ms - self.means[task]) / count
        self.changed = True

    def mean_ms(self, task: int) -> float | None:
        """None if it was never measured."""
        return self.means[task] if task < len(self.counts) and self.counts[task] else None

    def typical_ms(self) -> float | None:
        """The mean of the measured tasks' means, for a task that was never measured; None if none was."""
        known = [mean for count, mean in zip(self.counts, self.means, strict=True) if count]
        return sum(known) / len(known) if known else None

    def save(self) -> bytes:
        """All as bytes."""
        return msgspec.msgpack.encode((list(self.counts), list(self.means)))

    @classmethod
    def load(cls, saved: bytes) -> "Durations":
        """What `save` wrote."""
        counts, means = _DURATIONS.decode(saved)
        return cls(array("Q", counts), array("d", means))


_DURATIONS = msgspec.msgpack.Decoder(tuple[list[int], list[float]])


def sum_of(totals: Iterable[Totals]) -> Totals:
    """All of them as one."""
    whole = Totals()
    for each in totals:
        whole.join(each)
    return whole
