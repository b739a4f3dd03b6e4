"""EdgeNode: a site. It joins the Driver of its executor, the gateway for its agents and the link to the cloud.

`EdgeNode.serve()` runs until cancelled. It starts without a network: its own log is the authority for the site. It only gives the
link a moment first, for a log restored from a copy can be completed only before it has been written to again. A log that is known
to lack events (the process died while they came back) waits for the link as long as it takes: what a site without a network wrote
into it would take the place of what it had promised.
"""

import asyncio
import contextlib
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import structlog

from edge.admitting.service import Door
from edge.alone import alone
from edge.blobs import Carrying
from edge.comparing.service import SiteStates
from edge.executor import LEASE_MS, Executor
from edge.group.values import Box
from edge.inputs import ProgressHeard
from edge.joining import AgentTokens
from edge.points import TELLS
from edge.ports.driver import EdgePorts, OwnPorts
from edge.quoting import FEATURE, quotes_of
from edge.reading.service import SiteReads
from edge.run_documents import RunDocuments
from edge.service import Gateway
from edge.status.views import EdgeStatus
from edge.telemetry import Telling, loads_of, report_of
from edge.watching.service import SiteShelf
from sync.actors import Loop, verify_slowly
from sync.blobs import STORE_BYTES_MAX, Blob
from sync.commit import Row
from sync.documents.book import DocumentBook
from sync.driver import StreamRecovered
from sync.identity.driver import CERTIFICATE, Renewal
from sync.identity.files import TlsFiles
from sync.identity.upkeep.service import Upkeep, renewed_over
from sync.link.service import Link
from sync.merging.book import MergeBook
from sync.outputs import Acknowledge, Recall, Reply
from sync.replication import LinkRefused, StreamEnded
from sync.retention.driver import Retention, sweeping
from sync.retention.policy import Policy
from sync.service import Exchange
from sync.serving.service import Health
from sync.values import SiteId, StreamId, latest_incarnation, stream_id, stream_incarnation
from sync.watching.service import Feed
from sync.watching.unseen import TellWatchers
from tiercel.backoff import Backoff
from tiercel.v1 import sync_pb2
from workflow.events import DefinitionRegistered
from workflow.packing import is_packed
from workflow.plan import DefinitionError, Plan, plan_from_document
from workflow.reseed_events import SiteStreamBegun, StateTaken

if TYPE_CHECKING:
    from sync.identity.signing.main import Signed

FIRST_LINK_WAIT_S_MAX = 3_600.0
RECONNECT_S_MAX = 2.5
PROGRESS_EVERY_S = 0.5
REPORTS_MAX = 500
"""Reports of progress in one message to the cloud."""

CLOUD = "cloud"
# What somebody waits for: it is sent at once and not a few milliseconds later with others.
URGENT = frozenset(
    (
        "FragmentEnded",
        "FragmentTaken",
        "FragmentYielded",
        "CommandAnswered",
        "DocumentChanged",
        "DocumentDeleted",
        "EditProposed",
        "EditRefused",
        "AgentRegistered",
        "ScheduleCreated",
        "ScheduleChanged",
        "ScheduleFired",
        "ScheduleRemoved",
    )
)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class EdgeConfig:
    """A site's settings, read once. `run_dir` is short (socket paths end at 107 bytes) and 0700; `data_dir` holds the log.

    `first_link_wait_s`: how long the gateway stays shut at a start for the link to come up. What a log restored from a copy lacks
    can be fetched back only before it has been written to again.
    """

    site: str
    data_dir: Path
    run_dir: Path
    cloud: str
    listen: str = ""
    lease_ms: int = LEASE_MS
    page_count_max: int = 0
    first_link_wait_s: float = 1.0
    insecure: bool = False
    blobs_bytes_max: int = STORE_BYTES_MAX
    resources: Mapping[str, int] = field(default_factory=dict)  # Units of each; of those not named there is one.
    lock_delays: Mapping[str, int] = field(default_factory=dict)  # In ms, of those that cannot check epochs.
    retention: Policy = field(default_factory=Policy)
    tls: TlsFiles | None = None
    listen_tokens: str = ""  # Where agents without a certificate show a token.
    renews: bool = True  # Does the site have its certificate renewed by the cloud?
    box: Box | None = None  # Of a site of several: which one this is.

    def __post_init__(self) -> None:
        if self.listen_tokens and self.tls is None:
            raise ValueError("--listen-tokens: a token is shown over TLS alone: give the site's certificate with --tls-dir")
        if not 0 <= self.first_link_wait_s <= FIRST_LINK_WAIT_S_MAX:
            raise ValueError(f"first link wait: 0 to {FIRST_LINK_WAIT_S_MAX:g} seconds, not {self.first_link_wait_s:g}")

    @property
    def socket(self) -> Path:
        """The gateway's Unix socket."""
        name = self.site if self.box is None else f"{self.site}-{self.box.node}"
        return self.run_dir / f"{name}.sock"


