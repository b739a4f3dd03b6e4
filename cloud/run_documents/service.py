"""The documents of runs, on a GlobalPlanner of the same process and loop."""

import asyncio
from typing import TYPE_CHECKING

import msgspec

from cloud.consistency.asked import Fresh
from cloud.control.service import ControlService
from cloud.documents.core import STATUS
from cloud.documents.views import DocumentView, PendingView, TermsView, terms_view
from cloud.port import Problem
from cloud.runs import Run
from cloud.service import PlannerService
from cloud.versions.service import Versions
from cloud.versions.views import FormerView, VersionsPage, version_archived, version_view
from cloud.views import CommandView
from sync.documents.ids import run_document
from sync.documents.reading import Asked
from sync.documents.terms import PLAIN, Terms
from sync.watching.unseen import Watched
from workflow.context import known_of, names_of
from workflow.context_state import RunDocument
from workflow.fragment import Fragment
from workflow.orders import ChangeContext, decode_order

if TYPE_CHECKING:
    from cloud.driver import GlobalPlanner

READ_WAIT_S = 2.0
CONTEXT = "context"
"""The verb of an order that changes a document of a run."""
CODES = {**STATUS, "run_ended": 409, "unavailable": 503}


class RunDocumentService:
    """A run's documents are at its first site. Raises Problem."""

    def __init__(self, node: "GlobalPlanner", runs: PlannerService, control: ControlService, versions: Versions) -> None:
        self._node, self._runs, self._control, self._versions = node, runs, control, versions

    async def names(self, run: str) -> list[DocumentView]:
        """All that have a value."""
        found = await self._find(run)
        names = names_of(found.fragments[0]) if found.fragments and found.fragments[0] is not None else []
        views = [self._view(found, name) for name in names if self._known(found, name).value]
        await self._node.loop.durable()
        return views

    async def get(self, run: str, name: str, asked: Asked) -> DocumentView:
        """The document inside what is asked for."""
        fresh = Fresh(asked.consistency == "strong", asked.staleness_ms, -1)
        degraded = False
        try:
            await self._runs.consistency.ensure(run, fresh)
            await self._await_version(run, name, asked.version)
        except Problem as problem:
            if problem.code != "staleness_exceeded" or not asked.degrades:
                raise
            degraded = True
        found = await self._find(run)
        pending = self._pending(run, name)
        if not self._known(found, name).value and not pending:
            raise Problem(404, "document_unknown", f"run {run} has no document {name}: its tasks put it, or PUT does")
        view = self._view(found, name)
        await self._node.loop.durable()
        return msgspec.structs.replace(view, degraded=degraded, pending=pending)

    async def changed(self, run: str, name: str) -> DocumentView:
        """The document as whoever watches it is shown it: one that is deleted, too."""
        view = self._view(await self._find(run), name)
        await self._node.loop.durable()
        return view

    async def edit(self, run: str, order: ChangeContext, wait_s: float, at_ms: int) -> DocumentView | None:
        """Ask the run's home; the document once it has decided, shown with the edit as pending if it takes longer."""
        found = await self._find(run)
        if found.outcome:
            known = self._known(found, order.name)
            if order.edit and any(said == order.edit for said, _ in known.edits):
                return self._view(found, order.name) if known.value else None
            detail = f"run {run} has ended ({found.outcome}): what it had is kept, and document {order.name} changes no more"
            raise Problem(409, "run_ended", detail)
        if not found.sites:
            raise Problem(409, "run_unplaced", f"run {run} has no home yet, and its documents begin with that: ask again")
        try:
            answered = await self._control.order(run, order, wait_s=wait_s)
        except Problem as problem:
            code, _, reason = problem.detail.partition(": ")
            if problem.code == "command_refused" and code in CODES:
                raise Problem(CODES[code], code, f"edit {order.edit or 'of ' + order.by}: {reason}") from None
            raise
        found = await self._find(run)
        if isinstance(answered, CommandView):
            pending = _pending_view(order, answered.command, at_ms)
            return msgspec.structs.replace(self._view(found, order.name), pending=[pending])
        return self._view(found, order.name) if self._known(found, order.name).value else None

    # Former versions --------------------------------------------------------------------------------------------------

    async def page(self, run: str, name: str, limit: int, cursor: str) -> VersionsPage:
        """Versions with their values, the newest first."""
        known, last, epoch = await self._place(run, name)
        return await self._versions.of_run(run_document(run, name), limit, cursor, known.version + 1, last, epoch)

    async def former(self, run: str, name: str, version: int) -> FormerView:
        """One version. Raises Problem: 404 there was none yet, 410 its value has left the log."""
        known, last, epoch = await self._place(run, name)
        document = run_document(run, name)
        if not 1 <= version <= known.version:
            raise Problem(404, "version_unknown", f"{document} has no version {version}: its versions are 1 to {known.version}")
        found = await self._versions.walk_to(document, version, last, epoch)
        if found is None:
            raise version_archived(document, version, await self._versions.segments())
        return FormerView(*msgspec.structs.astuple(version_view(found.change)), latest=known.version)

    async def _place(self, run: str, name: str) -> tuple[RunDocument, int, int]:
        found, last = await self._runs.find_with_last(run)
        await self._node.loop.durable()
        known, fragment = self._known(found, name), _fragment(found)
        if not known.version:
            raise Problem(404, "document_unknown", f"run {run} has no document {name}: its tasks put it, or PUT does")
        return known, last, fragment.epoch if fragment is not None else 0

    # Looking ----------------------------------------------------------------------------------------------------------

    async def _find(self, run: str) -> Run:
        return await self._runs.find(run)

    def _known(self, run: Run, name: str) -> RunDocument:
        fragment = _fragment(run)
        return known_of(fragment, name) if fragment is not None else RunDocument()

    async def _await_version(self, run: str, name: str, version: int) -> None:
        if version <= self._known(await self._find(run), name).version:
            return
        try:
            with self._node.feed.watch(Watched({run_document(run, name): version - 1})) as watcher:
                async with asyncio.timeout(READ_WAIT_S):
                    await watcher.next()
        except TimeoutError:
            actual = self._known(await self._find(run), name).version
            detail = f"{run_document(run, name)} has version {actual} here; asked for: version {version}"
            raise Problem(503, "staleness_exceeded", detail) from None

    def _view(self, run: Run, name: str) -> DocumentView:
        known, document = self._known(run, name), run_document(run.id, name)
        home = run.sites[0] if run.sites else ""
        terms = Terms(run.contract.level) if run.contract is not None else PLAIN
        value, who = msgspec.Raw(known.value or b"null"), (known.author, known.at_ms)
        age = self._age(run, home, known)
        link = self._node.link_view(home) if home else None
        deleted = bool(known.version) and not known.value
        shown: TermsView = terms_view(terms)
        return DocumentView(
            document, home, "replica", known.version, value, *who, [], *age, shown, link=link, degraded=False, deleted=deleted
        )

    def _pending(self, run: str, name: str) -> list[PendingView]:
        """What the cloud was asked to have changed, and the run's home has not answered, the oldest first."""
        found = []
        for intent in self._node.planner.intents.commands.values():
            if intent.run == run and intent.kind == CONTEXT and intent.state == "pending":
                order = decode_order(intent.arguments)
                if isinstance(order, ChangeContext) and order.name == name:
                    found.append(_pending_view(order, intent.id, intent.created))
        return found

    def _age(self, run: Run, home: str, known: RunDocument) -> tuple[int, int, int]:
        """`as_of`, `staleness_ms` and `versions_behind`; of what has ended nothing newer can come."""
        now_ms = self._node.loop.clock.now().wall_ms
        if run.outcome or not home:
            return max(now_ms, known.at_ms), 0, 0
        fresh = self._node.freshness(home)
        return max(fresh.as_of, known.at_ms), fresh.staleness_ms, fresh.versions_behind


def _pending_view(order: ChangeContext, command: str, at_ms: int) -> PendingView:
    expected = order.expected if order.expected >= 0 else None
    value = msgspec.Raw(msgspec.json.encode(order.value))
    return PendingView(order.edit or command, order.what, value, expected, order.by, at_ms)


def _fragment(run: Run) -> Fragment | None:
    return run.fragments[0] if run.fragments else None
