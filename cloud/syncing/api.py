"""Links over HTTP: GET /api/v1/sites/{site}/sync, POST /api/v1/state/sync."""

import asyncio
from typing import TYPE_CHECKING

import msgspec
from fastapi import APIRouter, Request, Response

from cloud.api import answer
from cloud.bodies.api import body_of
from cloud.conflicts.views import Filter
from cloud.port import Problem, site_unknown
from cloud.problems import of_shape
from cloud.requests import wait_s
from sync.link.service import Moved
from sync.link.standing import LinkStanding
from sync.values import SiteId, StreamId, latest_incarnation, stream_id

if TYPE_CHECKING:
    from cloud.driver import GlobalPlanner


class SyncRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body, which may be empty: the site to be level with; without one, all sites."""

    site: str = ""


class SyncView(msgspec.Struct):
    """What moved, per site; `away` names the sites that could not be reached. `level`: all of those that are asked about are."""

    level: bool
    away: list[str]
    items: list[Moved]
    at: int


class Endpoints:
    """From the links themselves, as they are now."""

    def __init__(self, node: "GlobalPlanner") -> None:
        self._node = node

    async def status(self, site: str) -> Response:
        self._check(site)
        return answer(await self._standing(site))

    async def sync(self, request: Request) -> Response:
        wait, asked = wait_s(request.query_params.get("wait", "10")), _asked(await body_of(request))
        if asked:
            self._check(asked)
        sites = [asked] if asked else sorted(str(site) for site in self._node.planner.fleet.sites)
        await self._node.loop.durable()
        items = list(await asyncio.gather(*(self._node.exchange.sync_now(site, wait) for site in sites)))
        away = [moved.peer for moved in items if moved.state == "away"]
        level = all(moved.state == "level" for moved in items)
        return answer(SyncView(level, away, items, self._now_ms()))

    def _check(self, site: str) -> None:
        sites = self._node.planner.fleet.sites
        if site not in sites:
            raise site_unknown(site, sites)

    async def _standing(self, site: str) -> LinkStanding:
        ahead = self._node.loop.driver.clocks.writers.get(site)
        streams = self._node.planner.site_stream(site), self._stream_of(site)
        refused, clock_ms = self._node.refused.get(site, ""), ahead.ahead_ms if ahead is not None else 0
        view = await self._node.exchange.standings.view(site, streams, self._now_ms(), refused=refused, clock_ms=clock_ms)
        view.reseeding = self._node.planner.reseeding.view(site)
        view.group = self._node.planner.fleet.site(SiteId(site)).group
        feed = self._node.planner.conflicts
        view.conflicts_open = sum(map(Filter(state="open", site=site).fits, feed.known.values()))
        if view.state == "up" and view.reseeding is not None and not view.reseeding.taken:
            view.state = "reseeding"
        return view

    def _stream_of(self, site: str) -> StreamId:
        return latest_incarnation(self._node.exchange.ring.durable, site) or stream_id(site, 1)

    def _now_ms(self) -> int:
        return self._node.loop.clock.now().wall_ms


def syncing_routes(node: "GlobalPlanner") -> APIRouter:
    """The routes of links."""
    endpoints, router = Endpoints(node), APIRouter(prefix="/api/v1")
    router.add_api_route("/sites/{site}/sync", endpoints.status, methods=["GET"])
    router.add_api_route("/state/sync", endpoints.sync, methods=["POST"])
    return router


def _asked(body: bytes) -> str:
    try:
        return _SYNC.decode(body or b"{}").site
    except msgspec.ValidationError as error:
        raise of_shape(error, {"": SyncRequest.__struct_fields__}) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem(400, "malformed", f"the body is not JSON: {error}") from error


_SYNC = msgspec.json.Decoder(SyncRequest)
