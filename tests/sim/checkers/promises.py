"""What runs were promised, watched as it happens: what of a strong run may leave, how far a bounded one may be ahead, and that an
eventual one waits for the cloud in nothing.

The world sees both disks at once. So it knows what the cloud really lacks, which is never more than the site believes: a promise
that the site keeps by what it knows is kept here, too.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from edge.executor import Executor
from sync.chain import GENESIS
from sync.commit import Commit, Row
from sync.values import stream_id
from tests.sim.oracle import Broke, Told
from workflow.attending import is_for_agents
from workflow.contract import Contract
from workflow.events import FragmentAdopted, TaskAssigned, decode
from workflow.fragment import Fragment
from workflow.states import RUNNING
from workflow.tasks import Effect, Kind

if TYPE_CHECKING:
    from tests.sim.process import SiteProcess
    from tests.sim.world import World

Attempt = tuple[str, int, int]
"""Run, task, number."""

PROGRESS_S = 8.0
"""So long at most an agent with room may be idle beside what it could do."""
LOOK_S = 2.0
DRIFT = 1.01
"""A site's clock may be so much slower than true time."""
CUT, STRONG, BOUNDED = "progress while cut off", "strong effects wait for the cloud", "bounded runs keep within their bound"


def executor_of(site: "SiteProcess") -> Executor:
    """The core of a site as it is now."""
    core = site.node.loop.driver.core
    assert isinstance(core, Executor)
    return core


class Ahead(NamedTuple):
    """An event that the cloud lacks: its place in the site's stream, when it was decided, and the run that it is of."""

    seq: int
    at_s: float
    run: str


