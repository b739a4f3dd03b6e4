"""How much to put on the wire at once: nothing overtakes what was written, so on a slow link a batch must be small. Pure."""

from dataclasses import dataclass

from sync.replication import BATCH_BYTES_MAX

BATCH_BYTES_MIN = 32 << 10
SLOW_S, QUICK_S = 0.25, 0.1
DEFLATE_FROM_S = 0.005
"""Events are deflated where a round trip takes at least this: on the same machine or wire it costs more than it saves."""
DEFLATE_BYTES_MIN = 1_200
"""What fits into one packet arrives no sooner if it is smaller."""


@dataclass(slots=True)
class Pace:
    """`batch_bytes` halves when the connection took long to take a batch, and doubles again when it is quick."""

    batch_bytes: int = BATCH_BYTES_MAX

    def wrote(self, taken_s: float) -> None:
        """A batch was written."""
        if taken_s > SLOW_S:
            self.batch_bytes = max(BATCH_BYTES_MIN, self.batch_bytes // 2)
        elif taken_s < QUICK_S:
            self.batch_bytes = min(BATCH_BYTES_MAX, self.batch_bytes * 2)
