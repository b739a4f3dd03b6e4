"""Documents over HTTP: GET, PUT, PATCH, DELETE /api/v1/documents/{id}, and the list of them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import msgspec
from fastapi import APIRouter, Query, Request, Response

from cloud.api import answer
from cloud.bodies.api import body_of
from cloud.consistency.asked import Fresh
from cloud.consistency.requests import fresh
from cloud.documents.core import refusal
from cloud.documents.terms import terms_asked
from cloud.documents.views import DocumentView, document_view, exists, history_view
from cloud.merging.asked import context_asked
from cloud.port import Problem
from cloud.problems import of_parameters
from cloud.requests import wait_s
from cloud.versions.service import LIMIT_MAX, Versions
from cloud.watching.api import has_changed
from cloud.watching.asked import version_asked
from sync.documents.book import ANY_VERSION, VALUE_BYTES_MAX
from sync.documents.events import EditRefused
from sync.documents.ids import CLOUD, home_of, id_problem
from sync.documents.inputs import EditDocument
from sync.documents.reading import Asked, Shown, StalenessExceeded

if TYPE_CHECKING:
    from cloud.driver import GlobalPlanner

EDIT_CHARACTERS_MAX = 200
PATCHES = {
    "application/merge-patch+json": "merge",
    "application/vnd.tiercel.operations+json": "operations",
    "application/json": "merge",
}
Limit = Annotated[int, Query(ge=1, le=LIMIT_MAX)]


class Endpoints:
    """What the document's home has not decided in time is answered with 202: the edit is on its way, and shown as pending."""

    def __init__(self, node: "GlobalPlanner") -> None:
        self._node, self._versions = node, Versions(node)

    async def list(self, prefix: str = "") -> Response:
        await self._node.loop.durable()
        documents, merging = self._node.planner.documents, self._node.planner.merging.book
        names = {*documents.book.documents, *(edit.document for edit in documents.book.pending.values())}
        found = [name for name in names if name.startswith(prefix) and exists(documents, name)]
        found += [name for name, known in merging.documents.items() if name.startswith(prefix) and known.terms and known.exists]
        return answer({"items": [self._view(self._node.documents.look(name)) for name in sorted(found)]})

    async def get(self, document: str, request: Request) -> Response:
        if "watch" in request.query_params:
            return await self._watch(checked_id(document), request.query_params)
        if (version := request.query_params.get("version")) is not None:
            return answer(await self._versions.former(checked_id(document), version_asked("version", version)))
        try:
            shown = await self._node.documents.get(checked_id(document), read_asked(request.query_params))
        except StalenessExceeded as exceeded:
            known = self._node.freshness(home_of(document))
            line = f"as_of {known.as_of}, staleness_ms {known.staleness_ms}, versions_behind {exceeded.shown.versions_behind}"
            raise Problem(503, "staleness_exceeded", str(exceeded), [line]) from None
        return self._answer(shown)

    async def _watch(self, document: str, query: Mapping[str, str]) -> Response:
        """A long poll: the document once it has a version beyond `watch`, or 204 if it has none in time."""
        if not await has_changed(self._node, document, query):
            return Response(status_code=204)
        shown = self._node.documents.look(document)
        await self._node.loop.durable()
        return self._answer(shown, is_watched=True)

    async def history(self, document: str, values: bool = False, limit: Limit = 20, cursor: str = "") -> Response:
        """All that is kept in memory, oldest first; with their values page by page from the log, newest first."""
        self._versions.check_kept(checked_id(document))
        if values or cursor:
            return answer(await self._versions.page(checked_id(document), limit, cursor))
        await self._node.loop.durable()
        return answer({"items": history_view(self._node.planner.documents, checked_id(document))})

    async def put(self, document: str, request: Request) -> Response:
        """Make it so. POST is the same of one that must not exist yet."""
        return await self._edit(document, request, "put")

    async def patch(self, document: str, request: Request) -> Response:
        """A merge patch, or operations of a document that begins with resolver=ot."""
        media = request.headers.get("content-type", "").partition(";")[0].strip()
        if media not in PATCHES:
            raise Problem(415, "unsupported_media_type", f"{media or 'no type'}: a patch is {' or '.join(PATCHES)}")
        return await self._edit(document, request, PATCHES[media])

    async def delete(self, document: str, request: Request) -> Response:
        return await self._edit(document, request, "delete")

    async def _edit(self, document: str, request: Request, operation: str) -> Response:
        query, headers = request.query_params, request.headers
        wait, expected = wait_s(query.get("wait", "2")), expected_version(query.get("expected_version"), headers)
        expected = 0 if request.method == "POST" else expected
        value = b"" if operation == "delete" else json_value(await body_of(request, VALUE_BYTES_MAX))
        edit, author = short_text("edit", query.get("edit", "")), short_text("author", query.get("author", ""))
        if self._node.damaged or self._node.recovering_from:
            raise Problem(503, "not_ready", "the cloud does not take work now: GET /readyz says why")
        terms = terms_asked(query, self._node.planner.fleet.sites) if operation == "put" else None
        said = checked_id(document), edit, operation, value, expected, author or "api", terms
        wanted = EditDocument(0, *said, _base(query.get("base")), context_asked(query.get("context", "")))
        edited = await self._node.documents.edit(wanted, wait)
        decided = edited.version or self._node.planner.documents.book.answer(document, edited.edit)
        if isinstance(decided, EditRefused):
            raise refusal(decided)
        if operation == "delete" and decided is not None:
            return Response(status_code=204)
        return self._answer(self._node.documents.look(document), 200 if decided is not None else 202)

    def _answer(self, shown: Shown, status: int = 200, *, is_watched: bool = False) -> Response:
        view = self._view(shown, is_watched=is_watched)
        return answer(view, status, {"ETag": f'"{view.version if view.merging is None else view.merging.tag}"'})

    def _view(self, shown: Shown, *, is_watched: bool = False) -> DocumentView:
        home = home_of(shown.document)
        return document_view(shown, self._node.link_view(home) if home != CLOUD else None, deleted_too=is_watched)


