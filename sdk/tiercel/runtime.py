"""One agent at work: its journal is open, it stays connected, and it stops in order."""

import asyncio
import logging
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import quote

import grpc

from tiercel.alone import Alone, Hands
from tiercel.asking import Asking
from tiercel.bidding import Bidder, Bidding, Function
from tiercel.blobs import Blobs
from tiercel.capability import Capability
from tiercel.channel import Line, wait_until_ready
from tiercel.concern import Concern
from tiercel.delivery import Delivery
from tiercel.documents import Channel
from tiercel.errors import SessionLost
from tiercel.journal import Journal
from tiercel.lease import Lease
from tiercel.machine import Machine
from tiercel.opinions import Opinions
from tiercel.outbox import Outbox
from tiercel.peer_lines import check_listen
from tiercel.places import RENEWED, Places
from tiercel.secrets import Secrets
from tiercel.session import PROTOCOL_VERSION, Session
from tiercel.threads import Threads
from tiercel.tls import Tls
from tiercel.v1 import agent_pb2
from tiercel.work import Tools, Work

STOPPED_S = 2.0
"""How long work that was cancelled at the end of the grace may take to stop, and results to be acknowledged."""

Target = str | grpc.aio.Channel | Line

log = logging.getLogger("tiercel.agent")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a person says about an agent; see `Agent`."""

    name: str
    kind: "agent_pb2.AgentKind.ValueType"
    capacity: int
    threads: int
    grace_s: float
    journal: Path
    secrets: Path | None
    labels: Mapping[str, str]
    tls: Tls | None = None
    token: str = field(default="", repr=False)
    cost: float = 1.0
    bids: Mapping[str, Function] = field(default_factory=dict)
    peers_listen: str = ""
    peers_address: str = ""

    def validate(self) -> None:
        """Raises ValueError, naming the agent and what is allowed."""
        if not self.name or len(self.name) > 200:
            raise ValueError(f"agent {self.name[:40]!r}: a name has 1 to 200 characters")
        if self.capacity < 1 or self.threads < 1:
            raise ValueError(f"agent {self.name!r}: capacity and threads are at least 1")
        if not 0 <= self.cost < math.inf:
            raise ValueError(f"agent {self.name!r}: cost {self.cost} is no number from 0 on")
        if self.grace_s < 0:
            raise ValueError(f"agent {self.name!r}: grace_s is not negative")
        if self.token and self.tls is None:
            raise ValueError(f"agent {self.name!r}: a token is shown over TLS alone: say whom to trust with tls=Tls(ca=...)")
        if self.peers_listen:
            check_listen(self.peers_listen, self.tls)


class Runtime:
    """One `serve`: from opening the journal to the goodbye. Belongs to the loop that it is built in."""

    def __init__(
        self,
        settings: Settings,
        capabilities: Mapping[str, Capability],
        machine: Machine | None = None,
        opinions: Opinions | None = None,
    ) -> None:
        """Raises JournalInUse and JournalUnusable."""
        loop = asyncio.get_running_loop()
        self._settings = settings
        self._capabilities = capabilities
        machine = machine or Machine()
        self._boot = machine.draw_boot()
        self._lease = Lease(machine.clock)
        self._outbox = Outbox(loop)
        self._blobs, self._documents = Blobs(), Channel()
        self._documents.boot = self._boot
        self._backoff = machine.backoff()
        self._stop = asyncio.Event()
        self._said_lost = False
        self._was_welcomed = False
        self._places: Places | None = None
        journal = Journal(machine.open_file(settings.journal), dead_bytes_max=machine.journal_dead_bytes_max)
        self._delivery = Delivery(loop, machine, journal, self._outbox, self._blobs)
        threads = Threads(settings.threads, f"tiercel-{settings.name}")
        tools = Tools(
            agent=settings.name,
            capacity=settings.capacity,
            capabilities=capabilities,
            threads=threads,
            lease=self._lease,
            secrets=Secrets(settings.secrets),
            blobs=self._blobs,
            documents=self._documents,
            outbox=self._outbox,
            delivery=self._delivery,
        )
        self._work = Work(loop, tools)
        self._asking = Asking(loop, settings.name)
        bidder = Bidder(settings.name, settings.capacity, settings.cost, self._work.in_hand, settings.bids)
        bidding = Bidding(loop, bidder, self._asking, self._outbox)
        hands = Hands(bidder, bidding, self._work, self._delivery, self._lease)
        make_lines = partial(machine.make_lines, settings.tls)
        self._alone = Alone(loop, hands, settings.peers_listen, settings.peers_address, make_lines)
        opinions = opinions or Opinions()
        self._concerns: tuple[Concern, ...] = (
            *opinions.concerns(settings.name, self._asking, self._outbox, self._lease),
            bidding,
            self._alone,
        )

    def stop(self) -> None:
        """Begin to stop; call it in the loop."""
        self._work.closing = True
        self._stop.set()

    async def serve(self, target: Target) -> None:
        """Work until `stop`. Raises AgentRefused when the gateway will never take this agent, ValueError for a bad address."""
        try:
            await self._alone.start()
        except BaseException:
            self._work.close()
            await self._delivery.close()
            raise
        connected = asyncio.create_task(self._stay_connected(target))
        stopping = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({connected, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not connected.done():
                await self._wind_down(connected)
        finally:
            self._work.cancel_all("the agent stops")
            for task in (connected, stopping):
                task.cancel()
            await asyncio.gather(connected, stopping, return_exceptions=True)
            self._work.close()
            for concern in self._concerns:
                concern.close()
            await self._alone.stop()
            self._asking.close()
            await self._delivery.close()
        if not connected.cancelled():
            connected.result()

    async def _stay_connected(self, target: Target) -> None:
        """Session after session, until one ends with a goodbye."""
        place = Places.of(target) if isinstance(target, str) else target
        while True:
            self._was_welcomed = False
            try:
                await self._connect_once(place)
            except SessionLost as lost:
                if self._outbox.finished:
                    return
                # Two agents of one name end each other's sessions: they must not do so many times a second.
                if self._was_welcomed and lost.code != "replaced":
                    self._backoff.reset()
                level = logging.DEBUG if self._said_lost else logging.WARNING
                log.log(level, "agent %s: no session (%s); connecting again", self._settings.name, lost)
                self._said_lost = True
                if lost.at_once:
                    continue
            await asyncio.sleep(self._backoff.next_s())

    async def _connect_once(self, target: Places | Line | grpc.aio.Channel) -> None:
        """A session, and after it the word where the next begins."""
        match target:
            case Places():
                try:
                    # A channel of our own is built anew each time: one that is stuck in a dead connection can stay so for
                    # minutes.
                    async with Line(target, self._settings.tls, self._settings.token) as line:
                        await self._along(line, waits=target.several)
                except SessionLost as lost:
                    lost.at_once = target.lost(lost.code, lost.leader)
                    raise
            case Line():
                channel = target.channel
                try:
                    await self._over(target, channel)
                except SessionLost as lost:
                    lost.at_once = target.lost(channel, lost.code, lost.leader)
                    raise
            case _:
                await wait_until_ready(target)
                await self._session(target)

    async def _along(self, line: Line, *, waits: bool) -> None:
        """Over one channel after the other, as new TLS files are taken: the one that they were tried on is the one that is used,
        whatever the files hold by then."""
        while True:
            try:
                return await self._over(line, line.channel, waits=waits)
            except SessionLost as lost:
                if lost.code != RENEWED:
                    raise
                self._was_welcomed = False

    async def _over(self, line: Line, channel: grpc.aio.Channel, *, waits: bool = True) -> None:
        """A session, which gives way to the next when the line goes over another channel. What is in hand goes on over both."""
        if waits:
            await line.ready(channel)
        self._places = line.places
        session, replaced = asyncio.ensure_future(self._session(channel)), asyncio.ensure_future(line.replaced(channel))
        try:
            await asyncio.wait((session, replaced), return_when=asyncio.FIRST_COMPLETED)
            if session.done():
                return session.result()
        finally:
            for task in (session, replaced):
                task.cancel()
            await asyncio.gather(session, replaced, return_exceptions=True)
        raise SessionLost("the line goes over another channel", code=RENEWED)

    async def _session(self, channel: grpc.aio.Channel) -> None:
        self._blobs.use(channel)
        self._documents.use(channel)
        has_elsewhere = self._places is not None and self._places.several
        talk = self._delivery, self._outbox, self._lease, self._welcomed, self._concerns
        try:
            await Session(self._register(), self._work, *talk, has_elsewhere=has_elsewhere).run(channel)
        finally:
            for concern in self._concerns:
                concern.lost()

    def _register(self) -> agent_pb2.Register:
        settings, holding = self._settings, self._work.holding()
        return agent_pb2.Register(
            protocol_version=PROTOCOL_VERSION,
            features=[feature for concern in self._concerns for feature in concern.features()],
            agent=settings.name,
            agent_kind=settings.kind,
            boot=self._boot,
            capabilities=sorted(self._capabilities),
            capacity=settings.capacity,
            labels=dict(settings.labels),
            holding=holding,
            peer_address=self._alone.address,
            claims=self._alone.registering(holding),
        )

    def _welcomed(self, welcome: agent_pb2.Welcome) -> None:
        self._was_welcomed, self._documents.site, self._alone.site = True, welcome.site, welcome.site
        if self._work.closing:
            self._say_draining()
        if self._places is not None:
            self._places.welcomed()
        # Who was told that the session was lost is told that it is back, however quiet the logging is.
        level, again = (logging.WARNING, " again") if self._said_lost else (logging.INFO, "")
        self._said_lost = False
        log.log(level, "agent %s: connected%s to site %s", self._settings.name, again, welcome.site)

    def _say_draining(self) -> None:
        self._outbox.add(agent_pb2.AgentMessage(draining=agent_pb2.Draining(reason="the agent stops")))

    async def _wind_down(self, connected: "asyncio.Task[None]") -> None:
        """Take no more; finish what runs, or cancel it when the grace is over; deliver; say goodbye."""
        self._say_draining()
        if not await _within(self._settings.grace_s, self._work.idle()):
            self._work.cancel_all("the agent stops")
            if not await _within(STOPPED_S, self._work.idle()):
                log.warning("agent %s: some work did not stop; it is reconciled by the site", self._settings.name)
        if not await _within(STOPPED_S, self._delivery.delivered()):
            log.warning("agent %s: some results stay in the journal until it runs again", self._settings.name)
        if self._outbox.connected:
            self._outbox.add_goodbye("the agent stops")
            await asyncio.wait({connected}, timeout=STOPPED_S)


def journal_path(name: str) -> Path:
    """Where an agent's journal is when nobody says: $TIERCEL_STATE, or tiercel/ in the user's state directory."""
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    directory = os.environ.get("TIERCEL_STATE") or Path(home) / "tiercel"
    return Path(directory) / "agents" / f"{quote(name, safe='')}.journal"


async def _within(seconds: float, waiting: "asyncio.Future[None] | object") -> bool:
    try:
        await asyncio.wait_for(waiting, seconds)  # type: ignore[arg-type]
    except TimeoutError:
        return False
    return True
