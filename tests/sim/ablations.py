"""The system without one of its safeguards: a guarantee must then break under some seed, or the checkers would be blind to it.

Each safeguard is taken away by a subclass that stands in the place of the production class while a seed runs.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, ClassVar
from unittest.mock import patch

from cloud.service import PlannerService, Starting
from edge.driver import EdgeConfig, EdgeNode
from edge.inputs import AcknowledgeResults, AssignTasks
from sync.commit import Commit
from sync.driver import Driver
from sync.values import Now
from tests.sim.agent import SimAgent
from tests.sim.network import Connection
from tests.sim.plan import Plan
from tests.sim.world import Outcome, World, run_seed
from tiercel.v1 import agent_pb2
from workflow.commands import Lose


class Hasty(Driver):
    """Lets effects of these kinds leave before their commit is durable."""

    early: ClassVar[tuple[type, ...]] = ()

    def _submit(self, commit: Commit, effects: list[object], now: Now) -> None:
        hasty = [effect for effect in effects if isinstance(effect, self.early)]
        Driver._submit(self, commit, [effect for effect in effects if not isinstance(effect, self.early)], now)
        if hasty:
            self.out.send(hasty)


class HastyAcknowledgements(Hasty):
    early = (AcknowledgeResults,)


class HastyAssignments(Hasty):
    early = (AssignTasks,)


class Stubborn(Driver):
    """Takes a commit that failed for one that is durable."""

    def finished(self, batch: Any, error: BaseException | None) -> None:
        if error is not None:
            self.log.reset()
        Driver.finished(self, batch, None)


class WithoutKeys(PlannerService):
    """Remembers no idempotency key."""

    async def once(self, idempotency_key: str, body: bytes, start: Starting) -> Any:
        return await start(None)


class WithoutJournal(SimAgent):
    """Forgets with its connection what it has done."""

    def _register(self) -> agent_pb2.Register:
        self.journal.clear()
        return super()._register()

    async def _converse(self, connection: Connection, welcome: agent_pb2.Welcome) -> None:
        self.journal.clear()
        await super()._converse(connection, welcome)


class Silent(SimAgent):
    """Does not say again over a new connection what it has done."""

    def _say_again(self) -> None:
        pass


def lost_for_certain(task: int, attempt: int, certain: bool, reason: str) -> Lose:
    """Whatever became of the attempt, it counts as never delivered."""
    return Lose(task, attempt, True, reason)


def agents_are(kind: type[SimAgent]) -> Callable[[Plan], World]:
    """A world whose agents are of this kind."""

    class Otherwise(World):
        def make_agent(self, name: str, site: str, capabilities: tuple[str, ...]) -> SimAgent:
            agent = super().make_agent(name, site, capabilities)
            agent.__class__ = kind
            return agent

    return Otherwise


class ImpatientCopies(World):
    """A site that comes back on an old copy does not wait for what it lacks."""

    def make_edge(self, config: EdgeConfig, ports: Any) -> EdgeNode:
        return super().make_edge(EdgeConfig(config.site, config.data_dir, config.run_dir, "", first_link_wait_s=0), ports)


Swap = tuple[str, object]
ABLATIONS: dict[str, tuple[list[Swap], Callable[[Plan], World]]] = {
    "acknowledgements_held_until_durable": ([("sync.actors.Driver", HastyAcknowledgements)], World),
    "assignments_held_until_durable": ([("sync.actors.Driver", HastyAssignments)], World),
    "refold_after_a_failed_commit": ([("sync.actors.Driver", Stubborn)], World),
    "idempotency_keys": ([("tests.sim.process.PlannerService", WithoutKeys)], World),
    "unknown_outcomes_are_reconciled": ([("edge.sessions.Lose", lost_for_certain)], World),
    "journal_of_agents": ([], agents_are(WithoutJournal)),
    "results_are_said_again": ([], agents_are(Silent)),
    "old_copies_wait_for_the_link": ([], ImpatientCopies),
}


@contextmanager
def without(name: str) -> Iterator[Callable[[Plan], World]]:
    """The world without this safeguard, while the context lasts."""
    swaps, make = ABLATIONS[name]
    with ExitStack() as stack:
        for place, other in swaps:
            stack.enter_context(patch(place, other))
        yield make


SEEDS_TRIED = 25


def hunt(name: str, first: int, guarantee: str) -> Outcome:
    """The first seed from `first` on that breaks this guarantee without the safeguard; if none does, the last that was tried."""
    seed = first
    with without(name) as make:
        while not (outcome := run_seed(seed, make)).broken.startswith(guarantee) and seed < first + SEEDS_TRIED:
            seed += 1
    return outcome
