"""Where an agent is in its life, as a path from the general to the particular.

    online.idle       has a session, and nothing in hand
    online.working    has something in hand, and room for more
    online.full       has as much in hand as it takes
    online.failing    kept failing, so it gets no work for a while, or one attempt to prove itself
    online.draining   has said that it stops: it ends what it has in hand, and gets no more
    online.silent     its connection is gone, or its site was restarted; what it has in hand is its own until its lease ends
    offline.unreachable   its lease has ended. That is not dead: it may come back with all that it holds
    offline.left      it has said goodbye

The states are derived from facts, so they cannot disagree with them; what is kept is since when, and which were before.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

DRAINING, SILENT = "online.draining", "online.silent"
ONLINE = ("idle", "working", "full", "failing", "draining", "silent")
OFFLINE = ("unreachable", "left")
CHANGES_KEPT = 32


class Facts(NamedTuple):
    """What a site knows of an agent. `reason` is why it is not `present`: unreachable or left. `load` and `capacity` in units."""

    present: bool
    reason: str = ""
    connected: bool = False
    draining: bool = False
    failing: bool = False
    load: int = 0
    capacity: int = 1


def state_of(facts: Facts) -> str:
    """The path. Of several that hold the one counts that says most about what comes next."""
    if not facts.present:
        return f"offline.{facts.reason if facts.reason in OFFLINE else 'unreachable'}"
    if not facts.connected:
        return SILENT
    if facts.draining:
        return DRAINING
    if facts.failing:
        return "online.failing"
    if facts.load >= facts.capacity:
        return "online.full"
    return "online.working" if facts.load else "online.idle"


def is_online(state: str) -> bool:
    """Is it there, as far as is known?"""
    return state.partition(".")[0] == "online"


class Change(msgspec.Struct, array_like=True, frozen=True):
    """The state that it came into, when (UTC ms), and why if that is known."""

    state: str
    at_ms: int
    why: str = ""


@dataclass(slots=True)
class Presence:
    """One agent. Invariant: no two changes that follow each other are to the same state; times never run backwards."""

    changes: list[Change] = field(default_factory=list)

    @property
    def state(self) -> str:
        """Empty before the first."""
        return self.changes[-1].state if self.changes else ""

    @property
    def since_ms(self) -> int:
        return self.changes[-1].at_ms if self.changes else 0

    def tell(self, state: str, at_ms: int, why: str = "") -> bool:
        """It is so from then on; False if it was so already."""
        if state == self.state:
            return False
        self.changes.append(Change(state, max(at_ms, self.since_ms), why))
        del self.changes[:-CHANGES_KEPT]
        return True


def merged(*histories: list[Change]) -> list[Change]:
    """Several histories of one agent as one, the latest `CHANGES_KEPT` in order of time; what follows its like is left out."""
    told = Presence()
    for change in sorted((change for history in histories for change in history), key=lambda change: change.at_ms):
        told.tell(change.state, change.at_ms, change.why)
    return told.changes
