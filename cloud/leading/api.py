"""`GET /api/v1/groups`: the groups of agents that have, or had, a leader."""

from typing import TYPE_CHECKING

import msgspec
from fastapi import APIRouter, Request, Response

from cloud.api import answer

if TYPE_CHECKING:
    from cloud.driver import GlobalPlanner

GROUPS_SHOWN_MAX = 1_000


class GroupView(msgspec.Struct, frozen=True):
    """A group: `leader` empty while nobody leads it; `since` is UTC ms, `reason` why it is so since then."""

    site: str
    group: str
    leader: str
    epoch: int
    reason: str
    since: int


class GroupList(msgspec.Struct, frozen=True):
    """Groups by site and name; `more` were left out."""

    items: list[GroupView]
    more: int = 0


def group_routes(node: "GlobalPlanner") -> APIRouter:
    """The routes. `site` leaves those of one."""

    async def show(request: Request) -> Response:
        site = request.query_params.get("site", "")
        terms = node.planner.groups.terms
        found = [terms[key] for key in sorted(terms) if site in ("", key[0])]
        items = [GroupView(t.site, t.group, t.leader, t.epoch, t.reason, t.since) for t in found[:GROUPS_SHOWN_MAX]]
        return answer(GroupList(items, max(0, len(found) - GROUPS_SHOWN_MAX)))

    router = APIRouter(prefix="/api/v1")
    router.add_api_route("/groups", show, methods=["GET"])
    return router
