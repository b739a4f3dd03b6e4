"""Kills at seeded moments while orders are worked on, round after round; and how it is counted what became of them."""

import os
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from agents.ledger import Ledger
from tests.e2e.children import Child, Kill
from tests.e2e.system import PATIENCE_S, SITES, System
from tests.e2e.trail import Held, attempts_of, met
from tests.examples.warehouse import EXAMPLES, definition_of, inputs_of, orders, plan_of
from tiercel.answers import ApiError
from workflow.loading import load_definition
from workflow.plan import compile_plan

KINDS = ("cloud", "edge", "agents")
ORDERS_PER_ROUND = 30
NOTES_PER_ROUND = 30
KILLS_PER_ROUND = 5
GAP_S_MAX = 1.6
UNENDED = ("pending", "active")

NOTES = """
name: notes
version: 1.0.0
inputs: {site: {type: string}}
tasks:
  first: {capability: ledger.append, effect: repeatable, site: "${{ inputs.site }}"}
  second: {capability: note.append, effect: repeatable, site: "${{ inputs.site }}", needs: [first]}
  careful: {capability: note.append, effect: once, site: "${{ inputs.site }}", needs: [second]}
  last: {capability: note.append, effect: repeatable, site: "${{ inputs.site }}", needs: [careful]}
"""
"""Each task appends and checks nothing. Where it is `repeatable` a second execution shows, where it is `once` none may be."""

REPEATABLE = ("first", "second", "last")

EFFECTS = {
    "fulfilment": {task: task for task in ("reserve", "charge", "pick", "inspect", "pack", "label", "load")},
    "transfer": {"ship": "load", **{task: task for task in ("reserve", "pick", "receive", "pack", "label", "load")}},
    "notes": {},
}
"""By definition: which task leaves an entry in which ledger."""

PLANS = {name: plan_of(name) for name in ("fulfilment", "transfer")} | {"notes": compile_plan(load_definition(NOTES))}
INDEX = {name: {task.id: task.index for task in plan.tasks} for name, plan in PLANS.items()}


SEEDS: list[int] = []
"""Those used so far; the summary of the tests names them."""


def seed_of_this_run() -> int:
    """TIERCEL_SEED, or a fresh one; it is printed either way."""
    SEEDS.append(int(os.environ.get("TIERCEL_SEED") or random.SystemRandom().randrange(10**9)))
    return SEEDS[-1]


