"""What a node can say of its links, and how it makes sure that a peer is level: the operator's side of `sync.service`."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import msgspec

from sync.clock import wall_ms
from sync.link.outbox import Outbox
from sync.link.pace import DEFLATE_BYTES_MIN, DEFLATE_FROM_S, Pace
from sync.link.pulse import Pulse
from sync.link.standing import Direction, LinkStanding, Standing
from sync.log_errors import LogCut, LogError
from sync.ports.log import NodeLog
from sync.replication import ROW_BYTES, Session, weight
from sync.ring import Ring
from sync.values import StreamId
from tiercel.v1 import sync_pb2

PEERS_MAX = 4_096
SAMPLE_EVENTS = 1_000
"""Of a backlog that is not in memory this many events are weighed, and the rest counted like them."""


@dataclass(slots=True, eq=False)
class Link:
    """One living connection: what is to be said, and when anything was last heard."""

    peer: str
    session: Session
    pulse: Pulse
    control: Outbox = field(default_factory=Outbox)
    pace: Pace = field(default_factory=Pace)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    acked_here: dict[StreamId, int] = field(default_factory=dict)
    flush: asyncio.TimerHandle | None = None
    flushed_s: float = 0.0
    fetching: bool = False
    whole: bool = False
    is_level: bool = False  # Was all here once that the peer had when it was asked over this link?
    term: int = 0  # In which the box leads that has dialled, of a site of several.
    compared: bool = False  # Is what the greeting let us tell durable in our stream?

    def say(self, message: sync_pb2.SyncMessage) -> None:
        """Queue a message that is not of the event stream."""
        self.control.say(message)
        self.wake.set()

    async def compare(self, caught_up: Awaitable[None]) -> None:
        """What the greeting lets us tell comes before the answer that all is told. If it cannot be made durable, this node is
        folded anew, and its links begin anew, too."""
        with contextlib.suppress(LogError):
            await caught_up
            self.compared = True

    def deflates(self, batch: sync_pb2.SyncMessage) -> bool:
        """Is it far enough to the peer, and the batch more than one packet, so that compressing it pays?"""
        far = (self.pulse.round_trip_s or 0.0) >= DEFLATE_FROM_S
        return far and "deflate" in self.session.features and batch.ByteSize() >= DEFLATE_BYTES_MIN


class Moved(msgspec.Struct):
    """One peer was asked to be level. `state`: level, or why not: away (no link), late (not within the time)."""

    peer: str
    state: str
    events_sent: int = 0
    bytes_sent: int = 0
    events_received: int = 0
    bytes_received: int = 0
    took_ms: int = 0
    detail: str = ""


class Standings:
    """How the links of a node stand."""

    def __init__(
        self, event_log: NodeLog, ring: Ring, links: dict[str, Link], acked: dict[str, int], now_ms: Callable[[], int]
    ) -> None:
        self.level_s: dict[str, float] = {}
        self.news = asyncio.Event()
        self._log, self._ring, self._links, self._acked = event_log, ring, links, acked
        self._now_ms = now_ms
        self._clock = asyncio.get_running_loop().time
        self._known: dict[str, Standing] = {}

    def of(self, peer: str) -> Standing:
        """What is counted of a peer; of very many, the oldest that is away is forgotten."""
        if (known := self._known.get(peer)) is None:
            if len(self._known) >= PEERS_MAX:
                gone = next((name for name in self._known if name not in self._links), None)
                self._known.pop(gone or next(iter(self._known)))
            known = self._known[peer] = Standing()
        return known

    def ask(self, link: Link, waiting: tuple[int, int, int] = (0, 0, 0)) -> None:
        """Poll the peer; it is told by the way what of our stream waits for it."""
        _, size, oldest_ms = waiting
        asked = sync_pb2.SyncHeartbeat(id=link.pulse.ask(self._clock()), waiting_bytes=size, oldest_ms=oldest_ms)
        self._say(link, asked)

    def _say(self, link: Link, beat: sync_pb2.SyncHeartbeat) -> None:
        beat.wall_ms, beat.head_seq = self._now_ms(), self._ring.durable.get(link.session.sends, 0)
        beat.telemetry_lost = self.of(link.peer).telemetry_lost + link.control.lost
        link.say(sync_pb2.SyncMessage(heartbeat=beat))

    def heard(self, link: Link, heartbeat: sync_pb2.SyncHeartbeat) -> bool:
        """A heartbeat came: a question, which is answered, or the answer to ours. Is it an answer, so that we may be level?"""
        known, now_s = self.of(link.peer), self._clock()
        known.hear(heartbeat)
        if link.session.recover_to:
            return False  # What comes now is stored and not acted upon, and nothing is told: nobody is level.
        asked_s = None
        if heartbeat.echo:
            held = self._ring.durable.get(link.session.receives, 0)
            if (asked_s := link.pulse.answered(heartbeat.echo, heartbeat.head_seq, held, now_s)) is not None:
                known.clock_offset_ms = heartbeat.wall_ms - self._now_ms() + int((now_s - asked_s) * 500)
        if heartbeat.id and link.compared:
            self._say(link, sync_pb2.SyncHeartbeat(echo=heartbeat.id))
        return asked_s is not None

    def levelled(self, link: Link) -> None:
        """What the peer told that it had may all be here now."""
        if (level_s := link.pulse.level_s) is not None:
            if level_s > self.level_s.get(link.peer, -1.0):
                self.level_s[link.peer] = level_s
                self.of(link.peer).last_sync_ms = self._now_ms() - int((self._clock() - level_s) * 1000)
            self.tell()

    def tell(self) -> None:
        """Something moved: whoever waits looks again."""
        self.news.set()

    async def waiting(self, stream: StreamId, after: int) -> tuple[int, int, int]:
        """Of our stream behind `after`: how many events, how many bytes, when the oldest was written (UTC ms; 0: none)."""
        count = self._ring.durable.get(stream, 0) - after
        if count <= 0:
            return 0, 0, 0
        rows = self._ring.after(stream, after, SAMPLE_EVENTS, 64 << 20)
        if rows is None:
            read = self._log.read(lambda reader: reader.events(stream, after, SAMPLE_EVENTS))
            try:
                rows = await asyncio.wrap_future(read)
            except LogCut:
                rows = []
        if not rows:
            return count, 0, 0
        size = weight(row.payload for row in rows) - ROW_BYTES * len(rows)
        return count, size * count // len(rows), wall_ms(rows[0].time)

    async def view(
        self, peer: str, streams: tuple[StreamId, StreamId], now_ms: int, *, refused: str = "", clock_ms: int = 0
    ) -> LinkStanding:
        """How the link to a peer stands; `streams` are those that we send and receive."""
        known, link = self.of(peer), self._links.get(peer)
        sends, receives = (link.session.sends, link.session.receives) if link else streams
        acked = link.session.acked_seq if link else self._acked.get(peer, -1)
        if acked < 0:
            positions = await asyncio.wrap_future(self._log.read(lambda reader: reader.positions()))
            acked = positions.get((peer, str(sends)), 0)
        count, size, oldest_ms = await self.waiting(sends, acked)
        held = self._ring.durable.get(receives, 0)
        lacking = max(0, known.head_there - held)
        level_s = self.level_s.get(peer)
        theirs_ms = _age(known.oldest_there_ms, now_ms) if lacking else 0
        view = LinkStanding(
            peer=peer,
            state=_state(link, refused or known.fatal),
            since=known.since_ms,
            sends=Direction(str(sends), acked + count, acked, count, size, _age(oldest_ms, now_ms), *known.sent),
            receives=Direction(str(receives), held + lacking, held, lacking, known.waiting_there if lacking else 0, theirs_ms),
            staleness_ms=-1 if level_s is None else int((self._clock() - level_s) * 1000),
            last_sync=known.last_sync_ms,
            connected=known.connected,
            ended=known.ended,
            refusals=known.refusals,
            telemetry_lost=known.telemetry_lost + (link.control.lost if link else 0),
            telemetry_lost_there=known.telemetry_lost_there,
            clock_offset_ms=known.clock_offset_ms,
            clock_disbelieved=clock_ms,
            states=known.states,
        )
        view.receives.events, view.receives.bytes = known.received
        if link is not None:
            view.protocol, view.features = link.session.version, sorted(link.session.features)
            if link.pulse.round_trip_s is not None:
                view.round_trip_ms = round(link.pulse.round_trip_s * 1000, 3)
        return view

    async def level(self, peer: str, poll: Callable[[Link], None], wait_s: float) -> Moved:
        """Have the peer and us hold all that either had when this was called, and say what moved meanwhile."""
        began_s, link = self._clock(), self._links.get(peer)
        known = self.of(peer)
        before = (*known.sent, *known.received)
        if link is None:
            return Moved(peer, "away", detail=f"{peer} is not linked: what waits follows when it is back")
        head = self._ring.durable.get(link.session.sends, 0)
        poll(link)
        state = "level"
        while not (self.level_s.get(peer, -1.0) >= began_s and self._acked.get(peer, 0) >= head):
            left_s = began_s + wait_s - self._clock()
            if peer not in self._links or left_s <= 0:
                state = "away" if peer not in self._links else "late"
                break
            if self._links[peer] is not link:
                link = self._links[peer]
                poll(link)
            self.news.clear()
            try:
                await asyncio.wait_for(self.news.wait(), left_s)
            except TimeoutError:
                continue
        took_ms = int((self._clock() - began_s) * 1000)
        moved = Moved(peer, state, took_ms=took_ms)
        parts = (now - then for now, then in zip((*known.sent, *known.received), before, strict=True))
        moved.events_sent, moved.bytes_sent, moved.events_received, moved.bytes_received = parts
        if state != "level":
            moved.detail = f"{peer} was not level after {took_ms / 1000:.1f} s: its status says what is behind"
        return moved


def _state(link: "Link | None", refused: str) -> str:
    if link is not None:
        return "recovering" if link.session.recover_to and not link.whole else "up"
    return "refused" if refused else "down"


def _age(written_ms: int, now_ms: int) -> int:
    return max(0, now_ms - written_ms) if written_ms else 0
