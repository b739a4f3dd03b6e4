"""The settings of a node."""

import pytest

from coordination.raft.configuration import Configuration

POSITIVE = (
    *("heartbeat_ticks", "append_bytes_max", "inflight_messages_max", "inflight_bytes_max", "uncommitted_bytes_max"),
    *("apply_bytes_max", "reads_max", "stall_timeouts"),
)


@pytest.mark.parametrize("name", POSITIVE)
def test_settings_are_positive(name: str) -> None:
    """With a bound of nothing a group would stand still without a word."""
    with pytest.raises(ValueError, match="positive"):
        Configuration("a", **{name: 0})


def test_a_node_has_a_name() -> None:
    """An empty name means nobody."""
    with pytest.raises(ValueError, match="needs a name"):
        Configuration("")
