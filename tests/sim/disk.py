"""A node's disk and its log in memory: commits take their time, fail, and those under way die with the process or the power."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from sync.chain import GENESIS, Head
from sync.commit import Answer, Commit, Row, Snapshot
from sync.cut import CutHead, Segment
from sync.log_errors import CommitSuperseded, LogClosed, LogError, LogFull
from sync.log_reader import LogReader
from sync.values import StreamId
from tests.ports import Disk, Done, Loaded
from tests.sim.oracle import Broke
from tests.sim.trace import Trace

T = TypeVar("T")


@dataclass(slots=True)
class Platter(Disk):
    """What is durable; streams can be found in it."""

    places: dict[StreamId, list[int]] = field(default_factory=dict)
    given: dict[str, Answer] = field(default_factory=dict)
    boot: int = 0

    def write(self, commit: Commit) -> None:
        for row in commit.rows:
            held = len(self.places.get(row.stream, ()))
            if row.seq != held + 1:
                raise Broke("dense streams", f"{row.stream}: event {row.seq} would be written after event {held}")
            self.places.setdefault(row.stream, []).append(row.pos)
        Disk.write(self, commit)
        self.given.update((answer.key, answer) for answer in commit.answers)

    def copy(self) -> "Platter":
        """A backup."""
        return Platter(
            self.pos,
            self.floor,
            dict(self.heads),
            list(self.rows),
            dict(self.saved),
            dict(self.due),
            dict(self.persisted),
            dict(self.answers),
            dict(self.positions),
            {stream: list(places) for stream, places in self.places.items()},
            dict(self.given),
            self.boot,
        )


class PlatterReader(LogReader):
    """The reads of a node, on a Platter."""

    def __init__(self, node: str, platter: Platter) -> None:
        self._node, self._platter = node, platter

    def node(self) -> str:
        return self._node

    @property
    def pos(self) -> int:
        return self._platter.pos

    @property
    def floor(self) -> int:
        return self._platter.floor

    @property
    def cut(self) -> int:
        return 0

    @property
    def cut_heads(self) -> dict[StreamId, CutHead]:
        return {}

    def segments(self) -> list[Segment]:
        return []

    def all_events(self, after_pos: int, limit: int, bytes_max: int = 4 << 20) -> list[Row]:
        return self._platter.rows[after_pos : after_pos + limit]

    def head(self, stream: StreamId) -> Head:
        return self._platter.heads.get(stream, GENESIS)

    def streams(self) -> list[StreamId]:
        return sorted(self._platter.heads)

    def events(self, stream: StreamId, after_seq: int, limit: int, bytes_max: int = 4 << 20) -> list[Row]:
        found, size = list[Row](), 0
        for pos in self._platter.places.get(stream, [])[after_seq : after_seq + limit]:
            row = self._platter.rows[pos - 1]
            size += len(row.payload)
            if found and size > bytes_max:
                break
            found.append(row)
        return found

    def hash(self, stream: StreamId, seq: int) -> bytes | None:
        places = self._platter.places.get(stream, [])
        if not seq:
            return GENESIS.hash
        return self._platter.rows[places[seq - 1] - 1].hash if seq <= len(places) else None

    def history(self, last_pos: int, limit: int, bytes_max: int = 4 << 20) -> tuple[list[Row], int]:
        rows = list[Row]()
        while last_pos and len(rows) < limit:
            rows.append(row := self._platter.rows[last_pos - 1])
            last_pos = row.prev
        return rows[::-1], last_pos

    def snapshot(self, run: str) -> Snapshot | None:
        return self._platter.saved.get(run)

    def snapshots(self, before_run: str, limit: int, state: str | None = None) -> list[Snapshot]:
        names = sorted((r for r in self._platter.saved if r and (not before_run or r < before_run)), reverse=True)
        found = (self._platter.saved[name] for name in names)
        return [each for each in found if state is None or each.state == state][:limit]

    def answer(self, key: str) -> Answer | None:
        return self._platter.given.get(key)

    def verify_page(self, stream: StreamId, after_seq: int, limit: int) -> int:
        """The chain was computed when its rows came; to do it again would only take time."""
        return max(after_seq, self.head(stream).seq)

    def persisted(self) -> dict[str, bytes]:
        return dict(sorted(self._platter.persisted.items()))

    def positions(self) -> dict[tuple[str, str], int]:
        return dict(self._platter.positions)


@dataclass(slots=True)
class DiskNature:
    """How a disk behaves just now. Latencies in seconds; `fails` commits fail next; `full`: all fail."""

    chance: Random
    latency_s: float = 0.002
    spread_s: float = 0.004
    stalled_until_s: float = 0.0
    fails: int = 0
    full: bool = False


_Task = tuple[Commit, Done] | tuple[Callable[[LogReader], Any], "Future[Any]"] | None


class SimLog:
    """One boot of a node's log: `sync.ports.log.NodeLog`. `dead` once its process is killed: nothing is written then."""

    def __init__(self, node: str, platter: Platter, nature: DiskNature, boot: int, loop: Any, trace: Trace) -> None:
        self.path, self.node, self.boot, self.incarnation = Path(f"/sim/{node}.db"), node, boot, 1
        self.platter, self.nature, self._loop, self._trace = platter, nature, loop, trace
        self._reader = PlatterReader(node, platter)
        self._queue: deque[_Task] = deque()
        self._failure: BaseException | None = None
        self._busy = self.dead = False
        self.under_way_max = 0
        self.submitted: Callable[[Commit], object] = bool
        self.written: Callable[[Commit], object] = bool

    def submit(self, commit: Commit, done: Done) -> None:
        if commit.rows:
            self.submitted(commit)
        self._put((commit, done))

    def reset(self) -> None:
        self._put(None)

    def read(self, query: Callable[[LogReader], T]) -> "Future[T]":
        answer: Future[T] = Future()
        if self.dead:
            answer.set_exception(LogClosed(f"the log {self.path} is closed"))
        else:
            self._put((query, answer))
        return answer

    def alter(self, work: Callable[..., T]) -> "Future[T]":
        """What is archived and cut is not simulated: no node of the simulator has a policy that asks for it."""
        raise AssertionError("a node of the simulator cuts its log")

    def load(self) -> Loaded:
        """Behind all that was submitted."""
        while self._queue:
            self._end_first()
        disk = self.platter
        last = {row.run: row.pos for row in disk.rows[disk.floor :]}
        saved = [snapshot for _, snapshot in sorted(disk.saved.items())]
        snapshots = [each for each in saved if not each.ended or each.pos < last.get(each.run, 0)]
        timers = [(run, key, due) for (run, key), due in sorted(disk.due.items(), key=lambda item: (item[1], item[0]))]
        stamps = {stream: disk.rows[places[-1] - 1].time for stream, places in disk.places.items()}
        tail = disk.rows[disk.floor :]
        return Loaded(
            disk.pos, dict(disk.heads), disk.floor, snapshots, timers, dict(sorted(disk.persisted.items())), stamps, tail
        )

    def close(self) -> None:
        while self._queue and not self.dead:
            self._end_first()
        self.dead = True

    def die(self, durable: int) -> None:
        """Of the commits under way the first `durable` have reached the disk, and nobody hears of it."""
        writes = [task[0] for task in self._queue if task is not None and isinstance(task[0], Commit)]
        if self._failure is None:
            for commit in writes[:durable]:
                self._keep(commit)
        if writes[durable:]:
            self._trace.note("lost_unsynced_commit")
        self._queue.clear()
        self.dead = True

    def under_way(self) -> int:
        return len(self._queue)

    def _put(self, task: _Task) -> None:
        if self.dead:
            return
        self._queue.append(task)
        self.under_way_max = max(self.under_way_max, len(self._queue))
        if not self._busy:
            self._go_on()

    def _go_on(self) -> None:
        """Reads and resets are done at once when their turn comes; a commit takes its time."""
        while self._queue:
            task = self._queue[0]
            if task is not None and isinstance(task[0], Commit):
                nature, now_s = self.nature, self._loop.now_s
                wait_s = nature.latency_s + nature.chance.random() * nature.spread_s
                self._busy = True
                self._loop.call_at(max(now_s, nature.stalled_until_s) + wait_s, self._synced)
                return
            self._end_first()

    def _synced(self) -> None:
        self._busy = False
        if self.dead:
            return
        if self._queue and self._queue[0] is not None and isinstance(self._queue[0][0], Commit):
            self._end_first()
        self._go_on()

    def _end_first(self) -> None:
        task = self._queue.popleft()
        if task is None:
            self._failure = None
            return
        work, done = task
        if not isinstance(work, Commit):
            assert isinstance(done, Future)
            if not done.set_running_or_notify_cancel():
                return
            try:
                done.set_result(work(self._reader))
            except LogError as error:
                done.set_exception(error)
            return
        assert not isinstance(done, Future)
        done(self._write(work))

    def _write(self, commit: Commit) -> BaseException | None:
        if self._failure is not None:
            return CommitSuperseded(f"an earlier commit failed: {self._failure}")
        if self.nature.full or self.nature.fails > 0:
            self.nature.fails -= not self.nature.full
            self._failure = LogFull(f"no room in the log {self.path}")
            self._trace.note("failed_commit")
            return self._failure
        self._keep(commit)
        return None

    def _keep(self, commit: Commit) -> None:
        self.platter.write(commit)
        self._trace.commit(self.node, commit)
        self.written(commit)
