"""GroupNode: one box of a site of several. It owns the log, the member and the sockets; while it leads, it is the site's
EdgeNode.

    leads       an EdgeNode on the leadership's log, whose commits are durable once a majority has them; its boot is the term
    follows     the member applies to the log what the leader proposes; agents are sent to the leader

When a leadership ends, its EdgeNode ends with it, and whatever it had decided and not committed with that. The next one folds
anew from the log. Nothing of the EdgeNode knows of this: it meets another log and other sockets (`edge.ports`).
"""

import asyncio
import contextlib
import math
import time
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from typing import Any

import structlog

from coordination.group.values import GroupConfig, LeadershipLost, Standing
from edge.driver import EdgeConfig, EdgeNode
from edge.group.actors import Lead, MemberThread
from edge.group.admin.checks import successor
from edge.group.admin.service import Admin
from edge.group.blobs import PeerChannels, SharedBlobs, Spreading
from edge.group.repair.blobs import Repair
from edge.group.repair.service import verify_files
from edge.group.service import BLOBS, DOCUMENTS, POINTS, AdminServer, Doors, MemberServer, OnlyLeader
from edge.group.status import follower_status, load_of, view_of
from edge.group.values import Box
from edge.ports.driver import CloudLines, FetchBlob, Services, Sockets, for_agents
from edge.service import Gateway
from edge.status.service import StatusService
from edge.status.views import EdgeStatus, MembersView
from sync.actors import Node, SystemClock, verify_slowly
from sync.blobs import Blob, BlobMissing, BlobService, BlobStore
from sync.identity.driver import channel_to_cloud
from sync.identity.upkeep.service import Upkeep, renewed_over
from sync.log import EventLog
from sync.log_errors import LogCorrupt
from sync.ports.driver import Servers
from sync.retention.driver import Retention, sweeping
from sync.serving.service import CHANNEL_OPTIONS, Health
from sync.values import NodeId
from tiercel.v1 import (
    blob_pb2_grpc,
    document_pb2_grpc,
    members_pb2,
    members_pb2_grpc,
    sync_pb2,
    sync_point_pb2_grpc,
)

DESCRIBE_EVERY_S, DESCRIBE_LACKING_S, DESCRIBE_S_MAX = 10.0, 0.5, 1.0
HANDED_OVER_S_MAX = 3.0
LOST_S_MAX = 2.0
STANDING_S = 1.0

log = structlog.get_logger()


def edge_node(config: EdgeConfig) -> Node:
    """What serves this site on this box."""
    return EdgeNode(config) if config.box is None else GroupNode(config, config.box)


