"""Who has a task that several took while they could not hear each other: the later epoch, then the higher bid, then the name.

What cut-off peers agree on (`tiercel.agreeing`) holds among those that could reach each other; whoever hears of all sides again
goes by this.
"""

from collections.abc import Mapping
from typing import NamedTuple

from sync.values import AgentId


class Award(NamedTuple):
    """Who does a task: under which epoch, for which bid (more is better), by whom."""

    epoch: int
    bid: float
    agent: AgentId


class Lost(NamedTuple):
    """A loser is told what it lost, and to whom."""

    task: str
    award: Award
    to: Award


def reconciled(ours: Mapping[str, Award], theirs: Mapping[str, Award]) -> tuple[dict[str, Award], list[Lost]]:
    """One table of two, after a cut: the higher epoch stands, then the higher bid, then the first by name; and who has lost.

    It does not matter who asks, in which order tables are merged, or how often.
    """
    merged: dict[str, Award] = {}
    lost: list[Lost] = []
    for task in sorted(ours.keys() | theirs.keys()):
        sides = sorted({side[task] for side in (ours, theirs) if task in side}, key=rank)
        merged[task] = sides[0]
        lost += [Lost(task, award, sides[0]) for award in sides[1:] if award.agent != sides[0].agent]
    return merged, lost


def rank(award: Award) -> tuple[float, float, str]:
    """The least stands."""
    return -award.epoch, -award.bid, award.agent
