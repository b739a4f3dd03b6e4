"""What a site asks for a task of a capability before anybody knows which task: the quote that it sends of itself.

An agent's price is the mean of its bids that were accepted lately, else what it bids by default; how long a task lasts is the
mean of the tasks that were done lately, else of what those bids promised; how many units it takes is by those bids, too. Pure,
and of the moment; bounded. Times are monotonic ms.
"""

from collections import OrderedDict, deque
from collections.abc import Collection, Mapping, Sequence
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
    task takes `units`, waits `wait_ms` until it begins and then lasts `work_ms`."""

    room: int
    capacity: int
    cheapest: float
    mean: float
    wait_ms: float
    work_ms: float
    units: float = 1.0


class Accepted(NamedTuple):
    """A bid that won: when, and what it said."""

    at_ms: int
    cost: float
    finish_ms: float = 0.0
    units: int = 1


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
    prices: "OrderedDict[tuple[str, str], deque[Accepted]]" = field(default_factory=OrderedDict)
    lasted: "OrderedDict[str, deque[int]]" = field(default_factory=OrderedDict)

    def accepted(self, agent: str, capability: str, bid: Accepted) -> None:
        """The agent was awarded a task by this bid."""
        self.prices.setdefault((agent, capability), deque(maxlen=KEPT)).append(bid)
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
        won = {each.agent: self._lately(each.agent, capability, now_ms) for each in able}
        prices = [_mean([bid.cost for bid in won[each.agent]], each.usual) for each in able]
        bids = [bid for agent in won for bid in won[agent]]
        room, capacity = sum(max(0, each.room) for each in able), sum(each.capacity for each in able)
        lasted = self.lasted.get(capability)
        promised = [bid.finish_ms for bid in bids if bid.finish_ms > 0]
        work_ms = rounded(_mean(lasted or promised, NOMINAL_MS))
        units = round(_mean([bid.units for bid in bids], 1.0), 3)
        behind = (queued + 1) * units - room
        wait_ms = rounded(ceil(behind / max(1, capacity)) * work_ms) if behind > 0 else 0.0
        return Quote(room, capacity, round(min(prices), 6), round(_mean(prices, 0.0), 6), wait_ms, work_ms, units)

    def _lately(self, agent: str, capability: str, now_ms: int) -> list[Accepted]:
        return [bid for bid in self.prices.get((agent, capability), ()) if now_ms - bid.at_ms <= PRICE_AGE_MS]


def _mean(values: Collection[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


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
