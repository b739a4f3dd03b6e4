"""`/api/v1/documents/run/RUN/NAME`: the documents of runs, as of any other document."""

from typing import TYPE_CHECKING, Annotated

import msgspec
from fastapi import APIRouter, Query, Request, Response

from cloud.api import answer
from cloud.bodies.api import body_of
from cloud.documents.api import checked_id, expected_version, json_value, read_asked, short_text
from cloud.port import Problem
from cloud.requests import wait_s
from cloud.run_documents.service import RunDocumentService
from cloud.versions.service import LIMIT_MAX
from cloud.watching.api import has_changed
from cloud.watching.asked import version_asked
from sync.documents.ids import run_document
from workflow.context import VALUE_BYTES_MAX
from workflow.orders import ChangeContext

if TYPE_CHECKING:
    from cloud.driver import GlobalPlanner

Limit = Annotated[int, Query(ge=1, le=LIMIT_MAX)]
TERMS = ("level", "resolver", "sites", "multi_writer", "rules")


class RunEndpoints:
    """What the run's home has not decided in time is answered with 202."""

    def __init__(self, node: "GlobalPlanner", documents: RunDocumentService) -> None:
        self._node, self._documents = node, documents

    async def list(self, run: str) -> Response:
        return answer({"items": await self._documents.names(run)})

    async def get(self, run: str, name: str, request: Request) -> Response:
        document, query = checked_id(run_document(run, name)), request.query_params
        if "watch" in query:
            if not await has_changed(self._node, document, query):
                return Response(status_code=204)
            view = await self._documents.changed(run, name)
        elif (version := query.get("version")) is not None:
            return answer(await self._documents.former(run, name, version_asked("version", version)))
        else:
            view = await self._documents.get(run, name, read_asked(query))
        return answer(view, 200, {"ETag": f'"{view.version}"'})

    async def history(self, run: str, name: str, limit: Limit = 20, cursor: str = "") -> Response:
        """From the run's history, newest first, always with their values."""
        checked_id(run_document(run, name))
        return answer(await self._documents.page(run, name, limit, cursor))

    async def put(self, run: str, name: str, request: Request) -> Response:
        return await self._edit(run, name, request, "put")

    async def patch(self, run: str, name: str, request: Request) -> Response:
        return await self._edit(run, name, request, "merge")

    async def delete(self, run: str, name: str, request: Request) -> Response:
        return await self._edit(run, name, request, "delete")

    async def _edit(self, run: str, name: str, request: Request, what: str) -> Response:
        query = request.query_params
        checked_id(run_document(run, name))
        if any(term in query for term in TERMS):
            raise Problem(422, "invalid_terms", f"a document of run {run} has the level of its run: leave out {', '.join(TERMS)}")
        expected = 0 if request.method == "POST" else expected_version(query.get("expected_version"), request.headers)
        value = None if what == "delete" else msgspec.json.decode(json_value(await body_of(request, VALUE_BYTES_MAX)))
        edit, author = short_text("edit", query.get("edit", "")), short_text("author", query.get("author", ""))
        order = ChangeContext(name, what, value, expected, edit, author or "api")  # type: ignore[arg-type]
        now_ms = self._node.loop.clock.now().wall_ms
        view = await self._documents.edit(run, order, wait_s(query.get("wait", "2")), now_ms)
        if view is None:
            return Response(status_code=204)
        return answer(view, 202 if view.pending else 200, {"ETag": f'"{view.version}"'})


def run_document_routes(node: "GlobalPlanner", documents: RunDocumentService) -> APIRouter:
    """Before the routes of all other documents, which take any id."""
    endpoints, router = RunEndpoints(node, documents), APIRouter(prefix="/api/v1")
    at = "/documents/run/{run}/{name:path}"
    router.add_api_route("/documents/run/{run}", endpoints.list, methods=["GET"])
    router.add_api_route("/document-history/run/{run}/{name:path}", endpoints.history, methods=["GET"])
    router.add_api_route(at, endpoints.put, methods=["POST"])
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        router.add_api_route(at, getattr(endpoints, method.lower()), methods=[method])
    return router
