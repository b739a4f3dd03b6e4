"""How a node meets the others: a line to a peer, and the servers that take what comes."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

import grpc

from tiercel.v1 import sync_pb2


@dataclass(slots=True, eq=False)
class Line:
    """A connection to the cloud that has just been dialled: what arrives, how to write, and the channel beneath for blobs (None:
    it carries none)."""

    incoming: AsyncIterator[sync_pb2.SyncMessage]
    write: Callable[[sync_pb2.SyncMessage], Awaitable[Any]]
    channel: grpc.aio.Channel | None = None


class Servers(Protocol):
    """What takes a node's connections. `start` returns when they are taken; `stop` ends them."""

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
