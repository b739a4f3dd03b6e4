"""The answers about contacts and notifications to the API, on a GlobalPlanner of the same process and loop."""

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from cloud.notifying.core import Notifications
from cloud.notifying.inputs import RemoveContact, RetryNotification, SetContact
from cloud.notifying.views import (
    ContactView,
    NotificationsView,
    NotificationView,
    contact_view,
    notification_view,
    notifications_view,
)
from cloud.port import Problem
from cloud.problems import of_shape
from workflow.parts import PATTERN_RULES, PERSON

if TYPE_CHECKING:
    from cloud.driver import GlobalPlanner

URLS_MAX = 10
URL_CHARACTERS_MAX = 2_000
SECRET_CHARACTERS_MAX = 1_000


class ContactRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Where notifications for a name go; with a `secret`, they are signed."""

    urls: list[str]
    secret: str = ""


class NotificationService:
    """What changes something is answered when it is durable. Refusals are `Problem`s."""

    def __init__(self, node: "GlobalPlanner") -> None:
        self._node = node

    @property
    def _notifications(self) -> Notifications:
        return self._node.planner.notifications

    async def set_contact(self, name: str, body: bytes) -> ContactView:
        """Keep a contact, in the place of the one of that name."""
        asked = _contact_request(name, body)
        await self._ask(SetContact(0, name, asked.urls, asked.secret))
        return await self.contact(name)

    async def remove_contact(self, name: str) -> ContactView:
        """Forget a contact; what it was."""
        known = await self.contact(name)
        await self._ask(RemoveContact(0, name))
        return known

    async def contact(self, name: str) -> ContactView:
        """One of them."""
        await self._node.loop.durable()
        contact = self._notifications.contacts.get(name)
        if contact is None:
            raise self._notifications.unknown_contact(name)
        return contact_view(name, contact)

    async def contacts(self) -> list[ContactView]:
        """All of them, by name."""
        await self._node.loop.durable()
        return [contact_view(name, contact) for name, contact in sorted(self._notifications.contacts.items())]

    async def notifications(self, state: str, limit: int) -> NotificationsView:
        """The latest of them, newest first."""
        await self._node.loop.durable()
        return notifications_view(self._notifications, state, limit)

    async def retry(self, id: str) -> NotificationView:
        """Try one again that was given up, or that had no address."""
        await self._ask(RetryNotification(0, id))
        known = self._notifications
        return notification_view(known.pending.get(id) or known.settled[id], known.tries.get(id))

    async def _ask(self, input: SetContact | RemoveContact | RetryNotification) -> None:
        if self._node.damaged or self._node.recovering_from:
            raise Problem(503, "not_ready", "the cloud does not take work now: GET /readyz says why")
        reply = await self._node.loop.ask(lambda token: input._replace(token=token))
        if isinstance(reply, Problem):
            raise reply


def _contact_request(name: str, body: bytes) -> ContactRequest:
    try:
        asked = _CONTACT.decode(body)
    except msgspec.ValidationError as error:
        raise of_shape(error, {"": ContactRequest.__struct_fields__}) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem(400, "malformed", f"the body is not JSON: {error}") from error
    problems = []
    if not re.fullmatch(PERSON, name):
        problems.append(f"name: {name!r} is no valid name; allowed: {PATTERN_RULES[PERSON]}, or * for what is for anybody")
    if not 1 <= len(asked.urls) <= URLS_MAX:
        problems.append(f"urls: {len(asked.urls)} are given; allowed: 1 to {URLS_MAX}")
    for place, url in enumerate(asked.urls[:URLS_MAX]):
        if wrong := url_problem(url):
            problems.append(f"urls[{place}]: {wrong}")
    if len(asked.secret) > SECRET_CHARACTERS_MAX:
        problems.append(f"secret: it has {len(asked.secret):,} characters; allowed: {SECRET_CHARACTERS_MAX:,}")
    if problems:
        raise Problem(422, "invalid_contact", f"the contact {name} cannot be kept", problems)
    return msgspec.structs.replace(asked, urls=list(dict.fromkeys(asked.urls)))


def url_problem(url: str) -> str:
    """Why nothing can be sent there; empty if it can."""
    allowed = "http:// or https:// with a host, as https://pager.example.org/hook"
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        known = False
        parts = None
    if not known or len(url) > URL_CHARACTERS_MAX or not url.isprintable() or " " in url:
        return f"{url[:80]!r} is no address; allowed: {allowed}, {URL_CHARACTERS_MAX:,} characters"
    if parts is not None and "@" in parts.netloc:
        return "it holds a user or password, which everybody could read; allowed: a `secret`, by which notifications are signed"
    return ""


_CONTACT = msgspec.json.Decoder(ContactRequest)
