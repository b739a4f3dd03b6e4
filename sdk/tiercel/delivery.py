"""Results on their way from the work to the gateway's acknowledgement.

    finished -> appended to the journal -> (synced, unless all of the batch may be repeated) -> (blob uploaded) ->
    sent -> forgotten

Results of one turn of the loop are one append, one sync and one message. The loop writes; a thread syncs, so the loop
never waits for the disk, and results that finish during one sync share the next.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tiercel.attempt import failed
from tiercel.blobs import Blobs, reference_of
from tiercel.encoding import Key, key_of
from tiercel.errors import BlobUnavailable
from tiercel.fences import Fences
from tiercel.journal import Journal
from tiercel.machine import Machine
from tiercel.outbox import Outbox
from tiercel.parcel import Parcel, packed
from tiercel.spool import Spool
from tiercel.v1 import agent_pb2

REWRITE_AGAIN_S = 1.0
UPLOADS_AT_ONCE = 4

log = logging.getLogger("tiercel.delivery")


@dataclass(frozen=True, slots=True)
class Batch:
    """Results that are recorded together, and the same as parcels. `recorded` is done once they are, if somebody waits for it."""

    results: dict[Key, agent_pb2.TaskResult]
    parcels: list[Parcel]
    recorded: "asyncio.Future[None] | None" = None


class Delivery:
    """Every result is sent until it is acknowledged, by this process or by the one that opens its journal next."""

    def __init__(self, loop: asyncio.AbstractEventLoop, machine: Machine, journal: Journal, outbox: Outbox, blobs: Blobs) -> None:
        self._loop = loop
        self._machine = machine
        self._journal = journal
        self._outbox = outbox
        self._blobs = blobs
        self._spool = Spool(journal.path.with_name(journal.path.name + ".blobs"))
        self._spool.keep_only({result.blob.sha256 for result in journal.held.values() if result.HasField("blob")})
        self._large = {key for key, result in journal.held.items() if result.HasField("blob")}
        self._unspooled: dict[bytes, bytes] = {}
        self._recording: dict[Key, agent_pb2.TaskResult] = {}
        self._finished: dict[Key, agent_pb2.TaskResult] = {}
        self._sent: dict[int, dict[Key, agent_pb2.TaskResult]] = {}
        self._durable = False
        self._flush_due = False
        self._unsynced: list[Batch] = []
        self._disk_busy = False
        self._rewriting = False
        self._mending = False
        self._uploads: dict[Key, asyncio.Task[None]] = {}
        self._uploads_at_once = asyncio.Semaphore(UPLOADS_AT_ONCE)
        self._changed = asyncio.Event()
        self._closed = False

    def finish(self, key: Key, result: agent_pb2.TaskResult, *, durable: bool) -> None:
        """An attempt is over. What finishes in one turn of the loop goes together; `flush` does not wait for it."""
        if self._closed:
            log.warning("attempt %s ended after its agent had stopped; its result is lost", key)
            return
        self._finished[key] = result
        self._durable = self._durable or durable
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self.flush)

    def finish_large(self, key: Key, attempt: agent_pb2.AttemptKey, output: bytes, *, durable: bool) -> None:
        """The same with an output too large for a message: first the bytes are on disk, then the result names them."""
        result = agent_pb2.TaskResult(key=attempt, blob=reference_of(output))
        self._recording[key] = result
        self._large.add(key)

        def saved(error: OSError | None) -> None:
            if error is not None:
                log.error("an output of %d bytes stays in memory until it is delivered: %s", len(output), error)
                self._unspooled[result.blob.sha256] = output
            self.finish(key, result, durable=durable)

        self._on_disk(lambda: self._spool.save(result.blob, output), saved)

    def flush(self) -> None:
        """Record and send what has finished."""
        self._flush_due = False
        if self._rewriting or not self._finished:
            return
        results, self._finished = self._finished, {}
        durable, self._durable = self._durable, False
        batch = Batch(results, packed(results, self._journal.draw_number))
        try:
            self._journal.append(batch.parcels)
        except OSError as error:
            self._mend(error)
            durable = False
        if durable:
            self._recording.update(results)
            self._unsynced.append(batch)
            self._sync()
        else:
            self._release(batch)

    async def fence(self, assignments: Sequence[agent_pb2.Assignment]) -> None:
        """What these say of the latest homes of runs is on disk when this returns, so that it holds whatever happens to the agent
        while it obeys them. If the disk refuses, it holds for as long as the process lives."""
        if not (homes := self._journal.fences.raises(assignments)):
            return
        while self._rewriting:
            self._changed.clear()
            await self._changed.wait()
        try:
            self._journal.fence(homes)
        except OSError as error:
            self._mend(error)
            return
        recorded = self._loop.create_future()
        self._unsynced.append(Batch({}, [], recorded))
        self._sync()
        await recorded

    @property
    def fences(self) -> Fences:
        """The latest homes of runs, as far as they are remembered."""
        return self._journal.fences

    def refuse(self, result: agent_pb2.TaskResult) -> None:
        """Say that an order was not obeyed. Nobody keeps it: a gateway that misses it asks again when the agent is back."""
        if self._outbox.connected:
            self._outbox.add_results(packed({key_of(result.key): result}, self._journal.draw_number))

    def known(self, key: Key) -> bool:
        """The attempt is done, and its result is being recorded or waits for its acknowledgement."""
        return key in self._journal.held or key in self._finished or key in self._recording

    def send_again(self, key: Key) -> None:
        """The gateway asked for work that is done: answer from the journal, unless the result is on its way."""
        if key not in self._finished and key not in self._recording:
            self._send([key])

    def send_all_again(self) -> None:
        """A session begins: everything that is not acknowledged, once more."""
        self._sent.clear()
        self._send([key for key in self._journal.held if key not in self._recording])

    def acknowledged(self, acks: agent_pb2.ResultAcks) -> None:
        """The gateway has committed these results."""
        for number in acks.numbers:
            self._forget(self._sent.pop(number, {}), number)
        if acks.items:
            self._sent.clear()  # It is an older one, and acknowledges no numbers.
            held = self._journal.held
            self._forget({key: held[key] for item in acks.items if (key := key_of(item)) in held})
        if not self._disk_busy:
            self._journal.trim()
            if not self._mending and self._journal.mostly_forgotten():
                self._rewrite()
        self._changed.set()

    def unacknowledged(self) -> list[agent_pb2.AttemptKey]:
        """What the agent must name when it registers."""
        return [result.key for result in self._all().values()]

    @property
    def count(self) -> int:
        """How many results wait for something, at most: one that is being recorded may count twice."""
        return len(self._journal.held) + len(self._finished) + len(self._recording)

    @property
    def durable_possible(self) -> bool:
        """The journal takes what it is given: work that must not be repeated may begin."""
        return not self._journal.broken

    async def delivered(self) -> None:
        """Returns when every result is acknowledged."""
        while self._all():
            self._changed.clear()
            await self._changed.wait()

    async def close(self) -> None:
        """Record what has finished and let go of the disk. What was not acknowledged stays in the journal."""
        for upload in self._uploads.values():
            upload.cancel()
        await asyncio.gather(*self._uploads.values(), return_exceptions=True)
        self.flush()
        while self._disk_busy or self._finished or self._recording:
            self._changed.clear()
            await self._changed.wait()
        self._closed = True
        self._journal.close()

    def _all(self) -> dict[Key, agent_pb2.TaskResult]:
        return {**self._journal.held, **self._recording, **self._finished}

    def _release(self, batch: "Batch") -> None:
        """It is recorded, or the disk refused it: either way it may leave."""
        for key in batch.results if self._recording else ():
            self._recording.pop(key, None)
        if batch.recorded is not None and not batch.recorded.done():
            batch.recorded.set_result(None)
        if self._large.isdisjoint(batch.results):
            self._send_parcels(batch.parcels)
        else:
            self._send(list(batch.results))
        self._changed.set()

    def _send(self, keys: list[Key]) -> None:
        inline = {}
        for key in keys:
            result = self._journal.held[key]
            if not result.HasField("blob"):
                inline[key] = result
            elif key not in self._uploads:
                self._uploads[key] = self._loop.create_task(self._upload(key, result))
        self._send_parcels(packed(inline, self._journal.draw_number))

    def _send_parcels(self, parcels: list[Parcel]) -> None:
        if self._outbox.connected:
            self._sent.update((parcel.number, parcel.results) for parcel in parcels)
            self._outbox.add_results(parcels)

    def _forget(self, results: dict[Key, agent_pb2.TaskResult], number: int = 0) -> None:
        if self._large:
            self._drop_outputs(list(results))
        self._journal.forget(results, number)

    async def _upload(self, key: Key, result: agent_pb2.TaskResult) -> None:
        """The bytes first, then the result that names them. Goes on over lost sessions until the gateway has them."""
        backoff = self._machine.backoff()
        try:
            data = self._unspooled.get(result.blob.sha256)
            if data is None:
                data = await asyncio.to_thread(self._spool.load, result.blob)
            while True:
                try:
                    async with self._uploads_at_once:
                        await self._blobs.upload(result.blob, data)
                    break
                except BlobUnavailable as error:
                    if error.permanent:
                        raise
                    log.debug("%s; trying again", error)
                await asyncio.sleep(backoff.next_s())
        except (BlobUnavailable, OSError) as error:
            self._uploads.pop(key, None)
            self._drop_outputs([key])
            lost = failed(result.key, "output_lost", f"the output cannot be delivered: {error}", retryable=False)
            self.finish(key, lost, durable=True)
            return
        self._uploads.pop(key, None)
        self._send_parcels(packed({key: result}, self._journal.draw_number))

    def _drop_outputs(self, keys: list[Key]) -> None:
        """Remove large outputs, except those which another result names as well."""
        for key in self._large.intersection(keys):
            self._large.discard(key)
            blob = self._all()[key].blob
            if not any(self._all()[other].blob.sha256 == blob.sha256 for other in self._large):
                self._unspooled.pop(blob.sha256, None)
                self._spool.remove(blob)

    def _sync(self) -> None:
        if self._disk_busy or not self._unsynced:
            return
        batches, self._unsynced = self._unsynced, []
        self._disk_busy = True

        def synced(error: OSError | None) -> None:
            self._disk_busy = False
            if error is not None:
                self._mend(error)
            for batch in batches:
                self._release(batch)
            self._sync()
            self._changed.set()

        self._on_disk(self._journal.sync, synced)

    def _mend(self, error: OSError) -> None:
        """The disk refused. A result is a fact and is sent all the same; new work that needs the journal is refused."""
        if not self._mending:
            self._mending = True
            log.error("the journal %s cannot be written (%s); trying to write it anew", self._journal.path, error)
            self._loop.call_later(REWRITE_AGAIN_S, self._rewrite)

    def _rewrite(self) -> None:
        if self._closed:
            return
        if self._disk_busy:
            self._loop.call_later(REWRITE_AGAIN_S, self._rewrite)
            return
        self._disk_busy = self._rewriting = True
        held = list(self._journal.held.values())

        def rewritten(error: OSError | None) -> None:
            self._disk_busy = self._rewriting = self._mending = False
            if error is not None:
                self._mend(error)
            self.flush()
            self._sync()
            self._changed.set()

        self._on_disk(lambda: self._journal.compact(held), rewritten)

    def _on_disk(self, call: Callable[[], None], then: Callable[[OSError | None], None]) -> None:
        """Run `call` in the thread for the disk, and `then` in the loop with the error it met."""

        def run() -> None:
            error = None
            try:
                call()
            except OSError as raised:
                error = raised
            try:
                self._loop.call_soon_threadsafe(then, error)
            except RuntimeError:
                log.debug("the loop closed while the disk was busy")

        self._machine.on_disk(run)
