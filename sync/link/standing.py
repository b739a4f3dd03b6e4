"""How a link stands, for operators: kept over its connections, since the node's start. Pure; times are UTC ms.

`behind` of a direction is what its writer has durable and its reader has not: of the stream that we write we know it ourselves,
of the peer's it is what its last heartbeat told, so while the link is down that is at least as much.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from sync.commit import Row
from sync.identity.handshake import tells_why
from tiercel.v1 import sync_pb2

REFUSAL_KINDS_MAX = 64
TOLD_KEPT_MS = 60_000


class Refusals(msgspec.Struct):
    """Links to this peer that ended with a refusal, by its code, and the words of the last."""

    count: int = 0
    by_code: dict[str, int] = {}
    last_code: str = ""
    last: str = ""
    last_at: int = 0


class Direction(msgspec.Struct):
    """One stream of a link. `behind_bytes` counts payloads; `behind_ms` is the age of the oldest event that the reader lacks."""

    stream: str = ""
    head: int = 0
    held: int = 0
    behind_events: int = 0
    behind_bytes: int = 0
    behind_ms: int = 0
    events: int = 0
    bytes: int = 0


class StatesCompared(msgspec.Struct):
    """When the site's runs were last compared with their replicas at the cloud, and what of both sides was equal: `compared` at
    equal versions. `different` counts those of which the states were not the same; `runs` names some of them."""

    at: int
    compared: int
    different: int
    runs: list[str] = []


class Reseeding(msgspec.Struct):
    """The site lacked what the cloud had cut (`reason`), so it is told anew what holds. `state`: begun (the site tells first what
    it has done), telling (`left` runs are to come, and what is behind in `sends`), told, or taken: it has all. UTC ms."""

    stream: str
    state: str
    reason: str
    begun: int
    told: int = 0
    taken: int = 0
    left: int = 0


class BoxStanding(msgspec.Struct):
    """A box of a site of several: does it vote, was it heard of late, how many entries of the group's log does it
    lack, and how many large values that another one holds (-1: it has not told)? Who has the highest
    `priority` leads when it can."""

    node: str
    voter: bool
    here: bool
    lag: int
    values_missing: int = -1
    priority: int = 0


class GroupStanding(msgspec.Struct):
    """The boxes of a site, as the one that leads told last."""

    leader: str
    term: int
    members: list[BoxStanding]


class LinkStanding(msgspec.Struct):
    """`state`: up, down, refused (it stays down until somebody has looked), recovering (lost events come back) or reseeding."""

    peer: str
    state: str
    since: int
    sends: Direction
    receives: Direction
    round_trip_ms: float = -1.0
    staleness_ms: int = -1
    last_sync: int = 0
    connected: int = 0
    ended: str = ""
    refusals: Refusals = msgspec.field(default_factory=Refusals)
    telemetry_lost: int = 0
    telemetry_lost_there: int = 0
    clock_offset_ms: int | None = None
    clock_disbelieved: int = 0
    protocol: int = 0
    features: list[str] = []
    states: StatesCompared | None = None
    reseeding: Reseeding | None = None
    group: GroupStanding | None = None  # Of a site of several boxes; the cloud alone tells it here.
    conflicts_open: int | None = None  # Which it is one side of and nobody has seen to; the cloud alone knows.


@dataclass(slots=True)
class Standing:
    """What is counted of one peer. `connected`: how often the link came up; `events` and `bytes` are payloads since the start.
    `told_ms`: when it was last told why there is no link."""

    since_ms: int = 0
    connected: int = 0
    ended: str = ""
    told_ms: int = 0
    refusals: Refusals = field(default_factory=Refusals)
    fatal: str = ""
    last_sync_ms: int = 0
    sent: list[int] = field(default_factory=lambda: [0, 0])
    received: list[int] = field(default_factory=lambda: [0, 0])
    telemetry_lost: int = 0
    clock_offset_ms: int | None = None
    head_there: int = 0
    waiting_there: int = 0
    oldest_there_ms: int = 0
    telemetry_lost_there: int = 0
    states: StatesCompared | None = None

    def hear(self, heartbeat: sync_pb2.SyncHeartbeat) -> None:
        """What the peer tells of its own side; an echo tells only how far its stream is."""
        self.head_there = max(self.head_there, heartbeat.head_seq)
        self.telemetry_lost_there = heartbeat.telemetry_lost
        if heartbeat.id:
            self.waiting_there, self.oldest_there_ms = heartbeat.waiting_bytes, heartbeat.oldest_ms

    def up(self, now_ms: int) -> None:
        """The link is up."""
        self.since_ms, self.connected, self.ended, self.told_ms, self.fatal = now_ms, self.connected + 1, "", 0, ""

    def down(self, now_ms: int, reason: str, lost: int) -> None:
        """It is down."""
        self.since_ms, self.ended, self.told_ms, self.telemetry_lost = now_ms, reason, 0, self.telemetry_lost + lost

    def unreached(self, reason: str, now_ms: int) -> None:
        """An attempt to dial the peer has failed: what is shown of a link that is down is why it does not come back. An attempt
        that does not tell why leaves what another one told within the last minute."""
        if tells_why(reason):
            self.told_ms = now_ms
        elif self.told_ms and now_ms - self.told_ms <= TOLD_KEPT_MS:
            return
        self.ended = reason

    def refuse(self, code: str, words: str, now_ms: int, *, fatal: bool) -> None:
        """One side refused to go on."""
        said = self.refusals
        said.count, said.last_code, said.last, said.last_at = said.count + 1, code, words, now_ms
        self.told_ms = now_ms
        if code in said.by_code or len(said.by_code) < REFUSAL_KINDS_MAX:
            said.by_code[code] = said.by_code.get(code, 0) + 1
        if fatal:
            self.fatal = words


def count(total: list[int], rows: Sequence[Row]) -> None:
    """Events and bytes of payload that crossed, added up."""
    total[0] += len(rows)
    total[1] += sum(len(row.payload) for row in rows)
