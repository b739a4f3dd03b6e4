"""What waits to be written to the gateway. One writer empties it, so all of one turn of the loop is one message."""

import asyncio
from collections.abc import Iterable, Iterator

from tiercel.encoding import Key
from tiercel.parcel import PARCEL_BYTES_MAX, Parcel
from tiercel.v1 import agent_pb2

PROGRESS_EVERY_S = 0.1
WORDS_MAX = 4_096
"""Messages of concerns that wait to be written. More are not taken: whoever asked asks again."""


class Outbox:
    """Results, progress and heartbeats on their way. Bounded by what feeds it: one entry per attempt in hand."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._filled = asyncio.Event()
        self._results: list[bytes] = []
        self._words: list[agent_pb2.AgentMessage] = []
        self._progress: dict[Key, agent_pb2.Progress] = {}
        self._progress_due: asyncio.TimerHandle | None = None
        self._heartbeat = 0
        self._goodbye = ""
        self._open = False
        self.finished = False
        """The goodbye has been taken: nothing comes after it."""

    def open(self) -> None:
        """A session begins. What the last one left is dropped: its results are in the journal, its progress is old."""
        self.close()
        self._heartbeat = 0
        self._filled.clear()
        self._open = True

    def close(self) -> None:
        """The session ended: nothing is kept until the next one, which sends what the journal holds."""
        self._open = False
        self._results = []
        self._words = []
        self._progress.clear()

    @property
    def connected(self) -> bool:
        """There is a session, and somebody will take what is added."""
        return self._open

    def add_results(self, parcels: Iterable[Parcel]) -> None:
        """They leave in this order."""
        if self._open:
            self._results.extend(parcel.encoded for parcel in parcels)
            self._filled.set()

    def add(self, word: agent_pb2.AgentMessage) -> bool:
        """What a concern says, in order; False if there is nobody to take it, or too much waits."""
        if not self._open or len(self._words) >= WORDS_MAX:
            return False
        self._words.append(word)
        self._filled.set()
        return True

    def add_heartbeat(self, id: int) -> None:
        self._heartbeat = id
        self._filled.set()

    def add_progress(self, key: Key, progress: agent_pb2.Progress) -> None:
        """Only the last report of an attempt is kept, and reports leave ten times a second at most."""
        if not self._open or (progress.beat and key in self._progress):
            return  # A report that waits is a sign of life by itself.
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

    async def drain(self) -> Iterator[bytes]:
        """Wait until there is something, and take it as encoded messages below 1 MiB."""
        await self._filled.wait()
        self._filled.clear()
        return self._messages()

    def _messages(self) -> Iterator[bytes]:
        if self._heartbeat:
            beat, self._heartbeat = self._heartbeat, 0
            yield agent_pb2.AgentMessage(heartbeat=agent_pb2.Heartbeat(id=beat)).SerializeToString()
        results, self._results = self._results, []
        yield from _joined(results)
        words, self._words = self._words, []
        yield from (word.SerializeToString() for word in words)
        if self._progress and self._progress_due is None:
            reports = agent_pb2.ProgressReports(items=self._progress.values())
            self._progress.clear()
            yield agent_pb2.AgentMessage(progress=reports).SerializeToString()
        if self._goodbye:
            self.finished = True
            yield agent_pb2.AgentMessage(goodbye=agent_pb2.Goodbye(reason=self._goodbye)).SerializeToString()

    def _release_progress(self) -> None:
        self._progress_due = None
        if self._progress:
            self._filled.set()


def _joined(results: list[bytes]) -> Iterator[bytes]:
    """Results messages in as few AgentMessages as there can be. Encoded messages that follow each other are their union."""
    parts: list[bytes] = []
    size = 0
    for encoded in results:
        if size + len(encoded) > PARCEL_BYTES_MAX:
            yield _in_envelope(b"".join(parts))
            parts, size = [], 0
        parts.append(encoded)
        size += len(encoded)
    if parts:
        yield _in_envelope(b"".join(parts))


def _in_envelope(results: bytes) -> bytes:
    """AgentMessage(results=...) around an encoded Results: a tag, the length seven bits at a time, the bytes."""
    head = bytearray((agent_pb2.AgentMessage.RESULTS_FIELD_NUMBER << 3 | 2,))
    length = len(results)
    while length > 127:
        head.append(length & 127 | 128)
        length >>= 7
    head.append(length)
    return bytes(head) + results
