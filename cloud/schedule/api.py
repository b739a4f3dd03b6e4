"""Schedules over HTTP, in front of a SchedulePort."""

from typing import Annotated, Protocol
from urllib.parse import quote

import msgspec
from fastapi import APIRouter, Query, Request, Response

from cloud.api import answer
from cloud.bodies.api import body_of
from cloud.port import Problem
from cloud.problems import of_shape
from cloud.requests import idempotency_key
from cloud.schedule.views import ScheduleView

Limit = Annotated[int, Query(ge=1, le=200)]
"""Fewer than of runs: the next firing of each has to be computed."""

Reason = Annotated[str, Query(max_length=1_000)]


class BackfillRequest(msgspec.Struct, forbid_unknown_fields=True, rename={"first": "from", "last": "until"}):
    """A range of time, both ends included: ISO 8601 with an offset."""

    first: str
    last: str


class SchedulePort(Protocol):
    """Schedules as the API sees them. Refusals are `Problem`s."""

    async def create(self, document: object) -> ScheduleView: ...
    async def schedules(self, *, limit: int, cursor: str) -> tuple[list[ScheduleView], str]: ...
    async def schedule(self, id: str) -> ScheduleView: ...
    async def order(self, id: str, order: str, reason: str = "", idempotency_key: str = "") -> ScheduleView: ...
    async def backfill(self, id: str, first: str, last: str) -> ScheduleView: ...


class Endpoints:
    """One method per request. What a site decides is answered with 202: the order is on its way."""

    def __init__(self, schedules: SchedulePort) -> None:
        self._schedules = schedules

    async def create(self, request: Request) -> Response:
        created = await self._schedules.create(_json(await body_of(request)))
        return answer(created, 201, {"Location": f"/api/v1/schedules/{quote(created.id, safe='')}"})

    async def list(self, limit: Limit = 100, cursor: str = "") -> Response:
        items, following = await self._schedules.schedules(limit=limit, cursor=cursor)
        return answer({"items": items, "next": following})

    async def get(self, schedule: str) -> Response:
        return answer(await self._schedules.schedule(schedule))

    async def remove(self, schedule: str) -> Response:
        return _ordered(await self._schedules.order(schedule, "remove"))

    async def pause(self, schedule: str, reason: Reason = "") -> Response:
        return _ordered(await self._schedules.order(schedule, "pause", reason))

    async def resume(self, schedule: str, reason: Reason = "") -> Response:
        return _ordered(await self._schedules.order(schedule, "resume", reason))

    async def run_now(self, schedule: str, request: Request) -> Response:
        key = idempotency_key(request.headers.get("idempotency-key", ""))
        return _ordered(await self._schedules.order(schedule, "run_now", "", key))

    async def backfill(self, schedule: str, request: Request) -> Response:
        try:
            asked = _BACKFILL.decode(await body_of(request))
        except msgspec.ValidationError as error:
            raise of_shape(error, {"": ("from", "until")}) from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Problem(400, "malformed", f"the body is not JSON: {error}") from error
        return _ordered(await self._schedules.backfill(schedule, asked.first, asked.last))


def schedule_routes(schedules: SchedulePort) -> APIRouter:
    """The routes under /api/v1/schedules."""
    endpoints, router = Endpoints(schedules), APIRouter(prefix="/api/v1/schedules")
    for verb, endpoint in (
        ("pause", endpoints.pause),
        ("resume", endpoints.resume),
        ("run-now", endpoints.run_now),
        ("backfill", endpoints.backfill),
    ):
        router.add_api_route(f"/{{schedule}}:{verb}", endpoint, methods=["POST"])
    router.add_api_route("", endpoints.create, methods=["POST"])
    router.add_api_route("", endpoints.list, methods=["GET"])
    router.add_api_route("/{schedule}", endpoints.get, methods=["GET"])
    router.add_api_route("/{schedule}", endpoints.remove, methods=["DELETE"])
    return router


_BACKFILL = msgspec.json.Decoder(BackfillRequest)


def _ordered(view: ScheduleView) -> Response:
    return answer(view, 202 if view.site else 200)


def _json(body: bytes) -> object:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem(400, "malformed", f"the body is not JSON: {error}") from error
    except RecursionError as error:
        raise Problem(422, "invalid_request", "the body is nested too deeply") from error
