"""What reaches the notifications from the API and the courier, and what the courier is given to do."""

from typing import Literal, NamedTuple

import msgspec


class SetContact(NamedTuple):
    """Let notifications for `name` go to these addresses."""

    token: int
    name: str
    urls: list[str]
    secret: str


class RemoveContact(NamedTuple):
    """Forget how to reach `name`."""

    token: int
    name: str


class RetryNotification(NamedTuple):
    """Try one again that was given up, or that had no address."""

    token: int
    id: str


class Attempted(NamedTuple):
    """What came of the latest attempt. `waiting`: another follows at `next_ms` (UTC)."""

    id: str
    attempts: int
    outcome: Literal["delivered", "failed", "waiting"]
    error: str = ""
    next_ms: int = 0


class Note(msgspec.Struct, array_like=True):
    """One notification. `state`: pending, delivered, failed or undeliverable (nobody knows where to); times in UTC ms:
    when it happened, since when it is tried, when its state last changed."""

    id: str
    event: str
    to: str
    url: str
    run: str
    definition: str
    site: str
    task: str
    message: str
    detail: bytes
    time_ms: int
    since_ms: int
    changed_ms: int
    state: str = "pending"
    attempts: int = 0
    error: str = ""


class Deliver(NamedTuple):
    """Effect: bring this to its address, signed if there is a secret. What is in the courier's hands already, it goes on with."""

    note: Note
    secret: str
