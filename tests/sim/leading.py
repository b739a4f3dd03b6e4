"""Groups with leaders in the world of the simulator: production nodes and the SDK, leaders that act, operators that move terms.

A leader acts by itself, too, on two devices of its site: a crane that checks epochs, which orders reach late, and a winch that
cannot, for which the group has a lock-delay. It asks `leads` before each act, hands over when it has come to rest, dies, is cut
off. Whatever breaks: one leader per epoch has an effect, and nobody acts on any device after a later leader has.
"""

import asyncio
from collections.abc import Callable, Iterable
from random import Random
from typing import Any
from unittest.mock import patch

from cloud.leading.inputs import TransferTerm
from coordination.leading import LeaderElected, LeaderEnded
from coordination.lease import FencedResource, StaleEpoch
from edge.leading.inputs import MoveTerm
from sync.commit import Row
from tests.sim.agent import SimAgent
from tests.sim.definitions import DEFINITIONS
from tests.sim.faults import mend
from tests.sim.oracle import Broke
from tests.sim.plan import AGENTS, SITES, Plan, Step, draw_plan
from tests.sim.world import Outcome, World, run_plan
from tiercel.leading import Lead
from tiercel.opinions import Opinions
from workflow.events import decode

GROUP = "cranes"
LOCK_DELAY_S = 2.0
TO_WINCH_S, TO_CRANE_S = 1.8, 8.0
"""How long an order may be on its way to a device; the winch's is less than the lock-delay."""
PROGRESS_S = 60.0
DURATION_S, COMMANDS, FAULTS = 200.0, 50, 14
ONE = "at most one effective leader per epoch"
LATER = "nobody acts after a later leader has"
KINDS = (
    *("kill_site", "power_site", "kill_agent", "power_agent", "kill_cloud", "cut", "agent_line", "agent_line", "deaf"),
    *("disk_stall", "disk_slow", "disk_fail", "clock_rate", "clock_jump", "slow_agent"),
)
LED: dict[str, Any] = {
    "protocol": "leader",
    "group": {"name": GROUP, "agents": sorted(AGENTS)},
    "wait": "3s",
    "otherwise": "direct",
    "lock_delay": f"{LOCK_DELAY_S:g}s",
}
"""Every second definition gives the leader more time than its session has."""
DEFINITIONS_LED = {
    name: {**document, "coordination": LED if number % 2 else {**LED, "ttl": "15s"}}
    for number, (name, document) in enumerate(DEFINITIONS.items())
}


class LeadingAgent(SimAgent):
    """An agent that has an opinion now and then, and acts while it leads."""

    rests = False
    _opinions: Opinions

    def opinions(self) -> Opinions:
        self.rests = False
        self._opinions = Opinions(planners={"": self._plan})
        return self._opinions

    @property
    def leads(self) -> int:
        """The epoch under which it may act, as it knows itself."""
        leading = self._opinions.leading if self.alive else None
        return leading.leads(GROUP) if leading is not None else 0

    def hand_over(self) -> None:
        if self.alive and self._opinions.leading is not None:
            self._opinions.leading.hand_over(GROUP, "")
        self.rests = False

    async def _plan(self, lead: Lead) -> dict[str, str | None] | None:
        await asyncio.sleep(self.chance.choice([0.0, 0.1, 5.0]))
        if self.chance.random() < 0.2:
            return None
        names = [*(one.agent for one in lead.followers), None]
        return {task.id: self.chance.choice(names) for task in lead.tasks}


