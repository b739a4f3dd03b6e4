"""Sync points of runs: agents wait for each other, and then go on together.

    async def lift(load: str, context: TaskContext) -> None:
        await approach(load)
        met = await context.sync_point("lift", timeout_s=60)   # Until all parties are there.
        await raise_load(load, with_others=met.parties)

The site answers while it is cut off from the cloud. An arrival has a name, which is the same in every attempt at the task: what
was done again after a crash goes through where it went through before.
"""

import asyncio
import concurrent.futures
import contextlib
import uuid
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import grpc

from tiercel.backoff import Backoff
from tiercel.channel import ChannelEnded, telling_ends
from tiercel.document_watching import LOST, RECONNECT_S_MAX, STRANGER_S_MAX
from tiercel.errors import SyncPointBroken, SyncPointRefused, SyncPointTimeout, SyncPointUnknown, TaskCancelled
from tiercel.v1 import sync_point_pb2

if TYPE_CHECKING:
    from tiercel.context import TaskContext
    from tiercel.documents import Channel

ASK_S = 10.0
LOOK_S = 0.2
"""How often a thread that waits looks whether its attempt was cancelled."""
UNKNOWN = frozenset({"point_unknown", "party_unknown", "run_elsewhere", "agent_unknown", "point_over", "generation_unknown"})
PASSING = frozenset({"unavailable", "bound_reached", "agent_away"})
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Met:
    """How a point stands. `state`: "idle", "waiting", "released" or "broken"; at a point of another site "asked", until its home
    has answered (`reason` says who is asked, and if the link is down). `parties` went on together; while somebody waits,
    `here` are those who do, `missing` whom they wait for by name and `lacking` how many. Times are UTC ms, 0: none."""

    point: str
    state: str
    generation: int
    parties: tuple[str, ...] = ()
    here: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    lacking: int = 0
    gone: tuple[str, ...] = ()
    since_ms: int = 0
    deadline_ms: int = 0
    code: str = ""
    reason: str = ""
    ended_ms: int = 0
    cyclic: bool = False


