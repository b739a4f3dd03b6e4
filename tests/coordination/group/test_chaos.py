"""Members that stop, start, hang and fill their disks in a seeded order, with real sockets and disks, under load."""

import asyncio
import contextlib
import threading
from pathlib import Path
from random import Random

import pytest

from coordination.group.log import GroupLog
from coordination.group.values import LeadershipLost
from coordination.raft.values import NotLeader, ProposalDropped
from sync.commit import Commit
from sync.log_errors import LogError
from tests.coordination.group.boxes import Boxes, eventually, group, outcome

STEPS = 12


class Load:
    """Commits of whoever leads, four at a time; what was acknowledged is known."""

    def __init__(self, boxes: Boxes) -> None:
        self._boxes = boxes
        self.acknowledged: list[bytes] = []
        self.ending = False
        self.tasks = [asyncio.ensure_future(self._keep(lane)) for lane in range(4)]

    async def _keep(self, lane: int) -> None:
        number = 0
        while not self.ending:
            _box, leadership = await self._boxes.leadership()
            number += 1
            payload = b"%d/%d/%d" % (leadership.term, lane, number)
            try:
                commit = Commit(rows=self._boxes.scribe(leadership).rows(1, payload=payload))
            except LogError:
                continue
            if await self._outcome(leadership.log, commit):
                self.acknowledged.append(payload)

    async def _outcome(self, log: GroupLog, commit: Commit) -> bool:
        error = await outcome(log, commit)
        assert error is None or isinstance(error, LeadershipLost), repr(error)
        return error is None


class Trouble:
    """What happens to the members: at most one is down, and another hangs for a while."""

    def __init__(self, boxes: Boxes, chance: Random) -> None:
        self._boxes, self._chance = boxes, chance
        self._down = ""

    async def step(self) -> None:
        match self._chance.choice(("stop", "start", "hang", "transfer", "fill", "nothing")):
            case "stop" if not self._down:
                self._down = self._chance.choice("abc")
                await self._boxes.stop(self._down)
            case "start" if self._down:
                self._boxes.start(self._down)
                self._down = ""
            case "hang":
                box = self._boxes.running[self._chance.choice(sorted(self._boxes.running))]
                hangs = threading.Event()
                # Not by the loop, which waits for the disk when a leadership begins to load.
                threading.Timer(self._chance.random(), hangs.set).start()
                box.log.work(lambda _database: hangs.wait(60))
            case "transfer":
                await self._transfer()
            case "fill":
                box = self._boxes.running[self._chance.choice(sorted(self._boxes.running))]
                box.log.work(lambda database: limit(database, 8))
                asyncio.get_running_loop().call_later(
                    self._chance.random(), box.log.work, lambda database: limit(database, 1 << 20)
                )
            case _:
                pass
        await asyncio.sleep(self._chance.random() * 0.4)

    async def _transfer(self) -> None:
        box, _ = await self._boxes.leadership()
        with contextlib.suppress(NotLeader, ProposalDropped):
            await box.member.transfer(self._chance.choice(sorted(self._boxes.running)))

    async def end(self) -> None:
        """All are up, and have room."""
        if self._down:
            self._boxes.start(self._down)
        for box in self._boxes.running.values():
            await asyncio.wrap_future(box.log.work(roomy))


def roomy(database: object) -> None:
    """Let it grow as it will."""
    limit(database, 1 << 20)


def limit(database: object, more: int) -> None:
    """Let the file grow by so many pages at most."""
    connection = database.connection  # type: ignore[attr-defined]
    (pages,) = next(connection.execute("PRAGMA page_count"))
    list(connection.execute(f"PRAGMA max_page_count = {pages + more}"))


@pytest.mark.parametrize("seed", range(3))
async def test_what_was_acknowledged_is_everywhere_once(tmp_path: Path, seed: int) -> None:
    """Whatever happens: in the end all logs are equal, and hold what was acknowledged, once, in each lane in its order."""
    async with group(tmp_path, compact_entries=40, keep_entries=20) as boxes:
        await boxes.leadership()  # All of them must have met, once.
        load, trouble = Load(boxes), Trouble(boxes, Random(seed))
        for _ in range(STEPS):
            await trouble.step()
            for task in load.tasks:
                if task.done():
                    task.result()
        await trouble.end()
        await eventually(lambda: len(load.acknowledged) > 20)
        load.ending = True
        await asyncio.gather(*load.tasks)
        found = await boxes.same()
        acknowledged = load.acknowledged
        assert len(set(found)) == len(found)
        assert set(acknowledged) <= set(found)
        order = {payload: place for place, payload in enumerate(found)}
        for lane in range(4):
            places = [order[payload] for payload in acknowledged if payload.split(b"/")[1] == b"%d" % lane]
            assert places == sorted(places)
