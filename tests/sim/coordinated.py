"""Agents that agree on who does what, in a seed's story: auctions, ballots, leaders, levels, sync points, resources in any
order.

What must hold is looked at whenever a site's disk takes something, and every second (`checkers.coordination`). Incidents, in
which circles of runs that wait for each other may end, are settled by people when all is whole again.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from random import Random
from typing import Any, ClassVar

from edge.driver import EdgeConfig, EdgeNode
from edge.ports.driver import EdgePorts
from sync.commit import Commit
from tests.sim.agent import SimAgent
from tests.sim.checkers.coordination import Agreement
from tests.sim.checkers.promises import Promises
from tests.sim.definitions import AGAIN, BODY, DEFINITIONS, ONCE, definition, work
from tests.sim.people import People
from tests.sim.plan import SITES, Plan
from tests.sim.process import SiteProcess
from tests.sim.world import World
from tiercel import Bid, Lead, Offer, Proposal, TaskContext
from tiercel.errors import RetryableError
from tiercel.opinions import Opinions
from workflow.orders import Skip
from workflow.states import STUCK, WAITING
from workflow.tasks import Kind

AUCTION = {"protocol": "auction", "window": "50ms", "wait": "2s"}
CREW = {"protocol": "leader", "group": {"name": "crew", "capability": "pick"}, "wait": "3s"}
LEVELS = [
    {"level": "site", "protocol": "auction", "budget": 8, "on_loss": "finish"},
    {"level": "group", "protocol": "direct", "by": "hall", "budget": 4, "expires": "30s"},
]
MEETING = {"meet": {"parties": 2, "capability": "pick", "deadline": "20s", "on_death": "proceed", "quorum": 1, "cyclic": True}}
RAMP = {"point": "ramp", "parties": 2}
AGAIN_AND_AGAIN = {"max_attempts": 5, "delay": 2}


def _crossed(name: str, *resources: str) -> dict[str, Any]:
    """Groups that hold one resource each, in which a task asks for the next one's."""
    groups = {}
    for number, outer in enumerate(resources):
        inner = resources[(number + 1) % len(resources)]
        inside = {f"hold{number}": work("pick", AGAIN), f"ask{number}": work("pack", AGAIN, resources=[inner])}
        groups[f"group{number}"] = {"sequential": {"tasks": inside}, "resources": [outer]}
    return {**definition(name, **groups), "deadlock": {"order": "free"}}


COORDINATED: dict[str, dict[str, Any]] = {
    **{name: {**DEFINITIONS[name], "coordination": AUCTION} for name in ("line", "told", "many")},
    "agreed": {
        **definition("agreed", pick=work("pick", ONCE), ship=work("ship", AGAIN, needs=["pick"])),
        "coordination": {"protocol": "consensus", "wait": "3s"},
    },
    "led": {**definition("led", first=work("pick", BODY), then=work("pick", ONCE, needs=["first"])), "coordination": CREW},
    "levels": {
        **definition("levels", pick=work("pick", AGAIN), pack=work("pack", ONCE, needs=["pick"])),
        "coordination": {"protocol": "hierarchical", "levels": LEVELS, "otherwise": "direct"},
    },
    "judged": definition(
        "judged",
        judge={"vote": {"question": "ship it?", "voters": "pick", "quorum": 1, "deadline": "10s", "on_reject": "skip"}},
        ship=work("ship", ONCE, needs=["judge"]),
    ),
    "meeting": {
        **definition("meeting", **{name: work("pick", AGAIN, retry=AGAIN_AND_AGAIN) for name in ("meet-left", "meet-right")}),
        "sync_points": MEETING,
    },
    "crossed": _crossed("crossed", "dock", "gate"),
    "circled": _crossed("circled", "gate", "belt", "dock"),
    # Who is at the ramp holds what the other one needs to come there: nobody's order helps, so it takes a circle to see it.
    "caught": {
        **definition(
            "caught",
            group={"sequential": {"tasks": {"wait": {"sync_point": RAMP}}}, "resources": ["stand"]},
            fetch=work("pick", AGAIN, resources=["stand"]),
            come={"sync_point": RAMP, "needs": ["fetch"]},
        ),
        "deadlock": {"order": "free"},
    },
}


