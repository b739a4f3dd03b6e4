"""Groups on virtual time in which one member is preferred: through faults, and in the end."""

import asyncio

from coordination.group.values import Preferring
from tests.coordination.group.simulated import World
from tests.coordination.group.simulated_faults import FAULTS, Weather

QUICK = Preferring(look_s=0.5, here_s=1.0, silent_s=1.0, every_s=2.0, window_s=10.0, ordered_s=10.0)
STABLE = Weather(
    faults=tuple(fault for fault in FAULTS if fault != "leave"),
    settings=(("keep_entries", 20), ("compact_entries", 60), ("preferring", QUICK)),
)
REST_S = 10.0
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
