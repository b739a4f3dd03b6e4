"""The log of one node, in memory behind its last snapshot: where it ends, what is committed, durable, applied."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

from coordination.raft.values import Attest, Entry, Snapshot, Stored


@dataclass(slots=True)
class Entries:
    """Invariants: snapshot.index <= applied <= committed <= last, snapshot.index <= stable <= offered <= last; what is committed
    is never overwritten.

    `offered`: up to here entries were handed out to be written; `stable`: up to here that is known to be durable. `reach`: the
    furthest place (term, index) that was ever here and had to give way.
    """

    snapshot: Snapshot = field(default_factory=Snapshot)
    items: list[Entry] = field(default_factory=list)
    committed: int = 0
    applied: int = 0
    stable: int = 0
    offered: int = 0
    reach: tuple[int, int] = (0, 0)
    # A snapshot received and not yet durable.
    unstable_snapshot: Snapshot | None = None
    snapshot_offered: bool = False

    @classmethod
    def load(cls, stored: Stored) -> "Entries":
        """Begin from what the disk holds."""
        base = stored.snapshot
        items = [entry for entry in stored.entries if entry.index > base.index]
        for place, entry in enumerate(items, base.index + 1):
            assert entry.index == place, f"the stored log has entry {entry.index} where {place} belongs"
        last = base.index + len(items)
        applied = max(base.index, stored.applied)
        # What is applied was committed, whether that was written, too, or not.
        committed = max(applied, stored.hard_state.commit)
        assert committed <= last, f"committed to {committed}, but the stored log ends at {last}"
        return cls(base, items, committed, applied, last, last, stored.hard_state.reach)

    @property
    def last(self) -> int:
        """The last index."""
        return self.snapshot.index + len(self.items)

    @property
    def last_term(self) -> int:
        """The term of the last entry."""
        return self.items[-1].term if self.items else self.snapshot.term

    @property
    def furthest(self) -> tuple[int, int]:
        """The furthest place (term, index) that the log has ever had: what was acknowledged lies before it."""
        return max(self.reach, (self.last_term, self.last))

    def term(self, index: int) -> int | None:
        """The term at an index; None where the log does not reach, or no longer."""
        if index == self.snapshot.index:
            return self.snapshot.term
        place = index - self.snapshot.index - 1
        return self.items[place].term if 0 <= place < len(self.items) else None

    def matches(self, index: int, term: int) -> bool:
        """Does the log hold this very entry? Then all before it are the same, too (Log Matching, section 5.3)."""
        return self.term(index) == term

    def contradicts(self, index: int, term: int) -> bool:
        """Is something else committed here at this place? Of what lies before the snapshot that is not known."""
        return index <= self.committed and self.term(index) not in (None, term)

    def is_up_to_date(self, index: int, term: int) -> bool:
        """Is a log that ends there at least as complete as this one (section 5.4.1)?"""
        return term > self.last_term or (term == self.last_term and index >= self.last)

    def after(self, index: int, bytes_max: int) -> tuple[Entry, ...]:
        """Entries behind an index, at least one if there is one, at most so many bytes."""
        start = index - self.snapshot.index
        assert start >= 0, f"entries after {index} were compacted to {self.snapshot.index}"
        return tuple(self.items[start : self._reach(start, len(self.items), bytes_max)])

    def _reach(self, start: int, end: int, bytes_max: int) -> int:
        """How far so many bytes go from a place in `items`; one entry at least. What lies behind is not looked at."""
        items, size = self.items, 0
        for place in range(start, end):
            size += len(items[place].data)
            if size > bytes_max and place > start:
                return place
        return end

    def between(self, after: int, to: int) -> tuple[Entry, ...]:
        """Entries after `after`, up to and with `to`."""
        return tuple(self.items[after - self.snapshot.index : to - self.snapshot.index])

    def append(self, entries: Sequence[Entry]) -> None:
        """Put entries at their places. Those that differ from what is there replace it and all behind; equal ones stay."""
        if entries and entries[0].index == self.last + 1:
            self.items.extend(entries)
            return
        for number, entry in enumerate(entries):
            if self.term(entry.index) != entry.term:
                self._replace_from(entries[number:])
                return

    def _replace_from(self, entries: Sequence[Entry]) -> None:
        first = entries[0].index
        assert first > self.committed, f"entry {first} would be overwritten, though the log is committed to {self.committed}"
        assert first <= self.last + 1, f"entry {first} would leave a hole behind {self.last}"
        self.reach = self.furthest
        del self.items[first - self.snapshot.index - 1 :]
        self.items.extend(entries)
        self.stable = min(self.stable, first - 1)
        self.offered = min(self.offered, first - 1)

    def find_conflict(self, index: int, term: int) -> tuple[int, int]:
        """The largest place at or before `index` whose term is at most `term`: beyond it the other log cannot agree with this
        one, so whole terms are skipped at once (section 5.3, last part)."""
        base = self.snapshot
        reach = max(0, min(index, self.last) - base.index)
        # Terms never fall along a log.
        place = bisect_right(self.items, term, hi=reach, key=_term_of)
        return (base.index + place, self.items[place - 1].term) if place else (base.index, base.term)

    def commit_to(self, index: int) -> None:
        """Everything up to here is committed."""
        if index > self.committed:
            assert index <= self.last, f"commit {index} lies beyond the end of the log, {self.last}: entries were lost"
            self.committed = index

    def restore(self, snapshot: Snapshot) -> None:
        """Begin anew from a leader's snapshot."""
        assert snapshot.index > self.committed, "a snapshot never takes back what is committed"
        self.reach = self.furthest
        self.snapshot, self.items = snapshot, []
        self.committed = self.stable = self.offered = snapshot.index
        self.unstable_snapshot, self.snapshot_offered = snapshot, False

    def compact(self, snapshot: Snapshot, keep: int) -> None:
        """The application has a snapshot of its own: forget what lies before it, but for the last `keep` entries, with which a
        follower that is a little behind is served."""
        assert snapshot.index <= self.applied, f"a snapshot at {snapshot.index} of what is applied to {self.applied} only"
        cut = min(snapshot.index, max(self.snapshot.index, snapshot.index - keep))
        term = self.term(cut)
        assert term is not None, f"the log does not reach back to {cut}"
        del self.items[: cut - self.snapshot.index]
        # Its group is that of a later index, if entries are kept: nobody is sent this one, and changes that are done again end in
        # the same group.
        self.snapshot = Snapshot(cut, term, snapshot.group, b"")

    # What goes to the disk -----------------------------------------------------------------------------------------

    def unwritten(self) -> tuple[Entry, ...]:
        """What was not yet handed out to be written."""
        return self.between(self.offered, self.last)

    def attest(self, term: int) -> Attest:
        """What is durable once everything handed out until now is."""
        pending = self.unstable_snapshot
        return Attest(term, self.last, self.last_term, pending.index if pending is not None else 0)

    def settled(self, attest: Attest, term: int) -> bool:
        """What was attested is durable. A word of an earlier term may be of entries that were overwritten since, and brought
        back by yet another leader while the overwriting is still on its way to the disk (the append ABA race): it is not
        believed; a later write attests to all of it. True if it counted."""
        pending = self.unstable_snapshot
        if pending is not None and pending.index == attest.snapshot_index:
            self.unstable_snapshot = None
        if attest.term < term or not self.matches(attest.index, attest.log_term):
            return False
        self.stable = max(self.stable, attest.index)
        return True

    def applicable(self, after: int, bytes_max: int) -> tuple[Entry, ...]:
        """What is committed and durable here behind `after`, at most so many bytes, but one at least if there is one."""
        to, base = min(self.committed, self.stable), self.snapshot.index
        start = max(after, base)
        if self.unstable_snapshot is not None or to <= start:
            return ()
        return tuple(self.items[start - base : self._reach(start - base, to - base, bytes_max)])


def _term_of(entry: Entry) -> int:
    return entry.term
