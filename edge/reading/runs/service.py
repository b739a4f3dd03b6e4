"""Reads of the documents of runs. The home's word counts; after the end it is in the run's tombstone."""

import asyncio
from typing import Protocol

from edge.run_documents import ReadRunDocument, shown_of_run
from sync.actors import Loop
from sync.documents.ids import run_of
from sync.documents.reading import Asked, Bounds, Shown, StalenessExceeded, Unavailable
from sync.ports.log import NodeLog
from sync.values import RunId
from workflow.fragment import Fragment
from workflow.plan import Plan
from workflow.saved import load_saved


class Site(Protocol):
    """What these reads need of the node."""

    loop: Loop
    log: NodeLog

    @property
    def plans(self) -> dict[str, Plan]: ...


class RunReads:
    """Of one EdgeNode."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def get(self, document: str, asked: Asked, wait_s: float) -> Shown:
        """The document. Raises Unavailable without the run, or a strong one without the cloud; StalenessExceeded."""
        try:
            async with asyncio.timeout(wait_s):
                shown = await self._site.loop.ask(lambda token: ReadRunDocument(token, document))
        except TimeoutError:
            raise Unavailable(f"{document} is strong: not confirmed by the cloud within {wait_s:g} s") from None
        found = shown if isinstance(shown, Shown) else await self._after_the_end(document)
        if found.version < asked.version:
            bounds = Bounds(strong=False, staleness_ms=-1, versions=-1, version=asked.version)
            if not asked.degrades:
                raise StalenessExceeded(found, bounds, f"it has version {found.version} at its home")
            found = found._replace(degraded=True)
        return found

    async def _after_the_end(self, document: str) -> Shown:
        run, name = run_of(document)
        kept = await asyncio.wrap_future(self._site.log.read(lambda reader: reader.snapshot(run)))
        if kept is None or not kept.ended:
            raise Unavailable(f"run {run} has no home here, so {document} is not kept here: ask the cloud")
        saved = load_saved(kept.body)
        fragment = Fragment.restore(RunId(run), self._site.plans[saved.definition], saved)
        return shown_of_run(fragment, name, "home", self._site.loop.clock.now().wall_ms)
