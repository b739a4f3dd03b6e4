"""Groups of agents over HTTP: `GET /api/v1/groups`, `POST /api/v1/groups/{site}/{group}/transfer`."""

from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import msgspec
from fastapi import APIRouter, Request, Response

from cloud.api import answer
from cloud.bodies.api import body_of
from cloud.keys.service import digest_of
from cloud.leading.inputs import TransferTerm
from cloud.port import Problem
from cloud.problems import of_shape
from cloud.requests import idempotency_key, wait_s
from cloud.views import LinkView

if TYPE_CHECKING:
    from cloud.driver import GlobalPlanner
    from cloud.service import PlannerService

GROUPS_SHOWN_MAX = 1_000
Name = Annotated[str, msgspec.Meta(max_length=500)]
STATUS = {"group_unknown": 404}
"""Of what a site refuses; all other refusals are 409."""


class OrderView(msgspec.Struct, frozen=True):
    """An order that the site has not answered: who is to lead (empty: whoever is next), since when (UTC ms), the link."""

    command: str
    to: str
    since: int
    link: LinkView


class GroupView(msgspec.Struct, frozen=True):
    """A group: `leader` empty while nobody leads it; `since` is UTC ms, `reason` why it is so since then. `heir`: who leads
    next, if that is settled; `ttl_ms` and `lock_delay_ms` as definitions say for this term (0: they say nothing)."""

    site: str
    group: str
    leader: str
    epoch: int
    reason: str
    since: int
    heir: str = ""
    ttl_ms: int = 0
    lock_delay_ms: int = 0
    transfer: OrderView | None = None


class GroupList(msgspec.Struct, frozen=True):
    """Groups by site and name; `more` were left out."""

    items: list[GroupView]
    more: int = 0


class TransferRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body, which may be empty. With an `epoch`, only while that is the group's latest."""

    to: Name = ""
    epoch: Annotated[int, msgspec.Meta(ge=0)] = 0


class Endpoints:
    """What a site has not answered in time is answered with 202: the order is on its way."""

    def __init__(self, node: "GlobalPlanner", runs: "PlannerService") -> None:
        self._node, self._runs = node, runs

    async def show(self, request: Request) -> Response:
        site = request.query_params.get("site", "")
        terms = self._node.planner.groups.terms
        found = [terms[key] for key in sorted(terms) if site in ("", key[0])]
        orders: dict[tuple[str, str], OrderView] = {}
        for intent, group, to in self._node.planner.groups.under_way():
            at = intent.targets[0]
            orders[(at, group)] = OrderView(intent.id, to, intent.created, self._node.link_view(at))
        items = [
            GroupView(t.site, t.group, t.leader, t.epoch, t.reason, t.since, t.heir, t.ttl_ms, t.lock_delay_ms, order)
            for t in found[:GROUPS_SHOWN_MAX]
            for order in [orders.get((t.site, t.group))]
        ]
        return answer(GroupList(items, max(0, len(found) - GROUPS_SHOWN_MAX)))

    async def transfer(self, site: str, group: str, request: Request) -> Response:
        wait, body = wait_s(request.query_params.get("wait", "2")), await body_of(request)
        key, asked = idempotency_key(request.headers.get("idempotency-key", "")), _asked(body)
        self._runs.refuse_while_recovering()

        async def ask(once: tuple[str, bytes] | None) -> str:
            command = await self._node.loop.ask(lambda token: TransferTerm(token, site, group, asked.to, asked.epoch, once))
            if isinstance(command, Problem):
                raise command
            return str(command)

        digest = digest_of(b"\n".join((b"transfer-leader", site.encode(), group.encode(), body)))
        command = await self._runs.keys.command(key, digest, ask)
        done = await self._node.watching.wait_answered(command, wait)
        view = await self._runs.command(command)
        if view.state == "refused":
            code, _, reason = view.detail.partition(": ")
            raise Problem(STATUS.get(code, 409), code, reason)
        return answer(view) if done else answer(view, 202, {"Location": f"/api/v1/commands/{quote(command, safe='')}"})


def group_routes(node: "GlobalPlanner", runs: "PlannerService") -> APIRouter:
    """The routes. `site` leaves the groups of one."""
    endpoints, router = Endpoints(node, runs), APIRouter(prefix="/api/v1")
    router.add_api_route("/groups", endpoints.show, methods=["GET"])
    router.add_api_route("/groups/{site}/{group:path}/transfer", endpoints.transfer, methods=["POST"])
    return router


def _asked(body: bytes) -> TransferRequest:
    try:
        return _REQUEST.decode(body or b"{}")
    except msgspec.ValidationError as error:
        raise of_shape(error, {"": TransferRequest.__struct_fields__}) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem(400, "malformed", f"the body is not JSON: {error}") from error


_REQUEST = msgspec.json.Decoder(TransferRequest)
