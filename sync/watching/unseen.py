"""What one watcher of documents has not been told yet. Pure: who waits for it, and who wakes them, is `service`.

Changes wait in their order, each version once. A watcher that reads too slowly is never waited for and never makes the node keep
more: beyond the bounds only the latest change of each document waits, and is told as a `gap`.
"""

from collections.abc import Mapping
from typing import NamedTuple

from sync.documents.events import Changed

CHANGES_MAX = 256
BYTES_MAX = 1 << 20
"""Of values that wait for one watcher in full. Beyond either only the latest of each document waits."""
WATCHED_MAX = 4_000
"""Documents and prefixes that one watcher may name."""


class TellWatchers(NamedTuple):
    """An effect: the change counts, so whoever watches the document is told of it."""

    change: Changed


class News(NamedTuple):
    """A version of a document as a watcher is told of it. An empty value: it is deleted. `gap`: versions between the last that
    this watcher was told, or named, and this one are left out."""

    document: str
    version: int
    epoch: int
    value: bytes
    author: str
    edit: str
    at_ms: int
    gap: bool = False


class Watched(NamedTuple):
    """Which documents: those named, behind a version (None: what there is now comes first), and all whose ids begin so."""

    documents: Mapping[str, int | None]
    prefixes: tuple[str, ...] = ()

    def fits(self, document: str) -> bool:
        """Is the document one of them?"""
        return document in self.documents or document.startswith(self.prefixes)


class Unseen:
    """Of one watcher. `note` takes what it is to be told, in any order and more than once; `take` gives it, each once."""

    def __init__(self, watched: Watched, changes_max: int = CHANGES_MAX, bytes_max: int = BYTES_MAX) -> None:
        self.watched = watched
        self._changes_max, self._bytes_max = changes_max, bytes_max
        self._told = {document: version for document, version in watched.documents.items() if version is not None}
        self._noted: dict[str, tuple[int, int]] = {document: (0, version) for document, version in self._told.items()}
        self._waiting: list[News] = []
        self._bytes = 0

    def note(self, news: News) -> bool:
        """Is it new to the watcher? Of what it was told, or will be, nothing is noted again."""
        epoch, version = self._noted.get(news.document, (0, 0))
        if not self.watched.fits(news.document) or news.version <= version or news.epoch < epoch:
            return False
        self._noted[news.document] = news.epoch, news.version
        self._waiting.append(news)
        self._bytes += len(news.value)
        if len(self._waiting) > self._changes_max or self._bytes > self._bytes_max:
            self._thin()
        return True

    def _thin(self) -> None:
        latest = {news.document: news for news in self._waiting}
        self._waiting = list(latest.values())
        self._bytes = sum(len(news.value) for news in self._waiting)

    def take(self) -> list[News]:
        """What waits, in order; then nothing waits."""
        waiting, self._waiting, self._bytes = self._waiting, [], 0
        return [self._tell(news) for news in waiting]

    def _tell(self, news: News) -> News:
        told = self._told.get(news.document)
        self._told[news.document] = news.version
        return news._replace(gap=told is not None and news.version > told + 1)

    def __bool__(self) -> bool:
        return bool(self._waiting)


def news_of(change: Changed) -> News:
    """A change as news."""
    return News(change.document, change.version, change.epoch, change.value, change.author, change.edit, change.at_ms)
