"""Runs of protocol auction go to the site whose agents ask least, those of one turn together; why, is in the log."""

from typing import Any

import msgspec
import pytest

from cloud.fleet import FleetAgent
from cloud.tendering.events import RunTendered
from tests.cloud.control import Control
from tests.workflow.plans import plan_of
from workflow.events import decode
from workflow.plan import Plan


def auctioned(**more: object) -> Plan:
    """A run of two tasks that are auctioned."""
    tasks: dict[str, dict[str, Any]] = {"a": {"capability": "pick"}, "b": {"capability": "pick", "needs": ["a"]}}
    return plan_of(tasks, name="sold", coordination={"protocol": "auction", **more})


@pytest.fixture
def cloud() -> Control:
    found = Control()
    found.join("harbour", "pick")
    found.join("airport", "pick")
    agent(found, "harbour").labels["cost"] = "1"
    agent(found, "airport").labels["cost"] = "4"
    return found


def agent(cloud: Control, site: str) -> FleetAgent:
    (found,) = cloud.planner.fleet.site(site).agents.values()
    return found


def sites(cloud: Control, runs: list[str]) -> list[list[str]]:
    return [cloud.planner.runs[run].sites for run in runs]


def tenders(cloud: Control) -> list[RunTendered]:
    found = [decode(row.kind, row.payload) for row in cloud.log.disk.rows if row.kind == "RunTendered"]
    return [event for event in found if isinstance(event, RunTendered)]


def test_a_run_goes_where_its_agents_ask_least(cloud: Control) -> None:
    """Without a tender the first by name would have it; the log says what both sites asked, and why the one has it."""
    plain = cloud.start(plan_of({"a": {"capability": "pick"}}, name="plain"))
    sold = cloud.start(auctioned())
    assert sites(cloud, plain + sold) == [["airport"], ["harbour"]]
    (event,) = tenders(cloud)
    detail = msgspec.json.decode(event.detail)
    assert (event.site, event.evaluator, [each["site"] for each in detail["answers"]]) == (
        "harbour",
        "cheapest",
        ["harbour", "airport"],
    )
    assert "the best of 2 by cheapest" in detail["reason"]


def test_what_each_run_costs_counts_what_was_awarded_before(cloud: Control) -> None:
    """One run after the other: the cheap site grows dearer until the other one is asked."""
    runs = [run for _ in range(12) for run in cloud.start(auctioned())]
    assert sites(cloud, runs)[0] == ["harbour"]
    assert ["airport"] in sites(cloud, runs)


def test_fastest_goes_where_agents_are_idle(cloud: Control) -> None:
    """Whatever they ask."""
    cloud.planner.fleet.site("harbour").open_tasks = 3
    assert sites(cloud, cloud.start(auctioned(evaluator="fastest"))) == [["airport"]]


def test_no_answer_means_to_be_placed_as_any_run(cloud: Control) -> None:
    """Dearer than the highest price everywhere: the run is placed without a tender, and its site's auction goes on with it."""
    runs = cloud.start(auctioned(price_max=0.5))
    assert (sites(cloud, runs), tenders(cloud)) == ([["airport"]], [])


def test_a_task_that_goes_directly_takes_the_run_out_of_tenders(cloud: Control) -> None:
    """A run is tendered if it says so as a whole, all of its tasks are auctioned, and none is told its site."""
    direct: dict[str, dict[str, Any]] = {"a": {"capability": "pick"}, "b": {"capability": "pick", "coordination": "direct"}}
    hinted: dict[str, dict[str, Any]] = {"a": {"capability": "pick", "site": "airport"}}
    for number, tasks in enumerate((direct, hinted)):
        cloud.start(plan_of(tasks, name=f"other{number}", coordination="auction"))
    cloud.start(plan_of({"a": {"capability": "pick", "coordination": "auction"}}, name="task"))
    assert tenders(cloud) == []


def test_a_paused_or_silent_site_is_not_asked(cloud: Control) -> None:
    """Only who is linked and takes new work answers."""
    cloud.planner.fleet.unlink("harbour", 1)
    assert sites(cloud, cloud.start(auctioned())) == [["airport"]]
    assert [each["site"] for each in msgspec.json.decode(tenders(cloud)[0].detail)["answers"]] == ["airport"]


def test_a_restart_knows_where_the_runs_are(cloud: Control) -> None:
    """What was tendered is in the log; nothing is tendered again."""
    runs = cloud.start(auctioned())
    cloud.restart()
    assert (sites(cloud, runs), len(tenders(cloud))) == ([["harbour"]], 1)
