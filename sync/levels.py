"""How fresh and how certain something must be: the consistency levels of runs and documents.

*strong*: what its home decides counts once the cloud holds it durably. *bounded*: the home may be ahead of the cloud by
`versions` events, and by `time_ms`; then it holds. *eventual*: it counts at its home at once, and the cloud hears of it
when it can.
"""

from typing import Literal

import msgspec

Kind = Literal["strong", "bounded", "eventual"]


class Level(msgspec.Struct, array_like=True, frozen=True):
    """One level. Of `bounded`: how many versions and how long (ms) the home may be ahead, 0: no bound of that kind. Of `strong`:
    whether what is asked while the link is known to be down waits, and how long (ms; 0: as long as it takes), or fails."""

    kind: Kind = "eventual"
    versions: int = 0
    time_ms: int = 0
    when_cut: Literal["wait", "fail"] = "wait"
    wait_ms: int = 0


EVENTUAL = Level()
