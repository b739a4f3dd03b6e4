"""What reaches the planner from the API and the links, and what it tells those who watch."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from cloud.negotiations import Negotiation
from cloud.views import CacheView
from coordination.auction.quotes import Quotes
from sync.link.standing import GroupStanding
from workflow.contract import Contract
from workflow.fair import PRIORITY
from workflow.origin import Origin

if TYPE_CHECKING:
    from cloud.dependencies.inputs import Wait


class Refusal(NamedTuple):
    """An item of a batch that was not accepted: its place, and the Problem's fields."""

    place: int
    status: int
    code: str
    detail: str
    problems: tuple[str, ...]


class NewRun(NamedTuple):
    """One run to start: its checked inputs (a JSON object) and labels, where it stands in line, whose child it is, what it waits
    for, what it was forked from, and what it is promised."""

    inputs: bytes
    labels: dict[str, str]
    priority: int = PRIORITY
    fairness_key: str = ""
    parent: str = ""
    depth: int = 0
    after: "tuple[Wait, ...]" = ()
    origin: Origin | None = None
    contract: Contract | None = None


class StartRuns(NamedTuple):
    """Start runs of one definition; `idempotency` is the client's key and the SHA-256 of its request, if it gave one.

    `refused` are the items of the request that were not accepted, by their place: part of the answer that is remembered.
    """

    token: int
    definition: str
    runs: list[NewRun]
    idempotency: tuple[str, bytes] | None
    refused: tuple[Refusal, ...] = ()


class RegisterDefinition(NamedTuple):
    """Register `name@version` with its document (`Plan.packed`); the same again changes nothing, another one is refused."""

    token: int
    ref: str
    document: bytes


class CancelRun(NamedTuple):
    """Ask the homes of a run to cancel it; `idempotency` as in StartRuns."""

    token: int
    run: str
    reason: str
    idempotency: tuple[str, bytes] | None = None


class AgentLoad(NamedTuple):
    """How busy an agent is; its `health` (ok, degraded, open), and until when (UTC ms) it is given no work. Since when it is in
    its `state` (coordination.presence), and why; when it was last `seen` (UTC ms), in how many ms its lease ends, and its epoch;
    units of its capacity that are taken."""

    running: int = 0
    health: str = "ok"
    open_until_ms: int = 0
    state: str = ""
    since_ms: int = 0
    why: str = ""
    seen_ms: int = 0
    lease_ms: int = 0
    epoch: int = 0
    load: int = 0


UNHEARD = AgentLoad()


class SiteLoads(NamedTuple):
    """Telemetry of a site: how its agents do."""

    site: str
    agents: dict[str, AgentLoad]
    ready: int
    running: int
    cache: CacheView | None = None
    negotiations: tuple[Negotiation, ...] = ()
    refused: Mapping[str, int] = MappingProxyType({})
    group: GroupStanding | None = None
    at_ms: int = 0  # When it was heard (UTC).
    quotes: Quotes | None = None


class RunFinished(NamedTuple):
    """Effect: a run has ended; whoever waits for it may look."""

    run: str
