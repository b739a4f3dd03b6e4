"""Idempotency keys: the answer to a request is remembered with what it changed, and given again to whoever asks again."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cloud.port import Problem

if TYPE_CHECKING:
    from cloud.driver import GlobalPlanner


class Keys:
    """Of a GlobalPlanner in the same process and loop."""

    def __init__(self, node: "GlobalPlanner") -> None:
        self._node = node
        self._held: set[str] = set()

    @contextmanager
    def held(self, key: str) -> Iterator[None]:
        """While a request with this key is being handled, another one is refused. Raises Problem (409)."""
        if key in self._held:
            detail = f"a request with idempotency key {key!r} is being handled: ask again shortly"
            raise Problem(409, "idempotency_key_in_use", detail)
        self._held.add(key)
        try:
            yield
        finally:
            self._held.discard(key)

    async def answer(self, key: str, digest: bytes) -> bytes | None:
        """What was answered under the key, if anything was. Raises Problem (422) if that was to another request."""
        answered = await asyncio.wrap_future(self._node.log.read(lambda reader: reader.answer(key)))
        if answered is None:
            return None
        if answered.body_sha256 != digest:
            detail = f"idempotency key {key!r} was used for another request: use a new key for a new request"
            raise Problem(422, "idempotency_key_reused", detail)
        return answered.answer

    async def command(self, key: str, digest: bytes, ask: Callable[[tuple[str, bytes] | None], Awaitable[str]]) -> str:
        """The command that was given under the key, or the one that `ask` gives, which remembers it with what it changes."""
        if not key:
            return await ask(None)
        with self.held(key):
            answered = await self.answer(key, digest)
            return answered.decode() if answered is not None else await ask((key, digest))


def digest_of(body: bytes) -> bytes:
    """What tells one request from another under the same key."""
    return hashlib.sha256(body).digest()
