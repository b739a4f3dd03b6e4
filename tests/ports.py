"""The Driver's ports in memory: a log whose commits end when told to, a clock that stands still, an out that remembers."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sync.chain import GENESIS, Head
from sync.commit import Commit, Row, Snapshot
from sync.log_errors import CommitSuperseded
from sync.outputs import Failed, Reply
from sync.values import Now, StreamId

T = TypeVar("T")
Done = Callable[[BaseException | None], None]


@dataclass(slots=True)
class Disk:
    """What is durable, and how a start reads it."""

    pos: int = 0
    floor: int = 0
    heads: dict[StreamId, Head] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    saved: dict[str, Snapshot] = field(default_factory=dict)
    due: dict[tuple[str, str], int] = field(default_factory=dict)
    persisted: dict[str, bytes] = field(default_factory=dict)
    answers: dict[str, bytes] = field(default_factory=dict)
    positions: dict[tuple[str, str], int] = field(default_factory=dict)

    def write(self, commit: Commit) -> None:
        """One transaction, refused if its rows do not follow what is held."""
        for row in commit.rows:
            assert row.pos == self.pos + 1, f"event {row.pos} after {self.pos}: positions are dense"
            assert row.seq == (self.heads[row.stream].seq if row.stream in self.heads else 0) + 1
            self.pos, self.heads[row.stream] = row.pos, Head(row.seq, row.hash)
        self.rows += commit.rows
        self.saved = {snapshot.run: snapshot for snapshot in commit.tombstones} | self.saved
        self.saved.update((snapshot.run, snapshot) for snapshot in commit.snapshots)
        for timer in commit.timers_cleared:
            self.due.pop(timer, None)
        self.due.update(commit.timers_set)
        self.persisted.update(commit.persisted)
        self.answers.update((answer.key, answer.answer) for answer in commit.answers)
        self.positions.update(commit.positions)
        self.floor = max(self.floor, commit.floor)


def head(disk: Disk, stream: StreamId) -> Head:
    return disk.heads.get(stream, GENESIS)


def rows_after(disk: Disk, stream: StreamId, seq: int) -> list[Any]:
    return [row for row in disk.rows if row.stream == stream and row.seq > seq]


def hash_at(disk: Disk, stream: StreamId, seq: int) -> bytes | None:
    """The hash of the stream at `seq`, None where it does not reach that far."""
    if not seq:
        return GENESIS.hash
    return next((row.hash for row in disk.rows if row.stream == stream and row.seq == seq), None)


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a start finds."""

    pos: int
    heads: dict[StreamId, Head]
    floor: int
    snapshots: list[Snapshot]
    timers: list[tuple[str, str, int]]
    persisted: dict[str, bytes]
    stamps: dict[StreamId, int]
    tail: list[Row]
    positions: dict[tuple[str, str], int] = field(default_factory=dict)


@dataclass(slots=True)
class MemoryLog:
    """The Log port. Commits wait in `queue` until `finish` or `fail`, or end at once with `at_once`."""

    boot: int = 1
    at_once: bool = False
    node: str = "harbour"
    disk: Disk = field(default_factory=Disk)
    queue: deque[tuple[Commit, Done] | None] = field(default_factory=deque)
    late: list[Callable[[], None]] = field(default_factory=list)
    failure: BaseException | None = None
    refuses_to_load: BaseException | None = None

    def submit(self, commit: Commit, done: Done) -> None:
        self.queue.append((commit, done))
        if self.at_once:
            self.finish()

    def reset(self) -> None:
        self.queue.append(None)

    def load(self) -> Loaded:
        """Behind everything that was submitted, as the log's thread does it; who waits for that hears of it in `tell`."""
        while self.queue:
            self._end_first(None, self.late.append)
        if self.refuses_to_load is not None:
            raise self.refuses_to_load
        disk = self.disk
        last = {row.run: row.pos for row in disk.rows[disk.floor :]}
        saved = [snapshot for _, snapshot in sorted(disk.saved.items())]
        snapshots = [each for each in saved if not each.ended or each.pos < last.get(each.run, 0)]
        timers = [(run, key, due_ms) for (run, key), due_ms in sorted(disk.due.items())]
        tail = disk.rows[disk.floor :]
        stamps = {row.stream: row.time for row in disk.rows}
        return Loaded(
            disk.pos,
            dict(disk.heads),
            disk.floor,
            snapshots,
            timers,
            dict(sorted(disk.persisted.items())),
            stamps,
            tail,
            dict(disk.positions),
        )

    def finish(self, count: int = 1) -> None:
        """The next commits are durable."""
        for _ in range(count):
            self._end_first(None, lambda call: call())

    def finish_all(self) -> None:
        while self.queue:
            self.finish()

    def fail(self, error: BaseException) -> None:
        """The next commit fails, and with it all until a reset."""
        self._end_first(error, lambda call: call())

    def tell(self) -> None:
        """Deliver what was ended inside `load`."""
        calls, self.late = self.late, []
        for call in calls:
            call()

    def crash(self, durable: int) -> None:
        """The process dies: of the commits under way, the first `durable` have reached the disk, and nobody hears of it."""
        under_way = [entry for entry in self.queue if entry is not None]
        for commit, _ in under_way[:durable]:
            self.disk.write(commit)
        self.queue.clear()
        self.late.clear()
        self.failure = None
        self.boot += 1

    def _end_first(self, error: BaseException | None, deliver: Callable[[Callable[[], None]], None]) -> None:
        entry = self.queue.popleft()
        if entry is None:
            self.failure = None
            return
        commit, done = entry
        if self.failure is not None:
            error = CommitSuperseded(f"an earlier commit failed: {self.failure}")
        elif error is not None:
            self.failure = error
        else:
            self.disk.write(commit)
        deliver(lambda: done(error))


@dataclass(slots=True)
class StillClock:
    """The Clock port: time passes when the test says so."""

    wall_ms: int = 1_800_000_000_000
    mono_ms: int = 1_000
    boot: int = 1

    def now(self) -> Now:
        return Now(self.wall_ms, self.mono_ms, self.boot)

    def pass_ms(self, duration_ms: int) -> Now:
        self.wall_ms += duration_ms
        self.mono_ms += duration_ms
        return self.now()


@dataclass(slots=True)
class Outbox:
    """The Out port: what was sent, which rows were durable by then, and why the core was folded anew."""

    sent: list[object] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    refolds: list[BaseException] = field(default_factory=list)

    def send(self, effects: list[object]) -> None:
        self.sent += effects

    def committed(self, rows: list[Row]) -> None:
        self.rows += rows

    def refolded(self, error: BaseException) -> None:
        self.refolds.append(error)

    def replies(self) -> dict[object, object]:
        """What was answered, by token; asserts that nobody is answered twice."""
        replies = [effect for effect in self.sent if isinstance(effect, Reply)]
        tokens = [reply.token for reply in replies]
        assert len(tokens) == len(set(tokens)), f"answered twice: {tokens}"
        return {reply.token: reply.value for reply in replies}

    def failed(self) -> set[object]:
        """Who was told that a commit failed."""
        return {token for token, value in self.replies().items() if isinstance(value, Failed)}

    def of(self, kind: type[T]) -> list[T]:
        """What was sent of one kind."""
        return [effect for effect in self.sent if isinstance(effect, kind)]
