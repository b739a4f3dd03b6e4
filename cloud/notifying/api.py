"""Contacts and notifications over HTTP."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response

from cloud.api import answer
from cloud.bodies.api import body_of
from cloud.notifying.service import NotificationService

Limit = Annotated[int, Query(ge=1, le=1_000)]
State = Literal["", "pending", "delivered", "failed", "undeliverable"]


class Endpoints:
    """One method per request."""

    def __init__(self, notifications: NotificationService) -> None:
        self._notifications = notifications

    async def contacts(self) -> Response:
        return answer({"items": await self._notifications.contacts()})

    async def contact(self, name: str) -> Response:
        return answer(await self._notifications.contact(name))

    async def set_contact(self, name: str, request: Request) -> Response:
        return answer(await self._notifications.set_contact(name, await body_of(request)))

    async def remove_contact(self, name: str) -> Response:
        return answer(await self._notifications.remove_contact(name))

    async def notifications(self, state: State = "", limit: Limit = 100) -> Response:
        return answer(await self._notifications.notifications(state, limit))

    async def retry(self, id: str) -> Response:
        return answer(await self._notifications.retry(id), 202)


def notification_routes(notifications: NotificationService) -> APIRouter:
    """The routes under /api/v1/contacts and /api/v1/notifications."""
    endpoints, router = Endpoints(notifications), APIRouter(prefix="/api/v1")
    router.add_api_route("/contacts", endpoints.contacts, methods=["GET"])
    router.add_api_route("/contacts/{name:path}", endpoints.contact, methods=["GET"])
    router.add_api_route("/contacts/{name:path}", endpoints.set_contact, methods=["PUT"])
    router.add_api_route("/contacts/{name:path}", endpoints.remove_contact, methods=["DELETE"])
    router.add_api_route("/notifications", endpoints.notifications, methods=["GET"])
    router.add_api_route("/notifications/{id}/retry", endpoints.retry, methods=["POST"])
    return router