class LeadingWorld(World):
    """The story of a plan; the devices are looked at with each act, the sites' logs at its end."""

    crane_checks = True

    def make_agent(self, name: str, site: str, capabilities: tuple[str, ...]) -> LeadingAgent:
        return LeadingAgent(self, name, site, capabilities, 2, Random(f"{self.plan.seed}/agents/{name}"))

    async def _story(self) -> None:
        self.fences = {site: FencedResource(f"crane of {site}") for site in SITES}
        self.highest = {(site, device): 0 for site in SITES for device in ("crane", "winch")}
        self.leaders: dict[tuple[str, int], str] = {}
        chance = Random(f"{self.plan.seed}/leaders")
        acting = [asyncio.ensure_future(self._act(agent, chance)) for agent in self._leading()]
        operating = asyncio.ensure_future(self._operate(chance))
        await super()._story()
        for task in (*acting, operating):
            task.cancel()
        for name, site in self.sites.items():
            self._check_terms(name, site.platter.rows)

    def _leading(self) -> Iterable[LeadingAgent]:
        return (agent for agent in self.agents.values() if isinstance(agent, LeadingAgent))

    async def _act(self, agent: LeadingAgent, chance: Random) -> None:
        while True:
            await asyncio.sleep(chance.uniform(0.05, 0.6))
            if agent.rests or not (epoch := agent.leads):
                continue
            if chance.random() < 0.01:
                agent.rests = True
                self.loop.call_later(LOCK_DELAY_S, agent.hand_over)
                continue
            for device, way_s in (("winch", TO_WINCH_S), ("crane", TO_CRANE_S)):
                self.loop.call_later(chance.random() * way_s, self._effect, agent, device, epoch)

    async def _operate(self, chance: Random) -> None:
        """People move terms, through the cloud or at the site itself."""
        while True:
            await asyncio.sleep(chance.uniform(1.0, 25.0))
            if self.is_over:
                return
            site = chance.choice(sorted(SITES))
            to = chance.choice([*SITES[site], ""])
            place = self.cloud if chance.random() < 0.5 else self.sites[site]
            if place.serving:
                order = TransferTerm(0, site, GROUP, to, 0) if place is self.cloud else MoveTerm(0, GROUP, to, 0)
                place.node.loop.tell(order)
            if chance.random() < 0.5:  # It is decided, and the disk hangs until just before the leader would be told.
                hangs_s = chance.choice([0.0, 0.0, chance.uniform(3.0, 12.0)])
                self.sites[site].nature.stalled_until_s = self.loop.now_s + hangs_s
                cut_s = hangs_s + chance.random() * 0.02
                self.loop.call_later(cut_s, self._cut_leader, site, chance.uniform(0.3, 25.0))

    def _cut_leader(self, site: str, lasts_s: float) -> None:
        """Just then the line of whoever leads breaks."""
        for agent in self._leading():
            if agent.site == site and agent.leads and not self.is_over:
                self.trace.note("leader_cut")
                ways = [self.net.way(agent.name, site), self.net.way(site, agent.name)]
                for way in ways:
                    way.cut = True
                self.loop.call_later(lasts_s, mend, ways)

    def _effect(self, agent: LeadingAgent, device: str, epoch: int) -> None:
        if self.is_cleared:
            return
        if device == "crane" and self.crane_checks:
            try:
                self.fences[agent.site].admit(epoch)
            except StaleEpoch:
                self.trace.note("fenced")
                return
        self.trace.note("acted")
        self.check(lambda: self._look(agent, device, epoch))

    def _look(self, agent: LeadingAgent, device: str, epoch: int) -> None:
        first = self.leaders.setdefault((agent.site, epoch), agent.name)
        if first != agent.name:
            raise Broke(ONE, f"{first} and {agent.name} acted at {agent.site} under epoch {epoch}")
        highest = self.highest[(agent.site, device)]
        if epoch < highest:
            raise Broke(LATER, f"{agent.name} acted on the {device} of {agent.site} under epoch {epoch}, after {highest}")
        self.highest[(agent.site, device)] = epoch

    def _check_terms(self, site: str, rows: list[Row]) -> None:
        latest = 0
        for row in rows:
            if row.kind == LeaderElected.kind:
                event = decode(row.kind, row.payload)
                assert isinstance(event, LeaderElected)
                self.trace.note("elected")
                if event.epoch <= latest:
                    raise Broke(ONE, f"{site} elected {event.agent} under epoch {event.epoch} after {latest}")
                if self.leaders.get((site, event.epoch), event.agent) != event.agent:
                    raise Broke(ONE, f"{event.agent} was elected at {site} under {event.epoch}, and another one acted")
                latest = event.epoch
            elif row.kind == LeaderEnded.kind:
                event = decode(row.kind, row.payload)
                assert isinstance(event, LeaderEnded)
                self.trace.note(f"ended_{event.reason}")


def play(seed: int, make: Callable[[Plan], World] = LeadingWorld) -> Outcome:
    """A seed with many faults of the kinds that move leaders. Who is idle may wait for a leader to answer, or to be replaced."""
    calm = [step for step in draw_plan(seed, commands=COMMANDS, duration_s=DURATION_S).steps if not step.is_fault]
    chance = Random(f"{seed}/storm")
    faults = [
        Step(chance.uniform(5.0, DURATION_S * 0.95), kind, chance.randrange(1 << 16), chance.random(), chance.uniform(0.3, 30.0))
        for kind in chance.choices(KINDS, k=FAULTS)
    ]
    plan = Plan(seed, tuple(sorted([*calm, *faults])))
    progress = patch("tests.sim.checkers.promises.PROGRESS_S", PROGRESS_S)
    duration = patch("tests.sim.world.DURATION_S", DURATION_S)
    with patch.dict("tests.sim.definitions.DEFINITIONS", DEFINITIONS_LED), progress, duration:
        return run_plan(plan, make)
