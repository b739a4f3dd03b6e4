"""How a member of a group is set up, and what it shows of itself. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from coordination.raft.configuration import Configuration
from sync.identity.files import TlsFiles
from sync.log_errors import LogFailed
from sync.values import site_name_problem

SIZES = (1, 3, 5)
PRIORITY_MAX = 100


@dataclass(frozen=True, slots=True)
class Preferring:
    """How slowly a preferred member comes to lead: it has been here for `here_s` (nothing heard for `silent_s` is a break), lacks
    no more than `entries_max`, and nothing was moved for `every_s`; after `moves_max` moves within `window_s` nothing is for
    `window_s`. An operator's order holds for `ordered_s`."""

    look_s: float = 1.0
    here_s: float = 30.0
    silent_s: float = 5.0
    entries_max: int = 64
    every_s: float = 60.0
    moves_max: int = 3
    window_s: float = 600.0
    ordered_s: float = 600.0


@dataclass(frozen=True, slots=True)
class GroupConfig:
    """A member's settings. `peers`: the address of each member, its own too; `listen`: where it takes them (else its own
    address).

    A member that `joins` founds no group: it waits to be taken into one. A leader that is silent for `election_ticks` to twice
    that is replaced: 400 to 800 ms. The log of the group keeps `keep_entries` (at most `keep_bytes`) of what is applied, for
    members that are a little behind; it is cut when it holds `compact_entries` or `compact_bytes` more. Who has the highest
    `priority` leads when it can.
    """

    site: str
    member: str
    peers: Mapping[str, str]
    listen: str = ""
    joins: bool = False
    tls: TlsFiles | None = None
    tick_ms: int = 50
    election_ticks: int = 8
    heartbeat_ticks: int = 2
    stall_timeouts: int = 3
    keep_entries: int = 8_192
    keep_bytes: int = 16 << 20
    compact_entries: int = 8_192
    compact_bytes: int = 16 << 20
    copies_s_max: float = 600.0
    """So long a copy of the log may be under way to a member, and holds back what is cut."""
    priority: int = 0
    preferring: Preferring = Preferring()

    def __post_init__(self) -> None:
        if problem := self.problem():
            raise ValueError(problem)

    def problem(self) -> str:
        """What is wrong with these settings; empty if nothing is."""
        names = ", ".join(sorted(self.peers))
        for name in (self.member, *self.peers):
            if wrong := site_name_problem(name):
                return f"member {name!r}: {wrong}"
        if self.member not in self.peers:
            return f"member {self.member} is none of the peers ({names}): each names itself among them"
        if len(set(self.peers.values())) < len(self.peers):
            return f"two members have the same address: {', '.join(sorted(self.peers.values()))}"
        if self.tick_ms < 1 or min(self.compact_entries, self.keep_bytes, self.compact_bytes) < 1 or self.keep_entries < 0:
            return "the settings of a group are positive numbers"
        if not 0 <= self.priority <= PRIORITY_MAX:
            return f"priority {self.priority}: allowed are 0 to {PRIORITY_MAX}"
        return ""

    def founding_problem(self) -> str:
        """Why these peers found no group; empty if they may. Of a group that is founded, more or fewer may be named."""
        if self.joins or len(self.peers) in SIZES:
            return ""
        return f"a group is founded by 1, 3 or 5 members, not by {len(self.peers)} ({', '.join(sorted(self.peers))})"

    @property
    def address(self) -> str:
        """Where it listens for its peers."""
        return self.listen or self.peers[self.member]

    @property
    def raft(self) -> Configuration:
        """The settings of the core."""
        return Configuration(
            self.member,
            election_ticks=self.election_ticks,
            heartbeat_ticks=self.heartbeat_ticks,
            stall_timeouts=self.stall_timeouts,
        )


class LeadershipLost(LogFailed):
    """This member no longer leads: whether what was submitted becomes part of the log is not known here. Whoever asked asks the
    next leader, under the same id. As with a disk that failed, only a new start (of the next leadership) can tell."""

    def __init__(self, site: str, member: str, term: int, leader: str) -> None:
        ask = f"ask {leader}" if leader else "no leader is known yet, try again"
        super().__init__(f"{member} leads the group {site} no longer (term {term}): {ask}, the outcome is not known here")
        self.leader = leader


@dataclass(frozen=True, slots=True)
class PeerStanding:
    """A member as the leader sees it: how far it surely holds the log, how many entries it lacks, was it heard of late?
    `problem`: why it is not listened to."""

    name: str
    address: str
    voter: bool
    connected: bool
    match: int = 0
    lag: int = 0
    recent: bool = False
    copying: bool = False
    problem: str = ""
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Standing:
    """A member at this moment. `peers` has all of the group, but match and lag at the leader alone. Counted since its start:
    messages that its full queues `dropped`, and those that were `refused`, by reason. `waiting`: why it takes no part yet;
    `disk_problem`: why its disk takes nothing; `preferring`: at the leader, why it leads though another one is preferred."""

    site: str
    member: str
    role: str
    term: int
    leader: str
    commit: int
    applied: int
    last: int
    first: int
    peers: tuple[PeerStanding, ...] = ()
    dropped: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)
    waiting: str = ""
    disk_problem: str = ""
    preferring: str = ""
