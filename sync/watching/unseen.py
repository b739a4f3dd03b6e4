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
    """An effect: the change counts, so whoever watches the document is told of it. `state`: as of News."""

    change: Changed
    state: int = 0


class News(NamedTuple):
    """A version of a document as a watcher is told of it. An empty value: it is deleted. `gap`: versions between the last that
    this watcher was told, or named, and this one are left out. `state` is of documents of several writers, whose versions may be
    the same after concurrent writes: it grows with what the node knows of them, and of them there are no gaps."""

    document: str
    version: int
    epoch: int
    value: bytes
    author: str
    edit: str
    at_ms: int
    gap: bool = False
    state: int = 0


class Watched(NamedTuple):
    """Which documents: those named, behind a version (None: what there is now comes first), and all whose ids begin so. Of
    several writers one of the very version that is named may be another by now, and is told again, unless that `is_exact`."""

    documents: Mapping[str, int | None]
    prefixes: tuple[str, ...] = ()
    is_exact: bool = False

    def fits(self, document: str) -> bool:
        """Is the document one of them?"""
        return document in self.documents or document.startswith(self.prefixes)


class Unseen:
    """Of one watcher. `note` takes what it is to be told, in any order and more than once; `take` gives it, each once."""

    def __init__(self, watched: Watched, changes_max: int = CHANGES_MAX, bytes_max: int = BYTES_MAX) -> None:
        self.watched = watched
        self._changes_max, self._bytes_max = changes_max, bytes_max
        self._told = {document: version for document, version in watched.documents.items() if version is not None}
        self._begun = dict(self._told)
        self._noted: dict[str, tuple[int, int, int]] = {}
        self._waiting: list[News] = []
        self._bytes = 0

    def note(self, news: News) -> bool:
        """Is it new to the watcher? Of what it was told, or will be, nothing is noted again."""
        if not self.watched.fits(news.document) or not self._is_newer(news):
            return False
        self._noted[news.document] = news.epoch, news.version, news.state
        self._waiting.append(news)
        self._bytes += len(news.value)
        if len(self._waiting) > self._changes_max or self._bytes > self._bytes_max:
            self._thin()
        return True

    def _is_newer(self, news: News) -> bool:
        if (noted := self._noted.get(news.document)) is not None:
            return (news.epoch, news.version, news.state) > noted
        begun = self._begun.get(news.document, 0)
        is_other = news.state > 0 and news.version == begun and not self.watched.is_exact
        return news.version > begun or is_other

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
        return news._replace(gap=told is not None and news.version > told + 1 and not news.state)

    def __bool__(self) -> bool:
        return bool(self._waiting)


def news_of(told: TellWatchers) -> News:
    """A change as news."""
    change = told.change
    who = change.author, change.edit, change.at_ms
    return News(change.document, change.version, change.epoch, change.value, *who, state=told.state)
