"""What a member has written for each step of its core: one transaction, whole or not at all. Pure."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from coordination.group.packing import Damaged, Note, unpack
from coordination.group.storing import Book, put_applied, put_base, put_book, put_entries, put_hard
from coordination.raft.entries import Entries
from coordination.raft.membership import decode_change
from coordination.raft.values import Entry, EntryKind, Ready, Snapshot, Voters
from sync.commit import Commit
from sync.log_errors import LogCorrupt

MOVES_MAX = 16


class Proposed(Protocol):
    """What was proposed here, and need not be read from what it was packed into."""

    @property
    def term(self) -> int: ...
    @property
    def commit(self) -> Commit | None: ...


@dataclass(slots=True)
class Tail:
    """The group's log on the disk, once all that is under way is durable: it reaches to `last`, and its entries have `size` bytes
    together. `book` is what the notes among those applied say, `moves` those of them that tell of a move of the leadership, until
    somebody has looked at them."""

    path: object
    last: int = 0
    size: int = 0
    book: Book = field(default_factory=Book)
    moves: deque[Note] = field(default_factory=lambda: deque(maxlen=MOVES_MAX))

    def begin(self, entries: Entries) -> None:
        """As it was found."""
        self.last, self.size = entries.last, size_of(entries.items)

    def commits(self, ready: Ready, proposed: Mapping[int, Proposed]) -> list[Commit]:
        """Entries in their places, term and vote, what is applied, and how far that goes. Raises LogCorrupt."""
        first = Commit(beside=put_entries(ready.entries, self.last))
        if ready.entries:
            self.last = ready.entries[-1].index
            self.size += size_of(ready.entries)
        if ready.hard_state is not None:
            first.beside.append(put_hard(ready.hard_state))
        commits = [first]
        if ready.committed:
            book = self.book
            commits += [commit for entry in ready.committed if (commit := self._applied(entry, proposed)) is not None]
            commits.append(Commit(beside=[put_applied(ready.committed[-1].index)]))
            if self.book is not book:
                commits[-1].beside.append(put_book(self.book))
        return [commit for commit in commits if commit]

    def _applied(self, entry: Entry, proposed: Mapping[int, Proposed]) -> Commit | None:
        if entry.kind is EntryKind.NOOP:
            return None
        if entry.kind is EntryKind.CHANGE:
            change = decode_change(entry)
            if change.what == "remove":
                self.book = self.book.without(change.node)
            return None
        ours = proposed.get(entry.index)
        if ours is not None and ours.commit is not None and ours.term == entry.term:
            return ours.commit
        try:
            found = unpack(entry.data)
        except Damaged as damaged:
            raise LogCorrupt(str(self.path), f"entry {entry.index} of its group's log: {damaged}") from damaged
        if isinstance(found, Note):
            if found.heir:
                self.moves.append(found)
                return None
            self.book = self.book.noted(found)
            return None
        return found

    def cut(self, entries: Entries) -> Commit:
        """The core has forgotten what lies before its base; so does the disk."""
        self.size = size_of(entries.items)
        return Commit(beside=put_base(entries.snapshot))


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much of what is applied the group's log keeps (at most), and how much more it may hold before it is cut."""

    keep_entries: int
    keep_bytes: int
    more_entries: int
    more_bytes: int

    def base(self, entries: Entries, size: int, group: Voters, *, patience: int = 1) -> tuple[Snapshot, int] | None:
        """Where a log that has grown too long is cut, and how many entries before that are kept; None if it may stay."""
        held = entries.applied - entries.snapshot.index
        many = patience * (self.keep_entries + self.more_entries)
        large = patience * (self.keep_bytes + self.more_bytes)
        term = entries.term(entries.applied)
        if held < 1 or term is None or (held <= many and size <= large):
            return None
        return Snapshot(entries.applied, term, group), self._kept(entries.items[:held])

    def _kept(self, items: Sequence[Entry]) -> int:
        kept = size = 0
        for entry in reversed(items):
            size += len(entry.data)
            if kept == self.keep_entries or size > self.keep_bytes:
                break
            kept += 1
        return kept


def size_of(entries: Sequence[Entry]) -> int:
    """Their data together."""
    return sum(len(entry.data) for entry in entries)
