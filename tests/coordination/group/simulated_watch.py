"""What must hold of a group's disks whenever one of them takes something, and of who leads (paper, figure 3)."""

from zlib import crc32

from tests.coordination.group.simulated_log import Written


class Broken(AssertionError):
    """A guarantee does not hold."""


class Watch:
    """Election Safety, by what leaders say. Log Matching, place by place: an entry that is durable anywhere at (term, index) is
    the same everywhere, and so is the term before it. State Machine Safety: all have the same event at a place of the site's
    log."""

    def __init__(self) -> None:
        self.broken: list[str] = []
        self._leaders: dict[int, str] = {}
        self._places: dict[tuple[int, int], tuple[int, int]] = {}
        self._events: dict[int, bytes] = {}

    def leads(self, member: str, term: int) -> None:
        """A member says what only the leader of a term says."""
        if self._leaders.setdefault(term, member) != member:
            self.broken.append(f"election safety: {self._leaders[term]} and {member} both lead term {term}")

    def wrote(self, member: str, what: Written) -> None:
        """Something is durable at a member."""
        for index, term, before, data in what.places:
            here = (crc32(data), before)
            known = self._places.setdefault((term, index), here)
            if known[0] != here[0] or (known[1] != before and known[1] and before):
                self.broken.append(
                    f"log matching: entry {term}/{index} of {member}, behind term {before}, is another one elsewhere"
                )
            elif before and not known[1]:
                self._places[term, index] = here
        for row in what.rows:
            if self._events.setdefault(row.pos, row.hash) != row.hash:
                self.broken.append(f"state machine safety: {member} has another event at {row.pos}")
