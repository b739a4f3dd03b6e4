"""What a site asks for a task of a capability before anybody knows which task: the quote that it sends of itself.

An agent's price is the mean of its bids that were accepted lately, else what it bids by default; how long a task takes is the
mean of the tasks that were done lately. Pure, and of the moment; bounded. Times are monotonic ms.
"""

from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import NamedTuple

KEPT = 8
"""Accepted bids of an agent, and durations of a capability, that count."""
PRICE_AGE_MS = 600_000
"""Older bids say nothing of what is bid now."""
REMEMBERED_MAX = 4_096
QUOTES_MAX = 256
VALID_MS = 30_000
"""Quotes are told anew every ten seconds at the latest: one that is older is of a site that is not heard."""
NOMINAL_MS = 1_000.0
"""How long a task is taken to last where nobody knows better."""


class Quote(NamedTuple):
    """For a task of one capability. `room` of `capacity` units are free; prices are of the cheapest agent and the mean of all; a
    task waits `wait_ms` until it begins and then takes `work_ms`."""

    room: int
    capacity: int
    cheapest: float
    mean: float
    wait_ms: float
    work_ms: float


class Quotes(NamedTuple):
    """Those of a site, by capability, when they were heard, for how long they hold, and of which start (boot) of the site."""

    boot: int
    heard_ms: int
    valid_ms: int
    by_capability: Mapping[str, Quote]


class Able(NamedTuple):
    """An agent that could do it: its units, how many are free, and what it bids by default."""

    agent: str
    capacity: int
    room: int
    usual: float


@dataclass(slots=True)
class Measures:
    """What was bid and done lately at a site."""

    begun: dict[tuple[str, int], int] = field(default_factory=dict)
    prices: "OrderedDict[tuple[str, str], deque[tuple[int, float]]]" = field(default_factory=OrderedDict)
    lasted: "OrderedDict[str, deque[int]]" = field(default_factory=OrderedDict)

    def accepted(self, agent: str, capability: str, cost: float, now_ms: int) -> None:
        """The agent was awarded a task at this price."""
        self.prices.setdefault((agent, capability), deque(maxlen=KEPT)).append((now_ms, cost))
        self.prices.move_to_end((agent, capability))
        if len(self.prices) > REMEMBERED_MAX:
            self.prices.popitem(last=False)

    def ended(self, place: tuple[str, int], capability: str, now_ms: int, *, is_done: bool) -> None:
        """An attempt is over; only what was done says how long it takes."""
        since = self.begun.pop(place, None)
        if since is None or not is_done or not capability:
            return
        self.lasted.setdefault(capability, deque(maxlen=KEPT)).append(max(1, now_ms - since))
        self.lasted.move_to_end(capability)
        if len(self.lasted) > REMEMBERED_MAX:
            self.lasted.popitem(last=False)

    def quote(self, capability: str, able: Sequence[Able], queued: int, now_ms: int) -> Quote:
        """What the site asks now. `able` is not empty; `queued` tasks of the capability wait already."""
        prices = [self._price(each, capability, now_ms) for each in able]
        room, capacity = sum(max(0, each.room) for each in able), sum(each.capacity for each in able)
        lasted = self.lasted.get(capability)
        work_ms = rounded(sum(lasted) / len(lasted)) if lasted else NOMINAL_MS
        behind = queued + 1 - room
        wait_ms = rounded(ceil(behind / max(1, capacity)) * work_ms) if behind > 0 else 0.0
        return Quote(room, capacity, round(min(prices), 6), round(sum(prices) / len(prices), 6), wait_ms, work_ms)

    def _price(self, able: Able, capability: str, now_ms: int) -> float:
        accepted = self.prices.get((able.agent, capability), ())
        lately = [cost for at_ms, cost in accepted if now_ms - at_ms <= PRICE_AGE_MS]
        return sum(lately) / len(lately) if lately else able.usual


def rounded(value_ms: float) -> float:
    """To two digits: what changes by less is no news."""
    return float(f"{value_ms:.1e}")


def unusable(quotes: Quotes | None, needs: Sequence[str], now_ms: int) -> str:
    """Why a site's quotes do not count for these capabilities; empty if they do."""
    if quotes is None:
        return "it has sent no quote"
    age_ms = now_ms - quotes.heard_ms
    if age_ms > quotes.valid_ms:
        return f"its quote is {age_ms} ms old and held for {quotes.valid_ms} ms"
    lacking = sorted(set(needs) - quotes.by_capability.keys())
    return f"it has sent no quote for {lacking[0]}" if lacking else ""
