"""What operators do beside the orders for single runs, at random: forks, pauses of sites, standing rules, runs that wait for
runs, clearing of results, contacts, going back to a moment. And how it is all taken back in the end.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from cloud.caches.core import ClearCache
from cloud.control.requests import ForkRequest
from cloud.dependencies.inputs import AddDependencies, RemoveDependency, Wait
from cloud.forking.service import new_run
from cloud.inputs import StartRuns
from cloud.notifying.inputs import Attempted, SetContact
from cloud.pausing.inputs import OrderSitePause
from cloud.port import Problem, Started
from cloud.ruling.inputs import AddRule, RemoveRule
from cloud.runs import Run
from tests.cloud.control import Control
from workflow.between import KINDS, Point
from workflow.orders import RollBack
from workflow.standing import read_standing
from workflow.states import ABSENT

OPERATORS = (
    *("fork", "fork", "pause_site", "resume_site", "rule", "rule", "unrule", "depend", "depend", "depend", "undepend"),
    *("clear", "contact", "deliver", "moment"),
)
HOOK = "https://example.org/hook"
RULES: tuple[dict[str, Any], ...] = (
    {"on": "task.completed", "do": {"notify": HOOK}},
    {"on": "task.failed", "do": {"escalate": "role:chief"}},
    {"on": "task.failed", "do": "skip"},
    {"on": "run.completed", "do": {"notify": HOOK}},
    {"on": "task.waiting_for_resource", "do": "pause"},
    {"on": "task.started", "do": {"notify": HOOK}},
    {"on": "task.reconcile", "do": {"start": {"definition": "two@1"}}},
    {"on": "task.failed", "do": "pause", "scope": {"site": "airport"}},
    {"on": "run.failed", "do": {"start": {"definition": "other@1"}}, "scope": {"definition": "one"}},
    {"on": "task.cancelled", "do": "cancel", "scope": {"labels": {"line": "4"}}},
)
RUNS_MAX = 6

Find = Callable[[str], Run | None]


@dataclass
class Operators:
    """`find` gives a run as the cloud knows it, ended or not. `runs` are all that were acknowledged, forks among them."""

    cloud: Control
    runs: list[str]
    find: Find
    waits: dict[str, Wait] = field(default_factory=dict)
    rules: int = 0

    def live(self, what: str, site: str, number: int, variant: int) -> None:
        """One thing is asked for, if there is anything that it could be asked of; much of it is to be refused."""
        run = self.runs[(number + variant) % len(self.runs)]
        match what:
            case "fork":
                self._fork(run, number)
            case "pause_site" | "resume_site":
                self._ask(lambda token: OrderSitePause(token, site, what == "pause_site", "tide"))
            case "rule":
                fields = RULES[number % len(RULES)]
                plan = read_standing({"name": f"rule-{variant % 4}", **fields})
                self._ask(lambda token: AddRule(token, plan))
            case "unrule":
                self._ask(lambda token: RemoveRule(token, f"rule-{variant % 4}"))
            case "depend":
                self._depend(run, number, variant)
            case "undepend":
                self._undepend(number)
            case "clear":
                self._ask(lambda token: ClearCache(token, site, "", ""))
            case "contact":
                urls = [f"{HOOK}/{n}" for n in range(1 + variant % 2)]
                self._ask(lambda token: SetContact(token, ("role:chief", "ann", "*")[number % 3], urls, ""))
            case "deliver":
                self._deliver(variant)
            case "moment":
                self._moment(run, number)
            case _:
                raise AssertionError(what)

    def _ask(self, make: Callable[[int], object]) -> object:
        return self.cloud.ask(make)

    def _fork(self, run: str, number: int) -> None:
        known = self.find(run)
        if known is None or len(self.runs) >= RUNS_MAX:
            return
        tasks = ["", *known.plan.index]
        try:
            new = new_run(known, ForkRequest(from_task=tasks[number % len(tasks)]))
        except Problem:
            return
        answer = self._ask(lambda token: StartRuns(token, known.plan.ref, [new], None))
        self.runs += [each.id for each in msgspec.convert(answer, list[Started], from_attributes=True)]

    def _depend(self, run: str, number: int, variant: int) -> None:
        other = self.runs[(number * 7 + variant * 3) % len(self.runs)]
        waiting, awaited = self._task_of(run, number), self._task_of(other, variant)
        wait = Wait(waiting, Point(other, awaited), KINDS[(number + variant) % len(KINDS)])  # type: ignore[arg-type]
        answer = self._ask(lambda token: AddDependencies(token, run, (wait,)))
        if isinstance(answer, list):
            self.waits[answer[0]] = wait

    def _task_of(self, run: str, number: int) -> str:
        """A name of a task that is there now, or none."""
        known = self.find(run)
        if known is None or number % 3 == 0:
            return ""
        fragment = next((each for each in known.fragments if each is not None), None)
        if fragment is None:
            return list(known.plan.index)[number % len(known.plan.index)]
        shown = [fragment.id_of(task) for task, state in enumerate(fragment.states) if state not in ABSENT]
        return shown[number % len(shown)]

    def _undepend(self, number: int) -> None:
        records = self.cloud.planner.dependencies.records.known
        if records:
            known = list(records.values())[number % len(records)]
            self._ask(lambda token: RemoveDependency(token, known.run, known.id))

    def _deliver(self, variant: int) -> None:
        pending = self.cloud.planner.notifications.pending
        if pending:
            how = ("delivered", "failed", "waiting")[variant % 3]
            self.cloud.turn(Attempted(next(iter(pending)), how, 1 + variant, "refused", 0))  # type: ignore[arg-type]

    def _moment(self, run: str, number: int) -> None:
        """Back to a moment, which for each home means a version of its own."""
        known = self.find(run)
        if known is None:
            return
        homes = {s: f.version for s, f in zip(known.sites, known.fragments, strict=True) if f is not None}
        versions = {site: version * (6 + number % 6) // 12 for site, version in homes.items()}
        if versions:
            self.cloud.order(run, RollBack(at=self.cloud.clock.wall_ms, versions=versions))

    def help(self, sites: list[str]) -> None:
        """Sites go on, and no standing rule says anything any more."""
        for site in sites:
            self._ask(lambda token, site=site: OrderSitePause(token, site, False, ""))  # type: ignore[misc]
        for name in list(self.cloud.planner.rules.rules):
            self._ask(lambda token, name=name: RemoveRule(token, name))  # type: ignore[misc]
