"""The quotes of a site, as they come by the way."""

from math import isfinite

from coordination.auction.quotes import QUOTES_MAX, Quote, Quotes
from tiercel.v1 import sync_pb2


def quotes_of(loads: sync_pb2.AgentLoads, boot: int, now_ms: int) -> Quotes | None:
    """None of a site that sends none, or if they are of another start than the one that the link greeted with (`boot`). What is
    no price or no time is left out."""
    told = loads.quotes
    if not loads.HasField("quotes") or told.boot != boot:
        return None
    found = {item.capability: _quote(item) for item in told.items[:QUOTES_MAX]}
    return Quotes(boot, now_ms, told.valid_ms, {name: quote for name, quote in found.items() if _counts(quote)})


def _quote(item: sync_pb2.Quote) -> Quote:
    return Quote(item.room, item.capacity, item.cheapest, item.mean, item.wait_ms, item.work_ms, item.units or 1.0)


def _counts(quote: Quote) -> bool:
    return all(isfinite(value) and value >= 0 for value in quote) and quote.capacity > 0
