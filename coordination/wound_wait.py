"""Wound-wait, as lazily as freedom from circles allows: who gives way before it is known whether a circle is there.

Rosenkrantz, Stearns, Lewis ("System level concurrency control", 1978) wound whoever is younger and holds what an older one asks
for, whatever it does. Here a holder works, perhaps with arms that have moved: it is never interrupted. It may be asked to give
way only while it waits itself, and (lazy wound-wait) only where that can matter:

    it gives way if an older holder waits for it in vain, and it waits in vain for another older holder

"In vain" is what rests: a holder in which nothing works, and in which something stands in a line that only resting holders
could shorten. That is the mildest rule that looks no further than the neighbours: around any circle there is a youngest, whose
neighbours on both sides are older, so every circle has somebody who gives way; and where all wait for older ones, or all for
younger ones, nobody does. An age is kept over all wounds, so who gives way is in time the oldest, which never does.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from coordination.waits import Node


class Rank(NamedTuple):
    """The lesser goes first: the more urgent, then the older run (ids sort by time), then the earlier task."""

    urgency: int
    run: str
    task: int


def rank_of(node: Node, priority: int) -> Rank:
    """Total, and the same for as long as nobody changes the priority."""
    return Rank(-priority, node.run, node.task)


class Way(NamedTuple):
    """`who` gives way to `to`, which waits for it, while it waits for `behind`."""

    who: Node
    to: Node
    behind: Node
    rule: str


Around = Callable[[Node], Iterable[Node]]
RULES = ("the lower priority", "the younger run", "the later by name")


def gives_way(candidates: Iterable[Node], waited_by: Around, waits_for: Around, rank: Callable[[Node], Rank]) -> Way | None:
    """The youngest of the candidates that has an older one on both sides; None if none has. `waited_by` are the holders that wait
    for one in vain, `waits_for` those for which it does."""
    for who in sorted(set(candidates), key=rank, reverse=True):
        mine = rank(who)
        behind = min((other for other in waits_for(who) if rank(other) < mine), key=rank, default=None)
        if behind is None:
            continue
        to = min((other for other in waited_by(who) if rank(other) < mine), key=rank, default=None)
        if to is not None:
            return Way(who, to, behind, _rule(rank(to), mine))
    return None


def _rule(older: Rank, younger: Rank) -> str:
    return next(word for word, one, other in zip(RULES, older, younger, strict=True) if one != other)
