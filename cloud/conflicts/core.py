"""The feed of conflicts, a Part of the planner: what all nodes have recorded, and which of it people have seen to.

Conflicts are events of whoever decided; here they are folded, from the cloud's own streams and from those of all sites, and what
people say to them is an event of the cloud's own. The feed is bounded and the log is not: of the feed the oldest leave that were
seen to, then the oldest at all, counted; and values stay in memory up to a budget, behind which they are read from the log.
"""

from typing import ClassVar, Protocol

import msgspec

from cloud.conflicts.inputs import ResolveConflict
from cloud.conflicts.told import OF_NOBODY, of_decision, of_fact, of_intent
from cloud.intents import Intents
from cloud.part import Fold, Part, Step
from cloud.port import Problem
from cloud.runs import Runs
from sync.conflicts.events import ConflictRecorded, ConflictResolved
from sync.documents.book import DocumentBook
from sync.documents.events import EditRefused
from sync.outputs import Reply
from sync.values import Now
from workflow import conflict_events as _codec  # noqa: F401 (makes the events known)
from workflow.event import Event
from workflow.events import CommandAnswered
from workflow.home_events import DecisionRefused, FactRefused

CONFLICTS_KEPT = 10_000
VALUES_BYTES_MAX = 4 << 20
"""Of values in memory, and in every snapshot."""


class Documents(Protocol):
    """What the feed asks of the documents."""

    @property
    def book(self) -> DocumentBook: ...


class Planning(Protocol):
    """What the feed needs of the planner."""

    @property
    def documents(self) -> Documents: ...
    @property
    def runs(self) -> Runs: ...
    @property
    def intents(self) -> Intents: ...
    def note(self, reader: str, event: Event, now: Now, out: list[object]) -> None: ...


class Known(msgspec.Struct, array_like=True):
    """A conflict, the `number`th that was heard of; recorded by the node `at`, in the history of `run` if it is one of a run.

    `tries` are the restoring edits that their home has refused, the last for the reason `refused`. `is_short`: its values are in
    the log alone."""

    number: int
    at: str
    run: str
    conflict: ConflictRecorded
    resolved: ConflictResolved | None = None
    tries: int = 0
    refused: str = ""
    is_short: bool = False

    @property
    def value_bytes(self) -> int:
        """Of both sides, as they are held."""
        return len(self.conflict.stands.value) + len(self.conflict.loses.value)


class Saved(msgspec.Struct, array_like=True):
    """All of it in a snapshot."""

    known: list[Known]
    number: int
    dropped: int


