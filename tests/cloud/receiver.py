"""A receiver of notifications: a real HTTP server on a loopback port that answers as a test tells it to."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tests.free_ports import free_port


@dataclass
class Letter:
    """One POST as it came in."""

    path: str
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> dict[str, Any]:
        found: dict[str, Any] = msgspec.json.decode(self.raw)
        return found


@dataclass
class Receiver:
    """`answers` are given one after the other (a status, or with headers); then 204. None: it never answers."""

    port: int
    letters: list[Letter] = field(default_factory=list)
    answers: list[int | tuple[int, str] | None] = field(default_factory=list)
    always: int | None = 204
    taken: Callable[[Letter], None] = lambda letter: None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                first, *lines = head.strip().split("\r\n")
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
                raw = await reader.readexactly(int(headers.get("content-length", "0")))
                letter = Letter(first.split()[1], headers, raw)
                self.letters.append(letter)
                self.taken(letter)
                answer = self.answers.pop(0) if self.answers else self.always
                if answer is None:
                    await asyncio.sleep(3_600)
                status, more = answer if isinstance(answer, tuple) else (answer or 204, "")
                writer.write(f"HTTP/1.1 {status} So\r\n{more}content-length: 0\r\n\r\n".encode())
                await writer.drain()


@asynccontextmanager
async def receiving(*answers: int | tuple[int, str] | None, port: int = 0) -> AsyncIterator[Receiver]:
    """A receiver that serves."""
    receiver = Receiver(port or free_port(), answers=list(answers))
    tasks: set[asyncio.Task[None]] = set()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await receiver.serve(reader, writer)
        finally:
            writer.close()
            tasks.discard(task)

    server = await asyncio.start_server(take, "127.0.0.1", receiver.port)
    try:
        yield receiver
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
