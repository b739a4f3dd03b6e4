"""The whole system with tasks that agents may do without their site: lines of agents and of their peers are cut, sites die.

What must hold beside all that holds in any world: a task is awarded at most once under an epoch, whoever did it.
"""

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any, ClassVar

from edge.coordinating.seeker import Lot
from sync.commit import Row
from tests.sim.agent import SimAgent
from tests.sim.checkers.promises import Promises, executor_of
from tests.sim.oracle import Broke
from tests.sim.plan import SITES, Plan, storm
from tests.sim.world import World
from tiercel.peer_lines import CALL_S, Answer, PeerLines
from tiercel.tls import Tls
from tiercel.v1 import peers_pb2
from workflow.coordination_events import AttemptLeft, TaskAwarded, TaskOffered
from workflow.events import TaskAssigned, decode
from workflow.fragment import Fragment
from workflow.homes import attempt_epoch

if TYPE_CHECKING:
    from tests.sim.process import SiteProcess

KINDS = ("kill_site", "power_site", "agent_line", "agent_line", "kill_agent", "power_agent", "cut", "slow_agent", "clock_rate")
ALONE = {"protocol": "auction", "window": "4s", "wait": "2s", "alone": "25s"}
APART_S = (20.0, 60.0)
ONCE = "a task is awarded once under an epoch"


def alone_plan(seed: int) -> Plan:
    """The story of this seed with many sites and agents that lose each other."""
    return storm(seed, KINDS, 30)


class SimPeerLines(PeerLines):
    """Lines between agents of a site on the network of the world."""

    def __init__(self, agent: SimAgent, answer: Answer) -> None:
        super().__init__(None, answer)
        self._agent, self._is_open = agent, True

    async def start(self, listen: str) -> str:
        self._agent.hears_peers = self
        return self._agent.name

    async def hang_up(self) -> None:
        pass

    async def stop(self) -> None:
        self._is_open = False

    async def tell(self, site: str, agent: str, address: str, word: peers_pb2.PeerWord) -> peers_pb2.PeerAnswer | None:
        world, me = self._agent.world, self._agent.name
        there, back = world.net.way(me, address, delay_s=0.002), world.net.way(address, me, delay_s=0.002)
        other = world.agents[address]
        await asyncio.sleep(there.delay_s)
        lines = other.hears_peers
        if there.cut or not other.alive or not isinstance(lines, SimPeerLines) or not lines._is_open:
            await asyncio.sleep(CALL_S)
            return None
        answer = lines.hear(word.SerializeToString(deterministic=True))
        await asyncio.sleep(back.delay_s)
        if back.cut:
            await asyncio.sleep(CALL_S)
            return None
        return answer

    def hear(self, data: bytes) -> peers_pb2.PeerAnswer:
        return self._answer(peers_pb2.PeerWord.FromString(data))


class AloneAgent(SimAgent):
    """An agent that peers can reach."""

    peers = "peers:0"

    def make_lines(self, tls: Tls | None, answer: Answer) -> PeerLines:
        return SimPeerLines(self, answer)


class PatientPromises(Promises):
    """What is left to agents that cannot be heard is nobody's to begin; a task that fails is gathered anew after each try."""

    progress_s: ClassVar[float] = 20.0

    def _could_begin(self, site: "SiteProcess", fragment: Fragment, task: int) -> bool:
        return Lot(fragment.run, task) not in executor_of(site).alone.barred and super()._could_begin(site, fragment, task)


class AloneWorld(World):
    """Agents of a site are cut off from each other, too, now and then."""

    def make_agent(self, name: str, site: str, capabilities: tuple[str, ...]) -> SimAgent:
        made = super().make_agent(name, site, capabilities)
        return AloneAgent(self, name, site, capabilities, 2, made.chance)

    def _build(self) -> None:
        super()._build()
        self.promises = PatientPromises(self)

    async def _story(self) -> None:
        self._parting = asyncio.ensure_future(self._part_peers())
        await super()._story()
        for site in self.sites.values():
            self.check_awards(site.platter.rows)

    async def _part_peers(self) -> None:
        """One agent at a time hears no other."""
        chance = self.chance["agents"]
        while True:
            await asyncio.sleep(chance.uniform(*APART_S))
            names = sorted(SITES[chance.choice(sorted(SITES))])
            alone = chance.choice(names)
            ways = [self.net.way(*ends) for other in names if other != alone for ends in ((alone, other), (other, alone))]
            for way in ways:
                way.cut = True
            await asyncio.sleep(chance.uniform(*APART_S) / 2)
            for way in ways:
                way.mend()

    def _heal(self) -> None:
        self._parting.cancel()
        super()._heal()

    def check_awards(self, rows: list[Row]) -> None:
        """By the log of a site."""
        awards: Counter[tuple[str, int, int]] = Counter()
        agents: dict[tuple[str, int, int], str] = {}
        for row in rows:
            if row.kind not in _KINDS:
                continue
            event: Any = decode(row.kind, row.payload)
            if isinstance(event, TaskAwarded):
                place = row.run, event.task, event.epoch
                awards[place] += 1
                agents[place] = event.agent
                self.trace.note("agreed_alone" if b'"agreed_alone":true' in event.detail else "awarded")
            elif isinstance(event, TaskAssigned):
                place = row.run, event.task, attempt_epoch(row.epoch, event.attempt)
                if agents.get(place, event.agent) not in ("", event.agent):
                    raise Broke(ONCE, f"{place} was awarded to {agents[place]} and assigned to {event.agent}")
            elif isinstance(event, AttemptLeft):
                self.trace.note("claim_lost" if event.agent else "offer_lapsed")
            else:
                self.trace.note("offered_alone")
        if twice := [place for place, count in awards.items() if count > 1]:
            raise Broke(ONCE, f"{twice} were awarded more than once")


_KINDS = {kind.kind for kind in (TaskAwarded, TaskAssigned, AttemptLeft, TaskOffered)}
