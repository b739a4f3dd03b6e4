"""The site's side of comparing states: it tells the hashes of its fragments, and hears what the cloud found."""

import asyncio
from collections.abc import Container
from heapq import nlargest
from typing import TYPE_CHECKING

import structlog

from edge.yielding import MOVED
from sync.commit import Snapshot
from sync.link.standing import StatesCompared
from tiercel.v1 import sync_pb2
from workflow.saved import load_saved, state_hash

if TYPE_CHECKING:
    from edge.driver import EdgeNode

PAGE = 500

log = structlog.get_logger()


class SiteStates:
    """The hashes of what a site has."""

    def __init__(self, node: "EdgeNode") -> None:
        self._node = node

    async def page(self, request: sync_pb2.DigestRequest) -> sync_pb2.SyncMessage:
        """The state hashes of this site's fragments in pages, living and ended, ordered by run, newest first."""
        limit = min(request.limit or PAGE, PAGE)
        before = request.after_run
        ended = await asyncio.wrap_future(self._node.log.read(lambda reader: reader.snapshots(before, limit)))
        living, tombstones = self._node.executor.fragments, {s.run: s for s in ended if s.ended}
        newest = nlargest(limit, (run for run in living if not before or run < before))
        names = sorted({*newest, *tombstones}, reverse=True)[:limit]
        gone = self._node.executor.yielding.gone
        page = [_digest(run, living.packed(run)) if run in living else _last(tombstones[run], gone) for run in names]
        more = len(names) == limit or len(ended) == limit
        return sync_pb2.SyncMessage(digest_reply=sync_pb2.DigestReply(id=request.id, fragments=page, more=more))

    def heard(self, told: sync_pb2.StatesCompared, now_ms: int) -> StatesCompared:
        """What the cloud found. Of what differs this side says what it has itself, if it has not gone on since."""
        living = self._node.executor.fragments
        for theirs in told.fragments:
            ours = _digest(theirs.run, living.packed(theirs.run)) if theirs.run in living else None
            is_same = ours is not None and (ours.epoch, ours.seq) == (theirs.epoch, theirs.seq)
            hashes = {"there": theirs.state_hash.hex(), "here": ours.state_hash.hex() if ours is not None and is_same else ""}
            words = "the cloud's replica of a run differs from what this home has at the same version"
            log.error(words, run=theirs.run, epoch=theirs.epoch, version=theirs.seq, **hashes)
        return StatesCompared(now_ms, told.compared, told.different, [theirs.run for theirs in told.fragments])


def _last(tombstone: Snapshot, gone: Container[str]) -> sync_pb2.FragmentDigest:
    """Of a run that has ended here. One that is another site's by now is named without a hash: there is nothing to compare."""
    digest = _digest(tombstone.run, tombstone.body)
    if tombstone.state == MOVED or tombstone.run in gone:
        digest.state_hash = b""
    return digest


def _digest(run: str, body: bytes) -> sync_pb2.FragmentDigest:
    saved = load_saved(body)
    return sync_pb2.FragmentDigest(run=run, epoch=saved.epoch, seq=saved.version, state_hash=state_hash(body))
