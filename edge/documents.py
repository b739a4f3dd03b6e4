"""The site's documents, a Part of the executor: it decides about those at home here, and keeps the shared ones as replicas.

Its own it decides at once, whether the cloud can be reached or not, as far as their level lets it:

- *strong*: what is decided counts once the cloud holds it durably, and until then nobody is answered who has seen it. A put is
  decided, folded and recorded here, its answer withheld (`Confirmed`) until the cloud's acknowledgement passes it; so are the
  answers of reads, since they may show it. Puts are in order and many are under way at a time. While the site is cut off nothing
  is recorded. The commit point of a put is thus the cloud's commit of its event: what has not come so far nobody was shown. A
  read at this home takes effect when it is looked up here, or when the cloud commits the latest put it shows, whichever is later;
  one at the cloud when the cloud's replica is looked up. Acknowledgements are in order, so a later put commits later: all reads
  and puts have one order that keeps to real time (linearizable). A home that has been replaced does not know, so a read asks the
  cloud, too, in a round trip that begins once it has looked (see edge.reading).
- *bounded*: it decides nothing once the cloud lacks `versions` of the document, or the oldest of those for `time`.

An edit of a shared one is an event of the site's stream, and pending until the cloud's answer stands in the stream for the site.
"""

from typing import ClassVar, NamedTuple

from edge.home import Home
from edge.merging import SiteMerging
from edge.part import Fold, Hear, Part, Step
from sync.documents.book import PENDING_MAX, Decision, DocumentBook
from sync.documents.events import EVENTS, DocumentCreated, EditProposed, EditRefused
from sync.documents.ids import CLOUD, home_of
from sync.documents.inputs import EditDocument
from sync.documents.overtaken import conflicts_of
from sync.documents.owners import stranger_problem
from sync.documents.reading import shown_of
from sync.documents.terms import PLAIN, Terms
from sync.lag import DOCUMENT
from sync.outputs import Confirmed, Reply
from sync.values import Now
from sync.watching.merged import told_of
from sync.watching.unseen import TellWatchers
from workflow import conflict_events as _conflicts  # noqa: F401 (makes the events known)
from workflow import document_events as _codec  # noqa: F401 (makes the events known)
from workflow.document_checks import holds
from workflow.event import Event
from workflow.reseed_events import StateTold

LATER = ("unavailable", "bound_reached")
"""Refusals that are none for ever: nothing was recorded, and a moment later the same edit may be taken."""


class ReadDocument(NamedTuple):
    """Look up a document at home here; the answer is Shown. Of a strong one it comes once the cloud holds it."""

    token: int
    document: str


