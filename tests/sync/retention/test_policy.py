"""What a policy allows, and what it says of what it does not."""

from pathlib import Path

import pytest

from sync.commit import Row
from sync.retention.policy import DAY_MS, Limits, Policy, acknowledged, ended, reader_of
from sync.values import StreamId


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"keep_days": 30.0}, "allowed: --archive-dir DIR, or --no-archive"),
        ({"keep_days": 30.0, "archive_dir": Path("a"), "no_archive": True}, "contradict each other"),
        ({"keep_days": -1.0}, "allowed: 0"),
        ({"keep_days": float("nan")}, "allowed: 0"),
        ({"reseed_after_days": -1.0}, r"--reseed-after-days: -1; allowed: 0 \(never\)"),
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


NOW_MS = 100 * DAY_MS


def aged(stream: str, days: float) -> Row:
    """An event that was written so many days ago."""
    return Row(1, StreamId(stream), 7, 0, "Noted", "", (NOW_MS - int(days * DAY_MS)) << 16, b"", b"", 0)


def limits(node: str, reseed_after_days: float) -> Limits:
    policy = Policy(1.0, no_archive=True, reseed_after_days=reseed_after_days)
    gone = ended(map(StreamId, ("cloud>pier@1", "cloud>pier@2", "cloud>harbour@1", "harbour@1")))
    return Limits(node, policy.horizon_ms(NOW_MS), 99, {}, policy.unread_ms(NOW_MS), gone)


@pytest.mark.parametrize(
    ("stream", "days", "reseed_after_days", "held_by"),
    [
        ("cloud>harbour@1", 29.0, 30.0, "harbour has not acknowledged event 7 of stream cloud>harbour@1"),
        ("cloud>harbour@1", 31.0, 30.0, ""),
        ("cloud>harbour@1", 31.0, 0.0, "harbour has not acknowledged event 7 of stream cloud>harbour@1"),
        ("cloud>harbour@1", 0.5, 0.1, "age"),
        ("cloud>pier@1", 2.0, 30.0, ""),
        ("cloud>pier@2", 2.0, 30.0, "pier has not acknowledged event 7 of stream cloud>pier@2"),
    ],
)
def test_what_waits_for_a_site_waits_so_long(stream: str, days: float, reseed_after_days: float, held_by: str) -> None:
    """Then the site is told anew what holds; of an incarnation that has ended nothing waits, and without a limit all does."""
    assert limits("cloud", reseed_after_days).reach([aged(stream, days)]) == (0 if held_by else 1, held_by)


def test_what_a_site_wrote_waits_for_the_cloud_for_ever() -> None:
    """It is nowhere else."""
    assert limits("harbour", 30.0).reach([aged("harbour@1", 99.0)])[0] == 0
