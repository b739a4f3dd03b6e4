"""What a policy allows, and what it says of what it does not."""

from pathlib import Path

import pytest

from sync.retention.policy import Policy, acknowledged, reader_of
from sync.values import StreamId


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"keep_days": 30.0}, "allowed: --archive-dir DIR, or --no-archive"),
        ({"keep_days": 30.0, "archive_dir": Path("a"), "no_archive": True}, "contradict each other"),
        ({"keep_days": -1.0}, "allowed: 0"),
        ({"keep_days": float("nan")}, "allowed: 0"),
    ],
)
def test_a_policy_must_say_where_events_go(settings: dict[str, object], says: str) -> None:
    """Nothing is cut silently: a policy without an archive says so in so many words."""
    with pytest.raises(ValueError, match=says):
        Policy(**settings)  # type: ignore[arg-type]


def test_the_default_keeps_everything() -> None:
    """Who configures nothing loses nothing."""
    assert not Policy().cuts


@pytest.mark.parametrize(
    ("stream", "node", "reader"),
    [
        ("harbour@1", "harbour", "cloud"),
        ("cloud>harbour@1", "harbour", ""),
        ("cloud>harbour@1", "cloud", "harbour"),
        ("harbour@1", "cloud", ""),
        ("cloud@1", "cloud", ""),
    ],
)
def test_who_must_hold_what_we_cut(stream: str, node: str, reader: str) -> None:
    """What we wrote, its reader; what a peer wrote, the peer has."""
    assert reader_of(StreamId(stream), node) == reader


def test_only_the_reader_of_a_stream_acknowledges_it() -> None:
    """What others say of it does not count."""
    positions = {("harbour", "cloud>harbour@1"): 7, ("pier", "cloud>harbour@1"): 9, ("cloud", "harbour@1"): 5}
    assert acknowledged(positions, "cloud") == {"cloud>harbour@1": 7}
