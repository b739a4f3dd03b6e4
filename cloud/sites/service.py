"""What the cloud knows of its sites and their agents, and how its replicas compare with what the sites hold."""

from typing import TYPE_CHECKING

from cloud.fleet import FleetAgent, Site
from cloud.heard import present_of
from cloud.pausing.views import pause_view
from cloud.port import Problem, site_unknown
from cloud.views import AgentView, ClockView, DiffView, SiteView
from sync.documents.ids import home_of, owner_of
from sync.values import stream_writer

if TYPE_CHECKING:
    from cloud.driver import GlobalPlanner

DIGEST_TIMEOUT_S = 10.0


class SiteService:
    """Answers about sites, from memory, and by asking them."""

    def __init__(self, node: "GlobalPlanner") -> None:
        self._node = node

    def agents(self) -> list[AgentView]:
        """All agents of all sites."""
        documents = self._documents()
        sites = sorted(self._node.planner.fleet.sites.items())
        return [
            _agent_view(site, agent, documents.get((site.id, agent.id), []))
            for _, site in sites
            for _, agent in sorted(site.agents.items())
        ]

    def agent(self, site: Site, agent: FleetAgent) -> AgentView:
        """One of them."""
        return _agent_view(site, agent, self._documents().get((site.id, agent.id), []))

    def _documents(self) -> dict[tuple[str, str], list[str]]:
        """The ids of what agents have written down of themselves, by site and agent."""
        found: dict[tuple[str, str], list[str]] = {}
        for name, known in sorted(self._node.planner.documents.book.documents.items()):
            if known.value and (owner := owner_of(name)):
                found.setdefault((home_of(name), owner), []).append(name)
        return found

    def site_views(self) -> list[SiteView]:
        """All sites, without waiting."""
        views = []
        durable = self._node.exchange.ring.durable
        for name, site in sorted(self._node.planner.fleet.sites.items()):
            link = self._node.exchange.links.get(name)
            acked = link.session.acked_seq if link else self._node.exchange.acked.get(name, 0)
            present = [a for a in site.agents.values() if a.state == "available"]
            views.append(
                SiteView(
                    id=name,
                    link=self._node.link_view(name),
                    freshness=self._node.freshness(name),
                    events_received=sum(seq for stream, seq in durable.items() if str(stream_writer(stream)) == name),
                    events_unacknowledged=max(0, durable.get(self._node.planner.site_stream(name), 0) - acked),
                    agents=len(present),
                    capacity=sum(a.capacity for a in present),
                    active_runs=site.active_runs,
                    running_tasks=site.running_tasks,
                    ready_tasks=site.ready_tasks,
                    clock=self._clock_view(name),
                    cache=site.cache,
                    refused=self._node.refused.get(name, ""),
                    pause=pause_view(site.pause),
                    states=self._node.exchange.standings.of(name).states,
                    certificate=self._certificate(name),
                    group=site.group,
                )
            )
        return views

    def _certificate(self, site: str) -> str:
        """What is to be done about its certificate: one that is linked has none that is refused."""
        revoked = self._node.planner.site_tokens.certificate_refusal(site, 0) if site not in self._node.exchange.links else ""
        return revoked or self._node.papers.problem(site, self._node.loop.clock.now().wall_ms)

    def _clock_view(self, site: str) -> ClockView | None:
        ahead = self._node.loop.driver.clocks.writers.get(site)
        return ClockView(ahead.ahead_ms, ahead.at_ms, ahead.count) if ahead is not None else None

    async def diff(self, site: str) -> DiffView:
        """Ask the site for the hashes of its fragments and compare with the replicas here."""
        if site not in self._node.planner.fleet.sites:
            raise site_unknown(site, self._node.planner.fleet.sites)
        compared = equal = behind = 0
        different: list[str] = []
        try:
            async for digest in self._node.digests(site, DIGEST_TIMEOUT_S):
                if not digest.state_hash:
                    continue  # It has another home by now.
                ours = await self._node.comparing.replica(digest.run, site)
                if ours is None or (ours.epoch, ours.seq) != (digest.epoch, digest.seq):
                    behind += 1
                    continue
                compared += 1
                if ours.state_hash == digest.state_hash:
                    equal += 1
                else:
                    different.append(digest.run)
        except (KeyError, TimeoutError):
            link = self._node.link_view(site)
            detail = f"site {site} cannot be asked: its link is {link.state}; try again when it is up"
            raise Problem(503, "site_unreachable", detail) from None
        return DiffView(site, compared, equal, behind, different, self._node.loop.clock.now().wall_ms)


def _agent_view(site: Site, agent: FleetAgent, documents: list[str]) -> AgentView:
    heard = site.heard.get(agent.id)
    present = present_of(agent.state, agent.since, heard)
    return AgentView(
        id=agent.id,
        site=site.id,
        kind=agent.kind,
        state=agent.state,
        capabilities=agent.capabilities,
        capacity=agent.capacity,
        running=agent.running,
        since=agent.since,
        labels=agent.labels,
        health=agent.health,
        open_until=agent.open_until_ms,
        documents=documents,
        path=present.state,
        path_since=present.at_ms,
        why=present.why,
        seen=heard.load.seen_ms if heard is not None else 0,
        load=heard.load.load if heard is not None else 0,
    )
