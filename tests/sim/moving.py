"""Runs that change their homes in a seed's story: people move them, take them by force and drain sites, and agents change sites.

What a person takes by force may be done twice, which is then on record with both sides; nothing else is done twice. Each epoch of
a run has one home.
"""

import asyncio
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

from cloud.moving.inputs import DrainSite, MoveRun
from cloud.port import Problem
from sync.values import StreamId
from tests.roaming import check_epochs
from tests.sim.agent import SimAgent
from tests.sim.oracle import Broke, Done, Oracle
from tests.sim.people import NoAnswer, People
from tests.sim.plan import AGENTS, DURATION_S, SITES, Plan, Step, draw_plan
from tests.sim.world import World
from workflow.event import Event
from workflow.events import decode
from workflow.home_events import FragmentMoved
from workflow.homes import RELEASED_EPOCH

if TYPE_CHECKING:
    from sync.commit import Row

VERBS = {"move": 4, "force": 3, "drain": 1, "undrain": 2, "roam": 2}
MOVES = 40


def moving_plan(seed: int) -> Plan:
    """The plan of this seed, with moves."""
    chance, plan = Random(f"{seed}/moves"), draw_plan(seed)
    drawn = chance.choices(list(VERBS), list(VERBS.values()), k=MOVES)
    moves = [Step(chance.uniform(10.0, DURATION_S * 0.9), verb, chance.randrange(1 << 16), chance.random()) for verb in drawn]
    return Plan(seed, tuple(sorted((*plan.steps, *moves))))


@dataclass
class MovingOracle(Oracle):
    """Lets effects happen twice, and remembers them: only the log tells whether that is on record."""

    twice: dict[Done, str] = field(default_factory=dict)  # With the words for it.

    def effect(self, agent: str, what: Done, effect: int, attempt: int) -> None:
        if effect != 1 and self.effects[what]:
            self.twice[what] = f"{what} was done again by {agent} as attempt {attempt}"
            self.effects[what] += 1
            self.trace.note("done_twice")
            return
        super().effect(agent, what, effect, attempt)


class MovingPeople(People):
    """Also operators."""

    async def _ask_cloud(self, input: Any) -> object:
        answer = await self.ask(lambda cloud: cloud.node.loop.ask(lambda token: input._replace(token=token)))
        if isinstance(answer, Problem):
            raise answer
        return answer

    def _living(self, step: Step) -> str:
        """A run of one site that has not ended."""
        looks = self.world.cloud.node.planner.runs.looks() if self.world.cloud.serving else ()
        runs = [run for run, known in looks if len(known.sites) == 1]
        if not runs:
            raise NoAnswer
        return runs[step.a % len(runs)]

    async def _move(self, step: Step) -> None:
        await self._ask_cloud(MoveRun(0, self._living(step), "", "it suits better"))

    async def _force(self, step: Step) -> None:
        run = self._living(step)
        self.world.forced.add(run)  # type: ignore[attr-defined] # Also if nobody hears the answer.
        await self._ask_cloud(MoveRun(0, run, "", "nobody waits", True))

    async def _drain(self, step: Step) -> None:
        await self._ask_cloud(DrainSite(0, sorted(SITES)[step.a % len(SITES)], True, "", ""))

    async def _undrain(self, step: Step) -> None:
        for site in SITES:
            await self._ask_cloud(DrainSite(0, site, False, "", ""))

    async def _roam(self, step: Step) -> None:
        """An agent leaves its site, and comes to the other with all that it knows."""
        agent = self.world.agents[sorted(AGENTS)[step.a % len(AGENTS)]]
        if not agent.alive:
            raise NoAnswer
        agent.kill()
        await asyncio.sleep(5.0 * step.b)
        agent.site = next(site for site in SITES if site != agent.site)
        start_if_dead(agent)

    async def go_round(self, *, is_late: bool) -> bool:
        try:
            await self._undrain(Step(0.0, "undrain", 0, 0.0))
        except (NoAnswer, Problem):
            return True
        return await super().go_round(is_late=is_late)


class MovingWorld(World):
    """The story of any plan of `moving_plan`."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.forced: set[str] = set()

    def _build(self) -> None:
        super()._build()
        self.oracle, self.people = MovingOracle(self.trace), MovingPeople(self)

    async def _story(self) -> None:
        await super()._story()
        self.check_moved()

    def _heal(self) -> None:
        """Agents are where there is work for them, too."""
        for name, agent in self.agents.items():
            if agent.site != AGENTS[name]:
                if agent.alive:
                    agent.kill()
                agent.site = AGENTS[name]
        super()._heal()

    def check_moved(self) -> None:
        """Raises Broke."""
        told = {name: self._told(name) for name in ("cloud", *self.sites)}
        moves = [(row, event) for row, event in told["cloud"] if isinstance(event, FragmentMoved)]
        moved = [(name, row, event) for name in self.sites for row, event in told[name] if row.epoch > RELEASED_EPOCH]
        check_epochs(moves, moved)
        recorded = {row.run for rows in told.values() for row, _ in rows if row.kind in ("FactRefused", "ConflictRecorded")}
        assert isinstance(self.oracle, MovingOracle)
        for done, words in self.oracle.twice.items():
            if done.run not in self.forced:
                raise Broke("effects once", words)
            if done.run not in recorded:
                raise Broke("what is done twice is on record", words)
        for kind in (
            "FragmentMoved",
            "FragmentYielded",
            "FragmentDropped",
            "FactTold",
            "FailureTold",
            "FactRefused",
            "HomeDoubted",
        ):
            self.trace.note(f"moved_{kind}", sum(row.kind == kind for rows in told.values() for row, _ in rows))

    def _told(self, name: str) -> "list[tuple[Row, Event]]":
        """What a node has written of runs."""
        platter = self.cloud.platter if name == "cloud" else self.sites[name].platter
        streams = [stream for stream in platter.places if str(stream).startswith((f"{name}@", f"{name}>"))]
        rows = [platter.rows[place - 1] for stream in sorted(streams) for place in platter.places[StreamId(stream)]]
        return [(row, decode(row.kind, row.payload)) for row in rows if row.run]


def start_if_dead(agent: SimAgent) -> None:
    """Somebody else may have started it by now."""
    if not agent.alive:
        agent.start()
