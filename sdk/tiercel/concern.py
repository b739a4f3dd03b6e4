"""What an agent talks about with its site beside work and results: each concern is an object of its own.

`Runtime` makes them, `Session` brings them the kinds of messages that they hear, and they answer through the `Outbox`.
"""

from collections.abc import Callable, Mapping
from typing import Any

Hear = Callable[[Any], None]


class Concern:
    """A concern that does nothing. It must not block: what it hears is handled in the agent's loop."""

    def features(self) -> tuple[str, ...]:
        """What the agent's Register says that it speaks, for this concern."""
        return ()

    def hears(self) -> Mapping[str, Hear]:
        """By the kind of an EdgeMessage, the name of its field in the `oneof`: who takes it."""
        return {}

    def opened(self) -> None:
        """A session has begun. What was told in the one before is over, unless it is told again."""

    def renewed(self, acknowledged: Any, sent_s: float) -> None:
        """The site has acknowledged a heartbeat (HeartbeatAck) that was sent at this moment."""

    def lost(self) -> None:
        """A session has ended, or could not begin. The next one is tried for."""

    def close(self) -> None:
        """The agent stops."""
