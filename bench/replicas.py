"""One member of a group in a process of its own, with a load of commits for as long as it leads."""

import asyncio
import contextlib
import gc
import sys
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from coordination.group.driver import Member
from coordination.group.log import Leadership
from coordination.group.values import GroupConfig
from sync.actors import GC_THRESHOLDS, SWITCH_INTERVAL_S, run_node
from sync.chain import Head, record_hash
from sync.commit import Commit, Row
from sync.log import EventLog
from sync.values import NodeId, StreamId

SITE = "harbour"
STREAM = StreamId(f"{SITE}@1")
PAYLOAD_BYTES = 256


def run_member(config: GroupConfig, path: Path, pipe: Connection) -> None:
    """The process: serve until told to stop."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.set_threshold(*GC_THRESHOLDS)
    event_log = EventLog.open(path, NodeId(SITE), member=config.member)
    with contextlib.suppress(asyncio.CancelledError, BrokenPipeError, EOFError):
        run_node(_serve(config, event_log, pipe))
    event_log.close()


async def _serve(config: GroupConfig, event_log: EventLog, pipe: Connection) -> None:
    loop = asyncio.get_running_loop()
    member = Member(config, event_log)
    serving = asyncio.ensure_future(member.serve())
    leading = Leading(member, pipe)
    following = asyncio.ensure_future(leading.follow())

    def command() -> None:
        try:
            words = pipe.recv()
        except (EOFError, OSError):  # Whoever measures is gone.
            words = ("stop",)
        match words:
            case ("stop",):
                loop.remove_reader(pipe.fileno())
                serving.cancel()
            case ("where",):
                standing = member.status()
                pipe.send(("where", config.member, standing.term, standing.leader, standing.commit, standing.applied))
            case ("load", in_flight, count):
                leading.load(in_flight, count)

    loop.add_reader(pipe.fileno(), command)
    try:
        await serving
    finally:
        loop.remove_reader(pipe.fileno())
        following.cancel()


@dataclass(slots=True)
class Scribe:
    """Gives events their places, as a Driver does."""

    pos: int
    head: Head
    last: int = 0

    def commit(self, payload: bytes) -> Commit:
        """One event."""
        seq, stamp = self.head.seq + 1, time.time_ns() // 1_000_000 << 16
        digest = record_hash(self.head.hash, STREAM.encode(), seq, 1, "Noted", "run", stamp, payload)
        self.pos += 1
        row = Row(self.pos, STREAM, seq, 1, "Noted", "run", stamp, payload, digest, self.last)
        self.head, self.last = Head(seq, digest), self.pos
        return Commit(rows=[row])


@dataclass(slots=True)
class Leading:
    """What this member commits while it leads. Every commit is one event of 256 bytes that names itself: term/number."""

    member: Member
    pipe: Connection
    current: Leadership | None = None
    scribe: Scribe | None = None
    number: int = 0
    left: int = 0
    begun: dict[int, int] = field(default_factory=dict)
    times: list[int] = field(default_factory=list)
    acked: list[int] = field(default_factory=list)
    wanted: int = 0
    began_ns: int = 0

    async def follow(self) -> None:
        """Say each leadership, with the moment of its first commit: then it serves."""
        async for leadership in self.member.leaderships():
            end = leadership.log.read(lambda reader: Scribe(reader.pos, reader.head(STREAM)))
            self.scribe = await asyncio.wrap_future(end)
            self.current, self.number = leadership, 0
            self.begun, self.times, self.acked = {}, [], []
            self.left, self.wanted = 1, 0
            self._commit()

    def load(self, in_flight: int, count: int) -> None:
        """Commit so many, so many at a time. A count of 0: without end, and each acknowledgement is told."""
        self.left, self.wanted = count or sys.maxsize, count
        self.times, self.began_ns = [], time.monotonic_ns()
        for _ in range(min(in_flight, self.left)):
            self._commit()

    def _commit(self) -> None:
        if self.left <= 0 or self.current is None or self.scribe is None:
            return
        self.left -= 1
        self.number += 1
        number, leadership = self.number, self.current
        self.begun[number] = time.perf_counter_ns()
        payload = b"%d/%d" % (leadership.term, number)
        leadership.log.submit(
            self.scribe.commit(payload.ljust(PAYLOAD_BYTES)), lambda error: self._done(leadership, number, error)
        )

    def _done(self, leadership: Leadership, number: int, error: BaseException | None) -> None:
        if error is not None or leadership is not self.current:
            return
        self.times.append(time.perf_counter_ns() - self.begun.pop(number))
        if not self.acked:
            asyncio.get_running_loop().call_soon(self._tell, leadership)
        self.acked.append(number)
        self._commit()

    def _tell(self, leadership: Leadership) -> None:
        acked, self.acked = self.acked, []
        first = time.monotonic_ns() if 1 in acked else 0
        told: tuple[Any, ...] = ("acks", self.member.config.member, leadership.term, acked, first)
        self.pipe.send(told)
        if self.wanted and len(self.times) == self.wanted:
            self.pipe.send(("done", time.monotonic_ns() - self.began_ns, self.times))
