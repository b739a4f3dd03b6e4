"""The agent's memory of what it has done and the gateway has not yet acknowledged: one append-only file.

A result is appended before it is sent and forgotten when the gateway says that it is committed. After a crash the
file tells which attempts were done, so they are answered from here and not done again.

    file    = MAGIC record*
    record  = length u32, crc32 u32 of the rest, kind u8, payload      (little endian; length counts kind and payload)
    kind 1  = Results: done;  kind 2 = ResultAcks: forgotten;  kind 3 = Fences: the latest homes of runs that have moved
                                                                       (protobuf, see agent.proto)

A record of results bears the number of its parcel, and one that forgets names numbers of this file, or attempts.

What was appended with sync holds after a power cut. What was appended without it holds after the death of the
process. A record that was cut off by either is removed when the file is opened. Anything else that does not check is
damage: what is readable beyond it is kept, and the damaged file is set aside for a person to look at.

A Journal is not thread-safe: `append`, `forget` and `trim` belong to one thread; `sync` and `compact` may run in
another as long as `compact` runs alone.
"""

import logging
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from tiercel.encoding import Key, key_of
from tiercel.errors import JournalUnusable
from tiercel.fences import Fences, message_of
from tiercel.journal_file import JournalFile
from tiercel.parcel import Parcel
from tiercel.v1 import agent_pb2

MAGIC = b"tiercel journal 1\n"
DONE, FORGOTTEN, FENCED = 1, 2, 3
RECORD_BYTES_MAX = 4 * 1024 * 1024
_FRAME = struct.Struct("<II")

log = logging.getLogger("tiercel.journal")


