"""GlobalPlanner: the cloud node. It joins the Driver of the planner, the links of all sites, and answers the API (PlannerPort).

Reads come from memory where the planner holds the run, and from the log where it has ended.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from cloud.admission import RUNS_ACTIVE_MAX, Admission
from cloud.blobs import Fetching
from cloud.comparing.service import Comparing
from cloud.control.inputs import CommandSettled
from cloud.crossing import blobs_handed
from cloud.documents.inputs import EditSettled
from cloud.documents.service import Documents
from cloud.heard import load_of
from cloud.inputs import RunFinished, SiteLoads
from cloud.joining.service import Signing
from cloud.moving.inputs import MoveSettled
from cloud.negotiations import negotiations_of
from cloud.notifying.driver import Courier, CourierPolicy
from cloud.notifying.inputs import Deliver
from cloud.pausing.inputs import SitePauseSettled
from cloud.planner import Planner
from cloud.ports.driver import CloudPorts, OwnPorts
from cloud.quotes import quotes_of
from cloud.reports import SiteReports, TaskReport, checked
from cloud.reseeding.inputs import RenewStream
from cloud.views import CacheView, Freshness, LinkView
from cloud.watching.service import DocumentShelf, Watching
from sync.actors import Loop, verify_slowly
from sync.blobs import STORE_BYTES_MAX, Blob, BlobAway, BlobMissing
from sync.commit import Row
from sync.driver import StreamRecovered
from sync.identity.files import LEAF_DAYS, TlsFiles
from sync.identity.names import Identity
from sync.identity.service import Papers, signed_ms
from sync.identity.upkeep.service import Upkeep
from sync.link.service import Link
from sync.link.standing import BoxStanding, GroupStanding
from sync.log_errors import LogCut
from sync.outputs import Acknowledge, Recall, Reply
from sync.replication import LinkRefused, StreamEnded, head_in, stream_ended
from sync.retention.driver import Retention, sweeping
from sync.retention.policy import Policy
from sync.service import Exchange
from sync.serving.service import Health
from sync.values import SiteId, StreamId, latest_incarnation, site_name_problem, stream_id, stream_incarnation
from sync.watching.service import Feed
from sync.watching.unseen import TellWatchers
from tiercel.v1 import events_pb2, sync_pb2
from workflow.events import ValueHanded, decode

NODE = "cloud"
BLOB_WAIT_MS = 30_000
BLOB_AWAY_MS = 5_000
"""So long nothing of a blob may arrive before the cloud gives up for now. If a site that may hold it is away, sooner: whoever
asks can only wait then, and should not keep an agent busy with it."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class CloudConfig:
    """The cloud's settings, read once."""

    data_dir: Path
    api_host: str = "127.0.0.1"
    api_port: int = 8003
    sync_listen: str = "127.0.0.1:7443"
    page_count_max: int = 0
    insecure: bool = False
    blobs_bytes_max: int = STORE_BYTES_MAX
    runs_active_max: int = RUNS_ACTIVE_MAX
    public_url: str = ""  # Under which others reach the API; without it, where it listens.
    courier: CourierPolicy = field(default_factory=CourierPolicy)
    retention: Policy = field(default_factory=Policy)
    tls: TlsFiles | None = None
    api_tls: tuple[Path, Path] | None = None  # Certificate and key of the API.
    ca_dir: Path | None = None  # The CA that signs certificates of sites.
    cert_days: float = LEAF_DAYS  # How long these are valid.
    renews: bool = True  # Does the cloud renew its own certificate, if it has the CA?
    listen_join: str = ""  # Where sites show a token for their first one.

    @property
    def api_url(self) -> str:
        """Where the API listens."""
        return f"{'https' if self.api_tls else 'http'}://{self.api_host}:{self.api_port}"


