"""Conflicts as the API shows them. Times are UTC ms."""

import msgspec

from cloud.conflicts.core import Conflicts, Known
from sync.conflicts.events import Side

LISTED_BYTES_MAX = 1_024
"""A larger value is left out of a list; the conflict alone shows it."""


class SideView(msgspec.Struct):
    """What one side did or wanted: `by` whom, at the node `at`, known there as `ref`. `value` is null where there is none, and in
    a list where it is too large for that (`bytes` says how large it is) or in the log alone (`bytes` is -1)."""

    at: str
    by: str
    ref: str
    what: str
    time: int
    value: msgspec.Raw
    bytes: int


class ResolutionView(msgspec.Struct):
    """Who has seen to it, and how. `pending`: what restores the loser is on its way to a home that has not decided."""

    how: str
    by: str
    time: int
    ref: str
    note: str
    pending: bool


class ConflictView(msgspec.Struct, omit_defaults=True):
    """Two that could not both be: `stands` does, and `loses` does not, by `rule`; `recorded_by` is the node that decided so.
    `refused`: why the loser could not be restored when somebody tried."""

    id: str
    kind: str
    state: str
    recorded_by: str
    time: int
    run: str
    subject: str
    field: str
    rule: str
    outcome: str
    reason: str
    stands: SideView
    loses: SideView
    resolution: ResolutionView | None = None
    refused: str = ""


class ConflictsView(msgspec.Struct):
    """The newest first; `next` is the cursor of the page behind, empty at the end. `open` and `kept` count all that are in the
    feed, `dropped` those that are in the log alone."""

    items: list[ConflictView]
    next: str
    open: int
    kept: int
    dropped: int


class Filter(msgspec.Struct):
    """Which conflicts: all for which everything holds that is not empty."""

    kind: str = ""
    state: str = ""
    subject: str = ""
    run: str = ""
    site: str = ""

    def fits(self, known: Known) -> bool:
        """Is it one of them? A site's are those that it recorded, and those of which it was one side."""
        said = known.conflict
        return (
            self.kind in ("", said.family)
            and self.state in ("", state_of(known))
            and self.subject in ("", said.subject)
            and self.run in ("", known.run)
            and self.site in ("", known.at, said.stands.at, said.loses.at)
        )


def state_of(known: Known) -> str:
    """open, until a person has seen to it."""
    return "open" if known.resolved is None else "resolved"


def conflicts_view(feed: Conflicts, wanted: Filter, limit: int, before: int) -> ConflictsView:
    """The newest `limit` of those that are wanted and were heard of before the number `before` (0: all)."""
    items, following = list[ConflictView](), ""
    last = 0
    for known in reversed(feed.known.values()):
        if (before and known.number >= before) or not wanted.fits(known):
            continue
        if len(items) == limit:
            following = str(last)
            break
        items.append(conflict_view(feed, known, LISTED_BYTES_MAX))
        last = known.number
    still = sum(known.resolved is None for known in feed.known.values())
    return ConflictsView(items, following, still, len(feed.known), feed.dropped)


def conflict_view(feed: Conflicts, known: Known, bytes_max: int = -1) -> ConflictView:
    """One of them; values above `bytes_max` (negative: none) are left out."""
    said, resolved = known.conflict, known.resolved
    resolution = None
    if resolved is not None:
        who = resolved.how, resolved.by, resolved.at_ms, resolved.ref, resolved.note
        resolution = ResolutionView(*who, feed.is_pending(known))
    return ConflictView(
        id=said.conflict,
        kind=said.family,
        state=state_of(known),
        recorded_by=known.at,
        time=said.at_ms,
        run=known.run,
        subject=said.subject,
        field=said.field,
        rule=said.rule,
        outcome=said.outcome,
        reason=said.reason,
        stands=_side(said.stands, known.is_short, bytes_max),
        loses=_side(said.loses, known.is_short, bytes_max),
        resolution=resolution,
        refused=known.refused,
    )


def _side(side: Side, is_short: bool, bytes_max: int) -> SideView:
    is_left_out = not side.value or 0 <= bytes_max < len(side.value)
    value = msgspec.Raw(b"null" if is_left_out else side.value)
    size = -1 if is_short else len(side.value)
    return SideView(side.at, side.by, side.ref, side.what, side.at_ms, value, size)
