"""Groups of which one disk is set back to an old copy of itself, when that hurts most: right after two of three have made up a
majority, and with the other one of those away when it comes back."""

import asyncio
import contextlib
import shutil
from pathlib import Path
from typing import ClassVar

import msgspec

from coordination.group.founding import SET_BACK, Refusal
from coordination.group.storing import MARKS
from coordination.raft.marks import Mark
from coordination.raft.values import Change, NotLeader, ProposalDropped
from sync.log_errors import LogError
from tests.coordination.group.simulated import FAULTS, Box, World

AWAY_S, APART_S = 5.0, 1.5


class CopiesWorld(World):
    """Copies of disks are made now and then, and put back. `old` are the members to whom that happened."""

    faults: ClassVar[tuple[str, ...]] = (*FAULTS, "copy", "copy", "set_back", "set_back", "set_back")

    def __init__(self, seed: int, size: int = 3) -> None:
        super().__init__(seed, size)
        self.copies: dict[str, tuple[Path, Mark]] = {}
        self.old: set[str] = set()

    def _has_ended(self, box: Box, error: BaseException) -> None:
        if box.name not in self.old or not isinstance(error, Refusal) or error.code != SET_BACK:
            super()._has_ended(box, error)
        self.seen["noticed"] += 1
        self.kill(box)
        box.retired = True

    async def _copy(self, box: Box) -> None:
        """Of all disks as they are at this moment; not together with the one before."""
        for each in self.present:
            if each.is_up and each.member.replica is not None:
                path = self.place / f"copy-{each.name}-{self.seen['copy']}"
                shutil.copytree(each.path.parent, path)
                self.copies[each.name] = path, each.member.replica.raft.mark

    async def _set_back(self, box: Box) -> None:
        """The leader and another one go on without the third. Then the disk of one of them is set back, the other one is away,
        and the third is back, perhaps after a start of its own."""
        leader = next((each for each in self.present if each.shell is not None), None)
        if leader is None or self.old or self.cut or len(self.present) != 3 or not all(each.is_up for each in self.present):
            return
        other, third = self.chance.sample([each for each in self.present if each is not leader], 2)
        old, away = self.chance.sample([leader, other], 2)
        if not self._is_remembered(old):
            return
        self._cut(self._lines_of(third))
        await asyncio.sleep(APART_S)
        if not all(each.is_up for each in (old, away, third)):
            return
        self.kill(old)
        self._put_back(old)
        if self.chance.random() < 0.5:
            self.kill(third)
            self.boot(third)
        self.cut.clear()
        self._cut(self._lines_of(away), AWAY_S)
        self.boot(old)
        self.seen["put back"] += 1
        self.seen[f"put back, {'leader' if old is leader else 'follower'}"] += 1

    async def _leave(self, box: Box) -> None:
        """Not with one of three gone: nobody would be left to decide."""
        if not self.old:
            await super()._leave(box)

    def _lines_of(self, box: Box) -> set[tuple[str, str]]:
        others = [name for name in self.boxes if name != box.name]
        return {(box.name, name) for name in others} | {(name, box.name) for name in others}

    def _is_remembered(self, box: Box) -> bool:
        """Have all others on their disks that it was further than its copy?"""
        if box.name not in self.copies:
            return False
        _, copied = self.copies[box.name]
        return all(not copied.covers(remembered(other, box.name)) for other in self.present if other is not box)

    def _put_back(self, box: Box) -> None:
        path, _ = self.copies.pop(box.name)
        shutil.rmtree(box.path.parent)
        shutil.move(path, box.path.parent)
        self.old.add(box.name)

    async def _settle(self) -> None:
        """Whoever had to stop is taken out, as an operator does it."""
        await asyncio.sleep(1.0)
        self._look()
        leader = next(box for box in self.boxes.values() if box.shell is not None)
        assert leader.member.replica is not None
        for name in self.old & set(leader.member.replica.raft.group.all):
            with contextlib.suppress(NotLeader, ProposalDropped, TimeoutError, LogError):
                await asyncio.wait_for(leader.member.change(Change("remove", name)), 5.0)
        await super()._settle()


def remembered(box: Box, name: str) -> Mark:
    """What a box has on its disk of what another one had."""
    found = box.log.rows_of("SELECT value FROM raft_state WHERE key = ?", (MARKS,))
    marks = msgspec.msgpack.decode(found[0][0], type=dict[str, Mark]) if found else {}
    return marks.get(name, Mark())