class GroupNode:
    """One box, from its log up."""

    def __init__(self, config: EdgeConfig, box: Box) -> None:
        self.config, self.box = config, box
        path = config.data_dir / "edge.db"
        self.log = EventLog.open(path, NodeId(config.site), member=box.node, page_count_max=config.page_count_max)
        self.blobs = BlobStore(config.data_dir / "blobs", bytes_max=config.blobs_bytes_max)
        self.leading: EdgeNode | None = None
        self.standing: Standing | None = None
        self.advertised = {box.node: box.advertise}
        self.values: dict[str, members_pb2.ValuesLacking] = {}
        self.told: dict[str, dict[str, str]] = {}  # By box, whom it refuses, and why.
        self.member = MemberThread(group_config(config, box), self.log, self._join_peers, self._held_back)
        self._upkeep = Upkeep(config.tls, self._renewed if config.renews else None)
        self.look = self._upkeep.look
        self.damaged: asyncio.Future[None]
        self._led_since_s = math.inf  # Since when this box knows that its group is led.
        self._loop: asyncio.AbstractEventLoop

    async def serve(self, ready: asyncio.Event | None = None) -> None:
        """Serve until cancelled. Raises what keeps this box from it: then another leads, and a new start may mend this one."""
        self._loop, self.damaged = asyncio.get_running_loop(), asyncio.get_running_loop().create_future()
        self.channels = PeerChannels(self.config.site, self.config.tls)
        members = self.member
        self.spreading = Spreading(
            self.box.node, self.blobs, self.channels, lambda: members.addresses, members.status, lambda: members.voters
        )
        self.repair = Repair(self.box.node, self.log, self.blobs, self.channels, members.status)
        self.health = Health("tiercel.v1.AgentService")
        self.doors = Doors(self.config.site, self.box.node, self.hint)
        self.admin = Admin(self)
        retention = Retention(self.log, self.config.retention, _wall_ms, self._new_floor, sweeping(self.log, self.blobs))
        leads: asyncio.Queue[Lead] = asyncio.Queue()
        sockets = self._sockets()
        parts = (
            self.health.keep(),
            self._upkeep.keep(),
            self._describe(),
            self._watch(),
            self.repair.keep(),
            verify_files(self.blobs, self.repair.damaged),
            verify_slowly(self.log, self._damage),
            retention.keep(lambda: not self.damaged.done(), self._damage),
        )
        errands: list[asyncio.Future[Any]] = [asyncio.ensure_future(part) for part in parts]
        member = asyncio.ensure_future(members.serve(leads))
        leading = asyncio.ensure_future(self._lead_again_and_again(leads))
        try:
            await sockets.start()
            begun = asyncio.ensure_future(members.begun.wait())
            errands.append(begun)
            await asyncio.wait((begun, member, leading, self.damaged), return_when=asyncio.FIRST_COMPLETED)
            if (
                begun.done()
            ):  # Else its disk says that it must not take part: whoever waits for it hears that, and not that it serves.
                log.info("node serves", site=self.config.site, node=self.box.node, socket=str(self.config.socket))
                if ready is not None:
                    ready.set()
                await asyncio.wait((member, leading, self.damaged), return_when=asyncio.FIRST_COMPLETED)
            for ended in (self.damaged, member, leading):
                if ended.done():
                    ended.result()
        except asyncio.CancelledError:
            await self._hand_over()
            raise
        finally:
            await self._end(leading, *errands)
            await self.spreading.close()
            await sockets.stop()
            await self._end(member)
            await self.channels.close()
            await asyncio.to_thread(self.log.close)

    async def _end(self, *tasks: "asyncio.Future[Any]") -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # Leading ----------------------------------------------------------------------------------------------------------

    async def _lead_again_and_again(self, leads: "asyncio.Queue[Lead]") -> None:
        while True:
            lead = await leads.get()
            if not lead.ended.is_set():
                await self._lead(lead)

    async def _lead(self, lead: Lead) -> None:
        """Be the site until the leadership ends."""
        self._led_since_s = min(self._led_since_s, self._loop.time())
        log.info("leads the site", site=self.config.site, node=self.box.node, term=lead.term)
        config = replace(self.config, first_link_wait_s=self._link_wait_s(), renews=False)
        node = self.leading = EdgeNode(config, LeaderPorts(self, lead))
        node.carrying.elsewhere = self.spreading.fetch
        serving, ended = asyncio.ensure_future(node.serve()), asyncio.ensure_future(lead.ended.wait())
        try:
            await asyncio.wait((serving, ended), return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():  # It may have met the end before we have: its log says so first.
                await asyncio.wait((ended,), timeout=LOST_S_MAX)
            if not ended.done():
                serving.result()
                raise RuntimeError(f"the site {self.config.site} ended by itself while its node {self.box.node} leads")
        finally:
            self.leading = None
            self.shut()
            lost = LeadershipLost(self.config.site, self.box.node, lead.term, self.member.leader)
            lead.log.end(lost)
            if hasattr(node, "loop"):
                node.loop.break_off(lost)
            await self._end(serving, ended)
            log.info("leads the site no longer", site=self.config.site, node=self.box.node, term=lead.term)

    def _link_wait_s(self) -> float:
        """By the word of a majority its log is whole, unless all of them were restored from copies: that only the cloud can tell.
        So after a start of the whole group it is waited for, by whoever leads, until the group has been led for so long."""
        led_s = self._loop.time() - self._led_since_s
        return max(0.0, self.config.first_link_wait_s - led_s)

    def shut(self) -> None:
        """No work is taken here until the next leadership."""
        self.doors.shut()
        self.health.tell(serving=False)

    async def _hand_over(self) -> None:
        """Stop in order: another leads before this box is gone, so agents need not wait until it is missed."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(HANDED_OVER_S_MAX):
                standing = await self.member.status()
                if standing.role == "leader" and (best := successor(standing)):
                    await self.member.ask(lambda member: member.transfer(best))

    # Who is there -----------------------------------------------------------------------------------------------------

    def hint(self) -> str:
        """Where agents find the leader; empty if that is not known."""
        leader = self.member.leader
        return "" if leader == self.box.node else self.advertised.get(leader, "")

    async def _describe(self) -> None:
        """Know where agents reach the other boxes."""
        while True:
            for name, address in sorted(self.member.addresses.items()):
                if name != self.box.node:
                    with contextlib.suppress(Exception):
                        await self._describe_one(name, address)
            lacks = self.member.addresses.keys() - self.advertised.keys()
            await asyncio.sleep(DESCRIBE_LACKING_S if lacks else DESCRIBE_EVERY_S)

    async def _describe_one(self, name: str, address: str) -> None:
        stub = members_pb2_grpc.MemberServiceStub(self.channels.to(name, address))
        said = await stub.Describe(members_pb2.MemberQuery(node=self.box.node), timeout=DESCRIBE_S_MAX)
        if said.node == name:
            self.advertised[name], self.told[name] = said.advertise, dict(said.refused)
            if said.HasField("values"):
                self.values[name] = said.values

    async def _watch(self) -> None:
        """Keep a picture of the group for whoever must not wait for it."""
        while True:
            with contextlib.suppress(RuntimeError):  # Not begun yet.
                self.standing = await self.member.status()
                if self.standing.leader:
                    self._led_since_s = min(self._led_since_s, self._loop.time())
            await asyncio.sleep(STANDING_S)

    async def members(self) -> MembersView:
        """The group as this member sees it."""
        return view_of(await self.member.status(), self.advertised, self.lacking(), self.admin.adding, self.told)

    def lacking(self) -> dict[str, members_pb2.ValuesLacking]:
        """What each box lacks of large values, as it told last."""
        return self.values | ({} if self.repair.shown is None else {self.box.node: self.repair.shown})

    def _held_back(self, name: str) -> str:
        """Why a box had better not lead, as it has told of late; from the member's thread."""
        said = self.values.get(name)
        if said is None:
            return f"{name} has not told yet which large values it lacks"
        return f"{name} lacks {said.missing:,} large values" if said.missing else said.problem

    async def status(self) -> EdgeStatus:
        """The site as this box knows it."""
        members = await self.members()
        if self.doors.gateway is None:
            return follower_status(members, _wall_ms())
        status = await self.doors.gateway.status()
        status.group = members
        return status

    # Sockets ----------------------------------------------------------------------------------------------------------

    def _sockets(self) -> Servers:
        # Where only the leader answers, the interceptor asks the servicers of the leadership; these are only told apart by it.
        nobody: Any = (
            blob_pb2_grpc.BlobServiceServicer,
            document_pb2_grpc.DocumentServiceServicer,
            sync_point_pb2_grpc.SyncPointServiceServicer,
        )
        blobs, documents, points = (servicer() for servicer in nobody)
        itself = StatusService(self.status, lambda: self.doors.gateway)
        services = Services(self.doors, blobs, documents, points, itself, self.health)
        admin = AdminServer(self.members, self.admin.change)
        return Sockets(
            self.config,
            services,
            self.doors.bearer,
            [OnlyLeader(self.doors)],
            lambda server: members_pb2_grpc.add_GroupAdminServicer_to_server(admin, server),
        )

    def _join_peers(self, server: Any) -> None:
        """What members answer each other, in the loop of the member."""
        answers = MemberServer(self._description, self._changed_for_peer, self.blobs, self._lack_for_peer)
        members_pb2_grpc.add_MemberServiceServicer_to_server(answers, server)
        blob_pb2_grpc.add_BlobServiceServicer_to_server(BlobService(self.blobs), server)

    def _description(self) -> members_pb2.MemberDescription:
        said = members_pb2.MemberDescription(node=self.box.node, advertise=self.box.advertise, values=self.repair.shown)
        if (standing := self.standing) is not None:
            said.refused.update({peer.name: peer.problem for peer in standing.peers if peer.problem})
        return said

    async def _lack_for_peer(self, index: int) -> members_pb2.ValuesLacking:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self.repair.lack(index), self._loop))

    async def _changed_for_peer(self, change: members_pb2.MemberChange) -> members_pb2.MemberChanged:
        answer: Coroutine[Any, Any, members_pb2.MemberChanged] = self.admin.lead(change)
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(answer, self._loop))

    # The log of this box ----------------------------------------------------------------------------------------------

    def _new_floor(self) -> None:
        """Snapshots are the leader's to take; what it took, others have."""
        if (node := self.leading) is not None and hasattr(node, "loop"):
            node.loop.new_floor_from_thread()

    def _damage(self, what: str) -> None:
        """What this log holds cannot be trusted: this box goes, and the others go on."""
        log.error("the node stops: its log is damaged", site=self.config.site, node=self.box.node, reason=what)
        if not self.damaged.done():
            self.damaged.set_exception(LogCorrupt(self.log.path, what))

    async def _renewed(self, request: bytes) -> Any:
        """Each box keeps a certificate of the site, and has it renewed over a line of its own: only the leader has the link."""
        async with channel_to_cloud(self.config.cloud, self.config.tls, CHANNEL_OPTIONS) as channel:
            return await renewed_over(channel, request)


