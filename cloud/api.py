"""The API of the cloud: REST and one WebSocket in front of a PlannerPort, in the planner's process and loop.

Every error is problem+json. A request that changes something is answered when the planner has it durable. Bodies are
decoded from bytes by msgspec and answers encoded by it: validation by models would cost a batch of 1,000 runs more than
its commit.
"""

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Callable, Generator, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Annotated
from urllib.parse import quote, urlsplit

import msgspec
import uvicorn
from fastapi import APIRouter, FastAPI, Query, Request, Response, WebSocket
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect, WebSocketState

from cloud.bodies.api import body_of
from cloud.consistency.requests import fresh
from cloud.frames import FRAMES_PER_SECOND_MAX, SNAPSHOT_RUNS_MAX, Unseen, frames
from cloud.looking.requests import listing, then
from cloud.looking.wanted import ALL
from cloud.port import PlannerPort, Problem, RunRequest, Started
from cloud.problems import ProblemDocument, document, of_router, of_validation
from cloud.requests import DEFINITION_BYTES_MAX, batch_request, definition_text, idempotency_key, start_request, wait_s
from cloud.views import CommandView
from sync.actors import InboxFull
from sync.log_errors import LogError, LogFull

WATCHERS_MAX = 64
"""WebSocket clients at once; one more is asked to come back later."""

CLOSING_S = 2.0
"""How long requests in flight may take to end once the server was told to stop."""

Limit = Annotated[int, Query(ge=1, le=1_000)]
Reason = Annotated[str, Query(max_length=1_000)]

_log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode


def make_app(planner: PlannerPort, *more: APIRouter) -> FastAPI:
    """The application, with routers of others. It keeps nothing but its WebSocket clients: it may be made anew at any time."""
    # Bodies are no pydantic models, so the description that FastAPI generates would leave them out: none is served.
    app = FastAPI(title="Tiercel", openapi_url=None, redirect_slashes=False)
    app.include_router(_runs(Runs(planner)))
    app.include_router(_knowledge(Knowledge(planner)))
    for router in more:
        app.include_router(router)
    app.add_api_websocket_route("/ws/workflows", Watchers(planner).watch)
    app.add_middleware(SameOrigin)
    _answer_errors(app)
    return app


Tls = tuple[Path, Path]
"""Certificate and key, in PEM."""


