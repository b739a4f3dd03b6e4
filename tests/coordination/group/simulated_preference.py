"""Groups on virtual time in which one member is preferred: through faults, and in the end."""

import asyncio
import contextlib

from coordination.group.values import Preferring
from coordination.raft.values import NOBODY, NotLeader, ProposalDropped, Role
from tests.coordination.group.simulated import Box, World
from tests.coordination.group.simulated_faults import FAULTS, Weather

QUICK = Preferring(look_s=0.5, here_s=1.0, silent_s=1.0, every_s=2.0, window_s=10.0, ordered_s=10.0)
STABLE = Weather(
    faults=tuple(fault for fault in FAULTS if fault != "leave"),
    settings=(("keep_entries", 20), ("compact_entries", 60), ("preferring", QUICK)),
)
FULL_S = 10.0
REST_S = 10.0
LOOK_S = 0.05
"""In which all moves of before are forgotten, and one more is made."""


class Preferred(World):
    """Members with these priorities; `ending` is who leads once all has healed and some time has passed."""

    ending = ""

    def __init__(self, seed: int, priorities: dict[str, int]) -> None:
        super().__init__(seed, 3, STABLE)
        for name, priority in priorities.items():
            self.boxes[name].priority = priority

    async def _heal(self) -> None:
        await super()._heal()
        await asyncio.sleep(REST_S)

    async def _settle(self) -> None:
        await super()._settle()
        self.ending = next(box.name for box in self.boxes.values() if box.shell is not None)


class FullDisk(Preferred):
    """Nobody asks for anything, and the disk of c is full for `FULL_S`: only what it is to write shows that. `led`: the term, who
    leads, and how far its log reaches, at the beginning of that, at the end, and once c has written again for a while; `held_up`:
    how often in each of these times a leader took nothing, because another one was to take over."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed, {"c": 9})
        self.led: list[tuple[int, str, int]] = []
        self.held_up: list[int] = []

    async def _story(self, duration_s: float) -> None:
        for box in self.boxes.values():
            self.boot(box)
        await asyncio.sleep(2.0)
        if self._leader().name == "c":
            with contextlib.suppress(NotLeader, ProposalDropped):
                await self._leader().member.transfer("a")
        await asyncio.sleep(0.4)
        self.boxes["c"].log.full_until_s = self.loop.now_s + FULL_S
        for pause_s in (0.4, FULL_S - 1.0, duration_s):
            handing = 0
            for _ in range(round(pause_s / LOOK_S)):
                await asyncio.sleep(LOOK_S)
                handing += self._is_handing()
            self.held_up.append(handing)
            said = self._leader().member.status()
            self.led.append((said.term, said.member, said.last))
        self._look()

    def _is_handing(self) -> bool:
        replicas = [box.member.replica for box in self.boxes.values()]
        return any(
            each is not None and each.raft.role is Role.LEADER and each.raft.leading.transferee != NOBODY for each in replicas
        )

    def _leader(self) -> Box:
        return next(box for box in self.boxes.values() if box.shell is not None)
