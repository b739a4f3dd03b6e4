"""The member of a box, in a thread with an event loop of its own.

A site's loop stands still now and then: while it folds its log, decides a large batch, takes snapshots. A leader that is silent
for so long is replaced, and the next one would fold the same log; so the member does not share that loop.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc

from coordination.group.driver import Member
from coordination.group.log import GroupLog
from coordination.group.values import GroupConfig, Standing
from sync.actors import run_node
from sync.log import EventLog

T = TypeVar("T")

STOPPED_S_MAX = 10.0


@dataclass(slots=True, eq=False)
class Lead:
    """The box leads in `term`, until `ended`, which is an event of the loop that `MemberThread.serve` runs in."""

    term: int
    log: GroupLog
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class MemberThread:
    """One member. All but the thread's own is for the loop of `serve`."""

    def __init__(
        self, config: GroupConfig, event_log: EventLog, join: Callable[[grpc.aio.Server], None], held_back: Callable[[str], str]
    ) -> None:
        self.config = config
        self.begun = asyncio.Event()  # Its disk has been read, and does not keep it from taking part.
        self._member = Member(config, event_log, join=join, held_back=held_back)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None
        self._ended: asyncio.Event

    @property
    def leader(self) -> str:
        """Who leads, as far as this member knows; empty if it knows nobody."""
        return self._member.leader

    @property
    def voters(self) -> frozenset[str]:
        """Who decides, as far as this member knows."""
        return self._member.voters

    @property
    def addresses(self) -> dict[str, str]:
        """Where the members reach each other."""
        return self._member.addresses

    async def serve(self, leads: "asyncio.Queue[Lead]") -> None:
        """Take part until cancelled; each leadership of this member comes out of the queue. Raises what ended the member."""
        outer = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        thread = threading.Thread(target=self._run, args=(outer, leads), name=f"member {self.config.member}", daemon=True)
        thread.start()
        try:
            await self._ended.wait()
        finally:
            if self._loop is not None and self._task is not None:
                with contextlib.suppress(RuntimeError):  # It has ended meanwhile.
                    self._loop.call_soon_threadsafe(self._task.cancel)
            await asyncio.to_thread(thread.join, STOPPED_S_MAX)
        raise self._failure or RuntimeError(f"member {self.config.member} ended, and nobody asked for it")

    async def status(self) -> Standing:
        """The member at this moment."""

        async def now() -> Standing:
            return self._member.status()

        return await self.ask(lambda member: now())

    async def ask(self, question: Callable[[Member], Coroutine[Any, Any, T]]) -> T:
        """Have the member do something in its own loop. Raises what that raises, and RuntimeError once it has ended."""
        if self._loop is None:
            raise RuntimeError(f"member {self.config.member} has not begun")
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(question(self._member), self._loop))

    # In the thread ----------------------------------------------------------------------------------------------------

    def _run(self, outer: asyncio.AbstractEventLoop, leads: "asyncio.Queue[Lead]") -> None:
        try:
            run_node(self._serve(outer, leads))
        except asyncio.CancelledError:
            pass
        except BaseException as error:  # noqa: BLE001 - Whoever serves this box gets it.
            self._failure = error
        finally:
            with contextlib.suppress(RuntimeError):  # Nobody waits any more.
                outer.call_soon_threadsafe(self._ended.set)

    async def _serve(self, outer: asyncio.AbstractEventLoop, leads: "asyncio.Queue[Lead]") -> None:
        ready = asyncio.Event()
        self._task = asyncio.current_task()
        self._loop = asyncio.get_running_loop()
        watching = asyncio.ensure_future(self._watch(ready, outer, leads))
        try:
            await self._member.serve(ready)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def _watch(self, ready: asyncio.Event, outer: asyncio.AbstractEventLoop, leads: "asyncio.Queue[Lead]") -> None:
        await ready.wait()
        with contextlib.suppress(RuntimeError):  # Nobody waits any more.
            outer.call_soon_threadsafe(self.begun.set)
        async for leadership in self._member.leaderships():
            lead = Lead(leadership.term, leadership.log)
            outer.call_soon_threadsafe(leads.put_nowait, lead)
            try:
                await leadership.ended.wait()
            finally:
                with contextlib.suppress(RuntimeError):
                    outer.call_soon_threadsafe(lead.ended.set)
