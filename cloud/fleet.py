"""The sites and their agents, as their own logs tell it, and which of them could do a task."""

from dataclasses import dataclass, field

import msgspec

from sync.values import SiteId
from workflow.events import AgentDeparted, AgentRegistered


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


@dataclass(slots=True)
class Site:
    """One site. `linked_since_ms` is when its link last went up or down (UTC); `open_tasks` counts what it was released."""

    id: SiteId
    linked: bool = False
    # Has it linked since the cloud started? Until then it may hold events of ours that we have lost.
    greeted: bool = False
    linked_since_ms: int = 0
    agents: dict[str, FleetAgent] = field(default_factory=dict)
    capabilities: dict[str, int] = field(default_factory=dict)
    definitions: set[str] = field(default_factory=set)
    capacity: int = 0
    active_runs: int = 0
    open_tasks: int = 0
    running_tasks: int = 0
    ready_tasks: int = 0

    def load(self) -> float:
        """Open tasks per unit of capacity; infinite without any."""
        return self.open_tasks / self.capacity if self.capacity else float("inf")


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

    def evolve(self, site: str, event: object, time_ms: int = 0) -> None:
        """Fold what a site's log says of its agents."""
        entry = self.site(site)
        match event:
            case AgentRegistered(agent, agent_kind, _, capabilities, capacity, labels):
                entry.agents[agent] = FleetAgent(agent, agent_kind, capabilities, capacity, labels, "available", time_ms)
            case AgentDeparted(agent, reason):
                if (known := entry.agents.get(agent)) is not None:
                    known.state, known.since, known.running = reason, time_ms, 0
                    known.health, known.open_until_ms = "ok", 0
            case _:
                return
        self._count(entry)

    def _count(self, entry: Site) -> None:
        capabilities: dict[str, int] = {}
        for agent in entry.agents.values():
            # Unreachable is not dead: it may come back, so work is still released to its site. Only who left is left out.
            if agent.state != "left":
                for capability in (*agent.capabilities, f"@{agent.id}"):
                    capabilities[capability] = capabilities.get(capability, 0) + 1
        if capabilities.keys() != entry.capabilities.keys():
            self.version += 1
        entry.capabilities = capabilities
        entry.capacity = sum(agent.capacity for agent in entry.agents.values() if agent.state != "left")

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


_SAVED = msgspec.msgpack.Decoder(list[tuple[str, list[str], list[FleetAgent]]])
