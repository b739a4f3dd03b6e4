"""The system without one of its safeguards: a guarantee must then break under some seed, or the checkers would be blind to it.

Each safeguard is taken away by a subclass that stands in the place of the production class while a seed runs.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar
from unittest.mock import patch

from cloud.service import PlannerService, Starting
from edge.doubts import Attempt, Doubts
from edge.driver import EdgeConfig, EdgeNode
from edge.gate import Gate
from edge.inputs import AcknowledgeResults, AssignTasks
from sync.commit import Commit
from sync.driver import Driver
from sync.inputs import Recovered, Replicated
from sync.outputs import Confirmed
from sync.values import Now
from tests.sim.agent import SimAgent
from tests.sim.agent_machine import Life, machine_of
from tests.sim.plan import Plan, draw_plan, storm
from tests.sim.world import Outcome, World, run_plan
from tiercel.delivery import Delivery
from tiercel.encoding import Key
from tiercel.journal import Journal
from tiercel.machine import Machine
from tiercel.v1 import agent_pb2
from workflow.commands import Lose
from workflow.contract import Contract


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


class Anxious(Driver):
    """Begins nothing before the peer holds that it begins, whatever was promised of it."""

    def _take(self, outputs: list[object], now: Now, commit: Commit, effects: list[object]) -> None:
        if self.lag is not None:
            outputs = [Confirmed(each) if isinstance(each, AssignTasks) else each for each in outputs]
        Driver._take(self, outputs, now, commit, effects)


class Credulous(Driver):
    """Stores what a peer sends, held already or not."""

    def _replicate(self, input: Replicated | Recovered, now: Now, commit: Commit, effects: list[object]) -> None:
        tip = self._tips.get(input.stream) or self._tip(input.stream)
        tip.seq = min(tip.seq, input.rows[0].seq - 1)
        Driver._replicate(self, input, now, commit, effects)


class Certain(Doubts):
    """Doubts nothing."""

    def cast(self, live: Iterable[Attempt]) -> None:
        pass


class WithoutKeys(PlannerService):
    """Remembers no idempotency key."""

    async def once(self, idempotency_key: str, body: bytes, start: Starting) -> Any:
        return await start(None)


class Forgetful(Delivery):
    """Of an agent that forgets with its connection what it has done."""

    def known(self, key: Key) -> bool:
        return False

    def unacknowledged(self) -> list[agent_pb2.AttemptKey]:
        return []

    def send_all_again(self) -> None:
        self._sent.clear()


class Silent(Delivery):
    """Does not say again over a new connection what the agent has done."""

    def send_all_again(self) -> None:
        self._sent.clear()


class Trusting(Journal):
    """Takes for written what the kernel was given."""

    def sync(self) -> None:
        pass


def at_once(effect: object) -> object:
    """Withholds nothing."""
    return effect


BOUND = Gate._beyond


def without_versions(gate: Gate, run: str, contract: Contract, now: Now, events: int) -> str:
    """However many events the site is ahead."""
    return "" if (reason := BOUND(gate, run, contract, now, events)) == "versions" else reason


def without_time(gate: Gate, run: str, contract: Contract, now: Now, events: int) -> str:
    """However long the site is ahead."""
    return "" if (reason := BOUND(gate, run, contract, now, events)) == "time" else reason


def one_machine(agent: SimAgent, life: Life, boot: str) -> Machine:
    """Calls each process of an agent the first."""
    return machine_of(agent, life, f"{agent.name}-1")


def lost_for_certain(task: int, attempt: int, certain: bool, reason: str) -> Lose:
    """Whatever became of the attempt, it counts as never delivered."""
    return Lose(task, attempt, True, reason)


class ImpatientCopies(World):
    """A site that comes back on an old copy does not wait for what it lacks."""

    def make_edge(self, config: EdgeConfig, ports: Any) -> EdgeNode:
        return super().make_edge(EdgeConfig(config.site, config.data_dir, config.run_dir, "", first_link_wait_s=0), ports)


@dataclass(frozen=True)
class Ablation:
    """What stands where instead of what production has there, and which faults show it best (none: those of any seed)."""

    swaps: dict[str, object] = field(default_factory=dict)
    make: Callable[[Plan], World] = World
    faults: tuple[str, ...] = ()

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """While this lasts, the safeguard is gone."""
        with ExitStack() as stack:
            for place, other in self.swaps.items():
                stack.enter_context(patch(place, other))
            yield

    def plan(self, seed: int) -> Plan:
        return storm(seed, self.faults) if self.faults else draw_plan(seed)


FAILING = ("disk_slow", "disk_stall", "disk_fail", "power_site")
CUTS = ("cut", "stall")
LIVES = ("kill_site", "kill_agent", "power_site", "agent_line")
ABLATIONS: dict[str, Ablation] = {
    "acknowledgements_held_until_durable": Ablation({"sync.actors.Driver": HastyAcknowledgements}, faults=FAILING),
    "assignments_held_until_durable": Ablation({"sync.actors.Driver": HastyAssignments}),
    "refold_after_a_failed_commit": Ablation({"sync.actors.Driver": Stubborn}),
    "confirmed_effects": Ablation({"edge.dispatch.Confirmed": at_once, "edge.executor.Confirmed": at_once}, faults=CUTS),
    "bound_of_versions": Ablation({"edge.gate.Gate._beyond": without_versions}, faults=CUTS),
    "bound_of_time": Ablation({"edge.gate.Gate._beyond": without_time}, faults=CUTS),
    "eventual_effects_are_not_confirmed": Ablation({"sync.actors.Driver": Anxious}, faults=CUTS),
    "idempotency_keys": Ablation({"tests.sim.process.PlannerService": WithoutKeys}),
    "unknown_outcomes_are_reconciled": Ablation({"edge.sessions.Lose": lost_for_certain}, faults=LIVES),
    "journal_of_agents": Ablation({"tiercel.runtime.Delivery": Forgetful}),
    "results_are_said_again": Ablation({"tiercel.runtime.Delivery": Silent}),
    "events_held_are_not_stored_again": Ablation(
        {"sync.actors.Driver": Credulous}, faults=("silence", "disk_stall", "disk_slow")
    ),
    "doubts_after_a_loss": Ablation({"edge.executor.Doubts": Certain}, faults=("lost_tail", "cut")),
    "silence_ends_a_link": Ablation({"sync.service.SILENCE_S_MAX": 1e9}, faults=("silence",)),
    "processes_of_an_agent_are_told_apart": Ablation(
        {"tests.sim.agent.machine_of": one_machine}, faults=("kill_agent", "power_agent")
    ),
    "journal_is_synced": Ablation({"tiercel.runtime.Journal": Trusting}, faults=("power_agent", "agent_line")),
    "old_copies_wait_for_the_link": Ablation(make=ImpatientCopies, faults=("old_copy",)),
}


SEEDS_TRIED = 25


def hunt(name: str, first: int, guarantee: str) -> Outcome:
    """The first seed from `first` on that breaks this guarantee without the safeguard; if none does, the last that was tried."""
    seed, ablation = first, ABLATIONS[name]
    with ablation.in_place():
        while not (outcome := run_plan(ablation.plan(seed), ablation.make)).broken.startswith(guarantee):
            if (seed := seed + 1) > first + SEEDS_TRIED:
                break
    return outcome
