"""What happens to a group on virtual time, and how often: faults of chance, and some that lie in wait for a moment."""

import asyncio
import contextlib
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from coordination.raft.values import Change, NotLeader, ProposalDropped
from sync.log_errors import LogError
from tests.coordination.group.simulated_log import Written

if TYPE_CHECKING:
    from tests.coordination.group.simulated import Box, World

FAULTS = ("kill", "kill", "isolate", "isolate", "one_way", "part", "stall", "full", "slow", "transfer", "leave")
NAMES = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Weather:
    """`away_s`: so long a machine that died stays away; `ambushes` are sprung at machines that make one of them durable."""

    faults: tuple[str, ...] = FAULTS
    every_s: tuple[float, float] = (0.5, 3.0)
    away_s: tuple[float, float] = (0.1, 5.0)
    cut_s: tuple[float, float] = (0.5, 6.0)
    write_s: float = 0.002
    asked_per_s: float = 8.0
    ambushes: tuple[str, ...] = ("vote", "copy")
    settings: tuple[tuple[str, Any], ...] = (("keep_entries", 20), ("compact_entries", 60))


class Faults:
    """Those of one world."""

    def __init__(self, world: "World") -> None:
        self.over = False
        self._world = world

    async def strike(self, kind: str) -> None:
        """One of them, mostly at who leads."""
        world = self._world
        up = [box for box in world.present if box.is_up]
        leading = [box for box in up if box.shell is not None]
        box = world.chance.choice(leading if leading and world.chance.random() < 0.6 else up or world.present)
        await getattr(self, f"_{kind}")(box)
        world.seen[kind] += 1

    # Machines -----------------------------------------------------------------------------------------------------------

    async def _kill(self, box: "Box") -> None:
        for _ in range(400):  # While something is on its way to the disk, if it comes to that soon.
            if not box.is_up or box.log.under_way > 1:
                break
            await asyncio.sleep(0.002)
        self._die(box, self._world.chance.uniform(*self._world.sky.away_s))

    def _die(self, box: "Box", away_s: float) -> None:
        if box.is_up and not self.over:
            self._world.kill(box)
            self._world.loop.call_later(away_s, self._again, box)

    def _again(self, box: "Box") -> None:
        if not box.is_up and not box.retired:
            self._world.boot(box)

    async def _stall(self, box: "Box") -> None:
        box.log.stalled_until_s = self._world.loop.now_s + self._world.chance.uniform(0.5, 5.0)

    async def _full(self, box: "Box") -> None:
        box.log.full_until_s = self._world.loop.now_s + self._world.chance.uniform(0.5, 4.0)

    # Lines --------------------------------------------------------------------------------------------------------------

    async def _isolate(self, box: "Box") -> None:
        self._cut(self._around(box.name), self._world.chance.uniform(*self._world.sky.cut_s))

    async def _one_way(self, box: "Box") -> None:
        pairs = [(box.name, name) for name in self._world.boxes if name != box.name]
        self._cut(pairs, self._world.chance.uniform(*self._world.sky.cut_s))

    async def _part(self, box: "Box") -> None:
        other = self._world.chance.choice([name for name in self._world.boxes if name != box.name])
        self._cut([(box.name, other), (other, box.name)], self._world.chance.uniform(*self._world.sky.cut_s))

    def _around(self, name: str) -> list[tuple[str, str]]:
        others = [other for other in self._world.boxes if other != name]
        return [*((name, other) for other in others), *((other, name) for other in others)]

    def _cut(self, pairs: Iterable[tuple[str, str]], duration_s: float) -> None:
        pairs = set(pairs)
        self._world.cut |= pairs
        self._world.loop.call_later(duration_s, self._world.cut.difference_update, pairs)

    async def _slow(self, _: "Box") -> None:
        self._world.slow_until_s = self._world.loop.now_s + self._world.chance.uniform(0.5, 3.0)

    # The group ----------------------------------------------------------------------------------------------------------

    async def _transfer(self, box: "Box") -> None:
        target = self._world.chance.choice([each.name for each in self._world.present])
        with contextlib.suppress(NotLeader, ProposalDropped, TimeoutError):
            await asyncio.wait_for(box.member.transfer(target), 2.0)

    async def _leave(self, box: "Box") -> None:
        """A member is taken out, its disk with it, and another takes its place: a learner first, then a voter."""
        world = self._world
        leader = next((each for each in world.present if each.shell is not None and each is not box), None)
        if leader is None or not all(each.is_up for each in world.present) or world.cut:
            return
        with contextlib.suppress(NotLeader, ProposalDropped, TimeoutError, LogError):
            await asyncio.wait_for(leader.member.change(Change("remove", box.name)), 2.0)
            world.seen["removed"] += 1
            newer = world.replace(box)
            await asyncio.wait_for(leader.member.change(Change("learn", newer.name), f"{newer.name}:1"), 2.0)
            async with asyncio.timeout(8.0):
                while not self._follows(leader, newer):  # noqa: ASYNC110 - virtual time
                    await asyncio.sleep(0.1)
            await asyncio.wait_for(leader.member.change(Change("add", newer.name)), 2.0)
            world.seen["added"] += 1

    def _follows(self, leader: "Box", box: "Box") -> bool:
        return any(peer.name == box.name and peer.match and peer.lag < 10 for peer in leader.member.status().peers)

    # Ambushes -----------------------------------------------------------------------------------------------------------

    async def _ballot(self, _: "Box") -> None:
        """Two who do not hear each other stand for the same term. Whoever votes for one of them, or takes a copy of its log, dies
        as soon as that is durable and is back at once, while the other still stands, and the first is cut off."""
        world, chance = self._world, self._world.chance
        up = [box for box in world.present if box.is_up]
        if len(up) < 3 or world.cut:
            return
        first, second, *voters = chance.sample(up, len(up))
        trap = chance.choice(world.sky.ambushes)
        if trap == "copy":  # Who was away for so long needs one.
            for box in voters[: len(up) // 2]:
                self._die(box, 2.5)
            await asyncio.sleep(2.0)
        self._cut(itertools.permutations(world.boxes, 2), 1.3)
        await asyncio.sleep(1.3)
        self._cut([(first.name, second.name), (second.name, first.name)], 3.0)
        for box in voters:
            box.trap = trap
        await asyncio.sleep(3.0)
        for box in voters:
            box.trap = ""

    def wrote(self, box: "Box", what: Written) -> None:
        """Something is durable at a box: is it what somebody waits for?"""
        if box.trap and box.trap in what.kinds:
            winner = box.log.hard.vote if box.trap == "vote" else box.member.leader
            box.trap = ""
            self._world.loop.call_later(self._world.chance.uniform(0.0, 0.006), self._spring, box, winner)

    def _spring(self, box: "Box", winner: str) -> None:
        if box.is_up and not self.over:
            self._world.seen["sprung"] += 1
            self._die(box, self._world.chance.uniform(0.005, 0.05))
            if winner:
                self._cut(self._around(winner), 3.0)
