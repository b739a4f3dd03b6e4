"""What a member shows of itself. Pure."""

from typing import TYPE_CHECKING

from coordination.group.values import PeerStanding, Standing
from coordination.raft.progress import Progress
from coordination.raft.values import NOBODY, Role

if TYPE_CHECKING:
    from coordination.group.driver import Member
    from coordination.raft.raft import Raft


def standing_of(member: "Member") -> Standing:
    """The member at this moment."""
    config, replica, lines = member.config, member.replica, member.lines
    counted = lines.dropped + (replica.dropped if replica is not None else 0), dict(lines.refused)
    if replica is None:
        known = (0, NOBODY, 0, 0, 0, 0, (), *counted)
        return Standing(config.site, config.member, "waiting", *known, waiting=_waits_for(member))
    raft = replica.raft
    entries = raft.entries
    reach = entries.committed, entries.applied, entries.last, entries.snapshot.index + 1
    peers = tuple(_peer(member, raft, name) for name in raft.group.all)
    waiting = "" if raft.group.all else "it waits to be taken into the group: add it at the leader"
    known = (raft.term, raft.leader, *reach, peers, *counted)  # type: ignore[assignment]
    problems = replica.problem, member.preference.waits
    return Standing(config.site, config.member, raft.role.value, *known, waiting, *problems)


def _waits_for(member: "Member") -> str:
    if member.founding.joins:
        return "it waits to be taken into the group: add it at the leader"
    return f"the group begins when all who found it have met: {', '.join(member.founding.lacking)} not heard yet"


def _peer(member: "Member", raft: "Raft", name: str) -> PeerStanding:
    entries, is_self = raft.entries, name == member.config.member
    standing = (name, member.addresses.get(name, ""), name in raft.group.voters, is_self or name in member.lines.connected)
    problem, priority = member.refusals.get(name, ""), member.priorities.get(name, 0)
    if raft.role is not Role.LEADER:
        return PeerStanding(*standing, problem=problem, priority=priority)
    progress = raft.leading.progress.get(name) or Progress()
    match = entries.stable if is_self else progress.match
    is_copying = name in member.copies.under_way
    return PeerStanding(*standing, match, entries.last - match, is_self or progress.recent, is_copying, problem, priority)
