"""What the demo shows, act by act: orders come in, a cable is cut, the site goes on alone, both sides agree again."""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.orders import Order, Workflows
from deploy.outcomes import Audit, Outcome, audit, count_effects, outcome_of, write_report
from deploy.proxy import CuttingProxy
from deploy.screen import Picture, Screen, SiteLine
from deploy.up import EXAMPLES
from deploy.watching import ENDED, Rate, Share, Watcher, shares
from tiercel.answers import ApiError, Diff, Started
from tiercel.client import Client

if TYPE_CHECKING:
    from deploy.system import LocalSystem

CUT_AT = 0.5
CUT_S = 8.0
CUT_LINE_EVERY_S = 2.0
IN_FLIGHT_S = 1.0
"""What the cloud had learned when the link broke reaches those who watch it in so long."""

READY_S_MAX = 60.0
WORK_S_MAX = 300.0
LEVEL_S_MAX = 60.0
LOOK_S = 0.2
LOOK_INSIDE_S = 1.0
RUNS_SHOWN = 3
STYLES = {"completed": "green", "failed": "red", "cancelled": "yellow", "refused": "yellow"}


class Wrong(Exception):
    """The demonstration does not show what it is to show; it cannot go on."""


class Story:
    """One telling of it, on a system that has just started."""

    def __init__(self, screen: Screen, system: "LocalSystem", client: Client, watcher: Watcher, orders: Sequence[Order]) -> None:
        self._screen, self._system, self._client, self._watcher = screen, system, client, watcher
        self._orders = orders
        self._started: dict[str, Started] = {}
        self._places: dict[str, list[str]] = {}
        self._names: dict[str, str] = {}
        self._rate = Rate()
        self._working: list[str] = []
        self._looked_inside = 0.0
        self._problems: list[str] = []

    def play(self, cut_site: str, proxy: CuttingProxy, report: Path) -> list[str]:
        """From the orders to the report; what was wrong, in sentences. Raises Wrong, ApiError, ServerUnreachable, OSError."""
        self._await_agents()
        began = time.monotonic()
        workflows = self._submit()
        self._follow(lambda: self._part() >= CUT_AT, WORK_S_MAX)
        if self._ended():
            self._screen.say("All was done before the link could be cut: with more orders there is more to see.")
        else:
            self._cut(cut_site, proxy)
            self._heal(cut_site, proxy)
        self._follow(self._ended, WORK_S_MAX)
        self._screen.clear()
        self._report(workflows, report, time.monotonic() - began)
        for site in self._system.config.sites:
            self._compare(site.name, settled=True)
        return self._problems

    # The acts ---------------------------------------------------------------------------------------------------------

    def _await_agents(self) -> None:
        wanted = {agent.id for site in self._system.config.sites for agent in site.agents}
        deadline = time.monotonic() + READY_S_MAX
        while missing := wanted - {agent["id"] for agent in self._client.agents() if agent["state"] == "available"}:
            if time.monotonic() > deadline:
                raise Wrong(f"these agents did not register within {READY_S_MAX:g} s: {', '.join(sorted(missing))}")
            time.sleep(LOOK_S)
        sites = " and ".join(site.name for site in self._system.config.sites)
        self._screen.say(f"Ready: the cloud at {self._client.base_url}, {sites} with {len(wanted)} agents.")

    def _submit(self) -> Workflows:
        """Register the workflows and start a run for each order."""
        names = sorted({order.workflow for order in self._orders})
        workflows = Workflows(self._client, EXAMPLES, names)
        began = time.monotonic()
        self._started = workflows.submit(self._orders)
        took_ms = (time.monotonic() - began) * 1000
        for order in self._orders:
            if run := self._run_of(order):
                self._places[run], self._names[run] = workflows.sites(order), order.id
        count = Counter(order.workflow for order in self._orders)
        kinds = ", ".join(f"{count[name]} x {name}.yaml" for name in names)
        self._screen.act(f"{len(self._orders)} orders submitted in {took_ms:.0f} ms: {kinds}.")
        if refused := len(self._orders) - len(self._places):
            self._screen.say(f"{refused} of them were refused; the report says why.", "yellow")
        return workflows

    def _cut(self, site: str, proxy: CuttingProxy) -> None:
        """The site goes on alone, as its own disk shows, while what the cloud knows of it stands still."""
        self._screen.act(
            f"Halfway. The link of {site} is cut: a proxy on its path to the cloud drops every connection and lets none through."
        )
        before, began = count_effects(self._home(site)), time.monotonic()
        proxy.cut()
        self._follow(lambda: not self._is_known(site), LEVEL_S_MAX)
        self._follow_until(time.monotonic() + IN_FLIGHT_S)
        known = self._share(site).done
        for line in range(1, int(CUT_S / CUT_LINE_EVERY_S) + 1):
            self._follow_until(began + line * CUT_LINE_EVERY_S)
            self._screen.say(
                f"  cut off for {line * CUT_LINE_EVERY_S:.0f} s: the ledger on {site}'s own disk has grown by "
                f"{count_effects(self._home(site)) - before} effects; the cloud knows {self._share(site).done} of its tasks, "
                f"as of {self._staleness_ms(site) / 1000:.1f} s ago"
            )
        if count_effects(self._home(site)) == before and self._share(site).part < 1:
            self._problems.append(f"{site} did nothing while it was cut off")
        if self._share(site).done > known:
            self._problems.append(f"the cloud learned of {site} although its link was cut")

    def _heal(self, site: str, proxy: CuttingProxy) -> None:
        known, began = self._share(site).done, time.monotonic()
        self._screen.act("The link is whole again.")
        proxy.heal()
        self._follow(lambda: self._is_level(site, began), LEVEL_S_MAX)
        learned = self._share(site).done - known
        self._screen.say(
            f"  level after {time.monotonic() - began:.1f} s: the cloud has learned of {learned} more tasks that {site} has done"
        )
        self._compare(site, settled=False)

    def _compare(self, site: str, *, settled: bool) -> None:
        """Let the cloud ask the site for the hash of each run's state there, and compare; `settled`: none may be missing."""
        found = self._diff(site)
        deadline = time.monotonic() + LEVEL_S_MAX
        while settled and found["behind"] and time.monotonic() < deadline:
            time.sleep(LOOK_S)
            found = self._diff(site)
        moving = f"; {found['behind']} moved on meanwhile" if found["behind"] else ""
        self._screen.say(
            f"  cloud and {site} compared the states of {found['compared']} runs at the same version: {found['equal']} equal, "
            f"{len(found['different'])} different{moving}",
            "red" if found["different"] else "green",
        )
        self._problems += [f"cloud and {site} hold different states of run {run}" for run in found["different"]]
        if settled and found["behind"]:
            self._problems.append(f"cloud and {site} do not hold the same version of {found['behind']} runs")

    def _report(self, workflows: Workflows, report: Path, took_s: float) -> None:
        """What came of each order, and whether the ledgers of the sites say the same."""
        runs = {order.id: self._client.run(run) for order in self._orders if (run := self._run_of(order))}
        outcomes = [outcome_of(order, self._started[order.id], runs.get(order.id)) for order in self._orders]
        write_report(report, outcomes)
        self._screen.act("What came of each order:")
        rows = [_row(outcome) for outcome in outcomes]
        self._screen.table(("order", "site", "workflow", "outcome", "tasks", "attempts", "took", ""), rows, STYLES)
        known = [(runs[order.id], workflows.capabilities(order)) for order in self._orders if order.id in runs]
        checked = audit(known, [self._home(site.name) for site in self._system.config.sites])
        self._problems += checked.problems()
        self._summarize(outcomes, checked, took_s, report)

    def _summarize(self, outcomes: Sequence[Outcome], checked: Audit, took_s: float, report: Path) -> None:
        counted = Counter(outcome.outcome for outcome in outcomes)
        words = ", ".join(f"{count} {word}" for word, count in counted.most_common())
        self._screen.act(f"{len(outcomes)} orders in {took_s:.1f} s: {words}.")
        for outcome in outcomes:
            if outcome.reason:
                self._screen.say(f"  {outcome.order} {outcome.outcome}: {outcome.reason}", STYLES.get(outcome.outcome, ""))
        done, attempts = sum(outcome.tasks_done for outcome in outcomes), sum(outcome.attempts for outcome in outcomes)
        self._screen.say(f"  {done} tasks were done, in {attempts} attempts")
        once = "each exactly once" if not checked.problems() else "not each exactly once"
        self._screen.say(f"  {checked.expected} effects were due; the ledgers of the sites hold {once}")
        self._screen.say(f"  report: {report}")

    # Looking ----------------------------------------------------------------------------------------------------------

    def _follow(self, until: Callable[[], bool], wait_s: float) -> None:
        """Show the work until something is so. Raises Wrong if it takes too long."""
        deadline = time.monotonic() + wait_s
        while not until():
            if time.monotonic() > deadline:
                raise Wrong(f"no end after {wait_s:g} s: {self._share_text()}")
            self._screen.show(self._picture())
            time.sleep(LOOK_S)

    def _follow_until(self, moment: float) -> None:
        self._follow(lambda: time.monotonic() >= moment, WORK_S_MAX)

    def _picture(self) -> Picture:
        now = shares(self._places, self._watcher.runs)
        sites = self._watcher.sites
        lines = [
            SiteLine(name, now[name], sites[name]["link"]["state"], sites[name]["freshness"]["staleness_ms"])
            for name in now
            if name in sites
        ]
        if time.monotonic() - self._looked_inside > LOOK_INSIDE_S:
            self._working, self._looked_inside = self._look_inside(), time.monotonic()
        running = sum(site["running_tasks"] for name, site in sites.items() if self._is_known(name))
        return Picture(lines, self._rate.note(sum(share.done for share in now.values())), running, self._working)

    def _look_inside(self) -> list[str]:
        """What some runs are doing just now, as far as that is known."""
        runs = self._watcher.runs.values()
        known = [run for run in runs if run.get("running") and all(map(self._is_known, run.get("sites", [])))]
        found: list[str] = []
        for run in known[:: max(1, len(known) // RUNS_SHOWN)][:RUNS_SHOWN]:
            tasks = self._client.run(run["id"])["tasks"]
            order = self._names[run["id"]]
            found += [
                f"{order} {task['id']} at {task['agent']}" for task in tasks if task["state"] == "running" and "agent" in task
            ]
        return found

    def _diff(self, site: str) -> Diff:
        """The link may just be coming back."""
        deadline = time.monotonic() + LEVEL_S_MAX
        while True:
            with contextlib.suppress(ApiError):
                return self._client.diff(site)
            if time.monotonic() > deadline:
                raise Wrong(f"{site} cannot be compared with the cloud, although its link is whole")
            time.sleep(LOOK_S)

    def _run_of(self, order: Order) -> str:
        """The id of its run; empty if it was refused."""
        return "" if "error" in self._started[order.id] else self._started[order.id]["id"]

    def _share(self, site: str) -> Share:
        return shares(self._places, self._watcher.runs).get(site, Share(0, 0))

    def _part(self) -> float:
        now = shares(self._places, self._watcher.runs).values()
        return Share(sum(share.done for share in now), sum(share.total for share in now)).part

    def _ended(self) -> bool:
        runs = self._watcher.runs
        return all(run in runs and runs[run]["state"] in ENDED for run in self._places)

    def _is_known(self, site: str) -> bool:
        """Is what the cloud says of the site of now?"""
        return site in self._watcher.sites and self._watcher.sites[site]["link"]["state"] == "up"

    def _staleness_ms(self, site: str) -> int:
        return self._watcher.sites[site]["freshness"]["staleness_ms"]

    def _is_level(self, site: str, since: float) -> bool:
        """Has the cloud had all of the site's events at some time after `since` (monotonic, s), and the site all of its?"""
        seen = self._watcher.sites[site]
        known_at = time.monotonic() - self._staleness_ms(site) / 1000
        return seen["link"]["state"] == "up" and known_at > since and not seen["events_unacknowledged"]

    def _home(self, site: str) -> Path:
        return self._system.data.path / site

    def _share_text(self) -> str:
        now = shares(self._places, self._watcher.runs)
        return ", ".join(f"{site} has done {share.done} of {share.total} tasks" for site, share in now.items())


def _row(outcome: Outcome) -> tuple[str, ...]:
    tasks, attempts = f"{outcome.tasks_done}/{outcome.tasks}", str(outcome.attempts)
    detail = outcome.reason or outcome.tracking
    return outcome.order, outcome.site, outcome.workflow, outcome.outcome, tasks, attempts, f"{outcome.seconds:.1f} s", detail
