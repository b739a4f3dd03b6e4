"""Documents of several writers at a site, a Part of the executor: it writes to them at once, whether the cloud can be reached or
not, as an event of its own stream; what others write comes in the cloud's stream for the site.
"""

from typing import ClassVar

from edge.home import Home
from edge.part import Fold, Part
from sync.documents.events import EditProposed, EditRefused
from sync.documents.inputs import EditDocument
from sync.event import Event
from sync.merging.book import Made, MergeBook
from sync.merging.events import EVENTS
from sync.values import Now
from workflow import merging_events as _codec  # noqa: F401 (makes the events known)
from workflow.merging_values import evaluate


class SiteMerging(Part):
    """`book` is what the site knows of them."""

    name: ClassVar[str] = "merging"

    def __init__(self, home: Home) -> None:
        self._home = home
        self.book = MergeBook(home.site, evaluate)

    def folds(self) -> dict[type, Fold]:
        return dict.fromkeys(EVENTS, self._fold)

    def takes(self, document: str) -> bool:
        """Is it a document of several writers, and this site one of them?"""
        return self.book.get(document) is not None

    def answer(self, edit: EditProposed, asked: EditDocument, now: Now, out: list[object]) -> int | EditRefused:
        """The version that it made, or why it made none."""
        decided = self.book.decide(edit, now.wall_ms, asked.context)
        if isinstance(decided, EditRefused):
            return decided
        if not isinstance(decided, Made):
            self._home.note(decided, out)
        return decided.version

    def _fold(self, is_own: bool, run: str, event: Event, time_ms: int) -> None:
        self.book.fold(event)

    def save(self) -> bytes:
        return self.book.save()

    def restore(self, body: bytes) -> None:
        self.book.restore(body)
