"""Standing rules over HTTP: POST, GET, DELETE /api/v1/rules."""

import asyncio
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response

from cloud.api import answer
from cloud.bodies.api import body_of
from cloud.port import Problem
from cloud.requests import definition_text
from cloud.ruling.inputs import AddRule, RemoveRule
from cloud.ruling.views import RuleView, rule_view
from workflow.loading import load_part
from workflow.problems import DefinitionError
from workflow.standing import StandingPlan, read_standing

if TYPE_CHECKING:
    from cloud.driver import GlobalPlanner

Source = Annotated[str, Query(max_length=255)]


class Endpoints:
    """One method per request."""

    def __init__(self, node: "GlobalPlanner") -> None:
        self._node = node

    async def add(self, request: Request, source: Source = "<request>") -> Response:
        text = definition_text(await body_of(request), request.headers.get("content-type", ""))
        try:
            plan = await asyncio.to_thread(load_part, text, source, read_standing)
        except DefinitionError as error:
            raise Problem(422, "invalid_rule", str(error), [str(p) for p in error.problems]) from None
        self._check_definition(plan)
        await self._ask(AddRule(0, plan))
        return answer(self._view(plan.name), 201, {"Location": f"/api/v1/rules/{quote(plan.name, safe='')}"})

    async def list(self) -> Response:
        await self._node.loop.durable()
        return answer({"items": [self._view(name) for name in sorted(self._node.planner.rules.rules)]})

    async def get(self, name: str) -> Response:
        await self._node.loop.durable()
        return answer(self._view(name))

    async def remove(self, name: str) -> Response:
        await self._node.loop.durable()
        known = self._view(name)
        await self._ask(RemoveRule(0, name))
        return answer(known)

    def _check_definition(self, plan: StandingPlan) -> None:
        """What it starts must be there; what it speaks of may come later."""
        planner, wanted = self._node.planner, plan.rule.definition
        if wanted and wanted not in planner.plans and wanted not in planner.latest:
            known = ", ".join(sorted(planner.plans)[:20]) or "none"
            detail = f"definition {wanted} is not registered (known: {known}): register it with POST /api/v1/definitions"
            raise Problem(404, "definition_unknown", detail)

    def _view(self, name: str) -> RuleView:
        book = self._node.planner.rules
        if name not in book.rules:
            raise book.unknown(name)
        return rule_view(book, name)

    async def _ask(self, input: AddRule | RemoveRule) -> None:
        if self._node.damaged or self._node.recovering_from:
            raise Problem(503, "not_ready", "the cloud does not take work now: GET /readyz says why")
        reply = await self._node.loop.ask(lambda token: input._replace(token=token))
        if isinstance(reply, Problem):
            raise reply


def rule_routes(node: "GlobalPlanner") -> APIRouter:
    """The routes under /api/v1/rules."""
    endpoints, router = Endpoints(node), APIRouter(prefix="/api/v1/rules")
    router.add_api_route("", endpoints.add, methods=["POST"])
    router.add_api_route("", endpoints.list, methods=["GET"])
    router.add_api_route("/{name}", endpoints.get, methods=["GET"])
    router.add_api_route("/{name}", endpoints.remove, methods=["DELETE"])
    return router
