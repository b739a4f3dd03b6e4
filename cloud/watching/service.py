"""Who waits for something at the cloud, and who watches: woken by what is durable."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cloud.planner import Planner
from sync.documents.book import Document
from sync.watching.merged import news_in
from sync.watching.unseen import News, Watched
from workflow.context_news import news_of_run, runs_named

if TYPE_CHECKING:
    from cloud.driver import GlobalPlanner

WATCH_INTERVAL_S = 0.2


class Watching:
    """Those who wait for a run, a command or anything else with a name, and those who watch all runs."""

    def __init__(self, planner: Callable[[], Planner]) -> None:
        self._planner = planner
        self._bells: dict[str, _Bell] = {}
        self._watchers: set[_Mailbox] = set()
        self._watched = asyncio.Event()

    @property
    def is_watched(self) -> bool:
        """Does anybody watch all runs?"""
        return bool(self._watchers)

    def ring(self, name: str) -> None:
        """There is news of what has this name."""
        if (bell := self._bells.get(name)) is not None:
            bell.event.set()

    async def wait_ended(self, run: str, wait_s: float) -> bool:
        """Wait until the run has ended, at most `wait_s` seconds; did it?"""
        return await self.wait_for(run, lambda: run not in self._planner().runs, wait_s)

    async def wait_answered(self, command: str, wait_s: float) -> bool:
        """Wait until all homes have answered, or one has refused, at most `wait_s` seconds; did they?"""
        commands = self._planner().intents.commands
        return await self.wait_for(command, lambda: command not in commands or commands[command].state != "pending", wait_s)

    async def wait_for(self, name: str, is_over: Callable[[], bool], wait_s: float) -> bool:
        """Wait until it is over, looking whenever there is news of a run or command of this name; is it?"""
        deadline = asyncio.get_running_loop().time() + wait_s
        while not is_over():
            left_s = deadline - asyncio.get_running_loop().time()
            if left_s <= 0:
                return False
            bell = self._bells.setdefault(name, _Bell())
            bell.event.clear()
            bell.waiting += 1
            try:
                await asyncio.wait_for(bell.event.wait(), left_s)
            except TimeoutError:
                return is_over()
            finally:
                bell.waiting -= 1
                if not bell.waiting and self._bells.get(name) is bell:
                    del self._bells[name]
        return True

    async def changes(self) -> AsyncIterator[list[str]]:
        """The runs that have changed, a few times per second, while anybody asks. Slow readers get them together."""
        mailbox = _Mailbox()
        self._watchers.add(mailbox)
        self._watched.set()
        try:
            while True:
                await mailbox.wake.wait()
                mailbox.wake.clear()
                changed, mailbox.changed = mailbox.changed, {}
                yield list(changed)
        finally:
            self._watchers.discard(mailbox)
            if not self._watchers:
                self._watched.clear()

    async def feed(self) -> None:
        """Tell the watchers what has changed, until cancelled."""
        beats = 0
        while True:
            await self._watched.wait()
            await asyncio.sleep(WATCH_INTERVAL_S)
            planner = self._planner()
            changed, planner.changed = planner.changed, {}
            beats += 1
            for mailbox in self._watchers:
                mailbox.changed.update(changed)
                if changed or beats % 5 == 0:
                    mailbox.wake.set()


@dataclass(slots=True, eq=False)
class _Bell:
    """Rung when a run has ended or a command was answered; shared by all who wait for it."""

    event: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: int = 0


@dataclass(slots=True, eq=False)
class _Mailbox:
    """What one watcher has not seen yet: bounded by the runs there are, however slow it reads."""

    changed: dict[str, None] = field(default_factory=dict)
    wake: asyncio.Event = field(default_factory=asyncio.Event)


class DocumentShelf:
    """The documents of the cloud as watchers see them: what is durable here counts, of whatever level."""

    def __init__(self, node: "GlobalPlanner") -> None:
        self._node = node

    def known(self) -> dict[str, Document]:
        return self._node.planner.documents.book.documents

    def others(self, watched: Watched) -> list[News]:
        found = (self._node.planner.runs.look(run) for run in runs_named(watched))
        fragments = [run.fragments[0] for run in found if run is not None and run.fragments]
        of_runs = [news for fragment in fragments if fragment is not None for news in news_of_run(fragment, watched)]
        return [*of_runs, *news_in(self._node.planner.merging.book, watched)]

    def is_withheld(self, document: str) -> bool:
        return False

    async def durable(self) -> None:
        await self._node.loop.durable()

    async def counting(self, document: str) -> News | None:
        raise AssertionError(f"{document} is not withheld")
