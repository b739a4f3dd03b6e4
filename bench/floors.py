"""What the bare machine does, measured beside each figure: nothing that we build on it can be faster."""

import asyncio
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from multiprocessing.connection import Connection
from pathlib import Path

import apsw
import grpc

from bench.disk import scratch

METHOD = "/bench.Floor/PingPong"
ROW = (b"harbour@1", 1, "TaskCompleted", "01J0000000000000000000000-000001", 1, bytes(60), bytes(32), 0)


def measure_floors(directory: Path) -> dict[str, float]:
    """fsync and ping-pong in ms, rows and commits in 1/s; about two seconds."""
    with scratch(directory) as place:
        return {
            "fsync_ms": round(fsync_ms(place), 3),
            "sqlite_rows_per_s": round(sqlite_rows_per_s(place / "rows.db", rows=256, commits=200)),
            "sqlite_commits_per_s": round(sqlite_rows_per_s(place / "single.db", rows=1, commits=1_000)),
            "grpc_ping_pong_ms": round(grpc_ping_pong_ms(), 3),
        }


def fsync_ms(place: Path, count: int = 200) -> float:
    """Median of appending 4 KiB to a file and syncing it."""
    descriptor = os.open(place / "fsync", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:

        def append() -> None:
            os.write(descriptor, bytes(4096))
            os.fsync(descriptor)

        return statistics.median(_timed_ms(append) for _ in range(count))
    finally:
        os.close(descriptor)


def sqlite_rows_per_s(path: Path, *, rows: int, commits: int) -> float:
    """Rows like those of an event log, `rows` to a durable transaction."""
    database = apsw.Connection(str(path))
    try:
        for pragma in ("locking_mode = EXCLUSIVE", "journal_mode = WAL", "synchronous = FULL"):
            database.execute(f"PRAGMA {pragma}")
        database.execute("CREATE TABLE log (pos INTEGER PRIMARY KEY, a, b, c, d, e, f, g, h)")
        begin = time.perf_counter()
        for commit in range(commits):
            values = [(commit * rows + row, *ROW) for row in range(rows)]
            with database:
                database.executemany("INSERT INTO log VALUES (?,?,?,?,?,?,?,?,?)", values)
        return rows * commits / (time.perf_counter() - begin)
    finally:
        database.close()


def grpc_ping_pong_ms(count: int = 500) -> float:
    """Median of one small message to another process and back, on one stream of gRPC aio over a Unix socket."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="tb-") as directory:
        address = f"unix:{directory}/floor.sock"
        ours, theirs = context.Pipe()
        server = context.Process(target=serve_pings, args=(address, theirs), daemon=True)
        server.start()
        try:
            if not ours.poll(30):
                raise RuntimeError("the process for the ping-pong does not start")
            return asyncio.run(_ping(address, count))
        finally:
            server.terminate()
            server.join()


def serve_pings(address: str, ready: Connection) -> None:
    """The other process: answer until terminated."""
    asyncio.run(_serve(address, ready))


async def _serve(address: str, ready: Connection) -> None:
    server = grpc.aio.server()
    method: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(_answer)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Floor", {"PingPong": method}),))
    server.add_insecure_port(address)
    await server.start()
    ready.send(True)
    await server.wait_for_termination()


async def _answer(requests: AsyncIterator[bytes], context: object) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request


async def _ping(address: str, count: int) -> float:
    async with grpc.aio.insecure_channel(address) as channel:
        call: grpc.aio.StreamStreamCall[bytes, bytes] = channel.stream_stream(METHOD)()
        times = []
        for _ in range(count + 50):
            begin = time.perf_counter()
            await call.write(b"ping")
            await call.read()
            times.append((time.perf_counter() - begin) * 1000)
        await call.done_writing()
        return statistics.median(times[50:])


def _timed_ms(call: Callable[[], None]) -> float:
    begin = time.perf_counter()
    call()
    return (time.perf_counter() - begin) * 1000


if __name__ == "__main__":
    print(measure_floors(Path(tempfile.gettempdir())), file=sys.stderr)
