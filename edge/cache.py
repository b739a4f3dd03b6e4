"""The result cache of a site: what agents gave, kept for other runs until its time is over.

Its state is a fold of the site's own events, like everything else. It is bounded by entries and bytes: beyond that, what would
expire first goes. What has expired is never given out, and leaves with the next batch that is decided anyway.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import ClassVar

import msgspec

from edge.home import Home
from edge.part import Fold, Hear, Part
from sync.values import Now
from workflow.cache_events import CacheCleared, CacheClearRequested, ResultCached
from workflow.caching import key_of, may_take
from workflow.commands import Fail, Reuse
from workflow.event import Blob, Event
from workflow.events import CommandAnswered
from workflow.expression import ExpressionError
from workflow.fragment import Fragment

ENTRIES_MAX = 10_000
# Of the results themselves: they are in every snapshot of the site.
BYTES_MAX = 16 << 20
ENTRY_BYTES = 256


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """A result under its key. `source` is the run and task that gave it, `work` the capability (or @agent) that it is of."""

    key: str
    until_ms: int
    work: str
    source: str
    output: bytes
    blob: Blob | None

    def weight(self) -> int:
        """In bytes, with what it takes to keep it."""
        return ENTRY_BYTES + len(self.output)


@dataclass(slots=True)
class ResultCache(Part):
    """Entries by key. `holds_blob`: is a large result still at the site? `hits` and `misses` count since the start."""

    name: ClassVar[str] = "cache"
    home: Home
    holds_blob: Callable[[Blob], bool] = lambda blob: True
    entries_max: int = ENTRIES_MAX
    bytes_max: int = BYTES_MAX
    entries: dict[str, Entry] = field(default_factory=dict)
    held_bytes: int = 0
    hits: int = 0
    misses: int = 0
    _heap: list[tuple[int, str]] = field(default_factory=list)

    # Looking ----------------------------------------------------------------------------------------------------------

    def find(self, key: str, now: Now) -> Entry | None:
        """What is kept under the key, if its time is not over."""
        entry = self.entries.get(key)
        return entry if entry is not None and entry.until_ms > now.wall_ms else None

    def serve(self, fragment: Fragment, task: int, now: Now, out: list[object], *, is_last: bool = True) -> bool:
        """Is the task over without an agent: done by what is kept, or failed because its key has no value? Otherwise an agent is
        asked; `is_last` says that this is the moment to count it."""
        if not may_take(fragment, task):
            return False
        try:
            key = key_of(fragment, task)
        except ExpressionError as error:
            failed = Fail(task, fragment.attempt(task), "", "expression", str(error), False)
            self.home.reject(fragment, failed, now, out)
            return True
        entry = self.find(key, now)
        if entry is not None and (entry.blob is None or self.holds_blob(entry.blob)):
            reuse = Reuse(task, entry.output, entry.blob, f"cache:{entry.source}")
            if self.home.decide(fragment, reuse, now, out):
                self.hits += 1
                return True
        self.misses += is_last
        return False

    # Part -------------------------------------------------------------------------------------------------------------

    def folds(self) -> dict[type, Fold]:
        """What was kept, and what is not to be kept any more."""
        return {ResultCached: self._keep, CacheCleared: self._clear}

    def hears(self) -> dict[type, Hear]:
        """That somebody wants it emptied."""
        return {CacheClearRequested: self._hear}

    def settle(self, now: Now, out: list[object]) -> None:
        """What has expired leaves."""
        while self._heap and self._heap[0][0] <= now.wall_ms:
            self._drop_first()

    def save(self) -> bytes:
        """All entries, by key."""
        return _ENCODE([entry for _, entry in sorted(self.entries.items())]) if self.entries else b""

    def restore(self, body: bytes) -> None:
        """Begin from what `save` wrote."""
        for entry in _DECODE(body):
            self._put(entry)

    def _keep(self, is_own: bool, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, ResultCached), f"{event} keeps nothing"
        source = f"{run}/{event.name}"
        self._put(Entry(event.key, event.until_ms, event.work, source, event.output, event.blob))

    def _clear(self, is_own: bool, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, CacheCleared), f"{event} clears nothing"
        for key in self._meant(event.work, event.key):
            self.held_bytes -= self.entries.pop(key).weight()

    def _hear(self, run: str, event: Event, now: Now, out: list[object]) -> None:
        assert isinstance(event, CacheClearRequested), f"{event} asks for something else"
        count = len(self._meant(event.work, event.key))
        self.home.note(CacheCleared(event.command, event.work, event.key), out)
        self.home.note(CommandAnswered(event.command, True, f"results that are not kept any more: {count}"), out)

    def _meant(self, work: str, key: str) -> list[str]:
        if key:
            return [key] if key in self.entries else []
        return [name for name, entry in self.entries.items() if work in ("", entry.work)]

    # Keeping ----------------------------------------------------------------------------------------------------------

    def _put(self, entry: Entry) -> None:
        if entry.weight() > self.bytes_max:
            return
        if (before := self.entries.pop(entry.key, None)) is not None:
            self.held_bytes -= before.weight()
        self.entries[entry.key] = entry
        self.held_bytes += entry.weight()
        heappush(self._heap, (entry.until_ms, entry.key))
        while len(self.entries) > self.entries_max or self.held_bytes > self.bytes_max:
            self._drop_first()
        if len(self._heap) > 2 * len(self.entries) + 64:
            self._heap = [(kept.until_ms, key) for key, kept in self.entries.items()]
            heapify(self._heap)

    def _drop_first(self) -> None:
        """Forget what expires first; an entry of the heap may be of a result that is kept no more, or for longer by now."""
        until_ms, key = heappop(self._heap)
        entry = self.entries.get(key)
        if entry is not None and entry.until_ms == until_ms:
            self.held_bytes -= self.entries.pop(key).weight()


_ENCODE = msgspec.msgpack.Encoder().encode
_DECODE = msgspec.msgpack.Decoder(list[Entry]).decode
