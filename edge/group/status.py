"""How a group is shown: to operators, and to the cloud. Pure."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from coordination.group.values import Standing
from edge.alone import Alone
from edge.status.views import EdgeStatus, MembersView, MemberView
from sync.link.standing import Direction, LinkStanding
from tiercel.v1 import members_pb2, sync_pb2

LAG_UNKNOWN = -1
NOTHING: Mapping[str, Any] = MappingProxyType({})


def view_of(
    standing: Standing,
    advertised: Mapping[str, str],
    values: Mapping[str, members_pb2.ValuesLacking] = NOTHING,
    adding: Mapping[str, str] = NOTHING,
    told: Mapping[str, Mapping[str, str]] = NOTHING,
) -> MembersView:
    """For operators. What only the leader knows is left unknown at the others. `values`: as each box has told of late, as whom it
    refuses (`told`), which counts of boxes with which this one has no line."""
    leads = standing.role == "leader"
    found = [
        MemberView(
            peer.name,
            "voter" if peer.voter else "learner",
            peer.address,
            advertised.get(peer.name, ""),
            peer.name == standing.leader,
            peer.name == standing.member or (peer.recent if leads else peer.connected),
            (0 if peer.name == standing.member else peer.lag) if leads else LAG_UNKNOWN,
            peer.copying,
            *_values_of(values.get(peer.name)),
            adding.get(peer.name, ""),
            peer.problem or ("" if peer.connected else _refused(peer.name, told)),
            peer.priority,
        )
        for peer in standing.peers
    ]
    return MembersView(
        standing.site,
        standing.member,
        standing.role,
        standing.term,
        standing.leader,
        standing.commit,
        standing.applied,
        found,
        standing.waiting,
        standing.dropped,
        dict(standing.refused),
        standing.preferring,
    )


def _refused(name: str, told: Mapping[str, Mapping[str, str]]) -> str:
    return next((f"box {box} says: {said[name]}" for box, said in sorted(told.items()) if box != name and name in said), "")


def _values_of(said: members_pb2.ValuesLacking | None) -> tuple[int, int, int, str]:
    return (-1, 0, 0, "") if said is None else (said.missing, said.missing_bytes, said.unheld, said.problem)


def follower_status(members: MembersView, now_ms: int) -> EdgeStatus:
    """The site, of which a box that follows knows the group alone."""
    link = LinkStanding("cloud", "down", now_ms, Direction(), Direction())
    link.ended = f"only the leader has the link to the cloud: {members.leader or 'nobody is known to lead'}"
    return EdgeStatus(members.site, members.term, "", 0, 0, 0, link, Alone(0, [], 0), group=members)


def load_of(standing: Standing, values: Mapping[str, members_pb2.ValuesLacking] = NOTHING) -> sync_pb2.GroupLoad:
    """For the cloud."""
    members = [
        sync_pb2.GroupMember(
            node=peer.name,
            voter=peer.voter,
            here=peer.name == standing.member or peer.recent,
            lag=max(0, peer.lag),
            values_missing=values[peer.name].missing if peer.name in values else None,
            priority=peer.priority,
        )
        for peer in standing.peers
    ]
    return sync_pb2.GroupLoad(leader=standing.member, term=standing.term, members=members)
