"""Conflicts in a seed's story: people at the cloud and at the sites edit the same documents while everything breaks, some over
the version that they have seen and some over any. Whatever loses by that is on record with its value, and in the cloud's feed.
"""

import asyncio
from random import Random
from typing import Any

from sync.commit import Row
from sync.conflicts.events import ConflictRecorded
from sync.documents.book import ANY_VERSION
from sync.documents.events import DocumentChanged, EditProposed, EditRefused
from sync.documents.ids import home_of
from sync.documents.terms import Terms
from tests.sim.documents import LOOSE, DocumentWorld
from tests.sim.oracle import Broke
from tests.sim.plan import DURATION_S
from tests.sim.process import Process
from workflow.event import Event
from workflow.events import decode

UNSEEN = "nothing loses unseen"
KINDS = {event.kind for event in (ConflictRecorded, DocumentChanged, EditProposed, EditRefused)}


class ConflictWorld(DocumentWorld):
    """The story of any plan, with documents that several write to at once."""

    async def _story(self) -> None:
        writers = [asyncio.ensure_future(self._write(name)) for name in ("cloud", *self.sites)]
        try:
            await super()._story()
        finally:
            for writer in writers:
                writer.cancel()

    async def _write(self, where: str) -> None:
        chance = Random(f"{self.plan.seed}/conflicts/{where}")
        process: Process = self.cloud if where == "cloud" else self.sites[where]
        await asyncio.sleep(8.0)
        while self.loop.now_s < DURATION_S:
            await asyncio.sleep(chance.uniform(1.0, 8.0))
            document = chance.choice([name for name in LOOSE if home_of(name) in ("cloud", where) or where == "cloud"])
            is_careful = chance.random() < 0.5
            if process.serving:
                node: Any = process.node  # type: ignore[attr-defined]
                book = node.planner.documents.book if where == "cloud" else node.book
                expected = book.get(document).version if is_careful else ANY_VERSION
                await self._put(where, process, document, expected, Terms())

    async def _check_documents(self) -> None:
        await super()._check_documents()
        rows = {"cloud": self.cloud.platter.rows} | {name: site.platter.rows for name, site in self.sites.items()}
        told = {name: [(row, decode(row.kind, row.payload)) for row in held if row.kind in KINDS] for name, held in rows.items()}
        recorded = check_losers(told)
        for conflict in recorded:
            self.trace.note(f"conflict_{conflict.rule}")
        known = self.cloud.node.planner.conflicts.known
        if lacking := {conflict.conflict for conflict in recorded} - set(known):
            raise Broke(UNSEEN, f"the feed lacks {sorted(lacking)}")


def check_losers(told: dict[str, list[tuple[Row, Event]]]) -> list[ConflictRecorded]:
    """What each node tells, in its order. Every edit made away from its document's home became a version or the loser of a
    conflict; so did every version that somebody overwrote who had seen an older one. Gives the conflicts."""
    proposed = {event.edit: event for held in told.values() for _, event in held if isinstance(event, EditProposed)}
    before_it, recorded = own_edits_before(told), list[ConflictRecorded]()
    for name, held in told.items():
        own = [event for row, event in held if row.stream.partition("@")[0] == name]
        conflicts = [event for event in own if isinstance(event, ConflictRecorded)]
        lost = {(event.loses.ref, event.loses.value) for event in conflicts}
        latest = dict[str, DocumentChanged]()
        for event in own:
            if isinstance(event, EditRefused) and (edit := proposed.get(event.edit)) is not None:
                if home_of(event.document) == name and (edit.edit, edit.value) not in lost:
                    raise Broke(UNSEEN, f"{edit} was refused at {name}")
            elif isinstance(event, DocumentChanged) and home_of(event.document) == name:
                before, edit = latest.get(event.document), proposed.get(event.edit)
                is_unseen = before is not None and edit is not None and 0 <= edit.base < before.version
                is_own = before is not None and before.edit == before_it.get(event.edit)
                if is_unseen and not is_own and before.value != event.value and (before.edit, before.value) not in lost:  # type: ignore[union-attr]
                    raise Broke(UNSEEN, f"{before} was overwritten at {name} by {edit}")
                latest[event.document] = event
        recorded += conflicts
    return recorded


def own_edits_before(told: dict[str, list[tuple[Row, Event]]]) -> dict[str, str]:
    """Of each edit that was made away from its home, the one before it that the same node made of the document."""
    before, latest = dict[str, str](), dict[tuple[str, str], str]()
    for name, held in told.items():
        for row, event in held:
            if isinstance(event, EditProposed) and row.stream.partition("@")[0] == name:
                before[event.edit] = latest.get((name, event.document), "")
                latest[(name, event.document)] = event.edit
    return before
