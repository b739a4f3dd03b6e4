"""What a site cannot be certain of after it has lost events: how far the attempts that were live in the last of them had gone."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

Attempt = tuple[str, int, int]


@dataclass(slots=True)
class Doubts:
    """The attempts (run, task, number) that were live when the site folded its fetched-back events.

    The cloud gives back what it had received; what the site had written after that is gone. So an attempt that is live by what
    came back may have ended, and its agent may have been told to forget it: that the agent lacks it does not prove that it never
    arrived.
    """

    # Our stream had lost its events up to here, and up to here doubts have been cast for good.
    lost_to: int = 0
    cast_to: int = 0
    attempts: frozenset[Attempt] = field(default_factory=frozenset)

    @classmethod
    def load(cls, lost_to: int, saved: bytes) -> "Doubts":
        """Begin from what the log keeps beside its events."""
        return cls(lost_to, *_SAVED.decode(saved)) if saved else cls(lost_to)

    def cast(self, live: Iterable[Attempt]) -> None:
        """Everything live is doubted, if events came back since doubts were cast for good."""
        if self.lost_to > self.cast_to:
            self.attempts = frozenset(live)

    def settle(self) -> bool:
        """All has come back, and what is begun from now on is known. False if that is no news."""
        news = self.lost_to > self.cast_to
        self.cast_to = max(self.cast_to, self.lost_to)
        return news

    def save(self) -> bytes:
        """What `load` reads."""
        return msgspec.msgpack.encode((self.cast_to, sorted(self.attempts)))


_SAVED = msgspec.msgpack.Decoder(tuple[int, frozenset[Attempt]])