@dataclass
class Promises:
    """Told by the world what is decided, begun and acknowledged. Everything raises Broke."""

    progress_s: ClassVar[float] = PROGRESS_S
    world: "World"
    contracts: dict[tuple[str, str], Contract] = field(default_factory=dict)  # By site and run.
    begun: set[Attempt] = field(default_factory=set)
    confirmed: list[Told] = field(default_factory=list)  # What was acknowledged to agents of strong runs, by what the cloud held.
    _ahead: dict[str, deque[Ahead]] = field(default_factory=dict)  # By site, in the order of their places.
    _held: dict[tuple[str, Attempt], None] = field(default_factory=dict)  # Assignments of strong runs that the cloud has.
    _read: int = 0
    _ready: dict[tuple[str, int, str, int], float] = field(default_factory=dict)

    def _kind(self, site: str, run: str) -> str:
        contract = self.contracts.get((site, run))
        return contract.level.kind if contract is not None else "eventual"

    def cloud_has(self, site: str) -> int:
        """How far the cloud's disk holds the site's stream."""
        return self.world.cloud.platter.heads.get(stream_id(site, 1), GENESIS).seq

    # Bounded: when something is decided -------------------------------------------------------------------------------

    def decided(self, site: str, commit: Commit) -> None:
        """The site submits this, in the moment in which it decided it."""
        own, now_s, has = stream_id(site, 1), self.world.loop.now_s, self.cloud_has(site)
        ahead = self._ahead.setdefault(site, deque())
        while ahead and ahead[0].seq <= has:
            ahead.popleft()
        for row in commit.rows:
            if row.stream != own:
                continue
            while ahead and ahead[-1].seq >= row.seq:
                ahead.pop()  # It was never durable: its place is taken anew, often by another run.
            if row.kind == FragmentAdopted.__name__:
                self._note_contract(site, row)
            if row.seq <= has:
                continue  # The site had lost it, and the cloud gave it back.
            if row.kind == TaskAssigned.__name__ and self._kind(site, row.run) == "bounded":
                self._check_bound(site, row.run, [each for each in ahead if each.run == row.run], now_s)
            ahead.append(Ahead(row.seq, now_s, row.run))

    def _note_contract(self, site: str, row: Row) -> None:
        event = decode(row.kind, row.payload)
        assert isinstance(event, FragmentAdopted)
        if event.contract is not None:
            self.contracts[(site, row.run)] = event.contract
            self.world.trace.note(f"level_{event.contract.level.kind}")

    def _check_bound(self, site: str, run: str, ahead: list[Ahead], now_s: float) -> None:
        level = self.contracts[(site, run)].level
        if level.versions and ahead and len(ahead) + 1 > level.versions:
            raise Broke(BOUNDED, f"{site} begins work of {run} {len(ahead) + 1} events ahead of the cloud, of {level.versions}")
        if level.time_ms and ahead and now_s - ahead[0].at_s > level.time_ms / 1000 * DRIFT + 0.01:
            old_s = now_s - ahead[0].at_s
            raise Broke(BOUNDED, f"{site} begins work of {run} {old_s:.2f} s ahead of the cloud, of {level.time_ms / 1000:g} s")

    # Strong: when something leaves ------------------------------------------------------------------------------------

    def begins(self, site: str, attempt: Attempt) -> None:
        """An agent begins this."""
        self.begun.add(attempt)
        link_cut = self._is_cut(site)
        kind = self._kind(site, attempt[0])
        if link_cut:
            self.world.trace.note(f"begun_while_cut_{kind}")
        if kind == "strong":
            self._read_cloud()
            if (site, attempt) not in self._held:
                raise Broke(STRONG, f"an agent of {site} begins {attempt}, and the cloud does not hold that it may")
            self.world.trace.note("begun_strong")

    def _read_cloud(self) -> None:
        rows = self.world.cloud.platter.rows
        for row in rows[self._read :]:
            if row.kind == TaskAssigned.__name__:
                event = decode(row.kind, row.payload)
                assert isinstance(event, TaskAssigned)
                self._held[(row.stream.partition("@")[0], (row.run, event.task, event.attempt))] = None
        self._read = len(rows)

    def acknowledged(self, told: Told) -> None:
        """An agent is told that its result counts."""
        if self._kind(told.site, told.run) == "strong":
            self.confirmed.append(told._replace(seq=self.cloud_has(told.site)))

    # Eventual: while nothing happens ----------------------------------------------------------------------------------

    def look(self) -> None:
        """Is anything ready, somebody idle who could do it, and nothing in the way, for too long?"""
        now_s, ready = self.world.loop.now_s, dict[tuple[str, int, str, int], float]()
        for site in self.world.sites.values():
            if site.serving and not site.is_troubled and self._is_cut(site.name):
                for run, task in self._idle_work(site):
                    key = site.name, site.platter.boot, run, task
                    since_s = ready[key] = self._ready.get(key, now_s)
                    if now_s - since_s > self.progress_s:
                        raise Broke(CUT, f"{site.name} does not begin {run}/{task} since {since_s:.1f} s, though agents are idle")
        self._ready = ready

    def _is_cut(self, site: str) -> bool:
        ways = self.world.net.ways
        return any((way := ways.get(ends)) is not None and way.cut for ends in ((site, "cloud"), ("cloud", site)))

    def _idle_work(self, site: "SiteProcess") -> list[tuple[str, int]]:
        core = executor_of(site)
        if core.home.paused or site.node.loop.held or site.node.halted:
            return []
        return [
            (fragment.run, task)
            for _, fragment in core.fragments.looks()
            if self._goes_on(site, fragment)
            for task in range(len(fragment.states))
            if fragment.task(task).kind is Kind.WORK
            if fragment.task(task).effect is Effect.REPEATABLE and self._could_begin(site, fragment, task)
        ]

    def _goes_on(self, site: "SiteProcess", fragment: Fragment) -> bool:
        """May its site go on with it without the cloud, by its contract?"""
        contract = fragment.contract
        if fragment.outcome or fragment.stopping or fragment.run in executor_of(site).home.gate.doubted:
            return False
        if contract is None:
            return True
        autonomy = contract.autonomy
        is_free = autonomy.when_cut in ("continue", "finish_released") and not (autonomy.budget_tasks or autonomy.horizon_ms)
        return contract.level.kind == "eventual" and is_free

    def _could_begin(self, site: "SiteProcess", fragment: Fragment, task: int) -> bool:
        """Is an agent idle beside it?"""
        agents, core = self.world.agents, executor_of(site)
        if fragment.states[task] == RUNNING:
            attempt = fragment.live.get(task)
            is_begun = attempt is None or (fragment.run, task, attempt.number) in self.begun
            return not is_begun and attempt is not None and self._is_idle(site, attempt.agent)
        if not is_for_agents(fragment, task):
            return False
        wanted = fragment.task(task).capability
        return any(
            wanted in slot.capabilities and self._is_idle(site, name) and len(slot.held) < agents[name].idle_capacity
            for name, slot in core.roster.slots.items()
            if name not in core.roster.health.standings
        )

    def _is_idle(self, site: "SiteProcess", name: str) -> bool:
        agent, slot = self.world.agents[name], executor_of(site).roster.slots[name]
        ways = self.world.net.ways
        is_cut = any(ways[ends].cut for ends in ((name, site.name), (site.name, name)) if ends in ways)
        return bool(slot.session) and agent.idle_capacity > 0 and not is_cut and not agent.disk.is_troubled
