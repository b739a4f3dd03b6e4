"""How members meet: who founds a group, who belongs to it, and who only bears the name of one that does. Pure.

A group is founded once, by all that its first list of peers names: each draws an instance when its data directory is made, and
when one has heard the instances of all, it knows the group's id, which is the hash of them. So two groups of the same names are
never taken for each other; and a member whose disk was lost comes back as another instance, which the others refuse: it would
vote again where it has voted, and what it had acknowledged would be missing from the majority that it helped to make. Such a one
is removed, and its box comes back under another name, as a learner that catches up first. So does one whose disk was set back
to an old copy: each side says what it remembers of the other (`coordination.raft.marks`), and whoever has less is refused, and
stops.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from coordination.raft.marks import Mark, Marks, SetBack
from coordination.raft.values import TwoHistories

PROTOCOL = 1
SET_BACK, TWO_HISTORIES = "set_back", "two_histories"


class Greeting(msgspec.Struct, frozen=True):
    """What each side of a connection says first; see `GroupHello`."""

    site: str
    member: str
    instance: str
    group: str = ""
    founders: dict[str, str] = {}
    peers: tuple[str, ...] = ()
    joins: bool = False
    protocol: int = PROTOCOL
    marks: dict[str, Mark] = {}
    priority: int = 0


class Refusal(Exception):
    """A peer is not spoken to. `is_ours`: the fault is on this side, and lasts until somebody sees to it."""

    def __init__(self, code: str, reason: str, *, is_ours: bool = False) -> None:
        super().__init__(reason)
        self.code, self.is_ours = code, is_ours


@dataclass(slots=True)
class Founding:
    """What one member knows of who it is and of the others. `instances`: of members that the group has on record."""

    site: str
    member: str
    instance: str
    peers: tuple[str, ...]
    joins: bool = False
    group: str = ""
    founders: Mapping[str, str] = field(default_factory=dict)
    instances: Mapping[str, str] = field(default_factory=dict)
    heard: dict[str, str] = field(default_factory=dict)

    @property
    def greeting(self) -> Greeting:
        """What this member says."""
        peers = tuple(sorted(self.peers))
        return Greeting(self.site, self.member, self.instance, self.group, dict(self.founders), peers, self.joins)

    @property
    def lacking(self) -> tuple[str, ...]:
        """Who has not been heard yet, of those without whom the group is not founded."""
        if self.group or self.joins:
            return ()
        return tuple(sorted(set(self.peers) - {self.member} - self.heard.keys()))

    def hear(self, greeting: Greeting) -> bool:
        """A peer has greeted. True if this member belongs to a group from now on. Raises Refusal."""
        self._check_peer(greeting)
        if self.group:
            self._check_known(greeting)
            return False
        if greeting.group:
            self._check_ourselves(greeting)
            self._belong(greeting.group, greeting.founders)
            return True
        if not self.joins and not greeting.joins:
            if set(greeting.peers) != set(self.peers):
                theirs, ours = ", ".join(greeting.peers), ", ".join(sorted(self.peers))
                raise Refusal("other_peers", f"{greeting.member} would found a group of {theirs}, {self.member} one of {ours}")
            self.heard[greeting.member] = greeting.instance
        return self.found()

    def found(self) -> bool:
        """Found the group if all are there. True if it has been."""
        if self.group or self.joins or self.lacking:
            return False
        founders = {self.member: self.instance} | self.heard
        self._belong(group_id(self.site, founders), founders)
        return True

    def _belong(self, group: str, founders: Mapping[str, str]) -> None:
        self.group, self.founders = group, founders
        if not self.joins:
            self.instances = founders

    def _check_peer(self, greeting: Greeting) -> None:
        if greeting.protocol < 1:
            raise Refusal(
                "protocol", f"{greeting.member or 'somebody'} speaks protocol {greeting.protocol}, this member {PROTOCOL}"
            )
        if greeting.site != self.site:
            raise Refusal("another_group", f"{greeting.member} is a member of site {greeting.site}, this one of {self.site}")
        if not greeting.member or not greeting.instance or greeting.member == self.member:
            raise Refusal("name", f"another member calls itself {greeting.member!r}, too: each has a name of its own")
        if self.group and greeting.group not in ("", self.group):
            words = (
                f"{greeting.member} belongs to another group of the name {self.site} ({greeting.group[:8]}, not {self.group[:8]})"
            )
            raise Refusal("another_group", f"{words}: check its --peers and its data directory")

    def _check_known(self, greeting: Greeting) -> None:
        name = greeting.member
        known = self.instances.get(name)
        if known is None and not greeting.group and not greeting.joins:
            raise Refusal("not_a_member", f"the group {self.site} is founded, and {name} is none of its members: add it, --join")
        if known is not None and known != greeting.instance:
            raise Refusal("lost_disk", _lost(self.site, name))

    def _check_ourselves(self, greeting: Greeting) -> None:
        known = greeting.founders.get(self.member)
        if not self.joins and known != self.instance:
            raise Refusal("lost_disk", _lost(self.site, self.member), is_ours=True)


def compare(site: str, greeting: Greeting, marks: Marks, ours: Mark) -> None:
    """A member greets, that remembers `greeting.marks`; this one remembers `marks`, and has `ours`. Raises Refusal, if one of
    both has less than it had."""
    name = greeting.member
    try:
        marks.compare(name, greeting.marks, ours)
    except SetBack as found:
        raise set_back(site, marks.node, found) from found
    says = greeting.marks.get(name)
    if says is not None and not marks.trusts(name, says):
        raise Refusal(SET_BACK, set_back_words(site, name, SetBack(name, marks.node, marks.known[name], says)))
    # Not what it says of itself: it may not be on its disk yet.
    marks.hear(greeting.marks, but=name)


def set_back(site: str, member: str, found: SetBack) -> Refusal:
    """This member has found that its own disk was set back."""
    return Refusal(SET_BACK, set_back_words(site, member, found), is_ours=True)


def set_back_words(site: str, member: str, found: object) -> str:
    """What has happened, and what helps."""
    return (
        f"member {member} of the group {site} holds less than it has acknowledged or voted on: its data directory is an old "
        f"copy ({found}). Put a newer copy back, if there is one; else tiercel edge group remove {member}, and add the box under "
        "a name that was never used, with --join and an empty data directory"
    )


def two_histories(site: str, member: str, found: TwoHistories) -> Refusal:
    """This member holds what the group that goes on does not: it takes part no more, and keeps what it has. Its own disk may be
    the one that forgot nothing, so it gets no verdict that outlives this start."""
    words = (
        f"member {member} of the group {site} stops: {found}. Disks of the others were set back to old copies, and they have "
        f"gone on without what was agreed on with {member}. Its edge.db is left as it is, for you to look at; to go on with what "
        f"the others have: tiercel edge group remove {member}, and add the box under a name that was never used, with --join and "
        "an empty data directory"
    )
    return Refusal(TWO_HISTORIES, words, is_ours=True)


def group_id(site: str, founders: Mapping[str, str]) -> str:
    """The same for all who founded a group, and never that of another."""
    names = "\0".join(f"{name}={founders[name]}" for name in sorted(founders))
    return hashlib.sha256(f"{site}\0{names}".encode()).hexdigest()[:32]


def _lost(site: str, member: str) -> str:
    how = f"tiercel edge group remove {member}, and add the box under a name that was never used, with --join"
    return f"member {member} of the group {site} is not the one that the group knows under this name; has it lost its disk? {how}"
