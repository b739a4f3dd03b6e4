"""The sites and their agents, as their own logs tell it, and which of them could do a task."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec

from cloud.heard import Heard, noted
from cloud.inputs import UNHEARD, SiteLoads
from cloud.negotiations import Negotiation
from cloud.views import CacheView
from coordination.auction.quotes import Quotes
from coordination.presence import DRAINING, SILENT, Change
from sync.link.standing import GroupStanding
from sync.values import SiteId
from workflow.events import AgentDeparted, AgentRegistered

NAMED_MAX = 5
"""Agents that a message names."""


class FleetAgent(msgspec.Struct):
    """An agent as its site last reported it. `state`: available, unreachable or left; `since` in UTC ms."""

    id: str
    kind: str
    capabilities: list[str]
    capacity: int
    labels: dict[str, str]
    state: str
    since: int
    running: int = 0
    health: str = "ok"
    open_until_ms: int = 0
    changes: list[Change] = []  # As its site's log tells them: came, unreachable, left.
    draining: bool = False  # As its site last told.

    @property
    def takes_work(self) -> bool:
        """Unreachable is not dead, but no promise either; one that drains ends what it has in hand and gets no more."""
        return self.state == "available" and not self.draining

    def offers(self, capability: str) -> bool:
        """Can it do that? `@name` stands for the agent itself."""
        return capability in self.capabilities or capability == f"@{self.id}"


class SitePause(msgspec.Struct, array_like=True):
    """An operator's order to pause a site, or (`paused` is false) to let it go on. `is_sent`: the stream for the site holds it;
    `is_taken`: the site has done it. Once an order to go on is taken, nothing is left of it."""

    command: str
    paused: bool
    reason: str
    since_ms: int
    is_sent: bool = False
    is_taken: bool = False

    @property
    def state(self) -> str:
        """pausing, paused or resuming."""
        return ("paused" if self.is_taken else "pausing") if self.paused else "resuming"


class SiteDrain(msgspec.Struct, array_like=True):
    """An operator empties a site: what can goes to other sites, to `to` if it is not empty."""

    to: str
    reason: str
    since_ms: int


@dataclass(slots=True)
class Site:
    """One site. `linked_since_ms` is when its link last went up or down (UTC); `open_tasks` counts what it was released.

    `capabilities` (with how many agents have each) and `capacity` are those of the agents that take work.
    """

    id: SiteId
    linked: bool = False
    # Has it linked since the cloud started? Until then it may hold events of ours that we have lost.
    greeted: bool = False
    linked_since_ms: int = 0
    agents: dict[str, FleetAgent] = field(default_factory=dict)
    heard: dict[str, Heard] = field(default_factory=dict)  # Telemetry of agents.
    capabilities: dict[str, int] = field(default_factory=dict)
    definitions: set[str] = field(default_factory=set)
    capacity: int = 0
    active_runs: int = 0
    open_tasks: int = 0
    running_tasks: int = 0
    ready_tasks: int = 0
    cache: CacheView | None = None
    negotiations: tuple[Negotiation, ...] = ()
    refused: dict[str, int] = field(default_factory=dict)  # Bids and votes, by code.
    group: GroupStanding | None = None  # Of a site of several boxes.
    quotes: Quotes | None = None  # What it asks, as it said since its link is up.
    pause: SitePause | None = None  # Kept by cloud.pausing.
    drain: SiteDrain | None = None  # Kept by cloud.moving.

    @property
    def is_paused(self) -> bool:
        """Is nothing new to start there?"""
        return self.drain is not None or (self.pause is not None and self.pause.paused)

    def pause_words(self) -> str:
        """Why it does nothing new, and what helps; empty if it is not paused."""
        if self.drain is not None:
            why = f" ({self.drain.reason})" if self.drain.reason else ""
            return f"site {self.id} is being drained by an operator since {utc(self.drain.since_ms)}{why}: undrain it"
        if self.pause is None or not self.pause.paused:
            return ""
        why = f" ({self.pause.reason})" if self.pause.reason else ""
        return f"site {self.id} is paused by an operator since {utc(self.pause.since_ms)}{why}: resume it"

    def take_on(self, tasks: int) -> None:
        """One more run goes on there, with so many tasks for the site."""
        self.active_runs += 1
        self.open_tasks += tasks

    def let_go(self, tasks: int) -> None:
        """The fragment of a run, with so many tasks, has ended there."""
        self.active_runs -= 1
        self.open_tasks -= tasks

    def load(self) -> float:
        """Open tasks per unit of capacity; infinite without any."""
        return self.open_tasks / self.capacity if self.capacity else float("inf")

    def silent(self, capability: str) -> list[FleetAgent]:
        """Agents that could do it and are unreachable: they may come back."""
        return [agent for agent in self.agents.values() if agent.state == "unreachable" and agent.offers(capability)]

    def draining(self, capability: str) -> list[str]:
        """Agents that could do it, but have said that they stop."""
        agents = self.agents.values()
        return [agent.id for agent in agents if agent.state == "available" and agent.draining and agent.offers(capability)]


@dataclass(slots=True)
class Fleet:
    """All sites. `version` grows whenever what a site could do changes, so that placements may be remembered until then."""

    sites: dict[SiteId, Site] = field(default_factory=dict)
    version: int = 0
    needs: dict[str, frozenset[str]] = field(default_factory=dict)

    def site(self, site: str) -> Site:
        """The site's entry, made when first heard of."""
        known = self.sites.get(SiteId(site))
        if known is None:
            known = self.sites[SiteId(site)] = Site(SiteId(site))
            self.version += 1
        return known

    def link(self, site: str, wall_ms: int, *, greets: bool = True) -> bool:
        """The link is up; is it the site's first greeting since the cloud's start? One that is re-seeded greets later."""
        entry = self.site(site)
        first, entry.greeted = greets and not entry.greeted, entry.greeted or greets
        entry.linked, entry.linked_since_ms, entry.quotes = True, wall_ms, None
        self.version += 1
        return first

    def unlink(self, site: str, wall_ms: int) -> None:
        """The link is down."""
        entry = self.site(site)
        if entry.linked:
            entry.linked, entry.linked_since_ms = False, wall_ms

    def note_loads(self, loads: SiteLoads) -> None:
        """Telemetry: how busy the site and its agents are, and which of them take no more work."""
        entry = self.site(loads.site)
        entry.ready_tasks, entry.running_tasks, entry.cache, entry.group = loads.ready, loads.running, loads.cache, loads.group
        entry.negotiations, entry.refused, entry.quotes = loads.negotiations, dict(loads.refused), loads.quotes
        for name, agent in entry.agents.items():
            load = loads.agents.get(name, UNHEARD)
            agent.running, agent.health, agent.open_until_ms = load[:3]
            # Out of sight it is as it was last seen.
            agent.draining = load.state == DRAINING or (agent.draining and load.state == SILENT)
            entry.heard.setdefault(name, Heard()).note(load, loads.at_ms)
        self._count(entry)

    def evolve(self, site: str, event: object, time_ms: int = 0) -> None:
        """Fold what a site's log says of its agents."""
        entry = self.site(site)
        match event:
            case AgentRegistered(agent, agent_kind, _, capabilities, capacity, labels):
                before = entry.agents.get(agent)
                came = FleetAgent(agent, agent_kind, capabilities, capacity, labels, "available", time_ms)
                came.changes = noted(before.changes if before is not None else [], "online", time_ms)
                entry.agents[agent] = came
            case AgentDeparted(agent, reason):
                if (known := entry.agents.get(agent)) is not None:
                    known.state, known.since, known.running, known.draining = reason, time_ms, 0, False
                    known.health, known.open_until_ms = "ok", 0
                    known.changes = noted(known.changes, f"offline.{reason}", time_ms)
            case _:
                return
        self._count(entry)

    def forget_agents(self, site: str) -> None:
        """The site has lost its log: who works there says so again."""
        entry = self.site(site)
        entry.agents.clear()
        entry.heard.clear()
        self._count(entry)

    def _count(self, entry: Site) -> None:
        capabilities: dict[str, int] = {}
        for agent in entry.agents.values():
            if agent.takes_work:  # Of others: no new work goes to their site for their sake until they are back.
                for capability in (*agent.capabilities, f"@{agent.id}"):
                    capabilities[capability] = capabilities.get(capability, 0) + 1
        if capabilities.keys() != entry.capabilities.keys():
            self.version += 1
        entry.capabilities = capabilities
        entry.capacity = sum(agent.capacity for agent in entry.agents.values() if agent.takes_work)

    def save(self) -> bytes:
        """What the logs have told, as bytes; links are of the moment and not kept."""
        return msgspec.msgpack.encode(
            [(s.id, sorted(s.definitions), [a for _, a in sorted(s.agents.items())]) for _, s in sorted(self.sites.items())]
        )

    def restore(self, body: bytes) -> None:
        """Read what `save` wrote."""
        for site, definitions, agents in _SAVED.decode(body):
            entry = self.site(site)
            entry.definitions = set(definitions)
            entry.agents = {agent.id: agent for agent in agents}
            self._count(entry)


def described(silent: Sequence[tuple[str, FleetAgent]]) -> str:
    """Silent agents (with their sites) in words: who, where, since when; those silent for longest first."""
    longest_first = sorted(silent, key=lambda pair: (pair[1].since, pair[1].id))
    names = [f"{agent.id} at {site} since {utc(agent.since)}" for site, agent in longest_first[:NAMED_MAX]]
    more = len(silent) - len(names)
    return ", ".join(names) + (f", and {more} more" if more else "")


def utc(time_ms: int) -> str:
    """A moment (UTC ms) for people, to the second."""
    return datetime.fromtimestamp(time_ms // 1000, UTC).isoformat().replace("+00:00", "Z")


_SAVED = msgspec.msgpack.Decoder(list[tuple[str, list[str], list[FleetAgent]]])
