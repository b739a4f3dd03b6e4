"""Former versions of documents, on a GlobalPlanner of the same process and loop. Answers are of what is durable."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import msgspec

from cloud.port import Problem
from cloud.problems import of_parameters
from cloud.versions.seeking import Found, find, walk
from cloud.versions.views import (
    FormerView,
    VersionsPage,
    VersionView,
    archived_view,
    version_archived,
    version_view,
    why_archived,
)
from sync.cut import Segment
from sync.documents.book import Change, Document
from sync.log_reader import LogReader

if TYPE_CHECKING:
    from cloud.driver import GlobalPlanner

LIMIT_MAX = 100
PAGE_BYTES_MAX = 4 << 20
"""Of values in one answer, which has one version at least."""
WALKS_MAX = 20
"""Queries for one version that is older than all whose time is known."""
T = TypeVar("T")


class Versions:
    """Each request does a bounded amount of work; a page may be short, or empty, before the end: none is left out."""

    def __init__(self, node: "GlobalPlanner") -> None:
        self._node = node

    async def former(self, document: str, version: int) -> FormerView:
        """The version. Raises Problem: 404 there was none yet, 410 its value has left the log."""
        known = await self._known(document)
        if not 1 <= version <= known.version:
            detail = f"{document} has no version {version}: its versions are 1 to {known.version}"
            raise Problem(404, "version_unknown", detail)
        change = next((each for each in known.history if each.version == version), None)
        found = await self._find(document, change) if change is not None else await self._walk_to(document, known, version)
        if found is None:
            raise version_archived(document, version, await self.segments())
        return FormerView(*msgspec.structs.astuple(version_view(found.change)), latest=known.version)

    async def page(self, document: str, limit: int, cursor: str) -> VersionsPage:
        """Versions with their values, the newest first, from the one before `cursor` on."""
        known = await self._known(document)
        below, last, _ = _cursor(cursor, known.version + 1)
        if last:
            return await self._older(document, below, last, limit, 0)
        items, size, found = list[VersionView](), 0, None
        wanted = [each for each in reversed(known.history) if each.version < below]
        for change in wanted:
            if len(items) == limit or size > PAGE_BYTES_MAX:
                return VersionsPage(items, f"{items[-1].version}")
            found = await self._find(document, change)
            items.append(version_view(found.change) if found is not None else archived_view(document, change))
            size += len(found.change.value) if found is not None else 0
        if not items or items[-1].version == 1:
            return VersionsPage(items, "")
        if found is None or not found.row.prev:
            return VersionsPage(items, "", why_archived(await self.segments()))
        return VersionsPage(items, f"{items[-1].version}.{found.row.prev}")

    async def of_run(self, document: str, limit: int, cursor: str, below: int, last: int, epoch: int) -> VersionsPage:
        """The same of a document of a run, back from the run's event at place `last`, when its home had this epoch."""
        if cursor:
            below, last, epoch = _cursor(cursor, below)
        return await self._older(document, below, last, limit, epoch)

    async def _older(self, document: str, below: int, last: int, limit: int, epoch: int) -> VersionsPage:
        walked = await self._read(lambda reader: walk(reader, document, below, last, limit, epoch))
        items = [version_view(found.change) for found in walked.found]
        reached = items[-1].version if items else below
        if reached == 1 or not walked.on:
            why = why_archived(await self.segments()) if walked.is_cut and reached > 1 else ""
            return VersionsPage(items, "", why)
        return VersionsPage(items, f"{reached}.{walked.on}.{walked.epoch}")

    def check_kept(self, document: str) -> None:
        """Of a document of several writers no version is the only one, and none is kept. Raises Problem (422)."""
        if self._node.planner.merging.book.get(document) is not None:
            detail = "former versions of such documents are not kept: only what it is now can be read"
            raise Problem(422, "versions_not_kept", f"{document} has several writers, and {detail}")

    async def _known(self, document: str) -> Document:
        self.check_kept(document)
        known = self._node.planner.documents.book.get(document)
        await self._node.loop.durable()
        if not known.version:
            raise Problem(404, "document_unknown", f"there is no document {document}: PUT creates it")
        return known

    async def _find(self, document: str, change: Change) -> Found | None:
        return await self._read(lambda reader: find(reader, document, change.version, change.at_ms))

    async def _walk_to(self, document: str, known: Document, version: int) -> Found | None:
        """Back from the oldest version whose time is known."""
        oldest = await self._find(document, known.history[0]) if known.history else None
        return await self.walk_to(document, version, oldest.row.prev if oldest is not None else 0)

    async def walk_to(self, document: str, version: int, last: int, epoch: int = 0) -> Found | None:
        """The version, back from place `last`; None if it has left the log."""
        for _ in range(WALKS_MAX):
            if not last:
                return None
            walked = await self._read(partial(walk, document=document, below=version + 1, last=last, limit=1, epoch=epoch))
            if walked.found:
                return walked.found[0] if walked.found[0].change.version == version else None
            last, epoch = walked.on, walked.epoch
        there = f"GET /api/v1/document-history/{document}?values=true"
        detail = f"version {version} of {document} lies too far back to be looked for: {there} leads there"
        raise Problem(422, "version_too_far", detail)

    async def segments(self) -> list[Segment]:
        """What has left the log."""
        return await self._read(LogReader.segments)

    async def _read(self, query: Callable[[LogReader], T]) -> T:
        return await asyncio.wrap_future(self._node.log.read(query))


def _cursor(cursor: str, beginning: int) -> tuple[int, int, int]:
    """Versions below which one; from which place in the log on, if their times are not known; and of a run, the epoch there."""
    if not cursor:
        return beginning, 0, 0
    parts = cursor.split(".") if len(cursor) <= 60 and cursor.isascii() else []
    if not 1 <= len(parts) <= 3 or not all(part.isdecimal() for part in parts):
        raise of_parameters([("cursor", f"{cursor[:40]!r} is none; allowed: the next of a page before")])
    below, last, epoch = [*map(int, parts), 0, 0][:3]
    return below, last, epoch