class SyncPoints:
    """The sync points that an agent may come to. An arrival's name is `name/point/1`, `name/point/2`, ... with a `name`, as a
    task's have; without one each is its own."""

    def __init__(self, channel: "Channel", agent: str, loop: asyncio.AbstractEventLoop, name: str = "", run: str = "") -> None:
        self._channel, self._agent, self._loop, self._name, self._run = channel, agent, loop, name, run
        self._counts: dict[str, int] = {}
        self._errands: set[asyncio.Task[None]] = set()

    async def arrive(self, point: str, *, timeout_s: float | None = None, run: str = "", arrival: str = "") -> Met:
        """Be at the point, and wait until the generation is released. It goes on over however many connections.

        Raises SyncPointBroken (nobody goes on), SyncPointUnknown (no such point, or no party of it), SyncPointTimeout (after
        `timeout_s` the arrival is taken back) and SyncPointRefused. Cancelled, it takes the arrival back, too."""
        waiting = _Waiting(self, self._run_of(run), point, arrival or self._next_name(point))
        try:
            async with asyncio.timeout(timeout_s):
                return await waiting.until_released()
        except TimeoutError:
            return await self._give_up(waiting, timeout_s or 0.0)
        except asyncio.CancelledError:
            errand = self._loop.create_task(self._take_back(waiting))
            self._errands.add(errand)
            errand.add_done_callback(self._errands.discard)
            raise

    async def withdraw(self, point: str, *, run: str = "", generation: int = 0) -> Met:
        """Wait there no longer. If the generation has ended meanwhile, that is what is told."""
        return await self._withdraw(self._run_of(run), point, generation, 0, self.boot)

    async def _withdraw(self, run: str, point: str, generation: int, wait: int, boot: str) -> Met:
        asked = sync_point_pb2.PointWithdrawal(
            agent=self._agent, run=run, point=point, generation=generation, wait=wait, boot=boot
        )
        answer = await self._ask("Withdraw", asked, point)
        if answer.HasField("refused"):
            raise _refusal(answer.refused)
        return _met(answer.shown)

    async def show(self, point: str = "", *, run: str = "") -> list[Met]:
        """How the points of the run stand, or one of them."""
        asked = sync_point_pb2.PointQuery(agent=self._agent, run=self._run_of(run), point=point)
        answer = await self._ask("Show", asked, point)
        if answer.HasField("refused"):
            raise _refusal(answer.refused)
        return [_met(shown) for shown in answer.points]

    def arrive_in_thread(self, point: str, timeout_s: float | None, context: "TaskContext") -> Met:
        """As `arrive`, for functions that run in a thread. Raises TaskCancelled."""
        waiting = asyncio.run_coroutine_threadsafe(self.arrive(point, timeout_s=timeout_s), self._loop)
        while True:
            try:
                return waiting.result(LOOK_S)
            except concurrent.futures.TimeoutError:
                if waiting.done():  # What it ended with, be it an error of this kind.
                    return waiting.result()
                if context.cancelled:
                    waiting.cancel()
                    raise TaskCancelled(context.reason) from None

    def wait_for(self, work: "Coroutine[Any, Any, T]") -> T:
        """For threads: `points.wait_for(points.show("lift"))`."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    # What it is made of ---

    def call(self, asked: sync_point_pb2.PointArrival) -> Any:
        """One connection's worth of an arrival; None without a gateway just now."""
        try:
            return self._channel.points.Arrive(asked) if self._channel.points is not None else None
        except grpc.aio.UsageError:
            return None  # The channel is closed: the agent connects anew.

    @property
    def agent(self) -> str:
        return self._agent

    @property
    def boot(self) -> str:
        return self._channel.boot

    def next_wait(self) -> int:
        """The number of one more wait in this process."""
        self._channel.waits += 1
        return self._channel.waits

    async def _give_up(self, waiting: "_Waiting", timeout_s: float) -> Met:
        left: Met | None = None
        with contextlib.suppress(SyncPointRefused):
            left = await self._withdraw(waiting.run, waiting.point, waiting.generation, waiting.wait, self.boot)
        if left is not None and left.state == "released" and self._agent in left.parties:
            return left
        if left is not None and left.state == "broken":
            raise _broken(left)
        raise SyncPointTimeout(f"{waiting.point} of run {waiting.run}: not released within {timeout_s:g} s{waiting.words()}")

    async def _take_back(self, waiting: "_Waiting") -> None:
        with contextlib.suppress(SyncPointRefused):
            await self._withdraw(waiting.run, waiting.point, waiting.generation, waiting.wait, self.boot)

    async def _ask(self, method: str, asked: Any, point: str) -> Any:
        if self._channel.points is None:
            raise SyncPointRefused(f"{point}: not connected to a gateway yet", code="unavailable", retryable=True)
        try:
            with telling_ends():
                return await getattr(self._channel.points, method)(asked, timeout=ASK_S)
        except ChannelEnded as error:
            raise SyncPointRefused(f"{point}: {error}", code="unavailable", retryable=True) from error
        except grpc.aio.AioRpcError as error:
            raise _lost(point, error) from error
        except grpc.aio.UsageError as error:
            raise SyncPointRefused(f"{point}: the agent connects anew", code="unavailable", retryable=True) from error

    def _next_name(self, point: str) -> str:
        self._counts[point] = self._counts.get(point, 0) + 1
        return f"{self._name}/{point}/{self._counts[point]}" if self._name else uuid.uuid4().hex

    def _run_of(self, run: str) -> str:
        if not (run := run or self._run):
            raise SyncPointUnknown("of which run? allowed: in a task, or with its id", code="run_unknown")
        return run


