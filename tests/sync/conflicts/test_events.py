"""Conflicts as facts."""

from sync.conflicts.events import ConflictRecorded, ConflictResolved, Side
from sync.conflicts.ids import conflict_id
from workflow import conflict_events as _codec  # noqa: F401 (makes the events known)
from workflow.events import decode, encode


def test_the_same_two_have_one_id_in_either_order() -> None:
    """Two nodes that meet the same two sides record the same conflict."""
    assert conflict_id("shared/x", "speed", "harbour:1", "mine:2") == conflict_id("shared/x", "speed", "mine:2", "harbour:1")
    assert conflict_id("shared/x", "speed", "a", "b") != conflict_id("shared/x", "", "a", "b")


def test_what_is_recorded_comes_back_from_the_log() -> None:
    """Both sides, rule, outcome and reason survive the codec."""
    stands, loses = Side("cloud", "ann", "e-1", "put", b"1", 5), Side("harbour", "ben", "e-2", "put", b"2", 4)
    recorded = ConflictRecorded("k-1", "data", "shared/x", "", stands, loses, "lww", "overwritten", "ann wrote later", 6)
    resolved = ConflictResolved("k-1", "restored", "ann", 7, "e-3")
    assert decode("ConflictRecorded", encode(recorded)) == recorded
    assert decode("ConflictResolved", encode(resolved)) == resolved
