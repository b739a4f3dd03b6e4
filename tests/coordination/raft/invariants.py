"""What must hold after every step (paper, figure 3), and what makes a group of use."""

from dataclasses import dataclass, field

from coordination.raft.values import Entry, Role
from tests.coordination.raft.box import Box


class Broken(AssertionError):
    """A guarantee does not hold; the message says which."""


@dataclass
class Watch:
    """Looks at a node after each of its steps, at the cost of what is new there.

    Log Matching is checked place by place: every entry anybody ever had at (term, index) is the same, and so is the term before
    it. By induction two logs that share an entry are then the same up to there. `chosen` has, by index, what is committed, and
    the term of the leader that committed it.
    """

    leaders: dict[int, str] = field(default_factory=dict)
    chosen: dict[int, tuple[Entry, int]] = field(default_factory=dict)
    places: dict[tuple[int, int], tuple[Entry, int]] = field(default_factory=dict)
    leading: dict[str, Box] = field(default_factory=dict)
    committed: int = 1
    committed_at: int = 0

    def look(self, box: Box, now: int) -> None:
        """Raises Broken."""
        raft = box.raft
        entries = raft.entries
        last = entries.snapshot.index + len(entries.items)
        if last != box.checked:
            self._check_log(box, last)
        if raft.role is Role.LEADER:
            if self.leaders.get(raft.term) != box.name:
                self._begins(box)
        elif box.name in self.leading:
            del self.leading[box.name]
        if entries.committed > box.seen_committed:
            self._check_committed(box, now)

    def _check_log(self, box: Box, last: int) -> None:
        entries = box.raft.entries
        start = max(entries.snapshot.index, min(box.checked, last))
        term = entries.term(start)
        assert term is not None
        for entry in entries.between(start, last):
            known = self.places.setdefault((entry.term, entry.index), (entry, term))
            if known[1] != term or (known[0] is not entry and known[0] != entry):
                there = f"{known[0]} after {known[1]}"
                raise Broken(f"log matching: {box.name} has {entry} after term {term}; elsewhere it is {there}")
            term = entry.term
        box.checked = last

    def _begins(self, box: Box) -> None:
        term = box.raft.term
        if term in self.leaders:
            raise Broken(f"election safety: {self.leaders[term]} and {box.name} both lead term {term}")
        self.leaders[term] = box.name
        self.leading[box.name] = box
        for entry, committed_in in self.chosen.values():
            if committed_in < term:
                self._check_complete(box, entry)

    def _check_complete(self, box: Box, entry: Entry) -> None:
        entries = box.raft.entries
        if entry.index > entries.snapshot.index and not entries.matches(entry.index, entry.term):
            raise Broken(f"leader completeness: {box.name} leads term {box.raft.term} without entry {entry.term}/{entry.index}")

    def _check_committed(self, box: Box, now: int) -> None:
        raft, entries = box.raft, box.raft.entries
        start = max(box.seen_committed, entries.snapshot.index)
        base = self.chosen.get(entries.snapshot.index)
        if base is not None and base[0].term != entries.snapshot.term:
            raise Broken(f"state machine safety: {box.name} has a snapshot of another history at {base[0].index}")
        for entry in entries.between(start, entries.committed):
            known = self.chosen.get(entry.index)
            if known is None:
                self._choose(box, entry, raft.term, now)
            elif known[0] is not entry and known[0] != entry:
                raise Broken(f"state machine safety: {box.name} commits {entry} where {known[0]} is committed")
        box.seen_committed = entries.committed

    def _choose(self, box: Box, entry: Entry, term: int, now: int) -> None:
        self.chosen[entry.index] = (entry, term)
        self.committed, self.committed_at = max(self.committed, entry.index), now
        for other in self.leading.values():
            if other.raft.term > term:
                self._check_complete(other, entry)

    def applies(self, box: Box, entry: Entry) -> None:
        """State Machine Safety: nobody applies another entry at this place."""
        known = self.chosen.get(entry.index)
        if known is None or known[0] != entry:
            raise Broken(f"state machine safety: {box.name} applies {entry} where {known and known[0]} is committed")

    def starts(self, box: Box) -> None:
        """A node comes back from its disk: what it has applied is what is committed there."""
        entries = box.raft.entries
        box.checked, box.seen_committed = entries.snapshot.index, entries.snapshot.index
        self.leading.pop(box.name, None)
        known = self.chosen.get(entries.applied)
        if known is not None and not entries.matches(entries.applied, known[0].term):
            raise Broken(f"state machine safety: {box.name} comes back with another entry at {entries.applied}")

    def bounded(self, box: Box) -> None:
        """What a leader has taken up, and what it has under way to each peer, is bounded."""
        raft, leading, settings = box.raft, box.raft.leading, box.raft.configuration
        waiting = raft.entries.between(max(raft.entries.committed, leading.first_own - 1), raft.entries.last)
        size = sum([len(entry.data) for entry in waiting])
        if size > max(settings.uncommitted_bytes_max, max((len(entry.data) for entry in waiting), default=0)):
            raise Broken(f"bounds: {size} bytes wait for a majority at {box.name}")
        for peer, progress in leading.progress.items():
            if len(progress.inflight) > settings.inflight_messages_max:
                raise Broken(f"bounds: {len(progress.inflight)} messages are under way from {box.name} to {peer}")
        if len(leading.reads.asked) + len(leading.reads.early) > settings.reads_max:
            raise Broken(f"bounds: {len(leading.reads.asked)} reads wait at {box.name}")
