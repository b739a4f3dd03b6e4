"""The group's log in the file of the site's log: what is read at a start, and the statements that each step adds. Pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from zlib import crc32

import msgspec

from coordination.group.packing import Note
from coordination.raft.marks import Mark
from coordination.raft.values import Entry, EntryKind, HardState, Snapshot, Stored
from sync import tables
from sync.log_errors import LogCorrupt
from sync.log_reader import value_crc

T = TypeVar("T")
Execute = Callable[[str, tuple[Any, ...]], Iterator[tuple[Any, ...]]]
Statement = tuple[str, tuple[Any, ...]]

HARD, BASE, APPLIED, IDENTITY, BOOK = "hard", "base", "applied", "identity", "book"
MARKS, SET_BACK = "marks", "set_back"
ENTRIES = "SELECT idx, term, kind, data, crc FROM raft WHERE idx > ? ORDER BY idx"
LOCAL = (tables.RAFT_MEMBER, HARD, IDENTITY, MARKS, SET_BACK)
"""What belongs to one member alone; the rest of a log is equal at all that have applied as much."""


class Identity(msgspec.Struct, frozen=True, array_like=True):
    """Which disk this is, and of which group (empty: of none yet)."""

    instance: str
    group: str = ""


class Book(msgspec.Struct, frozen=True, array_like=True):
    """What the group knows of its members: notes that are applied. Of a member that left, nothing."""

    founders: dict[str, str] = {}
    addresses: dict[str, str] = {}
    instances: dict[str, str] = {}

    def noted(self, note: Note) -> "Book":
        """After a note."""
        return Book(self.founders, self.addresses | note.addresses, self.instances | note.instances)

    def without(self, member: str) -> "Book":
        """After a member has left. Its name stays that of its disk: a member that has not heard that it left would refuse another
        one of that name, and could not follow it."""
        return Book(self.founders, {name: where for name, where in self.addresses.items() if name != member}, self.instances)


@dataclass(slots=True)
class Kept:
    """What a member finds on its disk. `set_back`: why it must not take part, for this is an old copy; empty if it may."""

    stored: Stored = field(default_factory=Stored)
    identity: Identity | None = None
    book: Book = field(default_factory=Book)
    set_back: str = ""


def load(path: object, execute: Execute) -> Kept:
    """All of it. Raises LogCorrupt."""
    state: dict[str, bytes] = {}
    for key, value, crc in execute("SELECT key, value, crc FROM raft_state", ()):
        if crc != value_crc(key, value):
            raise LogCorrupt(str(path), f"the value {key!r} of its group fails its check sum")
        state[key] = value

    def value_of(key: str, kind: type[T], default: T) -> T:
        return msgspec.msgpack.decode(state[key], type=kind) if key in state else default

    base = value_of(BASE, Snapshot, Snapshot())
    identity = value_of(IDENTITY, Identity, None) if IDENTITY in state else None
    hard, applied = value_of(HARD, HardState, HardState()), value_of(APPLIED, int, 0)
    marks = value_of(MARKS, dict[str, Mark], {})
    stored = Stored(hard, entries_of(path, execute, base.index), base, applied, marks)
    return Kept(stored, identity, value_of(BOOK, Book, Book()), value_of(SET_BACK, str, ""))


def entries_of(path: object, execute: Execute, after: int) -> tuple[Entry, ...]:
    """The entries behind an index. Raises LogCorrupt."""
    entries: list[Entry] = []
    for index, term, kind, data, crc in execute(ENTRIES, (after,)):
        if crc != _crc(index, term, kind, data):
            raise LogCorrupt(str(path), f"entry {index} of its group's log fails its check sum")
        if index != after + len(entries) + 1:
            raise LogCorrupt(str(path), f"entry {after + len(entries) + 1} of its group's log is missing")
        entries.append(Entry(term, index, EntryKind(kind), data))
    return tuple(entries)


def put_entries(entries: Sequence[Entry], last: int) -> list[Statement]:
    """Entries take their places; what the disk, which reaches to `last`, holds there and behind is gone."""
    if not entries:
        return []
    first = entries[0].index
    found: list[Statement] = [("DELETE FROM raft WHERE idx >= ?", (first,))] if first <= last else []
    for begin, end in tables.chunks(len(entries)):
        values: list[Any] = []
        for term, index, kind, data in ((entry.term, entry.index, entry.kind.value, entry.data) for entry in entries[begin:end]):
            values += (index, term, kind, data, _crc(index, term, kind, data))
        found.append((tables.many(tables.PUT_RAFT, 5, end - begin), tuple(values)))
    return found


def put_hard(state: HardState) -> Statement:
    """Term, vote and commit."""
    return _put(HARD, state)


def put_applied(index: int) -> Statement:
    """The commits up to here are in the site's log; it is part of the transaction that puts them there."""
    return _put(APPLIED, index)


def put_identity(identity: Identity) -> Statement:
    """Which disk this is."""
    return _put(IDENTITY, identity)


def put_book(book: Book) -> Statement:
    """What is known of the members."""
    return _put(BOOK, book)


def put_marks(known: Mapping[str, Mark]) -> Statement:
    """What is remembered of the others."""
    return _put(MARKS, known)


def put_set_back(why: str) -> Statement:
    """This disk was found to be an old copy: it takes part no more, whoever still knows of it."""
    return _put(SET_BACK, why)


def put_base(base: Snapshot) -> list[Statement]:
    """The log begins behind `base`; what it held before that is gone."""
    return [("DELETE FROM raft WHERE idx <= ?", (base.index,)), _put(BASE, base)]


def put_member(name: str) -> Statement:
    """Whose log this is."""
    data = name.encode()
    return tables.PUT_RAFT_STATE + "(?, ?, ?)", (tables.RAFT_MEMBER, data, value_crc(tables.RAFT_MEMBER, data))


def drop_local(base: Snapshot) -> list[Statement]:
    """Make a copy of one member's log into what any member may begin from: it ends in `base`."""
    return [("DELETE FROM raft", ()), *(("DELETE FROM raft_state WHERE key = ?", (key,)) for key in LOCAL), _put(BASE, base)]


def _put(key: str, value: object) -> Statement:
    data = msgspec.msgpack.encode(value)
    return tables.PUT_RAFT_STATE + "(?, ?, ?)", (key, data, value_crc(key, data))


def _crc(index: int, term: int, kind: str, data: bytes) -> int:
    return crc32(data, crc32(f"{index}\0{term}\0{kind}".encode()))
