"""What happened, hashed: every message, commit and effect, in order; and how often each kind of thing did (the witness)."""

import hashlib
from collections import Counter, deque
from collections.abc import Callable

from sync.commit import Commit

LAST_STEPS = 60


class Trace:
    """The record of one seed. `now_s` tells the virtual time."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._hash = hashlib.blake2b(digest_size=16)
        self._now_s = now_s
        self.last: deque[str] = deque(maxlen=LAST_STEPS)
        self.seen: Counter[str] = Counter()
        self.steps = 0
        self.is_over = False  # What tidying up does is no part of the story.

    def step(self, what: str, data: bytes = b"") -> None:
        """One thing that happened, with the bytes that tell it exactly."""
        if self.is_over:
            return
        self.steps += 1
        line = f"{self._now_s():.6f} {what} {len(data)} "
        self._hash.update(line.encode() + data)
        self.last.append(line)

    def note(self, name: str, count: int = 1) -> None:
        """A safeguard's branch was taken, a fault befell, an event was written."""
        self.seen[name] += count

    def commit(self, node: str, commit: Commit) -> None:
        """A transaction is durable. The rows' hashes cover all that they say."""
        for row in commit.rows:
            self.seen[row.kind] += 1
        first, last = (commit.rows[0].pos, commit.rows[-1].pos) if commit.rows else (0, 0)
        kinds = ",".join(row.kind for row in commit.rows[:6])
        self.step(f"{node} commits {first}..{last} {kinds}", b"".join(row.hash for row in commit.rows))

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()
