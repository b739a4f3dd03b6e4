"""What a leader knows of a follower's log, and how much it may have on its way there (etcd-io/raft, tracker/progress.go)."""

from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum


class Pace(StrEnum):
    """`probe`: one message at a time until the place where both logs agree is known; `replicate`: as fast as the window allows;
    `snapshot`: nothing until the follower has what is no longer in the log."""

    PROBE = "probe"
    REPLICATE = "replicate"
    SNAPSHOT = "snapshot"


@dataclass(slots=True)
class Progress:
    """`match`: the follower surely holds the log up to here, durably; `next`: what it is sent next."""

    match: int = 0
    next: int = 1
    pace: Pace = Pace.PROBE
    paused: bool = False  # A probe is on its way.
    snapshot: int = 0
    waits: int = 0  # Looks at the quorum since the snapshot was sent.
    recent: bool = False  # Was anything heard of it since the last look at the quorum?
    sent_commit: int = 0
    inflight: deque[tuple[int, int]] = field(default_factory=deque)  # (last index, bytes) of each message on its way.
    inflight_bytes: int = 0

    def is_full(self, messages_max: int, bytes_max: int) -> bool:
        """May nothing more be on its way?"""
        return len(self.inflight) >= messages_max or self.inflight_bytes >= bytes_max

    def probe(self) -> None:
        """Begin to look for where the logs agree."""
        self.next = max(self.match, self.snapshot) + 1 if self.pace is Pace.SNAPSHOT else self.match + 1
        self._reset(Pace.PROBE)

    def replicate(self) -> None:
        """The logs agree up to `match`."""
        self._reset(Pace.REPLICATE)
        self.next = self.match + 1

    def await_snapshot(self, index: int) -> None:
        """A snapshot up to `index` is on its way."""
        self._reset(Pace.SNAPSHOT)
        self.snapshot, self.next = index, index + 1

    def sent(self, last: int, size: int) -> None:
        """Entries up to `last` are on their way."""
        if self.pace is Pace.REPLICATE:
            self.next = last + 1
            self.inflight.append((last, size))
            self.inflight_bytes += size
        else:
            self.paused = True

    def update(self, index: int) -> bool:
        """The follower holds the log up to `index`; is that news?"""
        self.next = max(self.next, index + 1)
        if index <= self.match:
            return False
        self.match, self.paused = index, False
        while self.inflight and self.inflight[0][0] <= index:
            self.inflight_bytes -= self.inflight.popleft()[1]
        return True

    def reject(self, index: int, hint: int) -> bool:
        """The follower does not hold what lies before the entries that it was sent behind `index`. False for an old word."""
        if self.pace is Pace.REPLICATE:
            if index <= self.match:
                return False
            self.next = self.match + 1
            return True
        if self.next - 1 != index:
            return False
        self.next = max(min(index, hint + 1), self.match + 1)
        self.paused = False
        return True

    def is_paused(self, messages_max: int, bytes_max: int) -> bool:
        """Shall nothing be sent now?"""
        if self.pace is Pace.PROBE:
            return self.paused
        return self.pace is Pace.SNAPSHOT or self.is_full(messages_max, bytes_max)

    def _reset(self, pace: Pace) -> None:
        self.pace, self.paused, self.snapshot, self.waits = pace, False, 0, 0
        self.inflight.clear()
        self.inflight_bytes = 0
