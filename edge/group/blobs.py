"""Large values of a site of several boxes: an agent is told that one is stored when a majority of the members holds it.

Any majority that elects the next leader then has a member that holds it, as with what the log says. A box that was away lacks
some: the leader fetches what it needs from the others, and puts to them what it has.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc
import structlog

from coordination.group.values import Standing
from sync.blobs import Blob, BlobAway, BlobError, BlobMissing, BlobName, BlobService, BlobStore, pull, push
from sync.identity.driver import Credentials
from sync.identity.files import TlsFiles
from sync.identity.names import server_name
from sync.serving.service import CHANNEL_OPTIONS
from tiercel.tls import State, state_of
from tiercel.v1 import blob_pb2, blob_pb2_grpc, events_pb2

TRANSFERS_MAX = 4
"""To one member at once."""
SPREADS_MAX = 16
"""So many blobs are on their way to a majority at once; the next wait for one of them to end, and their time counts from then."""
BEHIND_MAX = 256
"""Transfers to members beyond the majority that may wait; what is more is left to be fetched when it is needed."""
SPREAD_MAX = 16_384
"""So many blobs are remembered as held by a majority."""
SPREAD_S_MAX, SPREAD_S_PER_BYTE = 8.0, 0.25 / (1 << 20)
STAT_S_MAX = 8.0
"""Whoever only asks is not kept for longer, however large the blob is: it is told to ask again."""
CLOSE_S = 5.0
BRING_S_MAX = 30.0
BRING_PAUSE_S, PUT_PAUSE_S = 0.5, 0.3
OPTIONS = (*CHANNEL_OPTIONS, ("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 1_000))

log = structlog.get_logger()


class PeerChannels:
    """A channel to each other member, made when it is first needed, and anew when its address or the certificate is another."""

    def __init__(self, site: str, files: TlsFiles | None) -> None:
        self._site, self._files = site, files
        self._open: dict[str, tuple[tuple[str, State], grpc.aio.Channel]] = {}
        self._closing: set[asyncio.Future[None]] = set()

    def to(self, name: str, address: str) -> grpc.aio.Channel:
        """Raises ValueError while our own certificate cannot be used."""
        key = address, state_of((self._files.ca, self._files.cert, self._files.key)) if self._files else ()
        known = self._open.get(name)
        if known is not None and known[0] == key:
            return known[1]
        channel = self._dial(address)
        self._open[name] = key, channel
        if known is not None:
            closing = asyncio.ensure_future(known[1].close(CLOSE_S))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
        return channel

    def _dial(self, address: str) -> grpc.aio.Channel:
        if self._files is None:
            return grpc.aio.insecure_channel(address, options=OPTIONS)
        named = (*OPTIONS, ("grpc.ssl_target_name_override", server_name(self._site)))
        return grpc.aio.secure_channel(address, Credentials(self._files).client(), options=named)

    async def close(self) -> None:
        """All of them."""
        channels = [channel for _, channel in self._open.values()]
        self._open.clear()
        for channel in channels:
            await channel.close()


@dataclass(slots=True)
class Spreading:
    """Has blobs of `store` held by a majority of the members as they are now: after a change of the group, of the new ones.
    `standing` and `voters` tell who they are."""

    node: str
    store: BlobStore
    channels: PeerChannels
    addresses: Callable[[], Mapping[str, str]]
    standing: Callable[[], Awaitable[Standing]]
    voters: Callable[[], frozenset[str]]
    within_s: float = SPREAD_S_MAX
    _spread: OrderedDict[bytes, frozenset[str]] = field(default_factory=OrderedDict)
    _under_way: dict[bytes, "asyncio.Task[frozenset[str]]"] = field(default_factory=dict)
    _behind: OrderedDict["asyncio.Future[None]", None] = field(default_factory=OrderedDict)
    _spreads: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(SPREADS_MAX))
    _slots: dict[str, asyncio.Semaphore] = field(default_factory=dict)

    async def spread(self, blob: Blob) -> None:
        """Return once a majority holds the blob, this box with it. Raises BlobAway if too few could be reached in time."""
        while self._spread.get(blob.sha256) != self.voters():  # Of whom it was a majority, the group may have changed since.
            task = self._under_way.get(blob.sha256)
            if task is None:
                task = self._under_way[blob.sha256] = asyncio.ensure_future(self._in_turn(BlobName(blob.sha256, blob.size)))
                task.add_done_callback(lambda done: self._ended(blob.sha256, done))
            await asyncio.shield(task)

    async def bring(self, blob: Blob) -> None:
        """Have here, and at a majority, what an agent's result names. What no member holds is left to be found missing."""
        deadline_s = asyncio.get_running_loop().time() + BRING_S_MAX
        while asyncio.get_running_loop().time() < deadline_s:
            try:
                await self.fetch(blob)
                await self.spread(blob)
            except BlobAway:
                await asyncio.sleep(BRING_PAUSE_S)
            except BlobMissing:
                return
            else:
                return

    async def fetch(self, blob: Blob) -> None:
        """Have the blob here, from whichever member holds it. Raises BlobMissing if so many do not that no majority can, BlobAway
        if too many cannot be asked to know that."""
        if (await asyncio.to_thread(self.store.stat, blob)).complete:
            return
        away: list[str] = []
        addresses = self.addresses()
        for name, address in sorted(addresses.items()):
            if name == self.node:
                continue
            try:
                await pull(blob_pb2_grpc.BlobServiceStub(self.channels.to(name, address)), self.store, blob)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.NOT_FOUND:
                    away.append(name)
            except (BlobError, ValueError, grpc.aio.UsageError) as error:
                log.warning("a blob could not be fetched from a member", blob=blob.sha256.hex(), node=name, error=str(error))
                away.append(name)
            else:
                return
        if len(away) > len(addresses) // 2:
            raise BlobAway(f"blob {blob.sha256.hex()} is not held here, and {', '.join(away)} cannot be asked just now")
        raise BlobMissing(f"blob {blob.sha256.hex()} is held by no member")

    async def close(self) -> None:
        """End what is under way."""
        tasks: list[asyncio.Future[Any]] = [*self._under_way.values(), *self._behind]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, digest: bytes, done: "asyncio.Task[frozenset[str]]") -> None:
        self._under_way.pop(digest, None)
        if not done.cancelled() and done.exception() is None:
            self._spread[digest] = done.result()
            if len(self._spread) > SPREAD_MAX:
                self._spread.popitem(last=False)

    async def _in_turn(self, blob: BlobName) -> frozenset[str]:
        async with self._spreads:
            return await self._to_majority(blob)

    async def _to_majority(self, blob: BlobName) -> frozenset[str]:
        """Returns who the voters are, of whom a majority has it."""
        peers = (await self.standing()).peers
        voters = [peer.name for peer in peers if peer.voter]
        lacking = len(voters) // 2 + 1 - (self.node in voters)
        addresses = self.addresses()
        others = [peer for peer in peers if peer.name != self.node]
        within_s = self.within_s + SPREAD_S_PER_BYTE * blob.size
        tasks: dict[asyncio.Future[None], bool] = {
            asyncio.ensure_future(self._put(peer.name, addresses[peer.name], blob, within_s)): peer.voter for peer in others
        }
        try:
            lacking, failed = await self._wait_for(tasks, lacking, asyncio.get_running_loop().time() + within_s)
        except asyncio.CancelledError:
            for task in tasks:
                task.cancel()
            raise
        finally:
            # Whoever is not waited for is not dropped: a member that lacks what it could have is of less use.
            self._keep(tasks)
        if lacking > 0:
            held = len(voters) // 2 + 1 - lacking
            why = f"{held} of {len(voters)} members hold it ({'; '.join(failed) or 'the others do not answer'})"
            raise BlobAway(f"blob {blob.sha256.hex()[:16]} is stored when a majority holds it: {why}")
        return frozenset(voters)

    async def _wait_for(
        self, tasks: Mapping["asyncio.Future[None]", bool], lacking: int, deadline_s: float
    ) -> tuple[int, list[str]]:
        """Until so many voters as are `lacking` have it, or none is left that could. How many lack then, and what failed."""
        waiting, failed = set(tasks), list[str]()
        while lacking > 0 and waiting:
            left_s = max(0.0, deadline_s - asyncio.get_running_loop().time())
            done, waiting = await asyncio.wait(waiting, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                break
            lacking -= sum(tasks[task] and not task.cancelled() and task.exception() is None for task in done)
            failed += [str(task.exception()) for task in done if not task.cancelled() and task.exception() is not None]
        return lacking, failed

    def _keep(self, tasks: Iterable["asyncio.Future[None]"]) -> None:
        """Nobody waits for these any more: those under way go on, and make room for later ones, the oldest first."""
        for task in tasks:
            if not task.done():
                while len(self._behind) >= BEHIND_MAX:
                    self._behind.popitem(last=False)[0].cancel()
                self._behind[task] = None
            task.add_done_callback(self._forget)

    def _forget(self, task: "asyncio.Future[None]") -> None:
        self._behind.pop(task, None)
        if not task.cancelled():
            task.exception()  # Whoever waited has it; nobody need have.

    async def _put(self, name: str, address: str, blob: BlobName, within_s: float) -> None:
        """Have one member hold it; one that has just come back is tried again. Raises BlobAway."""
        clock = asyncio.get_running_loop().time
        deadline_s = clock() + within_s
        async with self._slots.setdefault(name, asyncio.Semaphore(TRANSFERS_MAX)):  # One that is away keeps no other waiting.
            while True:
                try:
                    await push(blob_pb2_grpc.BlobServiceStub(self.channels.to(name, address)), self.store, blob)
                except (grpc.aio.AioRpcError, BlobError, ValueError, grpc.aio.UsageError) as error:
                    if clock() + PUT_PAUSE_S > deadline_s:
                        said = getattr(error, "details", lambda: None)() or str(error)
                        raise BlobAway(f"{name}: {said}") from None
                    await asyncio.sleep(PUT_PAUSE_S)
                else:
                    return


class SharedBlobs(BlobService):
    """The blobs of the site, as agents meet them at the leader: what is said to be stored is held by a majority."""

    def __init__(self, store: BlobStore, fetch: Callable[[Blob], Awaitable[None]], spreading: Spreading) -> None:
        super().__init__(store, fetch)
        self._spreading = spreading

    async def Stat(self, request: events_pb2.BlobRef, context: Any) -> blob_pb2.BlobStat:  # noqa: N802 - gRPC's name.
        """How much is held; all of it only if a majority holds it."""
        return await self._shared(await super().Stat(request, context), context, STAT_S_MAX)

    async def Put(self, request_iterator: Any, context: Any) -> blob_pb2.BlobStat:  # noqa: N802 - gRPC's name.
        """Take a blob, and answer when a majority has it."""
        return await self._shared(await super().Put(request_iterator, context), context)

    async def _shared(self, stat: blob_pb2.BlobStat, context: Any, within_s: float | None = None) -> blob_pb2.BlobStat:
        if stat.complete:
            try:
                await asyncio.wait_for(self._spreading.spread(stat.blob), within_s)
            except BlobAway as away:
                await context.abort(grpc.StatusCode.UNAVAILABLE, str(away))
            except TimeoutError:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "it is on its way to a majority of the site's nodes: ask again")
        return stat
