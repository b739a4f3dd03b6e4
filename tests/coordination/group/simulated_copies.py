"""Groups of which one disk is set back to an old copy of itself, when that hurts most: right after two of three have made up a
majority, and with the other one of those away when it comes back."""

import asyncio
import contextlib
import shutil
from pathlib import Path

import msgspec

from coordination.group.founding import SET_BACK, Refusal
from coordination.group.storing import MARKS
from coordination.raft.marks import Mark
from coordination.raft.values import Change, NotLeader, ProposalDropped
from sync.log_errors import LogError
from tests.coordination.group.simulated import Box, World
from tests.coordination.group.simulated_faults import FAULTS, Faults, Weather
from tests.coordination.group.simulated_log import SimulatedLog

AWAY_S, APART_S = 5.0, 1.5
COPIES = Weather(faults=(*FAULTS, "copy", "copy", "set_back", "set_back", "set_back"))


class CopyFaults(Faults):
    """Copies of all disks are made now and then, and one of them is put back, once."""

    def __init__(self, world: "CopiesWorld") -> None:
        super().__init__(world)
        self._copies: dict[str, tuple[Path, Mark]] = {}
        self._old = world.old

    async def _copy(self, _: Box) -> None:
        """Not of one moment with the copies before."""
        world = self._world
        for each in world.present:
            if each.is_up and each.member.replica is not None:
                path = world.place / f"copy-{each.name}-{world.seen['copy']}"
                shutil.copytree(each.path.parent, path)
                self._copies[each.name] = path, each.member.replica.raft.mark

    async def _set_back(self, _: Box) -> None:
        """The leader and another one go on without the third. Then the disk of one of them is set back, the other one is away,
        and the third is back, perhaps after a start of its own."""
        world = self._world
        there = [box for box in world.present if box.is_up]
        leader = next((box for box in there if box.shell is not None), None)
        if leader is None or self._old or world.cut or len(there) != 3 or not votes_of(leader, there):
            return
        other, third = world.chance.sample([box for box in there if box is not leader], 2)
        old, away = world.chance.sample([leader, other], 2)
        if not self._is_remembered(old):
            return
        self._cut(self._around(third.name), AWAY_S)
        await asyncio.sleep(APART_S)
        if not all(box.is_up for box in there):
            return
        world.kill(old)
        self._put_back(old)
        if world.chance.random() < 0.5:
            world.kill(third)
            world.boot(third)
        world.cut.clear()
        self._cut(self._around(away.name), AWAY_S)
        world.boot(old)
        world.seen["put back"] += 1

    def _is_remembered(self, box: Box) -> bool:
        """Have all others on their disks that it was further than its copy?"""
        if box.name not in self._copies:
            return False
        _, copied = self._copies[box.name]
        return all(not copied.covers(remembered(other, box.name)) for other in self._world.present if other is not box)

    def _put_back(self, box: Box) -> None:
        path, _ = self._copies.pop(box.name)
        shutil.rmtree(box.path.parent)
        shutil.move(path, box.path.parent)
        self._old[box.name] = box.log

    async def _leave(self, box: Box) -> None:
        """Not with one of three gone: nobody would be left to decide."""
        if not self._old:
            await super()._leave(box)


class CopiesWorld(World):
    """`old`: by member whose disk was set back, what that held before; what rests on its word may still be on its way."""

    def __init__(self, seed: int, size: int = 3, sky: Weather | None = None) -> None:
        super().__init__(seed, size, sky or COPIES)
        self.old: dict[str, SimulatedLog] = {}
        self.faults = CopyFaults(self)

    def holds(self, name: str, key: bytes) -> bool:
        return super().holds(name, key) or (name in self.old and self.old[name].holds(key))

    def _has_ended(self, box: Box, error: BaseException) -> None:
        if box.name not in self.old or not isinstance(error, Refusal) or error.code != SET_BACK:
            super()._has_ended(box, error)
        self.seen["noticed"] += 1
        self.kill(box)
        box.retired = True

    async def _settle(self) -> None:
        """Whoever had to stop is taken out, as an operator does it."""
        await asyncio.sleep(1.0)
        self._look()
        leader = next(box for box in self.boxes.values() if box.shell is not None)
        assert leader.member.replica is not None
        for name in self.old.keys() & set(leader.member.replica.raft.group.all):
            with contextlib.suppress(NotLeader, ProposalDropped, TimeoutError, LogError):
                await asyncio.wait_for(leader.member.change(Change("remove", name)), 5.0)
        await super()._settle()


def votes_of(leader: Box, boxes: list[Box]) -> bool:
    """Are these the voters of its group? One that is being replaced may be none yet."""
    replica = leader.member.replica
    return replica is not None and set(replica.raft.group.voters) == {box.name for box in boxes}


def remembered(box: Box, name: str) -> Mark:
    """What a box has on its disk of what another one had."""
    found = box.log.rows_of("SELECT value FROM raft_state WHERE key = ?", (MARKS,))
    marks = msgspec.msgpack.decode(found[0][0], type=dict[str, Mark]) if found else {}
    return marks.get(name, Mark())
