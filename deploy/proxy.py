"""A proxy on the path between two nodes that can be cut: neither node knows that it is there.

with CuttingProxy("127.0.0.1:7443") as proxy:
    ...  # the site dials proxy.address and reaches the cloud
    proxy.cut()  # every connection is reset, and so is every new one
    proxy.heal()
    proxy.cut(silent=True)  # a cable is pulled: nothing is refused, and nothing arrives
    proxy.heal()  # what is still connected goes on where it was; TCP has lost nothing
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from enum import StrEnum
from types import TracebackType
from typing import Self

CHUNK_BYTES = 64 * 1024
STARTED_S_MAX = 10.0


class Path(StrEnum):
    """What the way from one side to the other is like."""

    OPEN = "open"
    SILENT = "silent"
    RESETTING = "resetting"


class CuttingProxy:
    """A TCP proxy on loopback in a thread of its own. `address` is where to dial; it forwards to `target` ("host:port").

    All methods may be called from any thread and have taken effect when they return. A target that cannot be reached
    ends the connection, as it would without a proxy. Raises OSError if it cannot listen.
    """

    def __init__(self, target: str, *, listen: str = "127.0.0.1:0") -> None:
        self._target = _split(target)
        self._listen = _split(listen)
        self.address = ""
        self.path = Path.OPEN
        self._carried: set[asyncio.Task[None]] = set()
        self._failure: OSError | None = None
        self._loop = asyncio.new_event_loop()
        self._ended = asyncio.Event()
        self._open = asyncio.Event()
        self._open.set()
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), name="cutting-proxy", daemon=True)
        self._thread.start()
        started.wait(STARTED_S_MAX)
        if self._failure is not None:
            raise self._failure

    def cut(self, *, silent: bool = False) -> None:
        """From now on nothing passes. Both sides are told, by resets; `silent` leaves them in the belief that they are
        connected, and takes new connections that lead nowhere."""
        self._call(lambda: self._set(Path.SILENT if silent else Path.RESETTING))

    def heal(self) -> None:
        """All passes again. What was silently held goes on without a byte lost."""
        self._call(lambda: self._set(Path.OPEN))

    @property
    def connections(self) -> int:
        """How many connections it carries or holds."""
        return len(self._carried)

    def close(self) -> None:
        """End every connection and the proxy itself. May be repeated."""
        if self._thread.is_alive():
            with contextlib.suppress(RuntimeError):  # The loop ends at this moment.
                self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _call(self, change: Callable[[], None]) -> None:
        async def apply() -> None:
            change()

        asyncio.run_coroutine_threadsafe(apply(), self._loop).result(STARTED_S_MAX)

    def _set(self, path: Path) -> None:
        self.path = path
        if path is Path.OPEN:
            self._open.set()
        else:
            self._open.clear()
        if path is Path.RESETTING:
            for conversation in self._carried:
                conversation.cancel()

    def _run(self, started: threading.Event) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._serve(started))
        except OSError as error:
            self._failure = error
        finally:
            started.set()

    async def _serve(self, started: threading.Event) -> None:
        server = await asyncio.start_server(self._take, *self._listen)
        host, port = server.sockets[0].getsockname()[:2]
        self.address = f"{host}:{port}"
        started.set()
        try:
            await self._ended.wait()
        finally:
            server.close()
            for conversation in self._carried:
                conversation.cancel()
            await asyncio.gather(*self._carried, return_exceptions=True)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._carried.add(task)
        try:
            if self.path is not Path.RESETTING:
                await self._carry(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # Cancelled by a reset or by the end; both sides see their connection end, which is all there is to tell.
        finally:
            self._carried.discard(task)
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._open.wait()
        far_reader, far_writer = await asyncio.open_connection(*self._target)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass_on(reader, far_writer))
                both.create_task(self._pass_on(far_reader, writer))
        except* OSError:
            pass  # One side has gone; the other follows.
        finally:
            far_writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(CHUNK_BYTES):
            await self._open.wait()
            writer.write(data)
            await writer.drain()
        await self._open.wait()
        writer.write_eof()


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