class _Waiting:
    """One arrival, over all its connections."""

    def __init__(self, points: SyncPoints, run: str, point: str, arrival: str) -> None:
        self.points, self.run, self.point, self.arrival = points, run, point, arrival
        self.wait = points.next_wait()
        self.generation = 0
        self.seen: Met | None = None
        self._backoff = Backoff(limit_s=RECONNECT_S_MAX)
        self._strange_s = 0.0

    def words(self) -> str:
        """For whom it waited last."""
        if self.seen is None:
            return ""
        if self.seen.state == "asked":
            return f"; {self.seen.reason}"
        return f"; it waited for {', '.join(self.seen.missing) or f'{self.seen.lacking} more'}"

    async def until_released(self) -> Met:
        """Whatever breaks meanwhile."""
        while True:
            if (call := self.points.call(self._asked())) is not None:
                try:
                    while (met := await self._next(call)) is not None:
                        if met.state == "released":
                            return met
                finally:
                    call.cancel()
            wait_s = self._backoff.next_s()
            self._strange_s += wait_s
            await asyncio.sleep(wait_s)

    def _asked(self) -> sync_point_pb2.PointArrival:
        return sync_point_pb2.PointArrival(
            agent=self.points.agent,
            run=self.run,
            point=self.point,
            arrival=self.arrival,
            generation=self.generation,
            boot=self.points.boot,
            wait=self.wait,
        )

    async def _next(self, call: Any) -> Met | None:
        """What is told next on this connection; None if it has ended, or the site has lost sight of us."""
        try:
            with telling_ends():
                answer = await call.read()
        except ChannelEnded:
            return None  # Another takes over.
        except grpc.aio.AioRpcError as error:
            is_stranger = error.code() is grpc.StatusCode.PERMISSION_DENIED and self._strange_s < STRANGER_S_MAX
            if error.code() in LOST or is_stranger:
                return None
            raise _lost(self.point, error) from error
        if answer is grpc.aio.EOF:
            return None
        return self._heard(answer)

    def _heard(self, answer: sync_point_pb2.PointAnswer) -> Met | None:
        if answer.HasField("refused"):
            if answer.refused.code in PASSING:
                return None
            raise _refusal(answer.refused)
        met = _met(answer.shown)
        if met.state == "broken":
            raise _broken(met)
        self.seen, self.generation, self._strange_s = met, met.generation, 0.0
        self._backoff.reset()
        return met if met.state in ("released", "asked") or self.points.agent in met.here else None


def _met(shown: sync_point_pb2.PointShown) -> Met:
    return Met(
        point=shown.point,
        state=shown.state,
        generation=shown.generation,
        parties=tuple(shown.parties),
        here=tuple(party.agent for party in shown.here),
        missing=tuple(shown.missing),
        lacking=shown.lacking,
        gone=tuple(shown.gone),
        since_ms=shown.since_ms,
        deadline_ms=shown.deadline_ms,
        code=shown.code,
        reason=shown.reason,
        ended_ms=shown.ended_ms,
        cyclic=shown.cyclic,
    )


def _broken(met: Met) -> SyncPointBroken:
    message = f"sync point {met.point} is broken (generation {met.generation}, {met.code}): {met.reason}"
    return SyncPointBroken(message, why=met.code, retryable=met.cyclic)


def _refusal(refused: sync_point_pb2.PointRefused) -> SyncPointRefused:
    if refused.code == "generation_over":
        return SyncPointBroken(refused.message, why=refused.code, retryable=True)
    kind = SyncPointUnknown if refused.code in UNKNOWN else SyncPointRefused
    return kind(refused.message, code=refused.code, retryable=refused.code in PASSING)


def _lost(point: str, error: grpc.aio.AioRpcError) -> SyncPointRefused:
    code = error.code().name.lower()
    return SyncPointRefused(f"{point}: {error.details() or code}", code=code, retryable=error.code() in LOST)