class LeaderPorts(CloudLines):
    """The ports of the EdgeNode of one leadership."""

    def __init__(self, node: GroupNode, lead: Lead) -> None:
        super().__init__(node.config)
        self._node = node
        self.log, self.blobs, self.clock = lead.log, node.blobs, SystemClock(lead.term)

    def servers(self, gateway: Gateway, health: Health, fetch_blob: FetchBlob) -> Servers:
        """The doors of the box, which lead to this site from `start` on."""
        gateway.bring = self._node.spreading.bring
        health.relay_to(self._node.health)

        async def fetch(blob: Blob) -> None:
            try:
                await self._node.spreading.fetch(blob)
            except BlobMissing:
                await fetch_blob(blob)

        blobs = SharedBlobs(self._node.blobs, fetch, self._node.spreading)
        documents, points = for_agents(self._node.config.site, gateway)
        return _Entrance(self._node, gateway, {BLOBS: blobs, DOCUMENTS: documents, POINTS: points})

    def group(self) -> sync_pb2.GroupLoad | None:
        """The boxes of the site, for the cloud."""
        standing = self._node.standing
        return load_of(standing, self._node.lacking()) if standing is not None and standing.role == "leader" else None


class _Entrance:
    def __init__(self, node: GroupNode, gateway: Gateway, servicers: Mapping[str, object]) -> None:
        self._node, self._gateway, self._servicers = node, gateway, servicers

    async def start(self) -> None:
        self._node.doors.open_to(self._gateway, self._servicers)

    async def stop(self) -> None:
        if self._node.doors.gateway is self._gateway:
            self._node.shut()


def group_config(config: EdgeConfig, box: Box) -> GroupConfig:
    """The settings of the member."""
    usual = GroupConfig(config.site, box.node, box.peers, box.listen, box.joins, config.tls, priority=box.priority)
    return replace(usual, tick_ms=max(1, box.election_ms // usual.election_ticks))


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
