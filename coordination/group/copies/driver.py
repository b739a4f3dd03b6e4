"""A whole log for a member that is new, or was away for longer than the group's log reaches back.

The leader copies its file with SQLite's backup, some pages at a time between its commits; what is written meanwhile is carried
along, so the copy is that of one moment, the last. What belongs to the leader alone is taken out, and the file goes in pieces
with check sums. Who receives it writes it beside its own, verifies and syncs it, puts in what is its own (its name, its term and
vote), and only then lets it take the place of its log, in one rename.
"""

import asyncio
import hashlib
import itertools
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

import apsw
import grpc
import msgspec
import structlog

from coordination.group.copies.checking import Copied, copied_from
from coordination.group.founding import Refusal
from coordination.group.framing import from_hello, pack_message, to_hello, unpack_message
from coordination.group.storing import Statement, drop_local
from coordination.raft.values import Message, Say, Snapshot
from sync import tables
from sync.log_errors import LogCorrupt, LogError
from tiercel.backoff import Backoff
from tiercel.v1 import group_pb2, group_pb2_grpc

if TYPE_CHECKING:
    from coordination.group.driver import Member

CHUNK_BYTES = 1 << 20
PAGES_AT_ONCE = 256
COPY_AGAIN_S_MAX = 60.0

log = structlog.get_logger()


class Copies:
    """Copies that a member sends, one to each peer at a time, and takes, one at a time."""

    def __init__(self, member: "Member") -> None:
        self._member = member
        self._sending: dict[str, asyncio.Task[None]] = {}
        self._making = asyncio.Lock()
        # A copy costs as much as the log is large: to whom one did not get, the next is not made at once.
        self._patience: dict[str, Backoff] = {}
        self._not_before_s: dict[str, float] = {}
        self._taking = False
        self._taken: dict[int, Path] = {}
        self._arrivals = itertools.count(1)

    @property
    def under_way(self) -> frozenset[str]:
        """To whom a copy is on its way."""
        return frozenset(self._sending)

    # The leader's side --------------------------------------------------------------------------------------------------

    def want(self, message: Message) -> None:
        """The core would send a snapshot to a peer: unless one is on its way, make one and send it."""
        peer = message.target
        if peer in self._sending or asyncio.get_running_loop().time() < self._not_before_s.get(peer, 0.0):
            return
        task = self._sending[peer] = asyncio.ensure_future(self._send(message))
        task.add_done_callback(lambda _task: self._sending.pop(peer, None))

    @property
    def sending(self) -> tuple["asyncio.Task[None]", ...]:
        """What is under way."""
        return tuple(self._sending.values())

    async def _send(self, message: Message) -> None:
        member, peer = self._member, message.target
        path = self._beside(f"copy-{peer}")
        try:
            async with asyncio.timeout(member.config.copies_s_max), self._making:
                copied = await self._make(path)
                problem = await self._stream(peer, msgspec.structs.replace(message, snapshot=copied.base), path, copied)
            if problem:
                raise OSError(f"{peer} has not taken it: {problem}")
            self._patience.pop(peer, None)
            log.info("a member has been sent a copy of the log", peer=peer, index=copied.base.index, bytes=copied.size)
        except (grpc.RpcError, OSError, LogError, apsw.Error, TimeoutError, asyncio.InvalidStateError, KeyError) as error:
            reason = str(getattr(error, "details", lambda: None)() or error) or type(error).__name__
            wait_s = self._patience.setdefault(peer, Backoff(1.0, COPY_AGAIN_S_MAX, 2.0, member.chance)).next_s()
            self._not_before_s[peer] = asyncio.get_running_loop().time() + wait_s
            log.warning("a copy of the log did not get to a member; it is tried again", peer=peer, reason=reason, in_s=wait_s)
            member.unreachable(peer, copy=True)
        finally:
            path.unlink(missing_ok=True)

    async def _make(self, path: Path) -> Copied:
        """Copy the log as it is at one moment. Raises LogError, apsw.Error."""
        target = await asyncio.to_thread(_connect, path)
        event_log = self._member.log
        try:
            backup = await asyncio.wrap_future(event_log.work(lambda base: target.backup("main", base.connection, "main")))
            try:
                while not await asyncio.wrap_future(event_log.work(lambda _base: backup.step(PAGES_AT_ONCE))):
                    pass
            finally:
                await asyncio.wrap_future(event_log.work(lambda _base: backup.finish()))
            return await asyncio.to_thread(_tidy, path, target)
        finally:
            await asyncio.to_thread(target.close, True)

    async def _stream(self, peer: str, message: Message, path: Path, copied: Copied) -> str:
        """On a connection of its own: heartbeats do not stand in line behind it. Returns what the peer has against it."""
        hello = to_hello(self._member.greeting)
        header = group_pb2.InstallHeader(hello=hello, message=pack_message(message), size=copied.size, sha256=copied.sha256)
        async with self._member.lines.channel(self._member.addresses[peer]) as channel:
            call = group_pb2_grpc.GroupServiceStub(channel).Install()
            try:
                await call.write(group_pb2.InstallMessage(header=header))
                with path.open("rb") as file:
                    while data := await asyncio.to_thread(file.read, CHUNK_BYTES):
                        chunk = group_pb2.InstallChunk(data=data, crc32=crc32(data))
                        await call.write(group_pb2.InstallMessage(chunk=chunk))
                await call.done_writing()
                return str((await call).problem)
            finally:
                call.cancel()

    # The other side -----------------------------------------------------------------------------------------------------

    async def take(self, requests: AsyncIterator[Any]) -> group_pb2.InstallReply:
        """A whole log arrives: verify it, make it durable beside our own, and give the core the word that it stands for."""
        if self._taking:
            return group_pb2.InstallReply(problem="another copy is arriving already")
        self._taking = True
        try:
            message, path = await self._receive(requests)
            assert message.snapshot is not None, "it is checked when it arrives"
            if (known := self._taken.get(message.snapshot.index)) is not None:
                known.unlink(missing_ok=True)  # It stands for the same place.
            self._taken[message.snapshot.index] = path
            self._member.receive([message])
            return group_pb2.InstallReply()
        except (OSError, Refusal, LogError, apsw.Error, msgspec.MsgspecError, TimeoutError) as error:
            log.warning("a copy of the log was not taken", member=self._member.config.member, reason=str(error))
            return group_pb2.InstallReply(problem=str(error) or type(error).__name__)
        finally:
            self._taking = False

    async def _receive(self, requests: AsyncIterator[Any]) -> tuple[Message, Path]:
        first = await anext(requests, None)
        if first is None or first.WhichOneof("kind") != "header":
            raise Refusal("hello", "a copy begins with a header")
        header = first.header
        self._member.hear(from_hello(header.hello))
        message = unpack_message(header.message)
        if message.kind is not Say.SNAPSHOT or message.snapshot is None or message.source != header.hello.member:
            raise Refusal("message", f"a copy comes with a word of its sender, not with a {message.kind} of {message.source}")
        # A name of its own: one of the same place may be on its way into the place of the log at this moment.
        path = self._beside(f"incoming-{message.snapshot.index}-{next(self._arrivals)}")
        try:
            async with asyncio.timeout(self._member.config.copies_s_max):
                await _keep(requests, path, header)
            await asyncio.to_thread(_check, path, self._member.config.site, message.snapshot)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return message, path

    async def install(self, snapshot: Snapshot, own: Sequence[Statement]) -> None:
        """Let the copy of this snapshot take the place of the log, with what is this member's own. Raises LogError."""
        path = self._taken.pop(snapshot.index)
        await asyncio.to_thread(_adopt, path, own)
        await asyncio.wrap_future(self._member.log.replace(path))

    def forget(self) -> None:
        """Copies that the core did not take go."""
        for path in self._taken.values():
            path.unlink(missing_ok=True)
        self._taken.clear()

    def sweep(self) -> None:
        """What a member that died has left of copies goes."""
        for path in self._member.log.path.parent.glob(self._member.log.path.name + ".*-*"):
            if path.name.removeprefix(self._member.log.path.name + ".").startswith(("copy-", "incoming-")):
                path.unlink(missing_ok=True)

    def _beside(self, name: str) -> Path:
        path = self._member.log.path
        return path.with_name(f"{path.name}.{name}")


