"""Retention as the API shows it. Times are UTC ms, 0 where there is none."""

import msgspec

from sync.cut import Segment


class SegmentView(msgspec.Struct):
    """What was cut at once: positions `first` to `last` of the log. `file` is its archive, empty if there is none."""

    first: int
    last: int
    events: int
    bytes: int
    oldest: int
    newest: int
    cut: int
    file: str


class PassView(msgspec.Struct):
    """The last pass: what left, and what holds back what comes next: `age`, `floor` (no snapshot covers it yet), or who has not
    acknowledged what. `problem`: why it stopped."""

    at: int
    segments: int
    events: int
    held_by: str
    blobs: int
    blob_bytes: int
    problem: str


class RetentionView(msgspec.Struct):
    """The policy, what the log holds, and what has left it: the last 100 segments, the newest first. `will_be_reseeded`: sites
    that lack what was cut, and are told anew what holds when they are back."""

    keep_ended_days: float
    archive_dir: str
    no_archive: bool
    events: int
    bytes: int
    oldest: int
    cut: int
    floor: int
    running: bool
    last: PassView | None
    segments: list[SegmentView]
    reseed_after_days: float = 0.0
    will_be_reseeded: list[str] = []


def segment_view(segment: Segment) -> SegmentView:
    """A segment as the log notes it."""
    return SegmentView(*segment)
