"""What waits to be written to the gateway. One writer empties it, so all of one turn of the loop is one message."""

import asyncio
from collections.abc import Iterable, Iterator

from tiercel.encoding import Key
from tiercel.v1 import agent_pb2

RESULTS_BYTES_MAX = 1024 * 1024 - 4096
"""A Results message stays below 1 MiB with its envelope."""
PROGRESS_EVERY_S = 0.1


class Outbox:
    """Results, progress and heartbeats on their way. Bounded by what feeds it: one entry per attempt in hand."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._filled = asyncio.Event()
        self._results: list[agent_pb2.TaskResult] = []
        self._progress: dict[Key, agent_pb2.Progress] = {}
        self._progress_due: asyncio.TimerHandle | None = None
        self._heartbeat = 0
        self._goodbye = ""
        self._open = False

    def open(self) -> None:
        """A session begins. What the last one left is dropped: its results are in the journal, its progress is old."""
        self._results, self._heartbeat = [], 0
        self._progress.clear()
        self._filled.clear()
        self._open = True

    def close(self) -> None:
        """The session ended: nothing is kept until the next one, which sends what the journal holds."""
        self._open = False
        self._results = []
        self._progress.clear()

    def add_results(self, results: Iterable[agent_pb2.TaskResult]) -> None:
        if self._open:
            self._results.extend(results)
            self._filled.set()

    def add_heartbeat(self, id: int) -> None:
        self._heartbeat = id
        self._filled.set()

    def add_progress(self, key: Key, progress: agent_pb2.Progress) -> None:
        """Only the last report of an attempt is kept, and reports leave ten times a second at most."""
        if not self._open:
            return
        self._progress[key] = progress
        if self._progress_due is None:
            self._progress_due = self._loop.call_later(PROGRESS_EVERY_S, self._release_progress)

    def forget_progress(self, key: Key) -> None:
        """The attempt is over: its result says more."""
        self._progress.pop(key, None)

    def add_goodbye(self, reason: str) -> None:
        """The last message of the agent."""
        self._goodbye = reason
        self._filled.set()

    async def drain(self) -> Iterator[agent_pb2.AgentMessage]:
        """Wait until there is something, and take it as messages below 1 MiB."""
        await self._filled.wait()
        self._filled.clear()
        return self._messages()

    def _messages(self) -> Iterator[agent_pb2.AgentMessage]:
        if self._heartbeat:
            beat, self._heartbeat = self._heartbeat, 0
            yield agent_pb2.AgentMessage(heartbeat=agent_pb2.Heartbeat(id=beat))
        results, self._results = self._results, []
        for batch in split(results):
            yield agent_pb2.AgentMessage(results=batch)
        if self._progress and self._progress_due is None:
            reports = list(self._progress.values())
            self._progress.clear()
            yield agent_pb2.AgentMessage(progress=agent_pb2.ProgressReports(items=reports))
        if self._goodbye:
            yield agent_pb2.AgentMessage(goodbye=agent_pb2.Goodbye(reason=self._goodbye))

    def _release_progress(self) -> None:
        self._progress_due = None
        if self._progress:
            self._filled.set()


def split(results: list[agent_pb2.TaskResult]) -> Iterator[agent_pb2.Results]:
    """The results as messages below RESULTS_BYTES_MAX, in their order. No single result is larger."""
    batch, size = agent_pb2.Results(), 0
    for result in results:
        # Tag and length take at most six bytes.
        bytes_more = result.ByteSize() + 6
        if size + bytes_more > RESULTS_BYTES_MAX and size:
            yield batch
            batch, size = agent_pb2.Results(), 0
        batch.items.append(result)
        size += bytes_more
    if size:
        yield batch