class SiteDocuments(Part):
    """`book` is what the site knows of documents. `_held` are edits of the cloud's that wait until a bound lets them go."""

    name: ClassVar[str] = "documents"

    def __init__(self, home: Home, merging: SiteMerging) -> None:
        self._home, self._merging = home, merging
        self.book = DocumentBook(home.site, holds)
        self._held = False

    def steps(self) -> dict[type, Step]:
        return {EditDocument: self._edit, ReadDocument: self._read}

    def folds(self) -> dict[type, Fold]:
        return dict.fromkeys(EVENTS, self._fold)

    def hears(self) -> dict[type, Hear]:
        return {EditProposed: self._hear, StateTold: self._ask_again}

    def linked(self, now: Now, out: list[object]) -> None:
        """What was fetched back after a loss was heard by nobody."""
        self._decide_waiting(now, out)

    def restored(self, now: Now, out: list[object]) -> None:
        self.book.take_news(), self._merging.book.take_news()

    def settle(self, now: Now, out: list[object]) -> None:
        if self._held:
            self._decide_waiting(now, out)
        for change in self.book.take_news():
            told = TellWatchers(change)
            out.append(Confirmed(told) if self._is_strong(change.document) else told)
        merged = (told_of(self._merging.book, document) for document in self._merging.book.take_news())
        out += [told for told in merged if told is not None]

    def save(self) -> bytes:
        return self.book.save()

    def restore(self, body: bytes) -> None:
        self.book.restore(body)
        for document, known in self.book.documents.items():
            self._watch(document, known.terms)

    # Asked ------------------------------------------------------------------------------------------------------------

    def _edit(self, input: EditDocument, now: Now, out: list[object]) -> None:
        """The answer is the version that it made, an EditRefused, or, while its home has not decided, the EditProposed."""
        edit = EditProposed(*input[1:7], now.wall_ms, input.terms, input.base)
        if self._merging.takes(edit.document):
            out.append(Reply(input.token, self._merging.answer(edit, input, now, out)))
            return
        answer = self._answer(edit, now, out)
        self._reply(input.token, answer, edit.document, out)

    def _read(self, input: ReadDocument, now: Now, out: list[object]) -> None:
        known, pending = self.book.get(input.document), tuple(self.book.waiting(input.document))
        shown = shown_of(input.document, known, "home", now.wall_ms, 0, 0)._replace(pending=pending)
        self._reply(input.token, shown, input.document, out)

    def _reply(self, token: int, answer: object, document: str, out: list[object]) -> None:
        """What is nothing but a refusal for now leaves at once; all else of a strong document once the cloud holds it."""
        is_later = isinstance(answer, EditRefused) and answer.code in LATER
        reply = Reply(token, answer)
        out.append(Confirmed(reply) if self._is_strong(document) and not is_later else reply)

    def _is_strong(self, document: str) -> bool:
        return home_of(document) == self._home.site and self.book.get(document).terms.level.kind == "strong"

    def _answer(self, edit: EditProposed, now: Now, out: list[object]) -> object:
        """The version, the refusal, or the edit itself while it is pending."""
        known = self.book.answer(edit.document, edit.edit) or self.book.pending.get(edit.edit)
        if known is not None:
            return known
        home = home_of(edit.document)
        if home not in (CLOUD, self._home.site):
            return self._refuse(edit, "no_replica", f"{edit.document} is not kept at {self._home.site}")
        if foreign := stranger_problem(edit, by_agent=True):
            return self._refuse(edit, "not_yours", foreign)
        if barred := self._bar(edit, now):
            return barred
        if home == CLOUD:
            if len(self.book.pending) >= PENDING_MAX:
                reason = f"{PENDING_MAX:,} edits wait for the cloud already: ask again once it has answered some"
                return self._refuse(edit, "too_many_pending", reason)
            proposed = self.book.proposed(edit)
            if isinstance(proposed, EditProposed):
                self._home.note(proposed, out)
            return proposed
        decided = self.book.decide(edit, now.wall_ms)
        if isinstance(decided, EditRefused):
            return decided
        self._settle(edit, decided, self._home.site, now, out)
        return decided.changed.version

    def _refuse(self, edit: EditProposed, code: str, reason: str) -> EditRefused:
        return EditRefused(edit.document, edit.edit, code, reason, self.book.get(edit.document).version)

    def _bar(self, edit: EditProposed, now: Now) -> EditRefused | None:
        """Why its level lets nothing be decided about the document just now."""
        known, gate = self.book.get(edit.document), self._home.gate
        level = (known.terms if known.value else edit.terms or PLAIN).level
        if level.kind == "strong" and gate.cut is not None:
            return self._refuse(edit, "unavailable", f"{edit.document} is strong, and the cloud cannot be reached")
        if level.kind != "bounded" or home_of(edit.document) != self._home.site:
            return None
        key, lag = DOCUMENT + edit.document, gate.lag
        if level.versions and (lag.is_blind(key) or lag.count(key) >= level.versions):
            return self._refuse(edit, "bound_reached", f"the cloud lacks {level.versions} versions of {edit.document} already")
        oldest_ms = lag.oldest_ms(key) if level.time_ms else None
        if oldest_ms is not None and now.mono_ms - oldest_ms > level.time_ms:
            return self._refuse(edit, "bound_reached", f"the cloud lacks {edit.document} for {level.time_ms} ms already")
        return None

    def _settle(self, edit: EditProposed, decided: Decision | EditRefused, at: str, now: Now, out: list[object]) -> None:
        """Record what was decided of an edit that was made at the node `at`, and what loses by it."""
        lost = conflicts_of(self.book, edit, decided, at, now.wall_ms)
        if isinstance(decided, EditRefused):
            self._home.note(decided, out)
        else:
            self._record(decided, out)
        for conflict in lost:
            self._home.note(conflict, out)

    def _record(self, decided: Decision, out: list[object]) -> None:
        changed = decided.changed
        if decided.created is not None:
            self._home.note(decided.created, out)
        lag, key = self._home.gate.lag, DOCUMENT + changed.document
        if key in lag.watched:
            lag.decide(key)
        self._home.note(changed, out, key)

    def _hear(self, run: str, event: Event, now: Now, out: list[object]) -> None:
        self._decide_waiting(now, out)

    def _ask_again(self, run: str, event: Event, now: Now, out: list[object]) -> None:
        """The cloud's answers may be among what it has cut."""
        for edit in [each for each in self.book.pending.values() if home_of(each.document) == CLOUD]:
            self._home.note(edit, out)

    def _decide_waiting(self, now: Now, out: list[object]) -> None:
        self._held = False
        for edit in [each for each in self.book.pending.values() if home_of(each.document) == self._home.site]:
            if self._bar(edit, now):
                self._held = True
                continue
            if foreign := stranger_problem(edit, by_agent=False):
                self._home.note(self._refuse(edit, "not_yours", foreign), out)
            else:
                self._settle(edit, self.book.decide(edit, now.wall_ms), CLOUD, now, out)

    def _fold(self, is_own: bool, run: str, event: Event, time_ms: int) -> None:
        self.book.fold(event, "" if is_own else CLOUD)
        if type(event) is DocumentCreated:
            self._watch(event.document, event.terms)

    def _watch(self, document: str, terms: Terms) -> None:
        if home_of(document) == self._home.site:
            if terms.level.kind == "bounded":
                self._home.gate.lag.watch(DOCUMENT + document, strong=False)
            else:
                self._home.gate.lag.end(DOCUMENT + document)
