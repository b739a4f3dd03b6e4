"""Members are added, removed, and made to lead. Whichever box is asked, the leader does it."""

import asyncio
import contextlib
from typing import TYPE_CHECKING

import grpc

from coordination.group.values import LeadershipLost, PeerStanding, Standing
from coordination.raft.values import Change, NotLeader, ProposalDropped
from edge.group.admin.checks import (
    add_problem,
    is_here,
    keep_problem,
    left_behind,
    remove_problem,
    successor,
    transfer_problem,
    waits,
)
from tiercel.v1 import members_pb2, members_pb2_grpc

if TYPE_CHECKING:
    from edge.group.driver import GroupNode

CHANGE_S_MAX = 10.0
CAUGHT_UP_LOOK_S = 0.1
CAUGHT_UP_ENTRIES = 64
"""A learner that lacks no more than that becomes a voter: it has the rest before it could hold anything up."""
WAIT_S_MAX = 600.0
MARGIN_S = 5.0
LACK_S_MAX = 10.0
KEEP_S = 3.0
"""So long those who stay may fetch large values before another one is removed; they are asked for that, and go on after it."""


class Refused(Exception):
    """It is not done, and why."""


class Admin:
    """The operators' hand on one box."""

    def __init__(self, node: "GroupNode") -> None:
        self._node = node
        self.adding: dict[str, str] = {}
        """What each box waits for that is being added."""

    async def change(self, change: members_pb2.MemberChange) -> members_pb2.MemberChanged:
        """Do it here, or have the leader do it."""
        node, leader = self._node, self._node.member.leader
        if leader == node.box.node:
            return await self.lead(change)
        address = node.member.addresses.get(leader)
        if not address:
            words = f"node {node.box.node} knows no leader of the site {node.config.site}: is a majority of its nodes there?"
            return members_pb2.MemberChanged(problem=words)
        stub = members_pb2_grpc.MemberServiceStub(node.channels.to(leader, address))
        try:
            return await stub.Change(change, timeout=CHANGE_S_MAX + min(change.wait_ms / 1000, WAIT_S_MAX) + MARGIN_S)
        except grpc.aio.AioRpcError as error:
            return members_pb2.MemberChanged(problem=f"node {leader}, which leads, could not be asked: {error.details()}")

    async def lead(self, change: members_pb2.MemberChange) -> members_pb2.MemberChanged:
        """Do it, if this box leads."""
        try:
            return members_pb2.MemberChanged(done=await self._do(change, await self._standing()))
        except (Refused, NotLeader, ProposalDropped, LeadershipLost) as why:
            return members_pb2.MemberChanged(problem=str(why))
        except TimeoutError:
            words = (
                f"{change.what} {change.node}: no majority of the nodes has answered in time; look at the status, then try again"
            )
            return members_pb2.MemberChanged(problem=words)

    async def _do(self, change: members_pb2.MemberChange, standing: Standing) -> str:
        match change.what:
            case "add":
                return await self._add(change, standing)
            case "remove":
                return await self._remove(change, standing)
            case "transfer":
                _check(transfer_problem(standing, change.node))
                await self._transfer(change.node, ordered=True)
                return f"{change.node} leads the site {standing.site}"
        raise Refused(f"{change.what!r} is none; allowed: add, remove, transfer")

    async def _add(self, change: members_pb2.MemberChange, standing: Standing) -> str:
        """First as a learner, which counts for no majority while it has nothing; then as a voter."""
        _check(add_problem(standing, change.node, change.address))
        if not any(peer.name == change.node for peer in standing.peers):
            await self._changed(Change("learn", change.node), change.address)
        deadline_s = asyncio.get_running_loop().time() + min(change.wait_ms / 1000, WAIT_S_MAX)
        try:
            await self._caught_up(change.node, deadline_s)
            found = await self._whole(change.node, deadline_s)
            await self._changed(Change("add", change.node))
            # What was told to be stored just before was held by a majority of the former group.
            with contextlib.suppress(Refused, NotLeader):
                found = await self._whole(change.node, deadline_s)
        finally:
            self.adding.pop(change.node, None)
        return f"{change.node} is a voter of the site {standing.site}{left_behind(found)}"

    async def _caught_up(self, name: str, deadline_s: float) -> None:
        """Return once the learner has the log. Raises Refused."""
        while not _has_caught_up(peer := await self._peer(name)):
            how = f"lacks {peer.lag} entries" if peer.match or peer.connected else _UNHEARD
            self.adding[name] = f"{name} {how}"
            if asyncio.get_running_loop().time() > deadline_s:
                later = f"It becomes a voter when you ask again; group remove {name} undoes it"
                raise Refused(f"{name} is a learner of the group, and {how}. {later}")
            await asyncio.sleep(CAUGHT_UP_LOOK_S)

    async def _whole(self, name: str, deadline_s: float) -> members_pb2.ValuesLacking:
        """Return once the learner has the large values that its log names up to now and some live box holds, with what it has
        told. Raises Refused."""
        index = (await self._standing()).commit
        while True:
            said, waits_for = await self._lacks(name, index)
            if said is not None and not waits_for:
                return said
            self.adding[name] = f"{name} {waits_for}"
            if asyncio.get_running_loop().time() > deadline_s:
                raise Refused(f"{name} is a learner of the group, and {waits_for}. It goes on; ask again to make it a voter")
            await asyncio.sleep(CAUGHT_UP_LOOK_S)

    async def _lacks(self, name: str, index: int) -> tuple[members_pb2.ValuesLacking | None, str]:
        """What a node lacks of the values that the group's log names up to `index`, None if it cannot be asked, and what that has
        to wait for."""
        node, standing = self._node, await self._standing()
        here = {peer.name for peer in standing.peers if is_here(standing, peer)}
        if name == node.box.node:
            said = await node.repair.lack(index)
            return said, waits(said, index, here)
        stub = members_pb2_grpc.MemberServiceStub(node.channels.to(name, node.member.addresses[name]))
        try:
            said = await stub.Lack(members_pb2.LackQuery(index=index), timeout=LACK_S_MAX)
        except grpc.aio.AioRpcError as error:
            return None, f"cannot be asked which large values it lacks: {error.details()}"
        return said, waits(said, index, here)

    async def _kept(self, leaving: str, standing: Standing) -> str:
        """Return once those who stay have what others hold, or after a moment; then it says who has not."""
        stay = [peer.name for peer in standing.peers if peer.name != leaving and is_here(standing, peer)]
        deadline_s = asyncio.get_running_loop().time() + KEEP_S
        while True:
            lacks = await asyncio.gather(*(self._lacks(name, standing.commit) for name in stay))
            behind = [
                f"{name} {waits_for}"
                for name, (said, waits_for) in zip(stay, lacks, strict=True)
                if said is not None and waits_for
            ]
            if not behind or asyncio.get_running_loop().time() > deadline_s:
                return "; ".join(behind)
            await asyncio.sleep(CAUGHT_UP_LOOK_S)

    async def _remove(self, change: members_pb2.MemberChange, standing: Standing) -> str:
        _check(remove_problem(standing, change.node, force=change.force))
        if change.node == standing.member:
            # A leader does not take itself out: another does.
            await self._transfer(successor(standing))
            answer = await self._asked_of_next(change)
            if answer.problem:
                raise Refused(answer.problem)
            return answer.done
        if (behind := await self._kept(change.node, standing)) and not change.force:
            _check(keep_problem(standing, change.node, behind))
        await self._changed(Change("remove", change.node))
        gone = f"{change.node} is no member of the site {standing.site} any more: stop it, and delete its data directory"
        return f"{gone}. {behind}: they go on" if behind else gone

    async def _asked_of_next(self, change: members_pb2.MemberChange) -> members_pb2.MemberChanged:
        deadline_s = asyncio.get_running_loop().time() + CHANGE_S_MAX
        while self._node.member.leader in ("", self._node.box.node):
            if asyncio.get_running_loop().time() > deadline_s:
                raise TimeoutError
            await asyncio.sleep(CAUGHT_UP_LOOK_S)
        return await self.change(change)

    async def _peer(self, name: str) -> PeerStanding:
        standing = await self._standing()
        return next((peer for peer in standing.peers if peer.name == name), PeerStanding(name, "", False, False))

    async def _standing(self) -> Standing:
        """Raises NotLeader."""
        standing = await self._node.member.status()
        if standing.role != "leader":
            raise NotLeader(standing.member, standing.leader)
        return standing

    async def _changed(self, change: Change, address: str = "") -> None:
        await asyncio.wait_for(self._node.member.ask(lambda member: member.change(change, address)), CHANGE_S_MAX)

    async def _transfer(self, target: str, *, ordered: bool = False) -> None:
        await asyncio.wait_for(self._node.member.ask(lambda member: member.transfer(target, ordered=ordered)), CHANGE_S_MAX)


_UNHEARD = "has not been heard: start it with --join, under a name that was never used with another disk"


def _has_caught_up(peer: PeerStanding) -> bool:
    return peer.recent and peer.match > 0 and not peer.copying and peer.lag <= CAUGHT_UP_ENTRIES


def _check(problem: str) -> None:
    if problem:
        raise Refused(problem)
