"""Former versions as the API shows them."""

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from cloud.port import Problem
from sync.cut import Segment
from sync.documents.book import Change
from sync.documents.events import Changed


class VersionView(msgspec.Struct):
    """One version. `changed_at`: UTC ms, by the clock of its home. `value` is null of one that left nothing, and of one that is
    `archived`: it has left the log."""

    id: str
    version: int
    value: msgspec.Raw
    deleted: bool
    author: str
    edit: str
    changed_at: int
    archived: bool = False


class FormerView(VersionView, kw_only=True):
    """One version, asked for by its number; `latest` is the one that counts now."""

    latest: int


class VersionsPage(msgspec.Struct):
    """Versions, the newest first. `next` leads on, empty at the end; before it a page may be short. `archived`: why there is
    nothing before the last."""

    items: list[VersionView]
    next: str
    archived: str = ""


def version_view(change: Changed) -> VersionView:
    """With its value."""
    who = change.author, change.edit, change.at_ms
    return VersionView(change.document, change.version, msgspec.Raw(change.value or b"null"), not change.value, *who)


def archived_view(document: str, change: Change) -> VersionView:
    """What is known of one whose value has left the log."""
    who = change.author, change.edit, change.at_ms
    return VersionView(document, change.version, msgspec.Raw(b"null"), change.deletes, *who, archived=True)


def why_archived(segments: Sequence[Segment]) -> str:
    """What has become of the values that have left the log."""
    if not segments:
        return "it is not in this cloud's log"
    last = segments[-1]
    until = datetime.fromtimestamp(last.newest_ms / 1000, UTC).isoformat(timespec="seconds")
    where = f"archives up to {last.file}: tiercel log show-archive" if last.file else "not archived"
    return f"what was decided until {until} has left the log by its retention ({where})"


def version_archived(document: str, version: int, segments: Sequence[Segment]) -> Problem:
    """The value of a version is not kept any more."""
    detail = f"the value of version {version} of {document} is not kept any more: {why_archived(segments)}"
    return Problem(410, "version_archived", detail)
