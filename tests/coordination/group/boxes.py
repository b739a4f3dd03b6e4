"""Several members in one process, with real sockets and real disks, for tests of groups."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from coordination.group.driver import Member
from coordination.group.log import GroupLog, Leadership
from coordination.group.values import GroupConfig, LeadershipLost
from sync.commit import Commit
from sync.log import EventLog
from sync.values import NodeId
from tests.free_ports import free_ports
from tests.sync.chained import Scribe, commit

T = TypeVar("T")

SITE = "harbour"


@dataclass(slots=True, eq=False)
class Box:
    """One member that runs, or has run."""

    config: GroupConfig
    path: Path
    log: EventLog
    member: Member
    task: "asyncio.Task[None]"
    led: list[Leadership] = field(default_factory=list)

    async def stop(self) -> None:
        """End it as a process ends that is told to."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await asyncio.to_thread(self.log.close)

    def rows(self) -> list[tuple[int, bytes, bytes]]:
        """Position, payload and hash of each event that this member has applied."""
        found = self.log.read(lambda reader: [row for page in reader.pages(0) for row in page]).result(30)
        return [(row.pos, row.payload, row.hash) for row in found]


class Boxes:
    """A group of members on ports of this machine; settings are those of `GroupConfig`."""

    def __init__(self, place: Path, names: str = "abc", **settings: Any) -> None:
        self.place, self.names, self.settings = place, names, settings
        self.ports = dict(zip("abcdefg", free_ports(7), strict=True))
        self.running: dict[str, Box] = {}
        self.scribes: dict[int, Scribe] = {}

    def config(self, name: str, names: str = "", **settings: Any) -> GroupConfig:
        """As that member is told."""
        peers = {each: f"127.0.0.1:{self.ports[each]}" for each in names or self.names}
        return GroupConfig(SITE, name, peers, **{"tick_ms": 40, **self.settings, **settings})

    def lay_plain(self, path: Path, payload: bytes) -> None:
        """The log of a site of one node, with one event."""
        log = EventLog.open(path, NodeId(SITE))
        commit(log, Commit(rows=Scribe().rows(1, payload=payload)))
        log.close()

    def start(self, name: str, names: str = "", page_count_max: int = 0, **settings: Any) -> Box:
        """Let it run, from what is on its disk."""
        config = self.config(name, names, **settings)
        path = self.place / name / "edge.db"
        log = EventLog.open(path, NodeId(SITE), page_count_max=page_count_max, member=name)
        member = Member(config, log, chance=random.Random(f"{name}/{log.boot}"))
        box = self.running[name] = Box(config, path, log, member, asyncio.ensure_future(member.serve()))
        return box

    async def stop(self, name: str) -> None:
        """End one."""
        await self.running.pop(name).stop()

    async def leadership(self, *, among: str = "") -> tuple[Box, Leadership]:
        """Whoever leads, once it knows all that is committed."""

        def found() -> tuple[Box, Leadership] | None:
            boxes = [box for name, box in self.running.items() if not among or name in among]
            for box in boxes:
                if box.task.done():
                    box.task.result()
                leadership = box.member.leadership
                if leadership is not None and not leadership.ended.is_set():
                    return box, leadership
            return None

        return await eventually(found)

    def scribe(self, leadership: Leadership) -> Scribe:
        """Who writes under this leadership, from where the log ends."""
        if leadership.term not in self.scribes:
            loaded = leadership.log.load()
            last = {row.run: row.pos for row in loaded.tail}
            self.scribes[leadership.term] = Scribe(loaded.pos, dict(loaded.heads), last)
        return self.scribes[leadership.term]

    async def write(self, *payloads: bytes) -> list[bytes]:
        """Have each committed, by whoever leads, again and again until it is; returns them."""
        for payload in payloads:
            while True:
                _box, leadership = await self.leadership()
                error = await outcome(leadership.log, Commit(rows=self.scribe(leadership).rows(1, payload=payload)))
                if error is None:
                    break
                assert isinstance(error, LeadershipLost), repr(error)
        return list(payloads)

    async def same(self, *names: str) -> list[bytes]:
        """Wait until these members have applied the same, and return its payloads."""

        def found() -> list[bytes] | None:
            logs = [self.running[name].rows() for name in names or self.running]
            ends = {self.running[name].member.status().applied for name in names or self.running}
            if all(log == logs[0] for log in logs) and len(ends) == 1:
                return [payload for _pos, payload, _hash in logs[0]]
            return None

        return await eventually(found)


@contextlib.asynccontextmanager
async def group(place: Path, names: str = "abc", **settings: Any) -> AsyncIterator[Boxes]:
    """A group whose members all run."""
    boxes = Boxes(place, names, **settings)
    try:
        for name in names:
            boxes.start(name)
        yield boxes
    finally:
        for name in list(boxes.running):
            await boxes.stop(name)


async def outcome(log: GroupLog, commit: Commit) -> BaseException | None:
    """Submit, wait, and return what `done` heard."""
    loop = asyncio.get_running_loop()
    heard: asyncio.Future[BaseException | None] = loop.create_future()

    def hear(error: BaseException | None) -> None:
        if not heard.done():
            heard.set_result(error)

    def told(error: BaseException | None) -> None:
        loop.call_soon_threadsafe(hear, error)

    log.submit(commit, told)
    return await asyncio.wait_for(heard, 60)


async def eventually(look: Callable[[], T | None], within_s: float = 60.0) -> T:
    """What `look` finds, once it finds something. Looked for often, and for long."""
    async with asyncio.timeout(within_s):
        while not (found := look()):  # noqa: ASYNC110 - what is looked for is in several places.
            await asyncio.sleep(0.01)
        return found
