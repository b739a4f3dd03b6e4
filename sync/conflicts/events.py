"""What is recorded of conflicts, as facts of the node that has decided which side stands."""

from typing import Literal

import msgspec

from sync.event import Event

Kind = Literal["data", "outcome", "order", "home"]
"""data: values of documents; outcome: what agents did; order: what people asked for; home: decisions of an earlier home."""
KINDS: tuple[Kind, ...] = ("data", "outcome", "order", "home")


class Side(msgspec.Struct, array_like=True, frozen=True):
    """What one of two wanted or did: `by` whom, at the node `at`, known there as `ref` (an edit, an order, an attempt, a dot).
    `what` says it in words; `value` is canonical JSON, empty if there is none; `at_ms` is UTC by the clock of `at`."""

    at: str
    by: str
    ref: str
    what: str
    value: bytes = b""
    at_ms: int = 0


class ConflictRecorded(Event, frozen=True):
    """`stands` and `loses` could not both be. `subject` is a document's id or a task's name (the run is the envelope's), `field`
    the place in it, empty: all of it. `outcome` says what became of it in a word or two, `reason` why, for a person. The same two
    always give the same id (`conflict_id`), so whoever hears of it twice knows it once."""

    conflict: str
    family: Kind
    subject: str
    field: str
    stands: Side
    loses: Side
    rule: str
    outcome: str
    reason: str
    at_ms: int


class ConflictResolved(Event, frozen=True):
    """A person has seen to it: the loser was `restored` by the edit or order named `ref`, or it was `accepted` that it lost."""

    conflict: str
    how: Literal["restored", "accepted"]
    by: str
    at_ms: int
    ref: str = ""
    note: str = ""


EVENTS = (ConflictRecorded, ConflictResolved)