class Conflicts(Part):
    """`known` are the conflicts that are kept, by id, the oldest first; `dropped` counts those that are in the log alone."""

    name: ClassVar[str] = "conflicts"

    def __init__(self, planner: Planning, kept: int = CONFLICTS_KEPT, bytes_max: int = VALUES_BYTES_MAX) -> None:
        self._planner, self._kept, self._bytes_max = planner, kept, bytes_max
        self.known: dict[str, Known] = {}
        self.number = self.dropped = 0
        self._bytes = 0
        self._whole: dict[str, None] = {}  # Those with values in memory, the oldest first.
        self._over: dict[str, None] = {}  # Those that were seen to, longest ago first.
        self._refs: dict[str, str] = {}  # Which of them an edit or an order restores.

    def steps(self) -> dict[type, Step]:
        return {ResolveConflict: self._resolve}

    def own_folds(self) -> dict[type, Fold]:
        return {
            ConflictRecorded: self._fold,
            ConflictResolved: self._fold_resolved,
            EditRefused: self._fold_refused,
            DecisionRefused: self._fold_decision,
            FactRefused: self._fold_fact,
        }

    def site_folds(self) -> dict[type, Fold]:
        return {
            ConflictRecorded: self._fold,
            EditRefused: self._fold_refused,
            FactRefused: self._fold_fact,
            CommandAnswered: self._fold_answer,
        }

    # Asked ------------------------------------------------------------------------------------------------------------

    def find(self, conflict: str) -> Known:
        """One of them. Raises Problem (404)."""
        if (known := self.known.get(conflict)) is None:
            left = f"; {self.dropped:,} older ones are in the log alone" if self.dropped else ""
            raise Problem(404, "conflict_unknown", f"there is no conflict {conflict} in the feed{left}: list those that are")
        return known

    def edit_id(self, known: Known) -> str:
        """Under which id the loser comes back: one until its home has refused it, so that asking twice does it once."""
        return f"{known.conflict.conflict}/{known.tries + 1}"

    def is_pending(self, known: Known) -> bool:
        """Is what was to restore it still on its way to its home?"""
        ref = known.resolved.ref if known.resolved is not None else ""
        intent = self._planner.intents.commands.get(ref)
        return ref in self._planner.documents.book.pending or (intent is not None and intent.state == "pending")

    def _resolve(self, input: ResolveConflict, now: Now, out: list[object]) -> None:
        out.append(Reply(input.token, self._answer(input, now, out)))

    def _answer(self, input: ResolveConflict, now: Now, out: list[object]) -> Problem | None:
        """Said again, it is left as it is. What was accepted may be restored all the same; what was restored is no more open."""
        try:
            known = self.find(input.conflict)
        except Problem as unknown:
            return unknown
        how = known.resolved.how if known.resolved is not None else ""
        if how == "restored" and input.how == "accepted":
            assert known.resolved is not None
            detail = f"conflict {input.conflict} was seen to: {known.resolved.by} restored the loser by {known.resolved.ref}"
            return Problem(409, "conflict_restored", detail)
        if how != input.how:
            resolved = ConflictResolved(input.conflict, input.how, input.by, now.wall_ms, input.ref, input.note)
            self._planner.note("", resolved, now, out)
        return None

    # Folding ----------------------------------------------------------------------------------------------------------

    def _fold(self, at: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, ConflictRecorded)
        self.record(at, run, event)

    def record(self, at: str, run: str, conflict: ConflictRecorded) -> None:
        """Take a conflict into the feed; one that is there already is left as it is."""
        if conflict.conflict in self.known:
            return
        self.number += 1
        known = self.known[conflict.conflict] = Known(self.number, at or "cloud", run, conflict)
        if known.value_bytes:
            self._whole[conflict.conflict] = None
            self._bytes += known.value_bytes
        while self._bytes > self._bytes_max:
            self._shorten(next(iter(self._whole)))
        if len(self.known) > self._kept:
            self._drop(next(iter(self._over or self.known)))

    def _shorten(self, conflict: str) -> None:
        del self._whole[conflict]
        known = self.known[conflict]
        self._bytes -= known.value_bytes
        said = known.conflict
        sides = (msgspec.structs.replace(side, value=b"") for side in (said.stands, said.loses))
        known.conflict = msgspec.structs.replace(said, **dict(zip(("stands", "loses"), sides, strict=True)))
        known.is_short = True

    def _drop(self, conflict: str) -> None:
        if conflict in self._whole:
            del self._whole[conflict]
            self._bytes -= self.known[conflict].value_bytes
        self._open(self.known.pop(conflict))
        self.dropped += 1

    def _open(self, known: Known) -> None:
        """It is not, or not any more, among those that were seen to."""
        if known.resolved is not None:
            self._refs.pop(known.resolved.ref, None)
            self._over.pop(known.conflict.conflict, None)
            known.resolved = None

    def _fold_resolved(self, reader: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, ConflictResolved)
        if (known := self.known.get(event.conflict)) is not None:
            self._open(known)
            known.resolved, known.refused = event, ""
            self._note_over(known)

    def _note_over(self, known: Known) -> None:
        assert known.resolved is not None
        self._over[known.conflict.conflict] = None
        if known.resolved.ref:
            self._refs[known.resolved.ref] = known.conflict.conflict

    def _fold_refused(self, at: str, run: str, event: Event, time_ms: int) -> None:
        """The home of a document has refused what was to bring a loser back: that conflict is open again."""
        assert isinstance(event, EditRefused)
        conflict, _, number = event.edit.partition("/")
        known = self.known.get(conflict)
        if known is None or not number.isdecimal():
            return
        known.tries, known.refused = max(known.tries, int(number)), event.reason
        if known.resolved is not None and known.resolved.ref == event.edit:
            self._open(known)

    def _fold_decision(self, reader: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, DecisionRefused)
        self.record("cloud", run, of_decision(run, event, self.number + 1, time_ms))

    def _fold_fact(self, site: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, FactRefused)
        known = self._planner.runs.look(run)
        fragment = known.fragment(site) if known is not None else None
        name = fragment.id_of(event.task) if fragment is not None else str(event.task)
        self.record(site or "cloud", run, of_fact(run, name, site or "cloud", event, time_ms))

    def _fold_answer(self, site: str, run: str, event: Event, time_ms: int) -> None:
        """An order was refused: for it came too late for its run, or it was to restore what lost."""
        assert isinstance(event, CommandAnswered)
        intent = self._planner.intents.commands.get(event.command)
        if event.accepted or intent is None:
            return
        if (conflict := self._refs.get(event.command)) is not None:
            known = self.known[conflict]
            self._open(known)
            known.tries, known.refused = known.tries + 1, event.detail
        elif intent.run and intent.kind not in OF_NOBODY and self._has_ended(intent.run, site):
            self.record(site, intent.run, of_intent(intent, site, event, time_ms))

    def _has_ended(self, run: str, site: str) -> bool:
        known = self._planner.runs.look(run)
        fragment = known.fragment(site) if known is not None else None
        return known is None or (fragment is not None and bool(fragment.outcome))

    # Kept -------------------------------------------------------------------------------------------------------------

    def save(self) -> bytes:
        return msgspec.msgpack.encode(Saved(list(self.known.values()), self.number, self.dropped)) if self.number else b""

    def restore(self, body: bytes) -> None:
        saved = _SAVED.decode(body)
        self.known = {each.conflict.conflict: each for each in saved.known}
        self.number, self.dropped = saved.number, saved.dropped
        self._whole = {name: None for name, each in self.known.items() if each.value_bytes}
        self._bytes = sum(self.known[name].value_bytes for name in self._whole)
        over = [each for each in saved.known if each.resolved is not None]
        over.sort(key=lambda each: each.resolved.at_ms if each.resolved is not None else 0)
        for each in over:
            self._note_over(each)


_SAVED = msgspec.msgpack.Decoder(Saved)
