"""What Raft nodes say to each other, keep, and hand to whoever runs them."""

from enum import StrEnum

import msgspec

from coordination.raft.marks import Mark

NOBODY = ""


class Role(StrEnum):
    """What a node is at the moment."""

    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre-candidate"
    CANDIDATE = "candidate"
    LEADER = "leader"


class EntryKind(StrEnum):
    """`noop`: what a leader begins its term with. It and `change` are of the group itself, and no command of anybody."""

    COMMAND = "command"
    CHANGE = "change"
    NOOP = "noop"


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One place of the log."""

    term: int
    index: int
    kind: EntryKind = EntryKind.COMMAND
    data: bytes = b""


class Voters(msgspec.Struct, frozen=True, array_like=True):
    """Who belongs to the group: voters decide, learners follow. Both in order of their names."""

    voters: tuple[str, ...] = ()
    learners: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        """Everybody to whom the log is told."""
        return tuple(sorted((*self.voters, *self.learners)))


class Change(msgspec.Struct, frozen=True, array_like=True):
    """One node more or less: `add` a voter (or make a learner one), `learn` (add a learner, or make a voter one), `remove`."""

    what: str
    node: str


class Snapshot(msgspec.Struct, frozen=True, array_like=True):
    """Everything up to `index`, folded: `data` is the application's."""

    index: int = 0
    term: int = 0
    group: Voters = Voters()
    data: bytes = b""


def founded(voters: tuple[str, ...], learners: tuple[str, ...] = (), data: bytes = b"") -> Snapshot:
    """How a group begins: all who found it start from this. It has index 1, so that whoever joins later and has nothing is told
    of it: changes alone would let it believe that the group is those who joined since."""
    return Snapshot(1, 1, Voters(tuple(sorted(voters)), tuple(sorted(learners))), data)


class HardState(msgspec.Struct, frozen=True, array_like=True):
    """What must be durable before anything is said under it (paper, figure 2: persistent state). `reach`: the furthest place of
    the log (term, index) that gave way to another leader's."""

    term: int = 0
    vote: str = NOBODY
    commit: int = 0
    reach: tuple[int, int] = (0, 0)


class Stored(msgspec.Struct, frozen=True):
    """What a node finds on its disk when it starts. `applied`: up to here the application has the commands durably; `marks`: what
    it remembers of the others."""

    hard_state: HardState = HardState()
    entries: tuple[Entry, ...] = ()
    snapshot: Snapshot = Snapshot()
    applied: int = 0
    marks: dict[str, Mark] = {}


class Say(StrEnum):
    """The kinds of messages, with the names of etcd-io/raft."""

    APPEND = "MsgApp"
    APPENDED = "MsgAppResp"
    VOTE = "MsgVote"
    VOTED = "MsgVoteResp"
    PRE_VOTE = "MsgPreVote"
    PRE_VOTED = "MsgPreVoteResp"
    SNAPSHOT = "MsgSnap"
    HEARTBEAT = "MsgHeartbeat"
    HEARD = "MsgHeartbeatResp"
    CAMPAIGN_NOW = "MsgTimeoutNow"
    READ = "MsgReadIndex"
    READ_AT = "MsgReadIndexResp"


OF_ELECTIONS = frozenset((Say.VOTE, Say.VOTED, Say.PRE_VOTE, Say.PRE_VOTED))
# Only a leader says these.
OF_LEADERS = frozenset((Say.APPEND, Say.HEARTBEAT, Say.SNAPSHOT))


class Message(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One message. `index` and `log_term` name a place of the log; `hint` and `hint_term` (of a rejection) a place from which
    the two logs may agree; `commit` is how far the log is committed, and in elections `hint_term` the term there, as it is the
    term at `index` where that is acknowledged because it is committed; `context` is the number of a leader's question, or the id
    of a read, or says that a vote is for a transfer of leadership; `marks` are what the sender remembers of all, and what it has
    itself (`coordination.raft.marks`)."""

    kind: Say
    source: str
    target: str
    term: int = 0
    index: int = 0
    log_term: int = 0
    commit: int = 0
    entries: tuple[Entry, ...] = ()
    rejected: bool = False
    hint: int = 0
    hint_term: int = 0
    context: bytes = b""
    snapshot: Snapshot | None = None
    marks: dict[str, Mark] = {}


class ReadState(msgspec.Struct, frozen=True, array_like=True):
    """A read asked for under `context` is linearizable at a state that has applied at least `index`."""

    context: bytes
    index: int


class Attest(msgspec.Struct, frozen=True, array_like=True):
    """Once this Ready is durable, so is the log up to (`index`, `log_term`), said under `term`."""

    term: int
    index: int
    log_term: int
    snapshot_index: int = 0


class Ready(msgspec.Struct, frozen=True):
    """What is to be done now, in the order of the fields; see the package's docstring."""

    hard_state: HardState | None
    entries: tuple[Entry, ...]
    snapshot: Snapshot | None
    messages: tuple[Message, ...]
    committed: tuple[Entry, ...]
    reads: tuple[ReadState, ...]
    to_self: tuple[Message, ...]
    attest: Attest

    @property
    def early(self) -> tuple[Message, ...]:
        """Those of `messages` that may leave at once: what a leader says of its log. Its own log counts for no majority before it
        is durable, and that it leads rests on votes that were given to a term and vote that were (thesis, section 10.2.1)."""
        return tuple([message for message in self.messages if message.kind in OF_LEADERS])

    @property
    def late(self) -> tuple[Message, ...]:
        """The others: they leave when this Ready is durable."""
        return tuple([message for message in self.messages if message.kind not in OF_LEADERS])


class NotLeader(Exception):
    """Only the leader can do this; `leader` is who that is, empty if nobody knows."""

    def __init__(self, node: str, leader: str) -> None:
        super().__init__(f"{node} does not lead its group: " + (f"ask {leader}" if leader else "no leader is known, try again"))
        self.leader = leader


class TwoHistories(Exception):
    """This node has something committed where its leader has something else, or nothing: disks of this group were set back, and
    it went on without what was committed here. Nothing is taken from that leader, nor acknowledged to it."""

    def __init__(self, node: str, index: int, term: int, leader: str, other: int) -> None:
        there = f"has another one of term {other}" if other else "has none"
        words = f"{node} has entry {index} of term {term}, which is committed, and {leader}, who leads, {there} there"
        super().__init__(words)


class ProposalDropped(Exception):
    """The proposal was not taken up, and never will be; `str()` says why. It may be made again."""
