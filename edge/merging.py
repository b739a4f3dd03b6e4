"""Documents of several writers at a site, a Part of the executor: it writes to them at once, whether the cloud can be reached or
not, as an event of its own stream; what others write comes in the cloud's stream for the site.
"""

from typing import ClassVar

from edge.home import Home
from edge.part import Fold, Hear, Part
from sync.documents.events import EditProposed, EditRefused
from sync.documents.ids import CLOUD
from sync.documents.inputs import EditDocument
from sync.event import Event
from sync.merging.book import Made, MergeBook
from sync.merging.escrow import Share
from sync.merging.events import EVENTS, ShareAsked
from sync.merging.writing import Short
from sync.values import Now
from workflow import merging_events as _codec  # noqa: F401 (makes the events known)
from workflow.merging_values import evaluate

ASK_AGAIN_MS = 500


class SiteMerging(Part):
    """`book` is what the site knows of them."""

    name: ClassVar[str] = "merging"

    def __init__(self, home: Home) -> None:
        self._home = home
        self.book = MergeBook(home.site, evaluate)
        self._asked_ms: dict[tuple[str, str], int] = {}
        self._lent = 0

    def folds(self) -> dict[type, Fold]:
        return dict.fromkeys(EVENTS, self._fold)

    def hears(self) -> dict[type, Hear]:
        return {ShareAsked: self._hear_asked}

    def takes(self, document: str) -> bool:
        """Is it a document of several writers, and this site one of them?"""
        return self.book.get(document) is not None

    def answer(self, edit: EditProposed, asked: EditDocument, now: Now, out: list[object]) -> int | EditRefused:
        """The version that it made, or why it made none."""
        decided = self.book.decide(edit, now.wall_ms, asked.context)
        if isinstance(decided, Short):
            self._ask(edit.document, decided, now, out)
            return EditRefused(edit.document, edit.edit, decided.code, str(decided), self.book.documents[edit.document].version)
        if isinstance(decided, EditRefused):
            return decided
        if not isinstance(decided, Made):
            self._home.note(decided, out)
        return decided.version

    def _ask(self, document: str, short: Short, now: Now, out: list[object]) -> None:
        """The cloud is asked for more while it can be reached, and not more often than it can answer."""
        last_ms = self._asked_ms.get((document, short.name), -ASK_AGAIN_MS)
        if self._home.gate.cut is None and now.mono_ms - last_ms >= ASK_AGAIN_MS:
            self._asked_ms[(document, short.name)] = now.mono_ms
            lacking = abs(short.delta) - short.share
            up, down = (lacking, 0) if short.delta > 0 else (0, lacking)
            self._home.note(ShareAsked(document, short.name, up, down, now.wall_ms), out)

    def _hear_asked(self, run: str, event: Event, now: Now, out: list[object]) -> None:
        """The cloud wants a share back, as much of it as is left here."""
        assert isinstance(event, ShareAsked)
        known, wanted = self.book.get(event.document), Share(event.up, event.down)
        if known is None or known.rule(event.name).kind != "sum":
            return
        self._lent += 1
        edit = f"share/{self._home.site}/{now.wall_ms}/{self._lent}"
        lent = self.book.lend(event.document, event.name, CLOUD, wanted, edit, now.wall_ms)
        if lent is not None:
            self._home.note(lent, out)

    def _fold(self, is_own: bool, run: str, event: Event, time_ms: int) -> None:
        self.book.fold(event)

    def save(self) -> bytes:
        return self.book.save()

    def restore(self, body: bytes) -> None:
        self.book.restore(body)