@dataclass
class Storm:
    """One system under kills. Every message names the seed."""

    system: System
    seed: int
    kills: list[Kill] = field(default_factory=list)
    runs: dict[str, str] = field(default_factory=dict)  # id -> definition
    states: dict[str, str] = field(default_factory=dict)
    unsettled: set[str] = field(default_factory=set)  # Runs that a person had to end: a `once` task may or may not have run.

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)

    def blow(self, kills: int) -> None:
        """Rounds of orders until that many nodes have been killed, each kind at least five times; then all ends well."""
        kinds = [*KINDS * 5, *self.chance.choices(KINDS, k=kills - 5 * len(KINDS))]
        self.chance.shuffle(kinds)
        for text in ((EXAMPLES / "fulfilment.yaml").read_text(), (EXAMPLES / "transfer.yaml").read_text(), NOTES):
            self.system.patiently(lambda text=text: self.system.client.register(text))  # type: ignore[misc]
        while kinds:
            of_round = kinds[:KILLS_PER_ROUND]
            del kinds[:KILLS_PER_ROUND]
            begun = self._begin_round(of_round)
            for kind in of_round:
                time.sleep(self.chance.choice((0.0, 1.0, 1.0)) * self.chance.uniform(0.05, GAP_S_MAX))
                self.kills.append(self._target(kind).kill())
            self._end_round(begun)

    def _target(self, kind: str) -> Child:
        system, site = self.system, self.chance.choice(SITES)
        return {"cloud": system.cloud, "edge": system.edges[site], "agents": system.hosts[site]}[kind]

    def _begin_round(self, kinds: list[str]) -> list[str]:
        """Start orders of both kinds, and notes. If the cloud's turn comes in this round, it is killed while it is being asked:
        the request is repeated under its key, and counts once."""
        batch = self.chance.sample(orders(), ORDERS_PER_ROUND)
        if "cloud" in kinds:
            kinds.remove("cloud")
            threading.Timer(self.chance.uniform(0.0, 0.06), lambda: self.kills.append(self.system.cloud.kill())).start()
        begun = []
        for name in ("fulfilment", "transfer"):
            begun += self._start(name, [inputs_of(order) for order in batch if definition_of(order) == name])
        return begun + self._start("notes", [{"site": self.chance.choice(SITES)} for _ in range(NOTES_PER_ROUND)])

    def _start(self, name: str, inputs: list[dict[str, object]]) -> list[str]:
        if not inputs:
            return []
        key = f"{name}-{len(self.runs)}"
        started = self.system.patiently(
            lambda: self.system.client.start_batch(name, [{"inputs": each} for each in inputs], idempotency_key=key)
        )
        assert len(started) == len(inputs), started
        self.runs |= {item["id"]: name for item in started}
        return [item["id"] for item in started]

    def _end_round(self, begun: list[str]) -> None:
        """All runs of the round have ended, or stand in `reconcile`, where a person ends them: here by a cancel."""
        system, deadline = self.system, time.monotonic() + PATIENCE_S
        for run in begun:
            while (view := system.patiently(lambda run=run: system.client.run(run, wait_s=0.3)))["run"]["state"] in UNENDED:  # type: ignore[misc]
                assert time.monotonic() < deadline, f"{self}: {system.explain(run)}"
                if run not in self.unsettled and any(task["state"] == "reconcile" for task in view["tasks"]):
                    self._settle(run)
            self.states[run] = view["run"]["state"]

    def _settle(self, run: str) -> None:
        self.unsettled.add(run)
        try:
            self.system.patiently(lambda: self.system.client.cancel(run, reason="looked at", wait_s=0))
        except ApiError as error:
            if error.code != "run_ended":  # A late result was adopted meanwhile.
                raise

    def __str__(self) -> str:
        return f"TIERCEL_SEED={self.seed}, after {len(self.kills)} kills, the last of them {self.kills[-KILLS_PER_ROUND:]}"


@dataclass
class Account:
    """What the storm has done, counted in the stopped system: attempts from the logs, effects from the disks."""

    storm: Storm
    attempts: list[Held] = field(init=False)
    met: dict[Kill, list[Held]] = field(init=False)
    _outputs: dict[tuple[str, int], bytes] = field(init=False)

    def __post_init__(self) -> None:
        system = self.storm.system
        self.attempts = [a for site in system.sites for a in attempts_of(system.log_of(site), site)]
        self.met = met(self.attempts, self.storm.kills)
        self._outputs = {(a.run, a.task): a.output for a in self.attempts if a.ended == "TaskCompleted"}

    def executions_met(self, run: str, task: str) -> int:
        """How many kills of an agent host have met an attempt at this task in that host's hands."""
        index = INDEX[self.storm.runs[run]][task]
        hits = [a for kill, held in self.met.items() if kill.kind == "agents" for a in held]
        return sum((a.run, a.task) == (run, index) for a in hits)

    def output_of(self, run: str, task: str) -> object:
        """What the run's site recorded as the task's result."""
        return msgspec.json.decode(self._outputs[run, INDEX[self.storm.runs[run]][task]])

    def effects(self, kind: str) -> dict[str, dict[str, object]]:
        """What the ledgers of all sites hold of one kind of effect, by idempotency key."""
        found: dict[str, dict[str, object]] = {}
        for site in self.storm.system.sites:
            directory = self.storm.system.work(site) / "ledger" / kind
            for ledger in (p for p in ([directory] if kind != "reserve" else sorted(directory.glob("*"))) if p.is_dir()):
                entries = Ledger(ledger).entries()
                assert not entries.keys() & found.keys(), f"an effect at two places: {entries.keys() & found.keys()}"
                found |= entries
        return found

    def lines(self, name: str) -> Counter[str]:
        """How often each task has left a line, at any site."""
        paths = [self.storm.system.work(site) / "ledger" / name for site in self.storm.system.sites]
        return Counter(line.split()[0] for path in paths for line in _lines(path))


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []
