"""Repair: a box compares what its log names with what it holds, and fetches from the others what it lacks.

It reads its log from the beginning at its start, when what it read was cut before it came to it, and every hour; in between it
follows the end of it. A page of names that are not here is one question to each other box. What is fetched is verified by its
digest and goes on where a transfer, or the process, ended. What is cut from the log meanwhile is simply named no more: what was
asked for stays a week where it is held, so it does not go from under a transfer.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import grpc
import structlog

from coordination.group.values import Standing
from edge.group.blobs import PeerChannels
from edge.group.repair.lacking import UNKNOWN, Lacking
from sync.blobs import BlobError, BlobFull, BlobMismatch, BlobName, BlobStore, pull
from sync.log import EventLog
from sync.retention.blobs import event_texts, names_in, sizes_in, snapshot_texts
from tiercel.v1 import blob_pb2_grpc, events_pb2, members_pb2, members_pb2_grpc

PULLS_MAX, PULLS_IN_THE_BACKGROUND = 4, 1
PAUSE_S, REST_S = 2.0, 0.05
"""Between two looks at the end of the log; between two pages of it, unless somebody waits."""
WHOLE_S, LOOK_AGAIN_S = 3_600.0, 30.0
ASK_S_MAX, ASKED_MAX = 5.0, 4_096
LACK_MAX = 100_000
"""So many are remembered at once; then they are fetched before the log is read on."""
HURRY_S, ANSWER_S = 10.0, 2.0
TOLD_MAX = 8

log = structlog.get_logger()
Holds = Mapping[bytes, int]


@dataclass(slots=True)
class Repair:
    """Of the box `node`. `standing` tells who the others are, and how far the group's log is applied here. Made and used in one
    loop; `shown` may be read from any thread."""

    node: str
    log: EventLog
    store: BlobStore
    channels: PeerChannels
    standing: Callable[[], Awaitable[Standing]]
    shown: members_pb2.ValuesLacking | None = None
    lacking: Lacking = field(default_factory=Lacking)
    _after: int | None = None
    _compared: int = 0
    _whole_s: float = 0.0
    _hurry_until_s: float = 0.0
    _looked_s: float = 0.0
    _unasked: set[str] = field(default_factory=set)
    _silent: set[str] = field(default_factory=set)  # In this round: whoever does not answer is not waited for page after page.
    _damaged: set[bytes] = field(default_factory=set)
    _unread: set[bytes] = field(default_factory=set)
    _problem: str = ""
    _wanted: asyncio.Event = field(default_factory=asyncio.Event)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def keep(self) -> None:
        """Compare and fetch until cancelled."""
        while True:
            try:
                await self._round()
            except Exception as error:  # noqa: BLE001 - It must not end what keeps the values; it is said, and tried again.
                log.warning("large values are not compared or fetched for now", node=self.node, reason=str(error))
                self._problem = str(error) or type(error).__name__
                self._say()
            await asyncio.sleep(REST_S)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), PAUSE_S)
            self._wanted.clear()

    async def lack(self, index: int) -> members_pb2.ValuesLacking:
        """What this box lacks, compared up to this entry of the group's log if that can be done in a moment. It hurries now."""
        clock = asyncio.get_running_loop().time
        self._hurry_until_s, deadline_s = clock() + HURRY_S, clock() + ANSWER_S
        while self.shown is None or self.shown.compared < index or self.shown.missing:
            self._wanted.set()
            self._news.clear()
            try:
                await asyncio.wait_for(self._news.wait(), deadline_s - clock())
            except TimeoutError:
                break
        return self.shown or members_pb2.ValuesLacking(problem="it has not compared yet")

    def damaged(self, digest: bytes) -> None:
        """This value was here and is no more: if the log names it, it is fetched again soon."""
        self._damaged.add(digest)
        self._wanted.set()

    # Comparing --------------------------------------------------------------------------------------------------------

    async def _round(self) -> None:
        try:
            standing = await self.standing()
        except RuntimeError:  # The member has not begun, or has ended.
            return
        others = {peer.name: peer.address for peer in standing.peers if peer.name != self.node and peer.address}
        self._silent = set()
        await self._look_again(others)
        if await self._compare(others):
            self._compared = standing.applied
        await self._fetch(others)
        self._problem = ""
        self._say()

    async def _look_again(self, others: Mapping[str, str]) -> None:
        """At what was lacking the last time: it has been uploaded meanwhile, or whoever holds it is back."""
        clock = asyncio.get_running_loop().time
        if not self.lacking.held and clock() - self._looked_s < (0.0 if self._hurries() else LOOK_AGAIN_S):
            return
        self._looked_s, known = clock(), self.lacking.known
        absent = await asyncio.to_thread(lambda: {each: size for each, size in known.items() if not self._is_here(each, size)})
        for digest in known.keys() - absent.keys():
            self.lacking.arrived(digest)
        if absent:
            await self._ask(absent, others)

    async def _compare(self, others: Mapping[str, str]) -> bool:
        """Read what was not read yet. False if more is lacking than can be remembered: then it goes on after some is fetched."""
        clock = asyncio.get_running_loop().time
        cut = await asyncio.wrap_future(self.log.read(lambda reader: reader.cut))
        is_due = clock() - self._whole_s > WHOLE_S or self._damaged or (self.lacking.is_cut and not self._unasked)
        if self._after is None or cut > self._after or is_due:
            self._after, self._whole_s, self.lacking.is_cut, self._unread = None, clock(), False, set(self.lacking.known)
            self._damaged.clear()
            self.lacking.refuted.clear()
            if not await self._read(((0, texts) for texts in snapshot_texts(self.log)), others):
                return False
            self._after = 0
        if not await self._read(event_texts(self.log, self._after), others):
            return False
        for digest in self._unread:  # Cut from the log: nobody needs it.
            self.lacking.arrived(digest)
        self._unread.clear()
        return True

    async def _read(self, pages: Iterator[tuple[int, list[bytes]]], others: Mapping[str, str]) -> bool:
        while (page := await asyncio.to_thread(next, pages, None)) is not None:
            position, texts = page
            if named := await asyncio.to_thread(self._absent, texts):
                self._unread -= named.keys()
                await self._ask(named, others)
            if position:
                self._after = position
            if len(self.lacking.held) >= LACK_MAX:
                return False
            await asyncio.sleep(0 if self._hurries() else REST_S)
        return True

    def _absent(self, texts: Sequence[bytes]) -> dict[bytes, int]:
        """What these texts may name and is not here, or not as large as they say."""
        found: dict[bytes, int] = {}
        for text in texts:
            sizes = sizes_in(text) if (names := names_in(text)) else {}
            for digest in names:
                if not self._is_here(digest, size := sizes.get(digest, UNKNOWN)):
                    found[digest] = max(size, found.get(digest, UNKNOWN))
        return found

    def _is_here(self, digest: bytes, size: int) -> bool:
        here = self.store.find(digest)
        return here is not None and size in (UNKNOWN, here.size)

    async def _ask(self, named: Mapping[bytes, int], others: Mapping[str, str]) -> None:
        asking = {name: address for name, address in others.items() if name not in self._silent}
        asked = await asyncio.gather(*(self._ask_one(name, address, [*named]) for name, address in asking.items()))
        answers = {name: held for name, held in zip(asking, asked, strict=True) if held is not None}
        self._unasked = self._silent = others.keys() - answers.keys()
        self.lacking.tell(named, answers, all_answered=not self._unasked)
        self._say()

    async def _ask_one(self, name: str, address: str, digests: Sequence[bytes]) -> Holds | None:
        """Which of them a box holds, and how large; None if it cannot be asked."""
        found: dict[bytes, int] = {}
        try:
            stub = members_pb2_grpc.MemberServiceStub(self.channels.to(name, address))
            for begin in range(0, len(digests), ASKED_MAX):
                query = members_pb2.ValuesQuery(sha256=digests[begin : begin + ASKED_MAX])
                reply = await stub.Hold(query, timeout=ASK_S_MAX)
                found.update((blob.sha256, blob.size) for blob in reply.held)
        except (grpc.aio.AioRpcError, grpc.aio.UsageError, ValueError):
            return None
        return found

    # Fetching ---------------------------------------------------------------------------------------------------------

    async def _fetch(self, others: Mapping[str, str]) -> None:
        """All that somebody holds: one after the other, a few at once while somebody waits for it."""
        left, under_way = list(self.lacking.held), set[asyncio.Task[None]]()
        try:
            while left or under_way:
                while left and len(under_way) < (PULLS_MAX if self._hurries() else PULLS_IN_THE_BACKGROUND):
                    under_way.add(asyncio.ensure_future(self._pull(left.pop(), others)))
                done, under_way = await asyncio.wait(under_way, timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
                if done:
                    self._say()
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    async def _pull(self, digest: bytes, others: Mapping[str, str]) -> None:
        """From whoever holds it, whole. Raises OSError if there is no room for it."""
        held = self.lacking.held[digest]
        for name, size in [(name, held.by[name]) for name in held.sources]:
            try:
                stub = blob_pb2_grpc.BlobServiceStub(self.channels.to(name, others[name]))
                await pull(stub, self.store, BlobName(digest, size))
            except BlobFull as full:
                raise OSError(str(full)) from full
            except BlobMismatch as error:
                log.warning(
                    "a box holds a large value that is not what its name says", node=name, blob=digest.hex(), reason=str(error)
                )
                self.lacking.refute(digest, name)
            except grpc.aio.AioRpcError as error:
                if error.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT):
                    self.lacking.failed(digest, name)
            except (BlobError, grpc.aio.UsageError, ValueError, KeyError):
                continue  # Asked again in the next round.
            else:
                self.lacking.arrived(digest)
                return

    # Telling ----------------------------------------------------------------------------------------------------------

    def _hurries(self) -> bool:
        return asyncio.get_running_loop().time() < self._hurry_until_s

    def _say(self) -> None:
        lacking = self.lacking
        self.shown = members_pb2.ValuesLacking(
            compared=self._compared,
            missing=len(lacking.held),
            missing_bytes=lacking.missing_bytes,
            unheld=len(lacking.lost),
            unheld_sha256=islice(lacking.lost, TOLD_MAX),
            unasked=sorted(self._unasked) if lacking.held or lacking.lost else (),
            problem=self._problem,
        )
        self._news.set()


def held_of(store: BlobStore, digests: Sequence[bytes]) -> list[events_pb2.BlobRef]:
    """Which of these are here, whole. Blocks. Who is asked for one keeps it for a while, whatever its own log names."""
    found = (blob for digest in digests if (blob := store.find(digest)) is not None)
    return [events_pb2.BlobRef(sha256=blob.sha256, size=blob.size) for blob in found if store.stat(BlobName(*blob)).complete]
