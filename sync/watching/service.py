"""Who watches documents at a node. What they are told has left the Driver, so it is durable and counts; what they are shown first
is looked up by the node, in the same way as for a read.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Protocol

from sync.actors import InboxFull
from sync.documents.book import Document
from sync.documents.ids import is_of_run
from sync.driver import StreamRecovered
from sync.log_errors import LogError
from sync.watching.unseen import News, TellWatchers, Unseen, Watched, news_of

WATCHERS_MAX = 1_000


class TooManyWatchers(Exception):
    """So many watch at this node already."""

    def __init__(self) -> None:
        super().__init__(f"{WATCHERS_MAX:,} watch documents here already: try again later")


class Shelf(Protocol):
    """What a feed needs of the node."""

    def known(self) -> dict[str, Document]:
        """The documents that have one home each, as they are decided by now; of runs none."""
        ...

    def others(self, watched: Watched) -> list[News]:
        """What there is by now of those of several writers, and of the runs that are named, in a document or a prefix."""
        ...

    def is_withheld(self, document: str) -> bool:
        """May what is known of it not count yet, though it is durable here?"""
        ...

    async def durable(self) -> None:
        """Until all that is decided by now is durable."""
        ...

    async def counting(self, document: str) -> News | None:
        """A withheld document, once what is known of it counts; None if there is nothing."""
        ...


class Watcher:
    """One who watches. `next` is for one task at a time, and may be cancelled."""

    def __init__(self, watched: Watched) -> None:
        self.unseen = Unseen(watched)
        self.looking: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()

    def note(self, news: News) -> None:
        """Tell it of this, if it is news."""
        if self.unseen.note(news):
            self._wake.set()

    async def next(self) -> list[News]:
        """What has come since the last call, at least one."""
        while not self.unseen:
            self._wake.clear()
            await self._wake.wait()
        return self.unseen.take()


class Feed:
    """The watchers of one node."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._watchers: dict[Watcher, None] = {}
        self._named: dict[str, dict[Watcher, None]] = {}
        self._by_prefix: dict[Watcher, None] = {}

    @property
    def watchers(self) -> int:
        """How many watch just now."""
        return len(self._watchers)

    def tell(self, told: TellWatchers) -> None:
        """The change counts from now on."""
        named = self._named.get(told.change.document)
        if named or self._by_prefix:
            news = news_of(told)
            for watcher in [*(named or ()), *self._by_prefix]:
                watcher.note(news)

    def again(self) -> None:
        """The node was folded anew, and what it was about to tell is lost: everybody is told what there is."""
        for watcher in self._watchers:
            self._look(watcher)

    @contextlib.contextmanager
    def watch(self, watched: Watched) -> Iterator[Watcher]:
        """Watch as long as the context is entered. What is beyond the versions named comes first. Raises TooManyWatchers."""
        if len(self._watchers) >= WATCHERS_MAX:
            raise TooManyWatchers
        watcher = Watcher(watched)
        self._watchers[watcher] = None
        for document in watched.documents:
            self._named.setdefault(document, {})[watcher] = None
        if watched.prefixes:
            self._by_prefix[watcher] = None
        self._look(watcher)
        try:
            yield watcher
        finally:
            self._forget(watcher)

    def _forget(self, watcher: Watcher) -> None:
        if watcher.looking is not None:
            watcher.looking.cancel()
        del self._watchers[watcher]
        self._by_prefix.pop(watcher, None)
        for document in watcher.unseen.watched.documents:
            self._named[document].pop(watcher, None)
            if not self._named[document]:
                del self._named[document]

    def _look(self, watcher: Watcher) -> None:
        if watcher.looking is not None:
            watcher.looking.cancel()
        watcher.looking = asyncio.ensure_future(self._show(watcher))

    async def _show(self, watcher: Watcher) -> None:
        """What is known by now. If a commit fails meanwhile, the node folds anew and everybody is shown it again."""
        fits, known = watcher.unseen.watched.fits, self._shelf.known()
        names = [name for name in (known if watcher.unseen.watched.prefixes else watcher.unseen.watched.documents) if fits(name)]
        names = [name for name in names if not is_of_run(name)]
        withheld = [name for name in names if self._shelf.is_withheld(name)]
        shown = [news for name in names if name not in withheld and (news := _latest(name, known)) is not None]
        others = self._shelf.others(watcher.unseen.watched)
        shown += [news for news in others if not self._shelf.is_withheld(news.document)]
        withheld += [news.document for news in others if self._shelf.is_withheld(news.document)]
        with contextlib.suppress(LogError, InboxFull, StreamRecovered):
            await self._shelf.durable()
            for news in shown:
                watcher.note(news)
            for name in withheld:
                if (counted := await self._shelf.counting(name)) is not None:
                    watcher.note(counted)


def _latest(name: str, known: dict[str, Document]) -> News | None:
    document = known.get(name)
    if document is None or not document.history:
        return None
    last = document.history[-1]
    return News(name, document.version, document.epoch, document.value, last.author, last.edit, last.at_ms)
