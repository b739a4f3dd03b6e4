"""The quotes of a site: what each capability would cost there, how long it would wait, as the cloud is told by the way."""

from heapq import nsmallest

from coordination.auction.quotes import QUOTES_MAX, VALID_MS, Able
from edge.coordinating.auctions import standing_cost
from edge.executor import Executor
from edge.roster import Slot
from sync.values import Now
from tiercel.v1 import sync_pb2

FEATURE = "quotes"


def quotes_of(executor: Executor, boot: int, now: Now) -> sync_pb2.SiteQuotes:
    """What the site asks now, of the first capabilities by name if there are too many."""
    able: dict[str, list[Able]] = {}
    for _, slot in sorted(executor.roster.slots.items()):
        if slot.session and not slot.draining and slot.capacity > 0 and executor.roster.health.view(slot.agent).health != "open":
            for capability in slot.capabilities:
                able.setdefault(capability, []).append(_able(executor, slot))
    queued, measures = executor.dispatch.queued(), executor.roster.measures
    found = sync_pb2.SiteQuotes(boot=boot, valid_ms=VALID_MS)
    for name in nsmallest(QUOTES_MAX, able):
        quote = measures.quote(name, able[name], queued[name], now.mono_ms)
        found.items.add(capability=name, **quote._asdict())
    return found


def _able(executor: Executor, slot: Slot) -> Able:
    return Able(slot.agent, slot.capacity, max(0, executor.roster.assigner.room(slot.agent)), standing_cost(slot))