def document_routes(node: "GlobalPlanner") -> APIRouter:
    """The routes under /api/v1/documents. The history has a prefix of its own, for ids have slashes."""
    endpoints, router = Endpoints(node), APIRouter(prefix="/api/v1")
    router.add_api_route("/documents", endpoints.list, methods=["GET"])
    router.add_api_route("/document-history/{document:path}", endpoints.history, methods=["GET"])
    router.add_api_route("/documents/{document:path}", endpoints.put, methods=["POST"])
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        router.add_api_route("/documents/{document:path}", getattr(endpoints, method.lower()), methods=[method])
    return router


def checked_id(document: str) -> str:
    if problem := id_problem(document):
        raise Problem(422, "invalid_document_id", problem)
    return document


def read_asked(parameters: Mapping[str, str]) -> Asked:
    """`consistency`, `max_staleness`, `min_version`, as of runs; `degrade=eventual` takes what there is."""
    if (degrade := parameters.get("degrade", "")) not in ("", "eventual"):
        raise of_parameters([("degrade", f"{degrade!r} is none; allowed: eventual")])
    wanted = fresh(parameters) or Fresh()
    return Asked(parameters.get("consistency", ""), wanted.staleness_ms, wanted.version, bool(degrade))


def short_text(name: str, value: str) -> str:
    if len(value) > EDIT_CHARACTERS_MAX:
        raise Problem(422, "invalid_request", f"{name} has {len(value):,} characters; allowed: {EDIT_CHARACTERS_MAX}")
    return value


def json_value(body: bytes) -> bytes:
    """The value in its canonical form: members sorted, no spaces."""
    try:
        return msgspec.json.encode(msgspec.json.decode(body), order="sorted")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem(400, "malformed", f"the body is not JSON: {error}") from error


def expected_version(asked: str | None, headers: Mapping[str, str]) -> int:
    """`expected_version`, or the headers If-Match: "3" and If-None-Match: * (it must not exist)."""
    if headers.get("if-none-match", "").strip() == "*":
        return 0
    text = asked if asked is not None else headers.get("if-match", "").strip().strip('"')
    return _version(text, "the expected version") if text else ANY_VERSION


def _base(asked: str | None) -> int:
    """`base`: the version that whoever asks has seen."""
    return _version(asked, "base") if asked else ANY_VERSION


def _version(text: str, what: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 15:
        raise Problem(422, "invalid_request", f"{what} {text[:40]!r} is no whole number from 0")
    return int(text)
