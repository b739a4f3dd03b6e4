"""What the cloud knows of moves that are under way."""

from typing import Literal

import msgspec

from cloud.fleet import SiteDrain
from workflow.home_events import FactTold, FailureTold

Stage = Literal["ordered", "yielded", "given"]


class Move(msgspec.Struct, array_like=True):
    """One run's move from `site`, which has it under `epoch`, to `to` (empty: to whichever suits it then).

    ordered: its home gives it up once it can; yielded: it has, and the run waits for a site; given: the stream for the next home
    holds it. `is_sent`: the stream for the home holds the order. `drains`: because its site is drained.
    """

    command: str
    site: str
    to: str
    epoch: int
    since_ms: int
    reason: str = ""
    drains: bool = False
    is_sent: bool = False
    stage: Stage = "ordered"
    why: str = ""  # What is in the way of a yielded run: no site, or another state than its home had.


class Superseded(msgspec.Struct, array_like=True):
    """A site that a run was taken from: `home` has it since under `epoch`. `tasks` are those that both know by the same numbers;
    `is_told`: the stream for the site says it; `refused` counts the decisions that came since; `once`:
    which of the tasks may not be repeated."""

    epoch: int
    home: str
    tasks: int
    is_told: bool = False
    refused: int = 0
    once: list[int] = []


class Taken(msgspec.Struct, array_like=True):
    """What of runs that were taken is in a snapshot: by run and site, and facts that their homes have not been told."""

    superseded: dict[str, dict[str, Superseded]]
    facts: dict[str, list[FactTold]]
    failures: dict[str, list[FailureTold]] = {}


class Saved(msgspec.Struct, array_like=True):
    """All of it in a snapshot."""

    moves: dict[str, Move]
    drains: dict[str, SiteDrain]