class CoordinatedAgent(SimAgent):
    """Bids, votes and plans as chance says; meets others; acts on resources that check epochs."""

    def __init__(self, world: "CoordinatedWorld", name: str, site: str, capabilities: tuple[str, ...], chance: Random) -> None:
        super().__init__(world, name, site, capabilities, 2, chance)
        hall = "east" if sorted(SITES[site])[0] == name else "west"
        self._settings = replace(self._settings, labels={"hall": hall}, bids=dict.fromkeys(("pick", "pack"), self._bid))
        self._said = Opinions()
        self._agreement = world.agreement

    def opinions(self) -> Opinions:
        """Those of a new process."""
        self._said = Opinions({"": self._vote}, {"": self._lead})
        return self._said

    async def _bid(self, offer: Offer) -> Bid | None:
        await asyncio.sleep(self.chance.uniform(0.0, 0.5))
        return Bid(self.chance.uniform(1.0, 9.0)) if self.chance.random() < 0.9 else None

    async def _vote(self, proposal: Proposal) -> str | None:
        await asyncio.sleep(self.chance.uniform(0.0, 1.0))
        return self.chance.choice(proposal.options) if self.chance.random() < 0.9 else None

    async def _lead(self, lead: Lead) -> dict[str, str | None]:
        await asyncio.sleep(self.chance.uniform(0.0, 1.0))
        others = [follower.agent for follower in lead.followers if follower.agent != self.name]
        if self.chance.random() < 0.2 and self._said.leading is not None and others:
            self._said.leading.hand_over(lead.group, self.chance.choice(others))
        return {task.id: self.chance.choice(lead.followers).agent for task in lead.tasks}

    async def work(self, task: TaskContext) -> str:
        if task.task.startswith("meet"):
            met = await task.sync_point("meet")
            self.world.check(lambda: self._agreement.met(self.site, task.run, met.point, met.generation, met.parties))
        for name, epoch in sorted(task.leases.items()):
            if not self._agreement.admits(self.site, name, epoch, task.run):
                raise RetryableError(f"{name} has been given to somebody else", code="fenced")
        return await super().work(task)


class Patience(Promises):
    """Leaders and voters are asked three times, auctions held five times, before anything else is done."""

    progress_s = 60.0


class CoordinatedPeople(People):
    """They settle incidents, too, and late in the end see to parties for whom nobody is left to come."""

    async def go_round(self, *, is_late: bool) -> bool:
        left = await super().go_round(is_late=is_late)
        runs = self.world.cloud.node.planner.runs.values() if self.world.cloud.serving else ()
        for run in list(runs):
            for fragment in run.fragments:
                if fragment is None or fragment.outcome:
                    continue
                incidents = fragment.extras.incidents if fragment.extras is not None else ()
                for task, state in enumerate(fragment.states):
                    is_alone = is_late and state == WAITING and fragment.task(task).kind is Kind.SYNC
                    if is_alone or (state == STUCK and task in incidents):
                        self.world.trace.note("incident_skipped")
                        await self._quietly(run.id, Skip(fragment.id_of(task)))
        return left


class CoordinatedWorld(World):
    """The story of any plan."""

    definitions: ClassVar[Mapping[str, dict[str, Any]]] = COORDINATED
    agreement: Agreement

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.agreement = Agreement(self)

    def _build(self) -> None:
        super()._build()
        self.people = CoordinatedPeople(self)
        self.promises = Patience(self)

    def make_edge(self, config: EdgeConfig, ports: EdgePorts) -> EdgeNode:
        return super().make_edge(replace(config, lock_delays={"gate": 3_000}), ports)

    def make_agent(self, name: str, site: str, capabilities: tuple[str, ...]) -> SimAgent:
        return CoordinatedAgent(self, name, site, capabilities, Random(f"{self.plan.seed}/agents/{name}"))

    def written(self, site: SiteProcess, commit: Commit) -> None:
        self.check(lambda: self.agreement.written(site, commit))

    async def _watch(self) -> None:
        watching = asyncio.ensure_future(super()._watch())
        try:
            while True:
                await asyncio.sleep(1.0)
                self.check(self.agreement.look)
        finally:
            watching.cancel()