class EdgeNode:
    """One site, from its log up."""

    def __init__(self, config: EdgeConfig, ports: EdgePorts | None = None) -> None:
        self.config = config
        self.ports = ports or OwnPorts(config)
        self.log, self.blobs = self.ports.log, self.ports.blobs
        self.halted: str = ""
        self._linked_s = math.inf  # When the line was dialled that is in use.
        self._errands: set[asyncio.Future[None]] = set()
        self._recovering = False
        self._compared: asyncio.Event
        self._told = Telling()
        self._telling: asyncio.TimerHandle | None = None
        self._prepared: Plan | None = None
        self.carrying = Carrying(config.site, self.blobs)
        self._upkeep = Upkeep(config.tls, self._renewed if config.renews else None)
        self.look = self._upkeep.look

    async def serve(self, ready: asyncio.Event | None = None) -> None:
        """Serve until cancelled."""
        self._compared = asyncio.Event()
        self.gateway = Gateway(self.config.site, self.log.boot, self._holds)
        self.health = Health("tiercel.v1.AgentService")
        lead = (self.log.boot, self.config.box.node) if self.config.box is not None else (0, "")
        anew = self.begin_anew
        self.exchange = Exchange(self.config.site, self.log, self, dials=True, urgent=URGENT, begin_anew=anew, lead=lead)
        self.reads, self.feed, self._states = SiteReads(self), Feed(SiteShelf(self)), SiteStates(self)
        self.loop = Loop(self._make_executor, self.log, self, clock=self.ports.clock)
        self.loop.held = True
        self.gateway.loop = self.exchange.loop = self.loop
        self.gateway.status, self.gateway.door = self._status, Door(self.config.site, self._tokens, self.loop)
        self.gateway.reads, self.gateway.feed = self.reads, self.feed
        blobs = sweeping(self.log, self.blobs)
        self.retention = Retention(self.log, self.config.retention, self._now_ms, self.loop.new_floor_from_thread, blobs)
        self.exchange.ring.begin(self.loop.driver.heads)
        link = asyncio.ensure_future(self.loop.guard(self._keep_link()))
        self._errands.add(asyncio.ensure_future(self.health.keep()))
        self._errands.add(asyncio.ensure_future(self._upkeep.keep()))
        servers = self.ports.servers(self.gateway, self.health, self._fetch_blob)
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._compared.wait(), self.config.first_link_wait_s)
            if self.loop.driver.lacks_events and not self._compared.is_set():
                log.warning("the site waits for its link: not all of its lost events have come back", site=self.config.site)
            elif not self._recovering and not self.halted:
                self.loop.release()
            await servers.start()
            self._accept(not self.halted and not self.loop.held)
            where = {"socket": str(self.config.socket), "listen": self.config.listen}
            log.info("site serves", site=self.config.site, boot=self.log.boot, **where)
            if ready is not None:
                ready.set()
            if self.config.box is None:  # Else whoever owns the log sees to it, whether this box leads or not.
                self._errands.add(asyncio.ensure_future(verify_slowly(self.log, self._halt)))
                self._errands.add(asyncio.ensure_future(self.retention.keep(self.may_cut, self._halt)))
            await link
        finally:
            tasks = (link, *self._errands)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await servers.stop()
            self.loop.stop()
            await asyncio.to_thread(self.log.close)

    def _make_executor(self) -> Executor:
        # The seed makes a simulated edge repeatable; a real one may as well be seeded by its name and boot.
        chance = random.Random(f"{self.config.site}/{self.log.boot}")
        stream = stream_id(self.config.site, self.log.incarnation)  # The log says if it goes on in a later one.
        executor = Executor(SiteId(self.config.site), stream, chance, self.config.lease_ms, holds_blob=self._holds)
        for name, units in self.config.resources.items():
            executor.home.resources.declare(name, units)
        executor.home.leases.delays.update(self.config.lock_delays)
        return executor

    def _tokens(self) -> AgentTokens:
        return self.executor.tokens

    def _holds(self, blob: Blob) -> bool:
        return self.blobs.stat(blob).complete

    # The Driver's Out -------------------------------------------------------------------------------------------------

    def send(self, effects: list[object]) -> None:
        """Bring committed effects to where they belong."""
        for effect in effects:
            if type(effect) is Acknowledge:
                self.exchange.acknowledge(effect.stream, effect.seq)
            elif type(effect) is Reply:
                self.loop.answer(effect)
            elif type(effect) is Recall:
                self.loop.recall(self.log, effect.run)
            elif type(effect) is ProgressHeard:
                self._tell_progress()
            elif type(effect) is TellWatchers:
                self.feed.tell(effect)
            elif isinstance(effect, TELLS):
                self.gateway.points.tell(effect)
            else:
                self.gateway.deliver(effect)

    def committed(self, rows: list[Row]) -> None:
        """Rows are durable: the link may carry them."""
        self.exchange.committed(rows)
        if not self.gateway.accepting and any(row.kind == StateTaken.kind for row in rows):
            self._accept(not self.halted)
        if self.book.leased:
            self.reads.renew()

    def refolded(self, error: BaseException) -> None:
        """The core was folded anew: sessions hung on the old one, so everybody comes back and says what he holds."""
        if not isinstance(error, StreamRecovered):
            log.error("commit failed; state folded anew from the log", site=self.config.site, error=str(error))
        self.exchange.ring.begin(self.loop.driver.heads)
        self.gateway.close_all("refolded", f"site {self.config.site} folded its log anew: {error}")
        self.exchange.drop_all("folded anew")
        self.feed.again()
        self.gateway.points.again()

    # The link ---------------------------------------------------------------------------------------------------------

    async def _keep_link(self) -> None:
        """Dial the cloud, again and again."""
        chance = random.Random(f"{self.config.site}/{self.log.boot}/link")
        backoff, clock = Backoff(limit_s=RECONNECT_S_MAX, chance=chance), asyncio.get_running_loop().time
        renewal = Renewal(self.config.tls)
        while not self.halted:
            self._linked_s = math.inf
            try:
                await renewal.over(self._converse)
            except LinkRefused as refused:
                log.warning("link ended", site=self.config.site, code=refused.code, reason=str(refused))
                if refused.code == CERTIFICATE:  # There was no link yet that could have noted it.
                    self.exchange.standings.of(CLOUD).refuse(refused.code, str(refused), self._now_ms(), fatal=False)
            except (grpc.RpcError, OSError, asyncio.InvalidStateError) as error:
                self.exchange.standings.of(CLOUD).unreached(renewal.no_line(error), self._now_ms())
            if clock() - self._linked_s > RECONNECT_S_MAX:
                backoff.reset()
            await asyncio.sleep(backoff.next_s())
        await asyncio.Event().wait()  # Halted: local work goes no further, but what is here can still be read.

    async def _converse(self) -> None:
        async with self.ports.dial() as line:
            self.carrying.channel, self._linked_s = line.channel, asyncio.get_running_loop().time()
            try:
                await self.exchange.converse(line.incoming, line.write, peer=CLOUD)
            finally:
                if self.carrying.channel is line.channel:
                    self.carrying.channel = None

    async def _renewed(self, request: bytes) -> "Signed":
        return await renewed_over(self.carrying.channel, request)

    async def _status(self) -> EdgeStatus:
        standing = await self.exchange.standings.view(CLOUD, (self.stream, self._cloud_stream()), self._now_ms())
        loads, executor = loads_of(self.executor, self.loop.clock.now()), self.executor
        standing.reseeding = executor.reseeding.view(self._cloud_stream())
        present = len(executor.roster.slots)
        told = alone(executor.home, executor.autonomy.runs, self.loop.clock.now())
        site, gone = (self.config.site, self.log.boot, self.halted), executor.home.withdrawn
        counts = present, loads.running, loads.ready
        return EdgeStatus(*site, *counts, standing, told, gone.count, gone.forgotten, leaders=executor.leading.views())

    @property
    def stream(self) -> StreamId:
        """What the site writes."""
        first = stream_id(self.config.site, self.log.incarnation)
        return latest_incarnation((first, *self.loop.driver.heads), self.config.site) or first

    def streams(self, peer: str, hello: sync_pb2.PeerHello | None) -> tuple[StreamId, StreamId]:
        """What we send and what we receive."""
        return self.stream, self._cloud_stream()

    def _cloud_stream(self) -> StreamId:
        held = latest_incarnation(self.loop.driver.heads, CLOUD, self.config.site)
        return held or stream_id(CLOUD, 1, self.config.site)

    def recovering(self, peer: str) -> None:
        """Events of our own stream come back from the cloud: no work until they have."""
        self._recovering = self.loop.held = True
        self._accept(False)
        self.gateway.close_all("recovering", f"site {self.config.site} fetches lost events back from the cloud")

    def recovered(self, peer: str) -> None:
        """Our stream is whole."""
        self._told.forget()
        self.executor.home.vigil.tell_all()
        self._tell_progress()
        if self._recovering:
            self._recovering = False
            self.loop.refold_when_idle(StreamRecovered(f"the stream {self.stream} is whole again"))
        self._compared.set()
        self.loop.release()
        self._accept(not self.halted)

    def begin_anew(self, ended: StreamEnded, told_in: StreamId) -> None:
        """Our stream lacks what nobody keeps: it ends, another begins, and in that the cloud gives back what it knows of us."""
        self.loop.held = True
        self._accept(False)
        why = f"site {self.config.site} had lost events that nobody keeps, and takes back what the cloud knows of it"
        self.gateway.close_all("begun anew", why)
        own, told = stream_incarnation(ended.following), stream_incarnation(told_in)
        self.loop.driver.begin(ended.following, SiteStreamBegun(own, ended.stream, told, self._now_ms()))
        self.loop.refold_when_idle(StreamRecovered(f"the stream goes on as {ended.following}"))
        log.warning("the site begins anew", site=self.config.site, held=ended.held, cloud_held=ended.theirs, own=ended.following)

    async def prepare(self, events: list[object]) -> None:
        """A large definition has come: it is compiled aside, so that agents are heard meanwhile. The core finds it compiled."""
        for event in events:
            if type(event) is DefinitionRegistered and is_packed(event.document) and event.ref not in self.executor.plans:
                with contextlib.suppress(DefinitionError):  # The core says so, as of any other.
                    self._prepared = await asyncio.to_thread(plan_from_document, event.document)

    def _now_ms(self) -> int:
        return self.loop.clock.now().wall_ms

    def may_cut(self) -> bool:
        """May something leave the log now? Not before it is known to be whole."""
        return not self.halted and not self.loop.held and not self.loop.driver.lacks_events

    def diverged(self, peer: str, refused: LinkRefused) -> None:
        """Two histories under one name, or ours too old to be healed: stop before it gets worse. If it is the cloud's that is too
        old, the site goes on alone."""
        if refused.theirs:
            log.error("the cloud was restored from too old a copy", site=self.config.site, reason=str(refused))
            return
        self._halt(str(refused))
        self._compared.set()

    def _halt(self, reason: str) -> None:
        """What this log holds cannot be trusted: take no more work, and say why to every agent that asks."""
        self.halted = self.gateway.halted = reason
        self._accept(False)
        self.gateway.close_all("halted", reason)
        self.loop.stop()
        log.error("the site has stopped taking work", site=self.config.site, reason=reason)

    def _accept(self, accepting: bool) -> None:
        # Who came before the site has its runs again would be told to stop what goes on in them.
        accepting = accepting and not self.executor.reseeding.last.awaits
        self.gateway.accepting = accepting
        self.health.tell(serving=accepting)

    def telemetry(self) -> sync_pb2.SyncMessage | None:
        """How busy the agents are; only when it has changed."""
        self.reads.renew()
        loads = loads_of(self.executor, now := self.loop.clock.now())
        link = self.exchange.links.get(CLOUD)
        if link is not None and FEATURE in link.session.features:
            loads.quotes.CopyFrom(quotes_of(self.executor, self.log.boot, now))
        if (group := self.ports.group()) is not None:
            loads.group.CopyFrom(group)
        return sync_pb2.SyncMessage(loads=loads) if self._told.news(loads, now) else None

    def _tell_progress(self) -> None:
        """Soon, and together: however often agents report, the cloud hears of it twice a second."""
        if self._telling is None:
            self._telling = asyncio.get_running_loop().call_later(PROGRESS_EVERY_S, self._send_progress)

    def _send_progress(self) -> None:
        self._telling = None
        link, vigil = self.exchange.links.get(CLOUD), self.executor.home.vigil
        if link is None or not vigil.untold:
            return  # It is told when the link is up again.
        items = [report_of(*told) for told in vigil.take_untold(REPORTS_MAX)]
        link.say(sync_pb2.SyncMessage(reports=sync_pb2.TaskReports(items=items)))
        if vigil.untold:
            self._tell_progress()

    async def other(self, link: Link, message: sync_pb2.SyncMessage) -> None:
        """Messages of the link that are not replication."""
        match message.WhichOneof("kind"):
            case "document_read_reply" | "read_lease_reply":
                self.reads.heard(message)
            case "states_compared":
                self.exchange.standings.of(CLOUD).states = self._states.heard(message.states_compared, self._now_ms())
            case "digest_request":
                link.say(await self._states.page(message.digest_request))
            case "blob_wanted":
                for blob in message.blob_wanted.blobs:
                    errand = asyncio.ensure_future(self.carrying.bring(blob))
                    self._errands.add(errand)
                    errand.add_done_callback(self._errands.discard)

    async def _fetch_blob(self, blob: Blob) -> None:
        """An agent wants a blob that another site made. Raises BlobAway while the cloud is cut off."""
        await self.carrying.fetch(blob, is_linked=CLOUD in self.exchange.links)

    @property
    def book(self) -> DocumentBook:
        """What the site knows of documents, as it is now; a refold makes a new one."""
        return self.executor.documents.book

    @property
    def merging(self) -> MergeBook:
        """What it knows of documents of several writers; a refold makes a new one."""
        return self.executor.merging.book

    @property
    def run_documents(self) -> RunDocuments:
        """Who knows which runs have their documents here."""
        return self.executor.run_documents

    @property
    def plans(self) -> dict[str, Plan]:
        """The definitions that the site knows."""
        return self.executor.plans

    @property
    def executor(self) -> Executor:
        """The core as it is now; a refold makes a new one."""
        core = self.loop.driver.core
        assert isinstance(core, Executor)
        return core