async def serve(
    app: ASGIApp, listener: socket.socket, *, ready: Callable[[str], None] | None = None, tls: Tls | None = None
) -> None:
    """Serve in the running loop until cancelled, then close gracefully and return. `listener` is one of `listen`.

    `ready` is called with the base URL once connections are taken. At the end requests in flight get `CLOSING_S` seconds,
    WebSockets a close frame (1012). Installs no signal handlers.
    """
    server = _Server(app, tls)
    serving = asyncio.create_task(server.serve([listener]))
    try:
        if ready is not None:
            host, bound = listener.getsockname()[:2]
            ready(f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{bound}")
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        server.stop()
        await serving
    finally:
        serving.cancel()
        listener.close()


class _Server(uvicorn.Server):
    """uvicorn inside a loop that is not its own: without signals, and asleep while there is nothing to do."""

    def __init__(self, app: ASGIApp, tls: Tls | None = None) -> None:
        cert, key = tls or (None, None)
        config = uvicorn.Config(
            app,
            ssl_certfile=cert,
            ssl_keyfile=key,
            http="httptools",
            ws="websockets-sansio",
            ws_max_size=65_536,
            ws_per_message_deflate=False,
            lifespan="off",
            log_config=None,
            access_log=False,
            date_header=False,
            server_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=int(CLOSING_S),
        )
        super().__init__(config)
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        self._stopping.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def main_loop(self) -> None:
        # uvicorn looks ten times a second whether it should stop and keeps a Date header; we are told, and send none.
        await self._stopping.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        for connection in list(self.server_state.connections):
            connection.transport.abort()  # A client that reads nothing would keep it open for ever.


def listen(host: str, port: int) -> socket.socket:
    """A bound socket that listens (port 0 takes any free one). Raises OSError if the address cannot be had.

    Its protocol is named, for asyncio sends small answers at once (TCP_NODELAY) only if it knows it: otherwise each would wait
    40 ms for the client's delayed acknowledgement.
    """
    host = host.strip("[]")  # As IPv6 addresses are written beside a port.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(1_024)
    except OSError as error:
        listener.close()
        detail = f"the API cannot listen on {host}:{port}: {error.strerror}; choose another address or port"
        raise OSError(error.errno, detail) from error
    return listener


class Runs:
    """Runs: start, look, cancel."""

    def __init__(self, planner: PlannerPort) -> None:
        self._planner = planner

    async def start(self, request: Request) -> Response:
        key = idempotency_key(request.headers.get("idempotency-key", ""))
        body = await body_of(request)
        asked = start_request(body)
        contract = asked.consistency, asked.autonomy
        run = RunRequest(asked.inputs, asked.labels, asked.priority, asked.fairness_key, asked.after, *contract)
        started = (await self._planner.start(asked.definition, [run], idempotency_key=key, body=body))[0]
        if isinstance(started, Problem):
            raise started
        return answer(started, 201, {"Location": f"/api/v1/workflows/{quote(started.id, safe='')}"})

    async def start_batch(self, request: Request) -> Response:
        key = idempotency_key(request.headers.get("idempotency-key", ""))
        body = await body_of(request)
        asked = batch_request(body)
        items = await self._planner.start(asked.definition, asked.runs, idempotency_key=key, body=body)
        return answer({"items": [_item(item) for item in items]})

    async def list(self, request: Request) -> Response:
        wanted, limit, cursor = listing(request.query_params)
        items, following = await self._planner.runs(wanted, limit=limit, cursor=cursor)
        return answer({"items": items, "next": following})

    async def get(self, request: Request) -> Response:
        run, moment = request.path_params["run"], then(request.query_params)
        if moment is not None:
            return answer(await self._planner.run_then(run, moment))
        asked, wait = fresh(request.query_params), wait_s(request.query_params.get("wait"))
        if asked is not None:
            return answer(await self._planner.run_within(run, asked, wait_s=wait))
        return answer(await self._planner.run(run, wait_s=wait))

    async def cancel(self, run: str, request: Request, reason: Annotated[str, Query(max_length=1_000)] = "") -> Response:
        wait = wait_s(request.query_params.get("wait", "2"))
        key = idempotency_key(request.headers.get("idempotency-key", ""))
        outcome = await self._planner.cancel(run, reason=reason, wait_s=wait, idempotency_key=key)
        if isinstance(outcome, CommandView):
            return answer(outcome, 202, {"Location": f"/api/v1/commands/{quote(outcome.command, safe='')}"})
        return answer(outcome)

    async def history(self, run: str, after: Annotated[int, Query(ge=0)] = 0, limit: Limit = 100) -> Response:
        items, following = await self._planner.history(run, after=after, limit=limit)
        return answer({"items": items, "next": following})


def _runs(runs: Runs) -> APIRouter:
    router = APIRouter(prefix="/api/v1")
    router.add_api_route("/workflows", runs.start, methods=["POST"])
    router.add_api_route("/workflows:batch", runs.start_batch, methods=["POST"])
    router.add_api_route("/workflows", runs.list, methods=["GET"])
    router.add_api_route("/workflows/{run}", runs.get, methods=["GET"])
    router.add_api_route("/workflows/{run}", runs.cancel, methods=["DELETE"])
    router.add_api_route("/workflows/{run}/history", runs.history, methods=["GET"])
    return router


class Knowledge:
    """What the cloud knows: definitions, agents, sites, commands, its log and itself."""

    def __init__(self, planner: PlannerPort) -> None:
        self._planner = planner

    async def register(self, request: Request, source: Annotated[str, Query(max_length=255)] = "<request>") -> Response:
        text = definition_text(await body_of(request, DEFINITION_BYTES_MAX), request.headers.get("content-type", ""))
        definition = await self._planner.register(text, source)
        return answer(definition, 201, {"Location": f"/api/v1/definitions/{quote(definition.ref, safe='@')}"})

    async def validate(self, request: Request, source: Annotated[str, Query(max_length=255)] = "<request>") -> Response:
        text = definition_text(await body_of(request, DEFINITION_BYTES_MAX), request.headers.get("content-type", ""))
        return answer(await self._planner.validate(text, source))

    async def definitions(self) -> Response:
        return answer({"items": await self._planner.definitions()})

    async def definition(self, ref: str) -> Response:
        return answer(await self._planner.definition(ref))

    async def agents(self) -> Response:
        return answer({"items": await self._planner.agents()})

    async def sites(self) -> Response:
        return answer({"items": await self._planner.sites()})

    async def run_totals(self) -> Response:
        return answer({"items": await self._planner.run_totals()})

    async def diff(self, site: str) -> Response:
        return answer(await self._planner.diff(site))

    async def command(self, command: str) -> Response:
        return answer(await self._planner.command(command))

    async def verify(self) -> Response:
        return answer({"items": await self._planner.verify()})

    async def alive(self) -> Response:
        return answer({"status": "ok"})

    async def ready(self) -> Response:
        missing = self._planner.ready()
        if missing:
            raise Problem(503, "not_ready", "the planner does not take work yet", missing)
        return answer({"status": "ready"})


def _knowledge(knowledge: Knowledge) -> APIRouter:
    router = APIRouter()
    router.add_api_route("/api/v1/definitions", knowledge.register, methods=["POST"])
    router.add_api_route("/api/v1/definitions:validate", knowledge.validate, methods=["POST"])
    router.add_api_route("/api/v1/definitions", knowledge.definitions, methods=["GET"])
    router.add_api_route("/api/v1/definitions/{ref}", knowledge.definition, methods=["GET"])
    router.add_api_route("/api/v1/agents", knowledge.agents, methods=["GET"])
    router.add_api_route("/api/v1/sites", knowledge.sites, methods=["GET"])
    router.add_api_route("/api/v1/sites/{site}/diff", knowledge.diff, methods=["GET"])
    router.add_api_route("/api/v1/metrics/runs", knowledge.run_totals, methods=["GET"])
    router.add_api_route("/api/v1/commands/{command}", knowledge.command, methods=["GET"])
    router.add_api_route("/api/v1/log/verify", knowledge.verify, methods=["GET"])
    router.add_api_route("/healthz", knowledge.alive, methods=["GET"])
    router.add_api_route("/readyz", knowledge.ready, methods=["GET"])
    return router


class Watchers:
    """Clients of `WS /ws/workflows`: a snapshot first, then what has changed, told at most five times per second each."""

    def __init__(self, planner: PlannerPort) -> None:
        self._planner = planner
        self._count = 0

    async def watch(self, client: WebSocket) -> None:
        await client.accept()
        if self._count >= WATCHERS_MAX:
            await client.close(1013, f"{WATCHERS_MAX} clients watch already: try again later")
            return
        self._count += 1
        try:
            code, reason = await self._serve(client)
        finally:
            self._count -= 1
        if client.client_state is client.application_state is WebSocketState.CONNECTED:
            await client.close(code, reason)

    async def _serve(self, client: WebSocket) -> tuple[int, str]:
        """Until the client leaves or the planner ends its stream of changes. Says how to close."""
        unseen, changed = Unseen(), asyncio.Event()
        leaving = asyncio.create_task(gone(client))
        tasks = [
            leaving,
            asyncio.create_task(self._gather(unseen, changed)),
            asyncio.create_task(self._tell(client, unseen, changed)),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        error = next((r for r in results if isinstance(r, Exception)), None)
        if tasks[0] in done or isinstance(error, WebSocketDisconnect):
            return 1000, ""
        if error is None:
            return 1012, "the planner restarts: connect again"
        _log.error("a watching client was cut off", exc_info=error)
        return 1011, "the API could not go on: connect again"

    async def _gather(self, unseen: Unseen, changed: asyncio.Event) -> None:
        async for runs, sites in self._planner.watch():
            unseen.add(runs, sites)
            changed.set()

    async def _tell(self, client: WebSocket, unseen: Unseen, changed: asyncio.Event) -> None:
        """While `send` waits for a slow client, changes gather in `unseen`, which is bounded."""
        unseen.lost = True
        changed.set()
        while True:
            await changed.wait()
            changed.clear()
            if unseen.lost:
                unseen.forget()
                told = await self._snapshot()
            else:
                told = unseen.update(_wall_ms()) if unseen else iter(())
            for frame in told:
                await client.send_text(frame.decode())
            await asyncio.sleep(1 / FRAMES_PER_SECOND_MAX)

    async def _snapshot(self) -> Iterator[bytes]:
        runs, _ = await self._planner.runs(ALL, limit=SNAPSHOT_RUNS_MAX, cursor="")
        return frames("snapshot", runs, await self._planner.sites(), _wall_ms())


async def gone(client: WebSocket) -> None:
    """Returns when the client has left. What it sends is not for us."""
    while (await client.receive())["type"] != "websocket.disconnect":
        pass


class SameOrigin:
    """Keeps the pages of other sites out. Browsers send the header Origin with what scripts ask for, and the API on a
    person's own machine has no other means yet to tell a script from that person."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            headers = Headers(scope=scope)
            origin = headers.get("origin")
            if origin is not None and urlsplit(origin).netloc != headers.get("host"):
                await self._refuse(origin, scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _refuse(self, origin: str, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        detail = f"a page of {origin} may not use this API: it answers pages of its own address and programs"
        await _refusal(Problem(403, "foreign_origin", detail), scope["path"])(scope, receive, send)


def _answer_errors(app: FastAPI) -> None:
    @app.exception_handler(Problem)
    async def problem(request: Request, error: Problem) -> Response:
        return _refusal(error, request.url.path)

    @app.exception_handler(RequestValidationError)
    async def parameters(request: Request, error: RequestValidationError) -> Response:
        return _refusal(of_validation(error.errors()), request.url.path)

    @app.exception_handler(HTTPException)
    async def router(request: Request, error: HTTPException) -> Response:
        refused = of_router(error.status_code, request.method, request.url.path)
        return _refusal(refused, request.url.path, dict(error.headers or {}))

    @app.exception_handler(InboxFull)
    @app.exception_handler(LogError)
    async def crowded(request: Request, error: Exception) -> Response:
        return _refusal(_of_log(error), request.url.path)

    @app.exception_handler(Exception)
    async def internal(request: Request, error: Exception) -> Response:
        # The server logs the error itself, so whoever asked learns nothing about our inside; then it ends the connection.
        detail = "the API failed on this request; its log says why. Asking again under the same Idempotency-Key is safe"
        return _refusal(Problem(500, "internal", detail), request.url.path, {"Connection": "close"})


def _of_log(error: Exception) -> Problem:
    """Nothing was acknowledged: the commit was rolled back, or never begun."""
    if isinstance(error, InboxFull):
        return Problem(503, "inbox_full", str(error))
    if isinstance(error, LogFull):
        return Problem(
            503,
            "log_full",
            f"the cloud's log has no room, nothing was changed: {error}; free some space, then ask again",
        )
    return Problem(503, "log_unavailable", f"the cloud's log did not take the change: {error}")


def answer(value: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A value as JSON."""
    return Response(_encode(value), status, headers, "application/json")


def _refusal(problem: Problem, path: str, headers: dict[str, str] | None = None) -> Response:
    headers = headers or {}
    if problem.status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = "10" if problem.code == "log_full" else "1"
    return Response(_encode(document(problem, path)), problem.status, headers, "application/problem+json")


def _item(item: Started | Problem) -> Started | dict[str, ProblemDocument]:
    return {"error": document(item)} if isinstance(item, Problem) else item


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
