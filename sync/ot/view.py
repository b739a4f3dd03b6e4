"""A document as its people see it away from its home: what the home has said, and on top what it has not answered yet. Pure.

    view = View(document, revision)
    done = view.edit([AddNode("/pick", {"minutes": 3})], "e1")     # sent to the home, whenever that can be
    view.hear(revision + 1, operations, "e7")                      # somebody else's edit goes past those that wait
    view.hear(revision + 2, operations, "e1")                      # the home has answered

Edits build on each other, so all of them may be on their way at once; a site that is cut off is one with many of them. They go
past what is heard exactly as they go past it at the home (`sync.ot.sequencer`), so when all is answered the view is the document.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sync.ot.document import Document
from sync.ot.operations import Any_, Malformed, check_operation
from sync.ot.rebase import Label, Rebase
from sync.ot.sequencer import beyond
from sync.ot.undo import inverse


@dataclass(slots=True)
class View:
    """`synced` is the home's document at `revision`; `queue` holds the edits that wait, named by their `ref`."""

    synced: Document
    revision: int
    queue: Rebase = field(default_factory=Rebase)
    _refs: set[str] = field(default_factory=set)
    _shown: Document | None = None

    @property
    def shown(self) -> Document:
        """The document with all that waits on top. What cannot be done to it as it is now is left out; its home will say."""
        if self._shown is None:
            self._shown = self.synced.copy()
            for group in self.queue.groups:
                _do(self._shown, self.queue.of(group))
        return self._shown

    @property
    def waiting(self) -> list[tuple[str, tuple[Any_, ...]]]:
        """The edits that wait, as they are now, oldest first."""
        return [(group.label.ref, self.queue.of(group)) for group in self.queue.groups]

    def tried(self, operations: Iterable[Any_]) -> tuple[Any_, ...]:
        """What an edit of what one sees would be, with what it really replaces. Raises Malformed."""
        return tuple(self.shown.tried(list(operations), each=check_operation))

    def edit(self, operations: Iterable[Any_], ref: str) -> tuple[Any_, ...]:
        """Edit what one sees. Raises Malformed, and then nothing has changed."""
        done = self.tried(operations)
        self.note(done, ref)
        return done

    def note(self, operations: Sequence[Any_], ref: str) -> None:
        """An edit that was made on top of what is shown; known already, it is nothing new."""
        if ref not in self._refs:
            self._refs.add(ref)
            self.queue.append(operations, Label(ref=ref))
            if self._shown is not None:
                _do(self._shown, operations)

    def hear(self, revision: int, operations: Sequence[Any_], ref: str) -> None:
        """What the home did to get from the revision that is known to this one; the last of it is edit `ref`. Heard twice is
        harmless."""
        if revision <= self.revision:
            return
        while ref in self._refs and self.queue.groups[0].label.ref != ref:
            self.take_back(self.queue.groups[0].label.ref)  # Its answer was lost: a home answers in order.
        theirs = operations
        if ref in self._refs:
            self._refs.discard(ref)
            theirs = beyond(self.synced, self.queue.drop(), operations)
        self.synced.apply_possible(operations)
        self.revision, self._shown = revision, None
        self.queue.past(theirs, is_first=True)

    def take_back(self, ref: str) -> None:
        """The home has refused an edit that waits. What was built on it goes with it, as far as it cannot stand alone."""
        if ref not in self._refs:
            return
        self._refs.discard(ref)
        waiting = Rebase()
        while (group := self.queue.groups[0]).label.ref != ref:
            waiting.append(self.queue.drop(), group.label)
        self.queue.past(inverse(self.queue.drop()), is_first=True)
        if waiting.groups:
            for group in self.queue.groups:
                waiting.append(self.queue.of(group), group.label)
            self.queue = waiting
        self._shown = None


def _do(document: Document, operations: Sequence[Any_]) -> None:
    """All of an edit, or as much of it as can be done."""
    try:
        document.transact(operations)
    except Malformed:
        document.apply_possible(operations)
