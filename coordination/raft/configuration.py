"""The settings of a node of a group."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Configuration:
    """Times in ticks, sizes in bytes. An election begins `election_ticks` to twice that after the leader was last heard; the
    usual ratio to `heartbeat_ticks` is ten. `stall_timeouts`: a leader whose disk has taken nothing for so many election timeouts
    steps down."""

    node: str
    election_ticks: int = 10
    heartbeat_ticks: int = 1
    append_bytes_max: int = 1 << 20
    inflight_messages_max: int = 256
    inflight_bytes_max: int = 16 << 20
    uncommitted_bytes_max: int = 64 << 20
    apply_bytes_max: int = 1 << 20
    reads_max: int = 4_096
    stall_timeouts: int = 2

    def __post_init__(self) -> None:
        if not self.node:
            raise ValueError("a node of a group needs a name")
        if self.election_ticks <= self.heartbeat_ticks:
            raise ValueError(
                f"election_ticks ({self.election_ticks}) must be larger than heartbeat_ticks ({self.heartbeat_ticks})"
            )
        positive = (self.heartbeat_ticks, self.append_bytes_max, self.inflight_messages_max, self.inflight_bytes_max)
        if min(*positive, self.uncommitted_bytes_max, self.apply_bytes_max, self.reads_max, self.stall_timeouts) < 1:
            raise ValueError("settings of a group are positive numbers")
