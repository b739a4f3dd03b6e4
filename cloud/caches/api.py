"""`POST /api/v1/sites/{site}/cache/clear`: results are kept there no more."""

from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec
from fastapi import APIRouter, Request, Response

from cloud.api import answer
from cloud.bodies.api import body_of
from cloud.caches.core import ClearCache
from cloud.caches.requests import clear_request
from cloud.port import Problem, site_unknown
from cloud.requests import wait_s
from workflow.caching import digest_of

if TYPE_CHECKING:
    from cloud.driver import GlobalPlanner
    from cloud.service import PlannerService


def cache_routes(node: "GlobalPlanner", runs: "PlannerService") -> APIRouter:
    """The route. 200 with the command once the site has done it; 202 while it has not answered."""

    async def clear(site: str, request: Request) -> Response:
        wait = wait_s(request.query_params.get("wait", "2"))
        asked = clear_request(await body_of(request))
        runs.refuse_while_recovering()
        if site not in node.planner.fleet.sites:
            raise site_unknown(site, node.planner.fleet.sites)
        # A key never leaves the request: what is recorded is its digest, as in the caches.
        key = digest_of(asked.work, msgspec.json.encode(asked.key)) if asked.key else ""
        command = await node.loop.ask(lambda token: ClearCache(token, site, asked.work, key))
        if isinstance(command, Problem):
            raise command
        done = await node.watching.wait_answered(str(command), wait)
        view = await runs.command(str(command))
        place = {"Location": f"/api/v1/commands/{quote(view.command, safe='')}"}
        return answer(view) if done else answer(view, 202, place)

    router = APIRouter(prefix="/api/v1")
    router.add_api_route("/sites/{site}/cache/clear", clear, methods=["POST"])
    return router
