"""`SyncPointService`: agents wait for each other at their site, while it is cut off, too."""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

import grpc

from edge.meeting.messages import answer_message, refused_message, shown_message
from edge.meeting.waiting.service import ENDED, PointFeed, TooManyWaiters, Waiter
from edge.points import ArriveHere, LookAtPoints, Refusal, WithdrawHere
from sync.actors import InboxFull, Loop
from sync.driver import StreamRecovered
from sync.log_errors import LogError
from sync.points.showing import PointView
from tiercel.v1 import sync_point_pb2, sync_point_pb2_grpc
from workflow.orders import ArriveAt, WithdrawFrom

SESSION_LOOK_S = 5.0
FAR_ANSWER_S = 8.0
"""How long a withdrawal waits for the home of the point: less than the agent waits for the answer."""
NAME_CHARACTERS_MAX = 400
WAIT_MS_MAX = 86_400_000


class Site(Protocol):
    """What it needs of the gateway."""

    loop: Loop
    points: PointFeed
    accepting: bool

    def stranger(self, context: Any, agent: str) -> str: ...


class SyncPointServer(sync_point_pb2_grpc.SyncPointServiceServicer):
    """Answers agents that have a session at this site: who arrives, the connection says, and it can only be itself."""

    def __init__(self, site: str, gateway: Site) -> None:
        self._site, self._gateway = site, gateway

    async def Arrive(self, request: sync_point_pb2.PointArrival, context: Any) -> None:  # type: ignore[override]  # noqa: N802
        """How the point stands, until the generation has ended; written through the context."""
        await self._admit(request.agent, (request.run, request.point, request.arrival), context)
        try:
            with self._gateway.points.wait(request.run, request.point) as waiter:
                await self._wait(request, waiter, context)
        except TooManyWaiters as full:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(full))

    async def Withdraw(self, request: sync_point_pb2.PointWithdrawal, context: Any) -> sync_point_pb2.PointAnswer:  # noqa: N802
        """How the generation of the agent stands without it, or how it has ended before."""
        await self._admit(request.agent, (request.run, request.point), context)
        asked = WithdrawFrom(request.point, request.agent, request.generation, request.wait, request.boot)
        try:
            with self._gateway.points.wait(request.run, request.point) as waiter:
                return answer_message(await self._withdraw(request.run, asked, waiter, context))
        except TooManyWaiters as full:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(full))
            raise AssertionError("an abort does not return") from full

    async def Show(self, request: sync_point_pb2.PointQuery, context: Any) -> sync_point_pb2.PointAnswers:  # noqa: N802
        """All points of a run, or one."""
        await self._admit(request.agent, (request.run, request.point), context)
        found = await self._ask(lambda token: LookAtPoints(token, request.run, request.point), context)
        if isinstance(found, Refusal):
            return sync_point_pb2.PointAnswers(refused=refused_message(found))
        return sync_point_pb2.PointAnswers(points=[shown_message(view) for view in found])

    async def _withdraw(self, run: str, asked: WithdrawFrom, waiter: Waiter, context: Any) -> PointView | Refusal:
        """At a point of another site its home answers, if it can be reached: it may have been released before."""
        ends_s = asyncio.get_running_loop().time() + FAR_ANSWER_S
        while True:
            waiter.again = False
            answer = await self._ask(lambda token: WithdrawHere(token, run, asked), context)
            left_s = ends_s - asyncio.get_running_loop().time()
            if isinstance(answer, Refusal) or answer.state != "asked" or left_s <= 0:
                assert isinstance(answer, PointView | Refusal)
                return answer
            await waiter.next(answer.generation, left_s)

    async def _wait(self, request: sync_point_pb2.PointArrival, waiter: Waiter, context: Any) -> None:
        ends_s = asyncio.get_running_loop().time() + (min(request.wait_ms, WAIT_MS_MAX) or WAIT_MS_MAX) / 1000
        view = await self._arrive(request, request.generation, context)
        while True:
            await context.write(answer_message(view))
            if isinstance(view, Refusal) or view.state in ENDED:
                return
            generation = view.generation
            news = await self._news(request.agent, waiter, generation, ends_s, context)
            if news is None and not waiter.again:
                return
            waiter.again = False
            view = news or await self._arrive(request, generation, context)

    async def _arrive(self, request: sync_point_pb2.PointArrival, generation: int, context: Any) -> PointView | Refusal:
        asked = ArriveAt(request.point, request.agent, request.arrival, generation, boot=request.boot, wait=request.wait)
        answer = await self._ask(lambda token: ArriveHere(token, request.run, asked), context)
        assert isinstance(answer, PointView | Refusal)
        return answer

    async def _news(self, agent: str, waiter: Waiter, generation: int, ends_s: float, context: Any) -> PointView | None:
        """What is new of the generation; None when the time is over, or when it has to be asked for. An agent that is gone is not
        told for ever: it asks again when it is back."""
        while (left_s := ends_s - asyncio.get_running_loop().time()) > 0:
            if (view := await waiter.next(generation, min(left_s, SESSION_LOOK_S))) is not None or waiter.again:
                return view
            if self._gateway.stranger(context, agent):
                await context.abort(grpc.StatusCode.UNAVAILABLE, f"agent {agent!r} has left site {self._site}: arrive again")
        return None

    async def _admit(self, agent: str, names: tuple[str, ...], context: Any) -> None:
        """Who asks, its connection says; and it works here."""
        if wrong := self._gateway.stranger(context, agent):
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, wrong)
        if any(len(name) > NAME_CHARACTERS_MAX for name in names):
            wrong = f"names of runs, points and arrivals have at most {NAME_CHARACTERS_MAX} characters"
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, wrong)
        if not self._gateway.accepting:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"site {self._site} is not ready: try again shortly")

    async def _ask(self, make: Callable[[int], object], context: Any) -> Any:
        try:
            return await self._gateway.loop.ask(make)
        except (LogError, InboxFull, StreamRecovered) as why:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"site {self._site} could not record it: {why}")