async def _keep(requests: AsyncIterator[Any], path: Path, header: group_pb2.InstallHeader) -> None:
    """Write what arrives to a file, durably. Raises LogCorrupt."""
    digest, size = hashlib.sha256(), 0
    with path.open("wb") as file:
        async for request in requests:
            data = request.chunk.data
            if crc32(data) != request.chunk.crc32:
                raise LogCorrupt(path, f"the piece behind {size:,} bytes fails its check sum")
            digest.update(data)
            size += len(data)
            if size > header.size:
                break
            await asyncio.to_thread(file.write, data)
        await asyncio.to_thread(_sync, file)
    if size != header.size or digest.digest() != header.sha256:
        raise LogCorrupt(path, f"{size:,} bytes have arrived, and not the {header.size:,} that were sent")


def _connect(path: Path) -> apsw.Connection:
    path.unlink(missing_ok=True)
    database = apsw.Connection(str(path))
    database.execute("PRAGMA journal_mode = OFF")
    database.execute("PRAGMA synchronous = OFF")
    return database


def _tidy(path: Path, database: apsw.Connection) -> Copied:
    """Make the copy into what any member may begin from, and say what it is."""
    base = copied_from(path, database.execute)
    database.execute("PRAGMA journal_mode = DELETE")
    with database:
        for statement, parameters in drop_local(base):
            database.execute(statement, parameters)
    database.close()
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(CHUNK_BYTES):
            digest.update(data)
    return Copied(base, path.stat().st_size, digest.digest())


def _check(path: Path, site: str, snapshot: Snapshot) -> None:
    """Is it a log of this site, whole, at that place? Raises LogError."""
    database = apsw.Connection(str(path))
    try:
        application, version = (next(database.execute(f"PRAGMA {name}"))[0] for name in ("application_id", "user_version"))
        if (application, version) != (tables.APPLICATION_ID, tables.GROUP_SCHEMA_VERSION):
            raise LogCorrupt(path, f"it is no log of a group that this program knows (schema {version})")
        (problem,) = next(database.execute("PRAGMA quick_check(1)"))
        if problem != "ok":
            raise LogCorrupt(path, problem)
        (node,) = next(database.execute("SELECT value FROM meta WHERE key = 'node'"))
        base = copied_from(path, database.execute)
        if node != site or (base.index, base.term) != (snapshot.index, snapshot.term):
            raise LogCorrupt(path, f"it is the log of {node} at entry {base.index}, not that of {site} at {snapshot.index}")
    finally:
        database.close()


def _adopt(path: Path, own: Sequence[Statement]) -> None:
    database = apsw.Connection(str(path))
    try:
        database.execute("PRAGMA synchronous = FULL")
        with database:
            for statement, parameters in own:
                database.execute(statement, parameters)
    finally:
        database.close()
    with path.open("r+b") as file:
        _sync(file)


def _sync(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())
