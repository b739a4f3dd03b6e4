"""The link between nodes over gRPC: `SyncService.Exchange`, one bidirectional stream dialled by the edge.

`Exchange` is a node's side of all its links. The Driver tells it what has become durable; it sends that on, coalesced for a few
milliseconds so that replication does not stand in the way of the next task, and gives what arrives to the Driver.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol

import grpc
import structlog

from sync.actors import InboxFull, Loop
from sync.commit import Row
from sync.inputs import PeerHolds, PeerLevel, PeerLinked, PeerLost, Recovered, Replicated
from sync.link.pulse import HEARTBEAT_S, SILENCE_S_MAX, Pulse
from sync.link.service import Link, Moved, Standings
from sync.link.standing import count
from sync.ports.log import NodeLog
from sync.replication import (
    CREDITS,
    LinkRefused,
    Session,
    deflated,
    events_message,
    former,
    head_in,
    inflated,
)
from sync.ring import Ring
from sync.streams.service import BeginAnew, Renew, Renewing, Streams
from sync.values import StreamId
from tiercel.v1 import sync_pb2

# What nobody waits for goes together, and spares both nodes commits. What somebody waits for goes at once, unless something has
# gone just before: under load that would be nearly always.
COALESCE_S = 0.01
URGENT_COALESCE_S = 0.002
HELLO_TIMEOUT_S = 10.0
REFUSAL_TIMEOUT_S = 2.0
LOOK_AGAIN_S = 0.3

log = structlog.get_logger()


class NodeSide(Protocol):
    """What a link needs of the node that it belongs to."""

    def streams(self, peer: str, hello: sync_pb2.PeerHello | None) -> tuple[StreamId, StreamId]: ...
    def recovering(self, peer: str) -> None: ...
    def recovered(self, peer: str) -> None: ...
    def diverged(self, peer: str, refused: LinkRefused) -> None: ...
    async def prepare(self, events: list[object]) -> None: ...
    async def other(self, link: "Link", message: sync_pb2.SyncMessage) -> None: ...
    def telemetry(self) -> sync_pb2.SyncMessage | None: ...


class Exchange:
    """A node's side of all its links. Made inside the running loop."""

    def __init__(
        self,
        node: str,
        event_log: NodeLog,
        side: NodeSide,
        *,
        dials: bool,
        urgent: frozenset[str] | None = None,
        renew: Renew | None = None,
        begin_anew: BeginAnew | None = None,
        lead: tuple[int, str] = (0, ""),
    ) -> None:
        """`lead`: the term and the name of this box, if the node is one of several."""
        self.node = node
        self.links: dict[str, Link] = {}
        self.ring = Ring()
        self.acked: dict[str, int] = {}
        self.standings = Standings(event_log, self.ring, self.links, self.acked, self._now_ms)
        self.loop: Loop  # Given by the node once the Loop, which needs us as its Out, has been made.
        self._log, self._side, self._dials, self._urgent = event_log, side, dials, urgent
        self._lead = lead
        self._streams = Streams(node, event_log, self.ring)
        self._renewing = Renewing(self._streams, renew, begin_anew)
        self._clock = asyncio.get_running_loop().time

    # The Driver's side ------------------------------------------------------------------------------------------------

    def committed(self, rows: list[Row]) -> None:
        """These rows are durable: send them on, soon, or at once if one of them is urgent."""
        self.ring.extend(rows)
        if self.loop.driver.is_waited_for:
            # Something leaves only once the peer holds these. What gathers while the connection takes a batch is the next one.
            for link in self.links.values():
                self._flush(link)
            return
        urgent = self._urgent is None or any(row.kind in self._urgent for row in rows) or self._is_awaited(rows)
        for link in self.links.values():
            self._schedule(link, urgent)

    def _is_awaited(self, rows: list[Row]) -> bool:
        """Does something wait for the peer to hold one of them?"""
        lag = self.loop.driver.lag
        return lag is not None and bool(lag.strong) and any(row.run in lag.strong for row in rows)

    def acknowledge(self, stream: StreamId, seq: int) -> None:
        """Events of a peer's stream (or our own, fetched back) are durable here."""
        for link in self.links.values():
            if stream in (link.session.receives, link.session.sends):
                self._acknowledge(link, stream, seq)

    def staleness_ms(self, peer: str) -> int:
        """How long ago, on this clock, everything that the peer had was surely known here; -1 if not yet since the start."""
        level_s = self.standings.level_s.get(peer)
        return -1 if level_s is None else int((self._clock() - level_s) * 1000)

    def versions_behind(self, peer: str) -> int:
        """How many events the peer is known to have of its stream beyond what is durable here; -1 while it is not linked."""
        link = self.links.get(peer)
        if link is None:
            return -1
        known = max(link.session.peer_seq, self.standings.of(peer).head_there)
        return max(0, known - self.ring.durable.get(link.session.receives, 0))

    def probe(self, peer: str) -> None:
        """Ask a linked peer at once for its level, and not only with the next heartbeat."""
        if (link := self.links.get(peer)) is not None:
            self.standings.ask(link)

    def drop_all(self, reason: str) -> None:
        """End all links; they begin anew with a Hello."""
        for link in list(self.links.values()):
            link.say(sync_pb2.SyncMessage(refused=sync_pb2.SyncRefused(code="again", message=reason)))

    async def sync_now(self, peer: str, wait_s: float) -> Moved:
        """Flush, poll, and return once both sides hold all that either had at the call, or after `wait_s`."""

        def poll(link: Link) -> None:
            self.standings.ask(link)
            self._flush(link)

        return await self.standings.level(peer, poll, wait_s)

    def _acknowledge(self, link: Link, stream: StreamId, seq: int) -> None:
        session = link.session
        if stream == session.sends:
            if not link.whole and 0 < session.recover_to <= seq:
                # What still arrives over this link is stored only, too: the refold that follows ends it.
                link.whole = True
                self._held_by_peer(link, greeted=True)
                self._side.recovered(link.peer)
            return
        before = link.acked_here.get(stream, seq)
        link.acked_here[stream] = max(before, seq)
        if link.pulse.holds(seq):
            self._levelled(link)
        for message in session.durable(stream, seq, max(seq - before, 0)):
            link.say(message)

    def _levelled(self, link: Link) -> None:
        """All that the peer had when it was asked is here."""
        self.standings.levelled(link)
        if not link.is_level and link.pulse.level_s is not None:
            link.is_level = True
            self.loop.post(PeerLevel(link.peer))

    def _schedule(self, link: Link, urgent: bool) -> None:
        if link.wake.is_set():
            return
        now_s = self._clock()
        at_s = max(link.flushed_s + URGENT_COALESCE_S, now_s) if urgent else now_s + COALESCE_S
        if link.flush is not None:
            if link.flush.when() <= at_s:
                return
            link.flush.cancel()
        if at_s <= now_s:
            self._flush(link)
        else:
            link.flush = asyncio.get_running_loop().call_at(at_s, self._flush, link)

    def _flush(self, link: Link) -> None:
        link.flush, link.flushed_s = None, self._clock()
        link.wake.set()

    # One connection ---------------------------------------------------------------------------------------------------

    async def converse(
        self,
        incoming: AsyncIterator[sync_pb2.SyncMessage],
        write: Callable[[sync_pb2.SyncMessage], Awaitable[Any]],
        peer: str = "",
    ) -> None:
        """Run one connection to its end. The side that dials names its `peer`; the other learns it from the hello.

        Raises LinkRefused after telling the peer why.
        """
        try:
            link = await self._greet(incoming, write, peer)
        except LinkRefused as refused:
            if peer and refused.code == "stream_ended":
                self._side.diverged(peer, refused)
            if refused.peer or peer:
                self.standings.of(refused.peer or peer).refuse(refused.code, str(refused), self._now_ms(), fatal=refused.fatal)
            await self._refuse(write, refused)
            raise
        await self._run(link, incoming, write)

    async def _run(self, link: Link, incoming: AsyncIterator[sync_pb2.SyncMessage], write: Callable[..., Any]) -> None:
        if (older := self.links.pop(link.peer, None)) is not None:
            older.say(sync_pb2.SyncMessage(refused=sync_pb2.SyncRefused(code="replaced", message="a newer link took over")))
        self.links[link.peer] = link
        standing = self.standings.of(link.peer)
        standing.up(self._now_ms())
        pump = asyncio.ensure_future(self._pump(link, write))
        others = self._read(link, incoming), self._beat(link), self._listen(link)
        tasks = [pump, *(asyncio.ensure_future(other) for other in others)]
        reason = "closed by the peer"
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
        except LinkRefused as refused:
            reason = str(refused)
            standing.refuse(refused.code, reason, self._now_ms(), fatal=refused.fatal)
            if refused.fatal:
                self._side.diverged(link.peer, refused)
            # The pump alone writes; for a peer that does not read it is not waited for long.
            link.say(refused.message())
            await asyncio.wait((pump,), timeout=REFUSAL_TIMEOUT_S)
            raise
        except (grpc.RpcError, OSError, InboxFull) as error:
            reason = _said(error)
        finally:
            if self.links.get(link.peer) is link:
                del self.links[link.peer]
                standing.down(self._now_ms(), reason, link.control.lost)
                self.standings.tell()
                silent_s = self._clock() - link.pulse.answered_s
                self.loop.tell(PeerLost(link.peer, reason, max(0, int(silent_s * 1_000))))
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=REFUSAL_TIMEOUT_S)

    async def _greet(self, incoming: AsyncIterator[sync_pb2.SyncMessage], write: Callable[..., Any], peer: str) -> Link:
        hello: sync_pb2.PeerHello | None = None
        if not peer:
            hello = await self._expect_hello(incoming)
            peer = hello.node
            self._check_term(peer, hello)
        sends, receives = self._side.streams(peer, hello)
        if hello is not None:
            sends, receives = await self._renewing.still(sends, receives, hello)
        self.ring.send(sends)
        session = Session(self.node, peer, sends, receives, await self._streams.head(sends), await self._streams.head(receives))
        # The side that answers knows already whether it has lost events. Then it takes none of the peer's over this connection:
        # they tell of what our own, once they are back, have ordered.
        lost = hello is not None and head_in(hello, sends).seq > session.sends_head.seq
        ended = [(stream, await self._streams.head(stream)) for stream in former(receives, hello)]
        credit = 0 if lost else CREDITS
        await write(session.hello(self._log.boot, self.loop.clock.now().wall_ms, credit, ended, self._lead))
        if hello is None:
            hello = await self._expect_hello(incoming)
            await self._renewing.turn(session, hello)
            sends, receives = session.sends, session.receives
        theirs_of_ours, theirs = head_in(hello, sends), head_in(hello, receives)
        try:
            session.greet(
                hello, await self._streams.hash(sends, theirs_of_ours.seq), await self._streams.hash(receives, theirs.seq)
            )
        except LinkRefused as refused:
            refused.peer = peer
            if refused.code in ("diverged", "behind_retention"):
                self._side.diverged(peer, refused)
            raise
        self.acked[peer] = session.acked_seq
        self._check_term(peer, hello)  # Another may have taken over while we compared.
        link = Link(peer, session, Pulse(self._clock()), term=hello.term)
        self._held_by_peer(link, greeted=True)
        link.acked_here[receives] = session.receives_head.seq
        if session.recovering:
            have, peer_has = session.sends_head.seq, session.recover_to
            log.warning("events of our own stream were lost; fetching them back", peer=peer, have=have, peer_has=peer_has)
            self._side.recovering(peer)
            self._fetch_if_level(link)
        else:
            self._side.recovered(peer)
            self.loop.tell(PeerLinked(peer))
        link.wake.set()
        return link

    def _check_term(self, peer: str, hello: sync_pb2.PeerHello) -> None:
        """Of two boxes of a site the later leader has the link; the other does not know yet, and can commit nothing."""
        link = self.links.get(peer)
        if link is not None and 0 < hello.term < link.term:
            words = (
                f"{hello.member} leads {peer} in term {hello.term}, and another box in term {link.term}: it is no leader any more"
            )
            refused = LinkRefused("older_term", words, fatal=False)
            refused.peer = peer
            raise refused

    async def _expect_hello(self, incoming: AsyncIterator[sync_pb2.SyncMessage]) -> sync_pb2.PeerHello:
        try:
            message = await asyncio.wait_for(anext(incoming), HELLO_TIMEOUT_S)
        except StopAsyncIteration:
            raise LinkRefused("closed", "the peer closed the link before its hello", fatal=False) from None
        except TimeoutError:
            raise LinkRefused("no_hello", f"no hello within {HELLO_TIMEOUT_S:.0f} s", fatal=False) from None
        if message.WhichOneof("kind") == "refused":
            raise LinkRefused(message.refused.code, message.refused.message, fatal=message.refused.fatal)
        if message.WhichOneof("kind") != "hello":
            raise LinkRefused("no_hello", "the first message of a link is a hello", fatal=False)
        return message.hello

    async def _read(self, link: Link, incoming: AsyncIterator[sync_pb2.SyncMessage]) -> None:
        session = link.session
        async for message in incoming:
            link.pulse.heard_s = self._clock()
            match message.WhichOneof("kind"):
                case "events":
                    await self._receive(link, message)
                case "packed_events":
                    await self._receive(link, inflated(message.packed_events))
                case "ack":
                    self._acked(link, message.ack)
                case "credit":
                    session.credited(message.credit)
                    link.wake.set()
                case "heartbeat":
                    if not link.compared and not session.recover_to:
                        await link.compare(self.loop.caught_up())
                    if self.standings.heard(link, message.heartbeat):
                        self._levelled(link)
                    if (pause_s := link.pulse.throttle_s(self._clock())) > 0:
                        await asyncio.sleep(pause_s)
                case "fetch" if not session.lends:
                    session.lends.append(session.lend(message.fetch))
                    link.wake.set()
                case "refused":
                    raise LinkRefused(message.refused.code, message.refused.message, fatal=message.refused.fatal)
                case "hello":
                    raise LinkRefused("second_hello", f"{link.peer} said hello twice over one link", fatal=False)
                case _:
                    await self._side.other(link, message)
            await self.loop.room()
            link.pulse.heard_s = self._clock()  # While we had no room, it was not the peer that was silent.

    def _acked(self, link: Link, ack: sync_pb2.EventAck) -> None:
        session = link.session
        session.acknowledged(ack)
        self.ring.forget(session.sends, session.acked_seq)
        self.acked[link.peer] = session.acked_seq
        self.loop.driver.note_position(link.peer, session.sends, session.acked_seq)
        self._held_by_peer(link)
        self.standings.tell()

    async def _receive(self, link: Link, message: sync_pb2.SyncMessage) -> None:
        rows = link.session.receive(message.events)
        if rows:
            count(self.standings.of(link.peer).received, rows)
            stream = StreamId(message.events.stream)
            # While we have lost events of our own nothing is acted upon: all is stored, and folded together in the end.
            stored_only = link.session.recover_to > 0
            await self._side.prepare(events := self._decoded(rows))
            stored = Recovered(stream, rows, link.session.sends, link.session.recover_to)
            self.loop.post(stored if stored_only else Replicated(stream, rows, events))
            if stored_only and stream == link.session.receives:
                self._fetch_if_level(link)

    def _held_by_peer(self, link: Link, *, greeted: bool = False) -> None:
        if link.session.recovering:
            return  # It need not hold what we have written at these places meanwhile: nothing that follows from it may leave.
        if self.loop.driver.held_by_peer(link.session.sends, link.session.acked_seq, greeted=greeted):
            self.loop.post(PeerHolds(link.peer))

    def _decoded(self, rows: list[Row]) -> list[object]:
        """What cannot be understood is refused here: it ends this link, and not the node."""
        decode = self.loop.driver.core.decode
        try:
            return [decode(row.kind, row.payload) for row in rows]
        except Exception as error:
            words = f"stream {rows[0].stream}, events {rows[0].seq} to {rows[-1].seq}: {error}"
            raise LinkRefused("unknown_event", words, fatal=False) from error

    def _fetch_if_level(self, link: Link) -> None:
        """Ask for our lost events once the peer's own, which they answer to, are all here (or will not come)."""
        session = link.session
        if not link.fetching and (session.receives_head.seq >= session.peer_seq or not self._dials):
            link.fetching = True
            link.say(session.fetch())

    async def _pump(self, link: Link, write: Callable[..., Any]) -> None:
        """The only writer of the connection: what is due to be said, then events as far as credit goes."""
        session = link.session
        while True:
            await link.wake.wait()
            link.wake.clear()
            while (message := link.control.take()) is not None:
                await write(message)
                if message.WhichOneof("kind") == "refused":
                    return
            while session.lends:
                await self._lend(link, write)
            while (wants := session.wants(self.ring.durable.get(session.sends, 0))) is not None:
                rows = await self._streams.rows(wants.stream, wants.after_seq, wants.limit, link.pace.batch_bytes)
                batch = session.batch(rows)
                began_s = self._clock()
                await write(deflated(batch) if link.deflates(batch) else batch)
                link.pace.wrote(self._clock() - began_s)
                count(self.standings.of(link.peer).sent, rows)
                if link.control:
                    link.wake.set()
                    break

    async def _lend(self, link: Link, write: Callable[..., Any]) -> None:
        stream, after, left = link.session.lends.pop(0)
        while left > 0:
            rows = await self._streams.rows(stream, after, min(left, 1_000))
            await write(events_message(rows))
            after, left = rows[-1].seq, left - len(rows)

    async def _beat(self, link: Link) -> None:
        """Application heartbeats, telemetry beside them."""
        while True:
            waiting = await self.standings.waiting(link.session.sends, link.session.acked_seq)
            self.standings.ask(link, waiting)
            if (telemetry := self._side.telemetry()) is not None:
                link.say(telemetry)
            await asyncio.sleep(HEARTBEAT_S)

    async def _listen(self, link: Link) -> None:
        """A peer that says nothing for so long is gone, whatever TCP believes."""
        while (left_s := link.pulse.heard_s + SILENCE_S_MAX - self._clock()) > 0:
            await asyncio.sleep(left_s)
            await asyncio.sleep(LOOK_AGAIN_S)  # If this node itself was held up, what came meanwhile is read first.
        raise LinkRefused("silent", f"{link.peer} has been silent for {SILENCE_S_MAX - left_s:.0f} s", fatal=False)

    def _now_ms(self) -> int:
        return self.loop.clock.now().wall_ms

    async def _refuse(self, write: Callable[..., Any], refused: LinkRefused) -> None:
        with contextlib.suppress(grpc.RpcError, OSError, asyncio.InvalidStateError):
            await write(refused.message())


def _said(error: BaseException) -> str:
    details = getattr(error, "details", None)
    return (details() if callable(details) else None) or str(error) or type(error).__name__
