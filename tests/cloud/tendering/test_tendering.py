"""Runs of protocol auction go to the site whose agents ask least, those of one turn together; why, is in the log."""

from typing import Any

import msgspec
import pytest

from cloud.coordinating.mandates import mandates_of
from cloud.fleet import FleetAgent
from cloud.inputs import SiteLoads
from cloud.tendering.events import RunTendered
from coordination.auction.quotes import Quote, Quotes
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


def quoted(cloud: Control, site: str, price: float, wait_ms: float = 0.0) -> None:
    """The site says what it asks, as of now."""
    quote = Quote(4, 4, price, price, wait_ms, 10.0)
    told = Quotes(1, cloud.clock.mono_ms, 1_000, {"pick": quote})
    cloud.turn(SiteLoads(site, {}, 0, 0, quotes=told))


def answers(event: RunTendered) -> dict[str, str]:
    found: list[dict[str, str]] = msgspec.json.decode(event.detail)["answers"]
    return {each["site"]: each["by"] for each in found}


def test_what_a_site_quotes_counts_until_it_is_too_old_or_its_link_is_new(cloud: Control) -> None:
    """The label says harbour, the quotes say airport; without quotes that hold, it is as the label says."""
    quoted(cloud, "harbour", 9.0)
    quoted(cloud, "airport", 2.0)
    first = cloud.start(auctioned())
    cloud.clock.pass_ms(1_001)
    second = cloud.start(auctioned())
    quoted(cloud, "harbour", 9.0)
    cloud.planner.fleet.link("harbour", 1)
    third = cloud.start(auctioned())
    assert sites(cloud, first + second + third) == [["airport"], ["harbour"], ["harbour"]]
    assert [set(answers(event).values()) for event in tenders(cloud)] == [{"quote"}, {"load"}, {"load"}]
    assert "it has sent no quote" in msgspec.json.decode(tenders(cloud)[2].detail)["reason"]


def test_a_custom_score_reads_what_sites_ask(cloud: Control) -> None:
    """One that sites can answer decides; one that only agents can answer leaves the run to be placed as any, and says so."""
    quoted(cloud, "harbour", 1.0)
    quoted(cloud, "airport", 5.0)
    able = cloud.start(auctioned(evaluator="custom", score="0.0 - bid.cost"))
    rule = {"protocol": "auction", "evaluator": "custom", "score": "bid.cost + agent.labels.zone"}
    unable = cloud.start(plan_of({"a": {"capability": "pick"}}, name="zoned", coordination=rule))
    assert sites(cloud, able) == [["airport"]]
    assert tenders(cloud)[1].site == sites(cloud, unable)[0][0]
    assert "the score makes no number" in msgspec.json.decode(tenders(cloud)[1].detail)["reason"]


@pytest.mark.parametrize(
    "score",
    [
        "agent.labels.zone == 'cold' ? 0.0 : 1.0",
        "lot.parameters.crate == 7 && agent.id == 'airport' ? 0.0 : 1.0",
        "lot.inputs.goods == 'fish' && agent.kind == 'site' && agent.labels.zone == 'cold' ? 0.0 : 1.0",
        "(lot.labels.customer == 'pier') == (agent.id == 'airport') ? -1.0 : bid.cost",
    ],
)
def test_a_custom_score_reads_labels_parameters_and_inputs(cloud: Control, score: str) -> None:
    """Those of the site are what its agents have alike, those of the run are its own: the dearer site has it."""
    agent(cloud, "airport").labels["zone"] = "cold"
    agent(cloud, "harbour").labels["zone"] = "warm"
    rule = {"protocol": "auction", "evaluator": "custom", "score": score}
    tasks: dict[str, dict[str, Any]] = {"a": {"capability": "pick", "with": {"crate": "${{ inputs.crate }}"}}}
    plan = plan_of(tasks, name="scored", coordination=rule, inputs={"crate": {"type": "integer"}, "goods": {"type": "string"}})
    run = cloud.start(plan, inputs=b'{"crate": 7, "goods": "fish"}', labels={"customer": "pier"})
    assert sites(cloud, run) == [["airport"]]
    assert [event.evaluator for event in tenders(cloud)] == ["custom"]
    assert "the best of 2" in msgspec.json.decode(tenders(cloud)[0].detail)["reason"]


def test_a_level_of_the_cloud_tenders_among_its_sites(cloud: Control) -> None:
    """By its own rules; without a site of its scope the run waits, and says for which."""
    tasks: dict[str, dict[str, Any]] = {"a": {"capability": "pick"}}
    for number, (protocol, among, found) in enumerate(
        [
            ("auction", [], ["harbour"]),
            ("auction", ["airport"], ["airport"]),
            ("direct", ["harbour"], ["harbour"]),
            ("direct", ["quarry"], []),
        ]
    ):
        level = {"level": "cloud", "protocol": protocol, **({"scope": {"sites": among}} if among else {})}
        levels = {"protocol": "hierarchical", "levels": [level, {"level": "site", "protocol": "direct"}]}
        (run,) = cloud.start(plan_of(tasks, name=f"levels{number}", coordination=levels))
        assert sites(cloud, [run]) == [found]
        waits_for = cloud.planner.runs[run].waits_for
        assert waits_for == ("" if found else "a site that its coordination allows (quarry) to link to the cloud")
    assert [event.site for event in tenders(cloud)] == ["harbour", "airport"]


@pytest.mark.parametrize("around", [{"map": {"over": "[1, 2]"}}, {"repeat": {"while": "false", "max": 2}}, {"parallel": {}}])
def test_its_scope_counts_inside_of_bodies_too(cloud: Control, around: dict[str, dict[str, Any]]) -> None:
    """A run whose tasks are all inside of a map, a repeat or a group waits for a site of the scope, and shows the bounds."""
    ((word, said),) = around.items()
    tasks = {"all": {word: {**said, "tasks": {"a": {"capability": "pick"}}}}}
    level = {"level": "cloud", "protocol": "direct", "scope": {"sites": ["quarry"]}, "budget": 2}
    levels = {"protocol": "hierarchical", "levels": [level, {"level": "site", "protocol": "direct"}]}
    (run,) = cloud.start(plan_of(tasks, name=f"inside-{word}", coordination=levels))
    known = cloud.planner.runs[run]
    assert sites(cloud, [run]) == [[]]
    assert known.waits_for == "a site that its coordination allows (quarry) to link to the cloud"
    (mandate,) = mandates_of(cloud.planner.escalations.mandates, known)
    assert (mandate.level, mandate.names, mandate.tasks) == ("cloud", ("quarry",), 2)
