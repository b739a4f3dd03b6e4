"""The documents of runs at their home, a Part of the executor. They are in the fragments (see `workflow.context`); what is kept
here is only which runs of several sites have theirs elsewhere.

A document has the level of its run: of a strong one nothing is shown before the cloud holds it, of a bounded one nothing is
decided beyond the bound.
"""

from typing import ClassVar, NamedTuple

import msgspec

from edge.home import Home
from edge.part import Fold, Part, Step
from sync.documents.events import EditProposed, EditRefused
from sync.documents.ids import run_document, run_of
from sync.documents.inputs import EditDocument
from sync.documents.reading import Shown
from sync.documents.terms import PLAIN, Terms
from sync.outputs import Confirmed, Reply
from sync.values import Now
from sync.watching.unseen import TellWatchers
from workflow.context import judge, known_of
from workflow.context_events import ContextChanged
from workflow.context_news import change_of
from workflow.event import Event
from workflow.events import FragmentAdopted, FragmentEnded
from workflow.fragment import Fragment
from workflow.home_events import FragmentDropped, FragmentTaken, FragmentYielded

ELSEWHERE = "run_elsewhere"
BARS = {"strong": "unavailable", "unconfirmed": "unavailable", "versions": "bound_reached", "time": "bound_reached"}


class EditRunDocument(NamedTuple):
    """Change a document of a run. The answer is the version that it made, or an EditRefused."""

    token: int
    edit: EditDocument


class ReadRunDocument(NamedTuple):
    """Look up a document of a run; the answer is Shown, or None if the run has no home here. Of a strong one it comes once the
    cloud holds it."""

    token: int
    document: str


class RunDocuments(Part):
    """`first` names the site that has the documents of a run of several sites, if it is another."""

    name: ClassVar[str] = "run_documents"

    def __init__(self, home: Home) -> None:
        self._home = home
        self.first: dict[str, str] = {}
        self._news: list[tuple[str, ContextChanged]] | None = None  # None while the log is read: nobody watches.

    def steps(self) -> dict[type, Step]:
        return {EditRunDocument: self._edit, ReadRunDocument: self._read}

    def folds(self) -> dict[type, Fold]:
        taken: dict[type, Fold] = {FragmentAdopted: self._begin, FragmentTaken: self._begin}
        gone: dict[type, Fold] = {FragmentEnded: self._forget, FragmentDropped: self._forget, FragmentYielded: self._forget}
        return {ContextChanged: self._note, **taken, **gone}

    def restored(self, now: Now, out: list[object]) -> None:
        self._news = []

    def settle(self, now: Now, out: list[object]) -> None:
        """Who watches is told what has changed."""
        news, self._news = self._news or [], []
        for run, event in news:
            fragment = self._home.fragments.get(run)
            epoch = fragment.epoch if fragment is not None else 0
            told = TellWatchers(change_of(run, epoch, event))
            out.append(Confirmed(told) if self._home.gate.is_strong(run) else told)

    def save(self) -> bytes:
        return msgspec.msgpack.encode(dict(sorted(self.first.items()))) if self.first else b""

    def restore(self, body: bytes) -> None:
        self.first = msgspec.msgpack.decode(body, type=dict[str, str])

    # Looking ----------------------------------------------------------------------------------------------------------

    def fragment_of(self, run: str) -> Fragment | None:
        """The fragment that has the documents of the run; None if that is not here, or not any more."""
        return None if run in self.first else self._home.fragments.get(run)

    def is_withheld(self, run: str) -> bool:
        """May what is known here not count yet?"""
        return self._home.gate.is_strong(run)

    # Asked ------------------------------------------------------------------------------------------------------------

    def _edit(self, input: EditRunDocument, now: Now, out: list[object]) -> None:
        edit = EditProposed(*input.edit[1:7], now.wall_ms, input.edit.terms)
        run, name = run_of(edit.document)
        answer = self._answer(run, name, edit, now, out)
        is_final = not isinstance(answer, EditRefused)
        reply = Reply(input.token, answer)
        out.append(Confirmed(reply) if is_final and self._home.gate.is_strong(run) else reply)

    def _answer(self, run: str, name: str, edit: EditProposed, now: Now, out: list[object]) -> int | EditRefused:
        fragment = self.fragment_of(run)
        if fragment is None:
            where = f"at {self.first[run]}" if run in self.first else f"not at {self._home.site}, or it has ended"
            reason = f"the home of run {run} is {where}: its documents are written there, while it goes on"
            return EditRefused(edit.document, edit.edit, ELSEWHERE, reason, 0)
        judged = judge(fragment, name, edit, now.wall_ms)
        if not isinstance(judged, ContextChanged):
            return judged
        if barred := barrier_to(self._home, fragment, now):
            reason = f"run {run} records nothing just now ({barred}): the cloud cannot be reached, or is too far behind"
            return EditRefused(edit.document, edit.edit, BARS[barred], reason, known_of(fragment, name).version)
        self._home.record(fragment, [judged], now, out)
        return judged.version

    def _read(self, input: ReadRunDocument, now: Now, out: list[object]) -> None:
        run, name = run_of(input.document)
        fragment = self.fragment_of(run)
        shown = shown_of_run(fragment, name, "home", now.wall_ms) if fragment is not None else None
        reply = Reply(input.token, shown)
        out.append(Confirmed(reply) if self._home.gate.is_strong(run) else reply)

    # Folding ----------------------------------------------------------------------------------------------------------

    def _note(self, is_own: bool, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, ContextChanged)
        if self._news is not None:
            self._news.append((run, event))

    def _begin(self, is_own: bool, run: str, event: Event, time_ms: int) -> None:
        if isinstance(event, FragmentAdopted) and event.sites and event.sites[0] != event.site:
            self.first[run] = event.sites[0]
        else:
            self.first.pop(run, None)

    def _forget(self, is_own: bool, run: str, event: Event, time_ms: int) -> None:
        self.first.pop(run, None)


def barrier_to(home: Home, fragment: Fragment, now: Now) -> str:
    """What keeps the run from recording what is asked of it just now; empty if nothing does."""
    if fragment.run in home.gate.doubted:
        return "unconfirmed"
    barred = home.gate.bar(fragment, now) if fragment.contract is not None else ""
    return barred if barred in BARS else ""


def shown_of_run(fragment: Fragment, name: str, source: str, as_of_ms: int) -> Shown:
    """A document of the run, as this fragment has it."""
    document, known = run_document(str(fragment.run), name), known_of(fragment, name)
    terms = Terms(fragment.contract.level) if fragment.contract is not None else PLAIN
    who = known.author, known.at_ms
    return Shown(document, known.version, known.value, terms, *who, source, max(as_of_ms, known.at_ms), 0, 0)
