"""Who may spend how much of a bounded sum: the cloud holds all shares at first, lends them to sites, and asks some back.

A site gets the share that the rule names when it first hears of the document, and more when it asks. What the cloud has not got
it asks back from sites that have it; who wanted it asks again meanwhile. Only what lies with a site that is cut off cannot be
had: it may have been spent.
"""

from collections.abc import Callable

from cloud.fleet import Fleet
from cloud.ids import Ids
from sync.documents.ids import CLOUD
from sync.event import Event
from sync.merging.book import MergeBook
from sync.merging.escrow import Share
from sync.merging.events import DocumentWritten, ShareAsked
from sync.merging.writing import Short
from sync.values import Now

ASK_AGAIN_MS = 500
Note = Callable[[str, Event, Now, list[object]], None]
Relay = Callable[[DocumentWritten, Now, list[object]], None]


class Lending:
    """`note` records an event in the stream for a site, or the cloud's own; `relay` tells a write to the sites."""

    def __init__(self, book: MergeBook, fleet: Fleet, ids: Ids, note: Note, relay: Relay) -> None:
        self._book, self._fleet, self._ids, self._note, self._relay = book, fleet, ids, note, relay
        self._asked_ms: dict[tuple[str, str], int] = {}

    def grant(self, site: str, document: str, now: Now, out: list[object]) -> None:
        """The shares that a site has from the beginning."""
        known = self._book.get(document)
        if known is None or known.terms is None or not known.exists:
            return
        for name, _ in known.terms.rules:
            share = known.rule(name).share
            if share and not self._book.has_lent(document, name, site):
                self._lend(site, document, name, Share(share, share), now, out)

    def hear(self, site: str, asked: ShareAsked, now: Now, out: list[object]) -> None:
        """A site wants more: it has it at once, at least as much as the rule names, or others are asked for it."""
        known = self._book.get(asked.document)
        if known is None or known.terms is None or not known.terms.reaches(site) or known.rule(asked.name).kind != "sum":
            return
        rule, own = known.rule(asked.name), self._book.share(asked.document, asked.name, CLOUD)
        lacking = Share(max(asked.up - (own.up or 0), 0), max(asked.down - (own.down or 0), 0))
        if any(lacking):
            self._ask_others(site, asked.document, asked.name, lacking, now, out)
        wanted = Share(max(asked.up, rule.share if asked.up else 0), max(asked.down, rule.share if asked.down else 0))
        self._lend(site, asked.document, asked.name, wanted, now, out)

    def fetch(self, document: str, short: Short, now: Now, out: list[object]) -> bool:
        """The cloud itself wants more: sites are asked. False if none that is linked has any."""
        lacking = abs(short.delta) - short.share
        share = Share(lacking, 0) if short.delta > 0 else Share(0, lacking)
        return self._ask_others(CLOUD, document, short.name, share, now, out)

    def _lend(self, site: str, document: str, name: str, wanted: Share, now: Now, out: list[object]) -> None:
        lent = self._book.lend(document, name, site, wanted, self._ids.next("e"), now.wall_ms)
        if lent is not None:
            self._note("", lent, now, out)
            self._relay(lent, now, out)

    def _ask_others(self, taker: str, document: str, name: str, lacking: Share, now: Now, out: list[object]) -> bool:
        """Sites that are there and hold some are asked, those with most first; not more often than they can answer."""
        left = [lacking.up or 0, lacking.down or 0]
        shares = [(self._book.share(document, name, site), site) for site in self._lenders(document, taker)]
        total = sum((share.up or 0) + (share.down or 0) for share, _ in shares)
        if now.mono_ms - self._asked_ms.get((document, name), -ASK_AGAIN_MS) < ASK_AGAIN_MS:
            return total > 0
        self._asked_ms[(document, name)] = now.mono_ms
        for share, site in sorted(shares, key=lambda each: ((each[0].up or 0) + (each[0].down or 0), each[1]), reverse=True):
            up, down = min(left[0], max(share.up or 0, 0)), min(left[1], max(share.down or 0, 0))
            if up or down:
                self._note(site, ShareAsked(document, name, up, down, now.wall_ms), now, out)
                left = [left[0] - up, left[1] - down]
        return total > 0

    def _lenders(self, document: str, taker: str) -> list[str]:
        terms = self._book.documents[document].terms
        is_there = (name for name, entry in self._fleet.sites.items() if entry.linked and entry.greeted and name != taker)
        return sorted(name for name in is_there if terms is not None and terms.reaches(name))
