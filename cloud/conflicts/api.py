"""Conflicts over HTTP: GET /api/v1/conflicts, and what people do about one of them."""

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from fastapi import APIRouter, Query, Request, Response

from cloud.api import answer
from cloud.bodies.api import body_of
from cloud.conflicts.service import ConflictService
from cloud.conflicts.views import Filter
from cloud.port import Problem
from cloud.problems import of_parameters, of_shape
from cloud.requests import wait_s
from sync.documents.book import ANY_VERSION

if TYPE_CHECKING:
    from cloud.control.service import ControlService
    from cloud.driver import GlobalPlanner

Limit = Annotated[int, Query(ge=1, le=1_000)]
Text = Annotated[str, Query(max_length=300)]
State = Literal["", "open", "resolved"]
Family = Literal["", "data", "outcome", "order", "home"]
NOTE_CHARACTERS_MAX = 1_000


class ResolveRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body, which may be empty: who sees to it, why, and for `restore` the version of the document that they have seen."""

    by: Annotated[str, msgspec.Meta(max_length=200)] = ""
    note: Annotated[str, msgspec.Meta(max_length=NOTE_CHARACTERS_MAX)] = ""
    expected: Annotated[int, msgspec.Meta(ge=0)] | None = None


class Endpoints:
    """One method per request. Asked twice, each does what it does once."""

    def __init__(self, conflicts: ConflictService) -> None:
        self._conflicts = conflicts

    async def list(
        self,
        kind: Family = "",
        state: State = "",
        subject: Text = "",
        run: Text = "",
        site: Text = "",
        limit: Limit = 100,
        cursor: Text = "",
    ) -> Response:
        if cursor and not (cursor.isascii() and cursor.isdecimal()):
            raise of_parameters([("cursor", f"{cursor!r} is none; allowed: what `next` of the page before says")])
        wanted = Filter(kind, state, subject, run, site)
        return answer(await self._conflicts.conflicts(wanted, limit, int(cursor or "0")))

    async def get(self, id: str) -> Response:
        return answer(await self._conflicts.conflict(id))

    async def accept(self, id: str, request: Request) -> Response:
        asked = _resolve_request(await body_of(request))
        return answer(await self._conflicts.accept(id, asked.by or "api", asked.note))

    async def restore(self, id: str, request: Request) -> Response:
        """200 once it is back; 202 while its home has not decided."""
        asked, wait = _resolve_request(await body_of(request)), wait_s(request.query_params.get("wait", "2"))
        expected = ANY_VERSION if asked.expected is None else asked.expected
        view = await self._conflicts.restore(id, asked.by or "api", asked.note, expected, wait)
        is_pending = view.resolution is not None and view.resolution.pending
        return answer(view, 202 if is_pending else 200)


def conflict_routes(node: "GlobalPlanner", control: "ControlService") -> APIRouter:
    """The routes under /api/v1/conflicts."""
    endpoints, router = Endpoints(ConflictService(node, control)), APIRouter(prefix="/api/v1/conflicts")
    router.add_api_route("", endpoints.list, methods=["GET"])
    router.add_api_route("/{id}", endpoints.get, methods=["GET"])
    router.add_api_route("/{id}/accept", endpoints.accept, methods=["POST"])
    router.add_api_route("/{id}/restore", endpoints.restore, methods=["POST"])
    return router


def _resolve_request(body: bytes) -> ResolveRequest:
    try:
        return _RESOLVE.decode(body or b"{}")
    except msgspec.ValidationError as error:
        raise of_shape(error, {"": ResolveRequest.__struct_fields__}) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem(400, "malformed", f"the body is not JSON: {error}") from error
    except RecursionError as error:
        raise Problem(422, "invalid_request", "the body is nested too deeply") from error


_RESOLVE = msgspec.json.Decoder(ResolveRequest)
