"""Writing well-formed rows to a log, for tests: the part of the Driver that gives events their places."""

from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

from sync.chain import GENESIS, Head, record_hash
from sync.commit import Commit, Row
from sync.log import EventLog
from sync.values import NodeId, StreamId

HARBOUR = StreamId("harbour@1")
PEER = StreamId("cloud>harbour@1")
NODE = NodeId("harbour")


@dataclass(slots=True)
class Scribe:
    """Knows where each stream and each run stands, as a Driver does."""

    pos: int = 0
    heads: dict[StreamId, Head] = field(default_factory=dict)
    last: dict[str, int] = field(default_factory=dict)

    def rows(
        self, count: int, stream: StreamId = HARBOUR, run: str = "run-1", payload: bytes = b"x" * 60, kind: str = "TaskDone"
    ) -> list[Row]:
        """The next `count` events of a stream."""
        return [self._row(stream, run, payload, kind) for _ in range(count)]

    def _row(self, stream: StreamId, run: str, payload: bytes, kind: str) -> Row:
        head = self.heads.get(stream, GENESIS)
        seq, time = head.seq + 1, (1_800_000_000_000 + self.pos) << 16
        digest = record_hash(head.hash, stream.encode(), seq, 1, kind, run, time, payload)
        self.pos += 1
        row = Row(self.pos, stream, seq, 1, kind, run, time, payload, digest, self.last.get(run, 0))
        self.heads[stream], self.last[run] = Head(seq, digest), self.pos
        return row


def scribe_of(log: EventLog) -> Scribe:
    """A scribe that goes on where the log ends."""
    loaded = log.load()
    return Scribe(loaded.pos, dict(loaded.heads), {row.run: row.pos for row in loaded.tail})


def commit(log: EventLog, *commits: Commit) -> None:
    """Submit all, wait for the last, raise the first error."""
    ends: list[Future[None]] = []
    for each in commits:
        end: Future[None] = Future()
        ends.append(end)
        log.submit(each, lambda error, end=end: end.set_exception(error) if error else end.set_result(None))  # type: ignore[misc]
    for end in ends:
        end.result(30)


def outcome(log: EventLog, each: Commit) -> BaseException | None:
    """Submit, wait, and return what `done` heard."""
    heard: Future[BaseException | None] = Future()
    log.submit(each, heard.set_result)
    return heard.result(30)


def open_log(path: Path, page_count_max: int = 0) -> EventLog:
    return EventLog.open(path, NODE, page_count_max=page_count_max)