class GlobalPlanner:
    """The cloud, from its log up."""

    def __init__(self, config: CloudConfig, ports: CloudPorts | None = None) -> None:
        self.config = config
        self.signing = Signing(config.ca_dir, config.tls, config.listen_join, config.cert_days)
        self._upkeep = Upkeep(config.tls, self.signing.own if self.signing.signs and config.renews else None)
        self.look = self._upkeep.look
        self.ports = ports or OwnPorts(config, NODE)
        self.log, self.blobs = self.ports.log, self.ports.blobs
        self.damaged = ""
        self._era = self.ports.clock.now().wall_ms // 1000
        self._digests: dict[int, asyncio.Future[sync_pb2.DigestReply]] = {}
        self._digest_count = 0
        self.recovering_from: set[str] = set()
        self.papers = Papers()
        self.refused: dict[str, str] = {}  # Why a site's link stays down until somebody has looked.
        self.watching = Watching(lambda: self.planner)
        self.documents = Documents(self)
        self.feed = Feed(DocumentShelf(self))
        self.comparing = Comparing(self)

    async def serve(self, ready: asyncio.Event | None = None) -> None:
        """Serve until cancelled."""
        self.health = Health("tiercel.v1.SyncService")
        self.exchange = Exchange(NODE, self.log, self, dials=False, renew=self.renew)
        self.fetching = Fetching(self.blobs, self.fetch_blob)
        base_url = self.config.public_url.rstrip("/") or self.config.api_url
        self.courier = Courier(self.post, self.ports.clock, base_url, self.config.courier)
        self.loop = Loop(self._make_planner, self.log, self, clock=self.ports.clock)
        self.exchange.loop = self.loop
        self.exchange.ring.begin(self.loop.driver.heads)
        servers = self.ports.servers(self)
        for _, run in self.planner.runs.whole():
            for blob in blobs_handed(run):
                self.fetching.want(blob)
        blobs = sweeping(self.log, self.blobs)
        self.retention = Retention(self.log, self.config.retention, self._now_ms, self.loop.new_floor_from_thread, blobs)
        errands = (
            self.courier.run(),
            self.fetching.run(),
            self.watching.feed(),
            self.comparing.run(),
            verify_slowly(self.log, self.damage),
            self.health.keep(),
            self._upkeep.keep(),
            self.retention.keep(self.may_cut, self.damage),
        )
        tasks = [asyncio.ensure_future(errand) for errand in errands]
        try:
            await servers.start()
            self._tell_health()
            log.info(
                "cloud serves",
                api=self.config.api_url,
                sync=self.config.sync_listen,
                boot=self.log.boot,
            )
            if ready is not None:
                ready.set()
            await self.loop.guard(self.ports.serve_api(self))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await servers.stop()
            self.loop.stop()
            await asyncio.to_thread(self.log.close)

    def _now_ms(self) -> int:
        return self.loop.clock.now().wall_ms

    def may_cut(self) -> bool:
        """May something leave the log now? Not before it is known to be whole."""
        return not self.damaged and not self.recovering_from

    def damage(self, what: str) -> None:
        """The log is damaged: no more work is taken."""
        self.damaged = what
        self._tell_health()
        log.error("the cloud has stopped taking work", reason=what)

    def _tell_health(self) -> None:
        self.health.tell(serving=not self.damaged and not self.recovering_from)

    def _make_planner(self) -> Planner:
        return Planner(NODE, self._era, self.log.incarnation, admission=Admission(self.config.runs_active_max))

    @property
    def planner(self) -> Planner:
        """The core as it is now; a refold makes a new one."""
        core = self.loop.driver.core
        assert isinstance(core, Planner)
        return core

    def certificate_refusal(self, identity: Identity, pem: bytes) -> str:
        """What this cloud has against a certificate (PEM) that is good by itself; empty if nothing."""
        part = self.planner.site_tokens
        return part.certificate_refusal(identity.site, signed_ms(pem)) if identity.site in part.shut_out else ""

    def drop(self, site: str, code: str, reason: str) -> None:
        """End the link of a site, if it has one."""
        if (link := self.exchange.links.get(site)) is not None:
            link.say(sync_pb2.SyncMessage(refused=sync_pb2.SyncRefused(code=code, message=reason)))

    def post(self, input: object) -> None:
        """For the next turn. Raises InboxFull."""
        self.loop.post(input)

    # The Driver's Out -------------------------------------------------------------------------------------------------

    def send(self, effects: list[object]) -> None:
        """Bring committed effects to where they belong."""
        for effect in effects:
            match effect:
                case Acknowledge(stream, seq):
                    self.exchange.acknowledge(stream, seq)
                case Reply():
                    self.loop.answer(effect)
                case Recall(run):
                    self.loop.recall(self.log, run)
                case Deliver():
                    self.courier.deliver(effect)
                case TellWatchers():
                    self.feed.tell(effect)
                case RunFinished(name) | CommandSettled(name) | SitePauseSettled(name) | MoveSettled(name) | EditSettled(name):
                    self.watching.ring(name)
                case _:
                    raise AssertionError(f"the planner ordered {effect!r}, which nobody carries out")

    def committed(self, rows: list[Row]) -> None:
        """Rows are durable: the links may carry them."""
        self.exchange.committed(rows)
        self.comparing.committed(rows)
        for row in rows:
            if row.kind == ValueHanded.kind:
                event = decode(row.kind, row.payload)
                if type(event) is ValueHanded and event.blob is not None:
                    # It is read at another site: brought now, it is there even if its own site is away by then.
                    self.fetching.want(event.blob)
        if not self.watching.is_watched:
            self.planner.changed.clear()  # Nobody asks.

    def refolded(self, error: BaseException) -> None:
        """The core was folded anew; the links begin anew with a hello."""
        if not isinstance(error, StreamRecovered):
            log.error("commit failed; state folded anew from the log", error=str(error))
        self.exchange.ring.begin(self.loop.driver.heads)
        self.exchange.drop_all("folded anew")
        self.feed.again()

    # The links' side --------------------------------------------------------------------------------------------------

    def streams(self, peer: str, hello: sync_pb2.PeerHello | None) -> tuple[StreamId, StreamId]:
        """What we keep for the site, and what the site writes, in the incarnation that it names. Of ours it may know a later one
        than we do, if that is among what we have lost."""
        if (wrong := site_name_problem(peer)) is not None:
            raise LinkRefused("invalid_name", wrong, fatal=False)
        named = [StreamId(head.stream) for head in hello.heads if head.seq] if hello else []
        receives = latest_incarnation(named, peer) or stream_id(peer, 1)
        sends = latest_incarnation((*named, self.planner.site_stream(peer)), NODE, peer)
        assert sends is not None, "our own name of the stream is among them"
        return sends, self._following(peer, receives, hello)

    def _following(self, peer: str, named: StreamId, hello: sync_pb2.PeerHello | None) -> StreamId:
        """The site's stream, in the incarnation that goes on. Raises LinkRefused if the node must not go on in that."""
        following = stream_id(peer, self.planner.reseeding.own(peer))
        if hello is None or stream_incarnation(named) >= stream_incarnation(following):
            return named
        held, known = head_in(hello, named).seq, self.planner.reseeding.reseeds[peer]
        if "renew" not in hello.features or held >= known.ended_cut:
            raise stream_ended(StreamEnded(named, held, known.ended_at, following), peer)
        return following

    async def renew(
        self, peer: str, sends: StreamId, receives: StreamId, lacked: LogCut | None, lost: LogCut | None
    ) -> tuple[StreamId, StreamId]:
        """The site lacks what we have cut of a stream: it is told anew what holds, if the operators let it; and is given back
        what it had, if its own stream is the one."""
        if not self.config.retention.reseed_after_days:
            return sends, receives
        position = self.exchange.ring.durable.get(receives, 0)
        renewed = await self.loop.ask(lambda token: RenewStream(token, peer, sends, lacked, lost, position))
        log.warning("a site lacks what was cut, and is told anew what holds", site=peer, stream=renewed, lost=str(lost or ""))
        return StreamId(str(renewed)), stream_id(peer, self.planner.reseeding.own(peer)) if lost is not None else receives

    def recovering(self, peer: str) -> None:
        """Events that we wrote for the site come back from it: no work until they have."""
        self.recovering_from.add(peer)
        self._tell_health()

    def recovered(self, peer: str) -> None:
        """Our stream for the site is whole."""
        self.fetching.retry()
        self.refused.pop(peer, None)
        if peer in self.recovering_from:
            self.recovering_from.discard(peer)
            self._tell_health()
            self.loop.refold_when_idle(StreamRecovered(f"the stream for {peer} is whole again"))
        self.comparing.greeted(peer)

    def diverged(self, peer: str, refused: LinkRefused) -> None:
        """Two histories under one name, or one too old to be healed: that site's link stays down, the others go on."""
        self.refused[peer] = str(refused)
        log.error("a site's link stays down", site=peer, code=refused.code, reason=str(refused))

    async def prepare(self, events: list[object]) -> None:
        """Sites send no definitions: what there is to compile was compiled when it was registered."""

    def telemetry(self) -> sync_pb2.SyncMessage | None:
        """The cloud has nothing to tell by the way."""
        return None

    async def other(self, link: Link, message: sync_pb2.SyncMessage) -> None:
        """Messages of a link that are not replication."""
        match message.WhichOneof("kind"):
            case "loads":
                agents = {item.agent: load_of(item) for item in message.loads.agents}
                kept = message.loads.cache
                cache = CacheView(kept.entries, kept.bytes, kept.hits, kept.misses) if message.loads.HasField("cache") else None
                said = tuple(negotiations_of(message.loads)), dict(message.loads.refused)
                load = message.loads.ready, message.loads.running, cache
                now = self.loop.clock.now()
                quotes = quotes_of(message.loads, link.session.peer_boot, now.mono_ms)
                self.loop.post(SiteLoads(link.peer, agents, *load, *said, _group(message.loads), now.wall_ms, quotes))
            case "reports":
                self.loop.post(SiteReports(link.peer, [_report(item) for item in message.reports.items]))
            case "document_read" | "read_lease":
                self.documents.heard(link, message)
            case "digest_reply":
                if (waiting := self._digests.get(message.digest_reply.id)) is not None and not waiting.done():
                    waiting.set_result(message.digest_reply)
            case _:
                pass

    async def fetch_blob(self, blob: Blob) -> None:
        """Ask the sites for a blob, those too that come back meanwhile, and wait for it as long as it grows.

        Raises BlobMissing if none brings it, BlobAway if a site that is cut off may hold it, BlobFull without room for it.
        """
        await asyncio.to_thread(self.blobs.check_room, blob)
        wanted = sync_pb2.BlobWanted(blobs=[events_pb2.BlobRef(sha256=blob.sha256, size=blob.size)])
        asked: dict[str, Link] = {}
        held, since_ms = -1, 0
        while not (now_held := await asyncio.to_thread(self.blobs.stat, blob)).complete:
            now_ms = self.loop.clock.now().mono_ms
            if now_held.held != held:
                held, since_ms = now_held.held, now_ms
            for name, link in self.exchange.links.items():
                if asked.get(name) is not link:
                    asked[name], since_ms = link, now_ms
                    link.say(sync_pb2.SyncMessage(blob_wanted=wanted))
            away = sorted(self.planner.fleet.sites.keys() - self.exchange.links.keys())
            if now_ms - since_ms > (BLOB_AWAY_MS if away else BLOB_WAIT_MS):
                what = f"blob {blob.sha256.hex()}"
                if away:
                    raise BlobAway(f"{what}: no linked site brought it; {', '.join(away)} cannot be asked while cut off")
                raise BlobMissing(f"{what}: none of {', '.join(sorted(asked))} brought it")
            await asyncio.sleep(0.05)

    # For those who ask -----------------------------------------------------------------------------------------------

    async def digests(self, site: str, timeout_s: float) -> AsyncIterator[sync_pb2.FragmentDigest]:
        """The hashes of the site's fragments, page by page. Raises KeyError if it is not linked, TimeoutError if it is silent."""
        before, more = "", True
        while more:
            reply = await self.digest_page(site, before, 0, timeout_s)
            for digest in reply.fragments:
                yield digest
                before = digest.run
            more = reply.more

    async def digest_page(self, site: str, before: str, limit: int, timeout_s: float) -> sync_pb2.DigestReply:
        """The hashes of at most `limit` (0: as many as it likes) fragments of the site, of runs before this one, newest first."""
        self._digest_count += 1
        number = self._digest_count
        reply = self._digests[number] = asyncio.get_running_loop().create_future()
        try:
            request = sync_pb2.DigestRequest(id=number, after_run=before, limit=limit)
            self.exchange.links[site].say(sync_pb2.SyncMessage(digest_request=request))
            return await asyncio.wait_for(reply, timeout_s)
        finally:
            del self._digests[number]

    def link_view(self, site: str) -> LinkView:
        """The link to a site, and since when it is so."""
        known = self.planner.fleet.sites.get(SiteId(site))
        since = known.linked_since_ms if known else 0
        return LinkView("up" if site in self.exchange.links else "down", since)

    def freshness(self, site: str) -> Freshness:
        """How old the cloud's knowledge of a site may be."""
        staleness_ms = self.exchange.staleness_ms(site)
        as_of = self.loop.clock.now().wall_ms - staleness_ms if staleness_ms >= 0 else 0
        return Freshness(as_of, f"replica of {site}", staleness_ms, self.exchange.versions_behind(site))


def _group(loads: sync_pb2.AgentLoads) -> GroupStanding | None:
    if not loads.HasField("group"):
        return None
    return GroupStanding(loads.group.leader, loads.group.term, [_box(member) for member in loads.group.members])


def _box(member: sync_pb2.GroupMember) -> BoxStanding:
    missing = member.values_missing if member.HasField("values_missing") else -1
    return BoxStanding(member.node, member.voter, member.here, member.lag, missing, member.priority)


def _report(item: sync_pb2.TaskReport) -> tuple[str, int, TaskReport]:
    return item.run, item.task, checked(TaskReport(item.attempt, item.fraction, item.note, item.at_ms))