class Journal:
    """The journal at `path`, open and locked. `held`: the attempts done and not yet forgotten, oldest first; `fences`: the latest
    homes of runs."""

    def __init__(self, file: Path | JournalFile, *, dead_bytes_max: int = 1024 * 1024) -> None:
        """Open or create it. Raises JournalInUse when another process has it, JournalUnusable when it is no journal."""
        self._file = file if isinstance(file, JournalFile) else JournalFile(file)
        self.path = self._file.path
        self.held: dict[Key, agent_pb2.TaskResult] = {}
        self.fences = Fences()
        self._dead_bytes_max = dead_bytes_max
        self._written: set[int] = set()
        self._forgotten: list[tuple[int, list[Key]]] = []
        self._number = 0
        self._broken = False
        self._size = 0
        try:
            self._open()
        except OSError as error:
            self._file.close()
            raise JournalUnusable(f"the journal {self.path} cannot be opened: {error.strerror}") from error
        except BaseException:
            self._file.close()
            raise
        if self._broken:
            self.compact(self.held.values())

    def draw_number(self) -> int:
        """The number of the next parcel."""
        self._number += 1
        return self._number

    def append(self, parcels: Iterable[Parcel]) -> None:
        """Write results in one go, without syncing; they are held from now on.

        Raises OSError when the disk does not take them. They are held all the same, the next `append` raises too, and
        `compact` writes everything anew; what was written before stays readable.
        """
        data = bytearray()
        for acks in self._acks():
            _add_record(data, FORGOTTEN, acks.SerializeToString())
        for parcel in parcels:
            self.held.update(parcel.results)
            _add_record(data, DONE, parcel.encoded)
        self._write(data)
        self._written.difference_update(number for number, _ in self._forgotten)
        self._written.update(parcel.number for parcel in parcels)
        self._forgotten.clear()

    def fence(self, homes: dict[str, int]) -> None:
        """Remember the latest homes of runs, and write that, without syncing. Raises OSError as `append` does."""
        self.fences.learn(homes)
        data = bytearray()
        _add_record(data, FENCED, message_of(homes).SerializeToString())
        self._write(data)

    def sync(self) -> None:
        """Everything appended so far is on disk when this returns. Raises OSError; the journal is then `broken`."""
        try:
            self._file.sync()
        except OSError:
            # The kernel may have dropped the pages that it could not write: the file is no longer what we think.
            self._broken = True
            raise

    def forget(self, results: dict[Key, agent_pb2.TaskResult], number: int = 0) -> None:
        """The gateway has these, all of the parcel if it is given its number: they are held no longer. An attempt of which
        another result is held by now stays. The file learns it with the next append."""
        if gone := self._drop(results):
            self._forgotten.append((number, gone))

    def trim(self) -> None:
        """Empty the file when nothing is in it any more and it has grown: the cheap way to stay small."""
        if not self.held and not self.fences.highest and not self._broken and self._size > self._dead_bytes_max:
            self._file.cut(len(MAGIC))
            self._size = len(MAGIC)
            self._written.clear()
            self._forgotten.clear()

    @property
    def broken(self) -> bool:
        """The last write failed: nothing is recorded until `compact` has succeeded."""
        return self._broken

    def mostly_forgotten(self) -> bool:
        """Compaction is worth its two syncs."""
        return self._size > 4 * self._dead_bytes_max and self._size > 4 * self._living_bytes()

    def compact(self, held: Iterable[agent_pb2.TaskResult]) -> None:
        """Write a file with only `held` and the fences beside this one, sync it and put it in its place.

        After a crash at any moment either the old file or the new one is there, whole. `held` is a copy of the
        journal's, taken by its owner, so that this may run in another thread; nothing may be appended meanwhile.
        """
        data = bytearray(MAGIC)
        for result in held:
            _add_record(data, DONE, agent_pb2.Results(items=(result,)).SerializeToString())
        if self.fences.highest:
            _add_record(data, FENCED, self.fences.message().SerializeToString())
        self._file.replace(data)
        self._size, self._broken = len(data), False
        self._written.clear()

    def close(self) -> None:
        """Write what is forgotten, close the file and give up the lock."""
        try:
            if self._forgotten and not self._broken:
                self.append(())
        except OSError:
            log.warning("the journal %s could not note what was acknowledged; it will be sent once more", self.path)
        self._file.close()

    def _open(self) -> None:
        data = self._file.read()
        whole = MAGIC.startswith(data) or data.startswith(MAGIC)
        if not whole:
            raise JournalUnusable(f"{self.path} is not a tiercel journal: move it away or name another file")
        self._size = self._recover(data)

    def _recover(self, data: bytes) -> int:
        """Fold the records into `held` and cut a torn tail; the size of what stays."""
        if len(data) < len(MAGIC):
            self._file.begin(MAGIC)
            return len(MAGIC)
        end, damaged = len(MAGIC), False
        parcels: dict[int, dict[Key, agent_pb2.TaskResult]] = {}
        for start, kind, payload, stop in _records(data):
            damaged = damaged or start != end
            self._apply(kind, payload, parcels)
            end = stop
        self._number = max(parcels, default=0)
        if damaged:
            aside = self._file.set_aside()
            log.error("the journal %s is damaged; a copy is in %s; what it lost is reconciled", self.path, aside)
            self._broken = True
        if end < len(data):
            log.warning("the journal %s: cut off %d bytes of an unfinished write at %d", self.path, len(data) - end, end)
            self._file.cut(end)
        return end

    def _apply(self, kind: int, payload: bytes, parcels: dict[int, dict[Key, agent_pb2.TaskResult]]) -> None:
        match kind:
            case 1:
                done = agent_pb2.Results.FromString(payload)
                results = {key_of(result.key): result for result in done.items}
                self.held.update(results)
                parcels.update((number, results) for number in done.numbers)
            case 2:
                acks = agent_pb2.ResultAcks.FromString(payload)
                for item in acks.items:
                    self.held.pop(key_of(item), None)
                for number in acks.numbers:
                    self._drop(parcels.get(number, {}))
            case 3:
                self.fences.learn({item.run: item.epoch for item in agent_pb2.Fences.FromString(payload).items})
            case _:
                log.warning("the journal %s holds a record of kind %d, of a later version; skipped", self.path, kind)

    def _drop(self, results: dict[Key, agent_pb2.TaskResult]) -> list[Key]:
        held = self.held
        gone = [key for key, result in results.items() if held.get(key) is result]
        for key in gone:
            del held[key]
        return gone

    def _living_bytes(self) -> int:
        return sum(result.ByteSize() for result in self.held.values()) + self.fences.message().ByteSize()

    def _acks(self) -> Iterator[agent_pb2.ResultAcks]:
        """What is forgotten, as the file should hear it: the number of a parcel only if it was written under it."""
        numbers = [number for number, _ in self._forgotten if number in self._written]
        if numbers:
            yield agent_pb2.ResultAcks(numbers=numbers)
        for number, keys in self._forgotten:
            if number not in self._written:
                items = [agent_pb2.AttemptKey(run=run, task=task, attempt=attempt) for run, task, attempt in keys]
                yield agent_pb2.ResultAcks(items=items)

    def _write(self, data: bytes | bytearray) -> None:
        if self._broken:
            raise OSError(f"the journal {self.path} is waiting to be written anew")
        try:
            self._file.append(data)
        except OSError:
            self._broken = True
            raise
        self._size += len(data)


def _records(data: bytes) -> Iterator[tuple[int, int, bytes, int]]:
    """(start, kind, payload, stop) of every record that checks, in the order of the file."""
    start = len(MAGIC)
    while start + _FRAME.size < len(data):
        length, check = _FRAME.unpack_from(data, start)
        body = start + _FRAME.size
        stop = body + length
        if not 1 <= length <= RECORD_BYTES_MAX or stop > len(data):
            return  # Without a length there is no next record to look for.
        if zlib.crc32(data[body:stop]) == check:
            yield start, data[body], data[body + 1 : stop], stop
        start = stop


def _add_record(data: bytearray, kind: int, payload: bytes) -> None:
    body = bytes((kind,)) + payload
    assert len(body) <= RECORD_BYTES_MAX, f"a journal record of {len(body)} bytes would not be read again"
    data += _FRAME.pack(len(body), zlib.crc32(body))
    data += body
