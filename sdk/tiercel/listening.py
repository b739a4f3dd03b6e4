"""The sockets of the cloud's API, as `tiercel.client.Client` listens to them."""

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator
from contextlib import aclosing
from http import HTTPStatus
from typing import Any, Literal, cast
from urllib.parse import urlsplit

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from tiercel.answers import ApiError, Frame, ServerUnreachable

REFUSED = 1008
"""How a socket is closed that asked for what cannot be."""


class Listening:
    """Frames as they come. Each ends when the server ends it (connect again then), and raises ServerUnreachable."""

    base_url: str
    _tls: ssl.SSLContext | bool

    @property
    def _proxied(self) -> bool:
        return urlsplit(self.base_url).hostname not in ("127.0.0.1", "::1", "localhost")  # No proxy reaches those.

    async def watch(self, *, idle_s: float | None = None) -> AsyncGenerator[Frame | None, None]:
        """Of all runs, a snapshot first; None whenever `idle_s` passed without one."""
        async with aclosing(self._listen("/ws/workflows", idle_s)) as frames:
            async for frame in frames:
                yield cast(Frame | None, frame)

    async def _listen(self, path: str, idle_s: float | None) -> AsyncGenerator[dict[str, Any] | None, None]:
        url = f"ws{self.base_url.removeprefix('http')}{path}"
        proxy: Literal[True] | None = True if self._proxied else None
        try:
            async with connect(url, proxy=proxy, ssl=self._tls if url.startswith("wss") else None) as socket:
                while True:
                    try:
                        text = await asyncio.wait_for(socket.recv(), idle_s)
                    except TimeoutError:
                        yield None
                    else:
                        yield json.loads(text)
        except ConnectionClosed as closed:
            if closed.rcvd is not None and closed.rcvd.code == REFUSED:
                raise ApiError(HTTPStatus.BAD_REQUEST, "refused", closed.rcvd.reason) from None
            return
        except (OSError, WebSocketException) as error:
            raise ServerUnreachable(self.base_url, str(error)) from error
