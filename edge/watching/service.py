"""Documents of a site as watchers see them: what is durable, and of a strong one at home here what the cloud holds, too."""

import asyncio
from typing import Protocol

from edge.documents import ReadDocument
from edge.run_documents import ReadRunDocument, RunDocuments
from sync.actors import Loop
from sync.documents.book import Document, DocumentBook
from sync.documents.ids import home_of, is_of_run, run_of
from sync.documents.reading import Shown
from sync.merging.book import MergeBook
from sync.watching.merged import news_in
from sync.watching.service import Watcher
from sync.watching.unseen import News, Watched
from workflow.context_news import news_of_run, runs_named


class Site(Protocol):
    """What the shelf needs of the node."""

    loop: Loop

    @property
    def book(self) -> DocumentBook: ...
    @property
    def merging(self) -> MergeBook: ...
    @property
    def run_documents(self) -> RunDocuments: ...


class SiteShelf:
    """Of one EdgeNode."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def known(self) -> dict[str, Document]:
        return self._site.book.documents

    def others(self, watched: Watched) -> list[News]:
        fragments = ((run, self._site.run_documents.fragment_of(run)) for run in runs_named(watched))
        of_runs = [news for _, fragment in fragments if fragment is not None for news in news_of_run(fragment, watched)]
        return [*of_runs, *news_in(self._site.merging, watched)]

    def is_withheld(self, document: str) -> bool:
        if is_of_run(document):
            return self._site.run_documents.is_withheld(run_of(document)[0])
        book = self._site.book
        return home_of(document) == book.home and book.get(document).terms.level.kind == "strong"

    async def durable(self) -> None:
        await self._site.loop.durable()

    async def counting(self, document: str) -> News | None:
        """Looked up like a read: the answer comes once the cloud holds what it shows."""
        if is_of_run(document):
            shown = await self._site.loop.ask(lambda token: ReadRunDocument(token, document))
            fragment = self._site.run_documents.fragment_of(run_of(document)[0])
            if not isinstance(shown, Shown) or not shown.version or fragment is None:
                return None
            return News(document, shown.version, fragment.epoch, shown.value, shown.author, "", shown.changed_at_ms)
        epoch = self._site.book.get(document).epoch
        shown = await self._site.loop.ask(lambda token: ReadDocument(token, document))
        assert isinstance(shown, Shown)
        if not shown.version:
            return None
        history = self._site.book.get(document).history
        edit = next((change.edit for change in reversed(history) if change.version == shown.version), "")
        return News(document, shown.version, epoch, shown.value, shown.author, edit, shown.changed_at_ms)


async def next_within(watcher: Watcher, seconds: float) -> list[News]:
    """What has come, nothing if nothing comes in time."""
    try:
        async with asyncio.timeout(seconds):
            return await watcher.next()
    except TimeoutError:
        return []
