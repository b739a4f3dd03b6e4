"""Which conflicts a write has brought about, as facts with both sides, and how a person brings back what lost.

They are recorded by one node alone, the cloud, which every write passes: whoever loses is on record once for each write that it
met and lost against. Where nobody loses (sums, unions) there is nothing to record.
"""

from collections.abc import Iterator

import msgspec

from sync.conflicts.events import ConflictRecorded, Side
from sync.conflicts.ids import conflict_id
from sync.merging.dots import Dot
from sync.merging.events import DocumentWritten
from sync.merging.merged import ROOT, Key, Merged
from sync.merging.rules import Evaluate

VALUE_SHOWN_CHARACTERS = 80
OVER_DELETE = "edit_over_delete"


def conflicts_of(document: str, known: Merged, dot: Dot, now_ms: int, evaluate: Evaluate | None) -> Iterator[ConflictRecorded]:
    """What the write, which has just come in, has met: against whom it loses, or who loses against it."""
    write = known.writes.get(dot)
    if write is None:
        return
    yield from _about_existence(document, known, write, now_ms)
    for name in sorted({each.name for each in write.fields if not each.part}):
        siblings = known.siblings(Key(name))
        if len(siblings) < 2 or known.rule(name).kind in ("sum", "union") or all(each.dot != dot for each in siblings):
            continue
        outcome, values = known.outcome(name, evaluate), {each.dot: each.value for each in siblings}
        if outcome.stands is None:
            continue
        losers = outcome.losers if outcome.stands == dot else tuple({dot} & {*outcome.losers})
        for loser in losers:
            sides = (known.writes[each] for each in (outcome.stands, loser))
            stands, loses = (_side(each, name, values[each.dot], known) for each in sides)
            yield _recorded(document, name, stands, loses, known.rule(name).kind, outcome.reason, now_ms)


def _about_existence(document: str, known: Merged, write: DocumentWritten, now_ms: int) -> Iterator[ConflictRecorded]:
    """Somebody has taken the document away, and somebody else has edited it: it is there."""
    heads = [each for each in known.heads if each.dot != write.dot and each.deletes != write.deletes]
    if write.dot not in {each.dot for each in known.siblings(ROOT)}:
        return
    for other in heads:
        edited, deleted = (other, write) if write.deletes else (write, other)
        stands, loses = _side(edited, "", b"", known), _side(deleted, "", b"", known)
        yield _recorded(document, "", stands, loses, OVER_DELETE, "it was edited by somebody who did not know", now_ms)


def _side(write: DocumentWritten, name: str, value: bytes, known: Merged) -> Side:
    if not name:
        what = "deleted the document" if write.deletes else "edited the document"
    elif value:
        shown = value.decode()
        what = f"wrote {name}: {shown[:VALUE_SHOWN_CHARACTERS]}{'...' if len(shown) > VALUE_SHOWN_CHARACTERS else ''}"
    else:
        what = f"took {name} away"
    if (ahead_ms := known.quarantined.get(write.dot)) is not None:
        what += f" (quarantined: its clock was {ahead_ms:,} ms ahead)"
    return Side(write.dot.writer, write.author, str(write.dot), what, value, write.at_ms)


def _recorded(document: str, name: str, stands: Side, loses: Side, rule: str, reason: str, now_ms: int) -> ConflictRecorded:
    number = conflict_id(document, name, stands.ref, loses.ref)
    return ConflictRecorded(number, "data", document, name, stands, loses, rule, "not shown", reason, now_ms)


def restoring(recorded: ConflictRecorded) -> tuple[str, bytes]:
    """The edit that brings back what lost, made by somebody who has seen both: its operation and value."""
    if not recorded.field:
        return "delete", b""
    value = msgspec.json.decode(recorded.loses.value) if recorded.loses.value else None
    return "merge", msgspec.json.encode({recorded.field: value}, order="sorted")
