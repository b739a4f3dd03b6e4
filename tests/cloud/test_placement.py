"""Which site does which task: by hint, capability, nearness and load, and what it waits for if there is none."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.fleet import Fleet
from cloud.inputs import AgentLoad, SiteLoads
from cloud.placement import Placement, Unplaceable, place
from tests.workflow.plans import documents, plan_of
from workflow.events import AgentDeparted, AgentRegistered
from workflow.plan import Plan


def fleet_of(**sites: str) -> Fleet:
    """Linked sites, each with one agent `<site>-1` of capacity 4 that has the capabilities named."""
    fleet = Fleet()
    for name, capabilities in sites.items():
        entry = fleet.site(name)
        entry.linked = entry.greeted = True
        if capabilities:
            fleet.evolve(name, AgentRegistered(f"{name}-1", "robot", "b1", capabilities.split(), 4))
    return fleet


def placed(plan: Plan, fleet: Fleet, inputs: bytes = b"{}") -> list[str]:
    """The site of each task."""
    placement = place(plan, inputs, fleet)
    assert isinstance(placement, Placement), placement
    assert len(set(placement.sites)) == len(placement.sites)
    return [placement.sites[index] for index in placement.places]


def waits(plan: Plan, fleet: Fleet, inputs: bytes = b"{}") -> str:
    placement = place(plan, inputs, fleet)
    assert isinstance(placement, Unplaceable), placement
    return placement.waits_for


PICK_PACK: dict[str, dict[str, Any]] = {"a": {"capability": "pick"}, "b": {"capability": "pack", "needs": ["a"]}}


def test_a_site_that_can_do_everything_gets_everything() -> None:
    """No cut between tasks where none is needed, even if another site is idle."""
    fleet = fleet_of(airport="pick", harbour="pick pack")
    fleet.site("harbour").open_tasks = 100
    assert placed(plan_of(PICK_PACK), fleet) == ["harbour", "harbour"]


def test_tasks_go_where_their_capabilities_are() -> None:
    """If no site can do all, each task goes to one that can do it."""
    assert placed(plan_of(PICK_PACK), fleet_of(airport="pick", harbour="pack")) == ["airport", "harbour"]


def test_among_equals_the_less_loaded_is_chosen() -> None:
    """Open tasks per unit of capacity decide, then the name."""
    plan, fleet = plan_of({"a": {"capability": "pick"}}), fleet_of(airport="pick", harbour="pick")
    assert placed(plan, fleet) == ["airport"]
    fleet.site("airport").open_tasks = 3
    fleet.site("harbour").open_tasks = 2
    assert placed(plan, fleet) == ["harbour"]
    fleet.evolve("airport", AgentRegistered("airport-2", "robot", "b1", ["pick"], 4))
    assert placed(plan, fleet) == ["airport"]


def test_a_linked_site_comes_before_one_that_is_cut_off() -> None:
    """A site out of reach gets work only if no other can do it."""
    plan, fleet = plan_of({"a": {"capability": "pick"}}), fleet_of(airport="pick", harbour="pick")
    fleet.site("airport").linked = False
    assert placed(plan, fleet) == ["harbour"]
    assert placed(plan, fleet_of(airport="pick")) == ["airport"]


def test_an_agent_that_is_being_stopped_gets_its_site_no_new_runs() -> None:
    """Its site is passed over while it drains, also while out of sight meanwhile; once it takes work, runs go there."""
    plan, fleet = plan_of({"a": {"capability": "pick"}}), fleet_of(airport="pick", harbour="pick")
    versions = [fleet.version]
    for state, sites in (("online.draining", ["harbour"]), ("online.silent", ["harbour"]), ("online.idle", ["airport"])):
        fleet.note_loads(SiteLoads("airport", {"airport-1": AgentLoad(state=state)}, 0, 0))
        assert placed(plan, fleet) == sites
        versions.append(fleet.version)
    assert versions[0] < versions[1] == versions[2] < versions[3], "who waits is looked at again"
    for site in ("airport", "harbour"):
        fleet.note_loads(SiteLoads(site, {f"{site}-1": AgentLoad(state="online.draining")}, 0, 0))
    expected = "task a: an agent with capability pick that takes work; being stopped: airport-1 at airport, harbour-1 at harbour"
    assert waits(plan, fleet) == expected
    fleet.evolve("airport", AgentRegistered("airport-1", "robot", "b2", ["pick"], 4))
    assert placed(plan, fleet) == ["airport"]


def test_a_task_goes_near_what_it_needs() -> None:
    """Of two sites that can do it, the one where its needs are done is chosen, though it is busier."""
    fleet = fleet_of(airport="pick pack", harbour="pack weigh")
    fleet.site("harbour").open_tasks = 7
    tasks: dict[str, dict[str, Any]] = {
        "a": {"capability": "weigh"},
        "b": {"capability": "pack", "needs": ["a"]},
        "c": {"capability": "pick"},
    }
    assert placed(plan_of(tasks), fleet) == ["harbour", "harbour", "airport"]


def test_a_hint_is_followed() -> None:
    """A site named by the definition or by an input gets the task, whoever else could do it; the rest may stay with it."""
    tasks: dict[str, dict[str, Any]] = {
        "a": {"capability": "pick", "site": "${{ inputs.site }}"},
        "b": {"capability": "pick", "site": "airport"},
        "c": {"capability": "pick"},
    }
    plan = plan_of(tasks, inputs={"site": {"type": "string"}})
    fleet = fleet_of(airport="pick", harbour="pick")
    assert placed(plan, fleet, b'{"site":"harbour"}') == ["harbour", "airport", "airport"]


def test_a_hint_to_an_unknown_site_waits_for_it() -> None:
    """The task says which site it waits for, and which are known."""
    plan = plan_of({"a": {"capability": "pick", "site": "depot"}})
    assert (
        waits(plan, fleet_of(airport="pick", harbour="pick"))
        == "task a: site depot to link to the cloud (linked so far: airport, harbour)"
    )


def test_a_hint_that_cannot_be_computed_says_so() -> None:
    """An expression that fails names the task and the reason."""
    plan = plan_of({"a": {"capability": "pick", "site": "${{ inputs.order.site }}"}}, inputs={"order": {"type": "object"}})
    assert waits(plan, fleet_of(harbour="pick"), b'{"order":{}}').startswith("task a: its site cannot be computed: ")


def test_a_missing_capability_is_named() -> None:
    """The run waits and says for what: a capability, or an agent by name."""
    fleet = fleet_of(airport="pick", harbour="pack")
    assert waits(plan_of({"a": {"capability": "fly"}}), fleet) == "task a: an agent with capability fly; no site has one"
    assert waits(plan_of({"a": {"agent": "rosie"}}), fleet) == "task a: agent rosie; no site has one"


def test_without_any_site_everything_waits() -> None:
    """A fleet of nobody places nothing, waits included, and does not fail."""
    for tasks in ({"a": {"capability": "pick"}}, {"a": {"wait": {"for": "1s"}}}):
        assert waits(plan_of(tasks), Fleet()) == "a site to link to the cloud"


def test_a_site_that_has_not_greeted_since_the_start_is_given_nothing() -> None:
    """It may hold events of ours that this log has lost, so the run waits for its link and says so."""
    plan, fleet = plan_of({"a": {"capability": "pick"}}), fleet_of(harbour="pick")
    fleet.site("harbour").greeted = False
    assert "link" in waits(plan, fleet)


def test_a_named_agent_is_found_at_its_site() -> None:
    """A task for one agent goes where that agent is."""
    assert placed(plan_of({"a": {"agent": "harbour-1"}}), fleet_of(airport="pick", harbour="pick")) == ["harbour"]


def test_a_wait_goes_where_its_needs_are() -> None:
    """What nobody works on causes no hand-over."""
    tasks: dict[str, dict[str, Any]] = {
        "a": {"capability": "weigh"},
        "w": {"wait": {"for": "1s"}, "needs": ["a"]},
        "b": {"capability": "fly"},
    }
    assert placed(plan_of(tasks), fleet_of(airport="fly", harbour="weigh")) == ["harbour", "harbour", "airport"]


def test_a_site_that_has_not_greeted_yet_gets_nothing() -> None:
    """After its start the cloud does not know yet what a site may hold of its stream: it waits for the site to link."""
    fleet = fleet_of(airport="pick", harbour="pick")
    for name, site in (("airport", "harbour"), ("harbour", "")):
        fleet.site(name).greeted = False
        plan = plan_of({"a": {"capability": "pick"}})
        if site:
            assert placed(plan, fleet) == [site]
        else:
            assert waits(plan, fleet) == "a site to link to the cloud"


@pytest.mark.parametrize("reason", ["unreachable", "left"])
def test_who_is_away_is_no_capacity(reason: str) -> None:
    """A site whose agents are silent or gone gets nothing while another can do it, however busy that one is."""
    plan, fleet = plan_of({"a": {"capability": "pick"}}), fleet_of(airport="pick", harbour="pick")
    version = fleet.version
    fleet.site("harbour").open_tasks = 1_000
    fleet.evolve("airport", AgentDeparted("airport-1", reason))
    assert (fleet.site("airport").capacity, fleet.site("airport").capabilities) == (0, {})
    assert fleet.version > version
    assert placed(plan, fleet) == ["harbour"]


def test_a_run_waits_for_silent_agents_by_name() -> None:
    """If all who could do it are unreachable, none of their sites is chosen, and it says who they are and since when."""
    plan, fleet = plan_of({"a": {"capability": "pick"}}), fleet_of(airport="pick", harbour="pick", depot="pack")
    fleet.evolve("harbour", AgentDeparted("harbour-1", "unreachable"), 1_800_000_000_000)
    fleet.evolve("airport", AgentDeparted("airport-1", "unreachable"), 1_800_000_060_000)
    assert waits(plan, fleet) == (
        "task a: an agent with capability pick to come back; unreachable: "
        "harbour-1 at harbour since 2027-01-15T08:00:00Z, airport-1 at airport since 2027-01-15T08:01:00Z"
    )
    fleet.evolve("airport", AgentDeparted("airport-1", "left"))
    assert "airport-1" not in waits(plan, fleet)
    assert waits(plan_of({"a": {"agent": "harbour-1"}}), fleet).startswith("task a: agent harbour-1 to come back; unreachable: ")
    version = fleet.version
    fleet.evolve("harbour", AgentRegistered("harbour-1", "robot", "b2", ["pick"], 4))
    assert fleet.version > version
    assert placed(plan, fleet) == ["harbour"]


def test_few_of_many_silent_agents_are_named() -> None:
    """A message stays readable however many are away."""
    fleet = fleet_of(harbour="")
    for number in range(9):
        fleet.evolve("harbour", AgentRegistered(f"robot-{number}", "robot", "b1", ["pick"], 4))
        fleet.evolve("harbour", AgentDeparted(f"robot-{number}", "unreachable"), number * 1_000)
    told = waits(plan_of({"a": {"capability": "pick"}}), fleet)
    assert told.endswith("robot-4 at harbour since 1970-01-01T00:00:04Z, and 4 more")


def test_a_fleet_comes_back_from_its_snapshot() -> None:
    """Agents, capabilities and the definitions that sites know; links do not."""
    fleet = fleet_of(airport="pick", harbour="pack weigh", depot="")
    fleet.site("harbour").definitions |= {"b@1", "a@1"}
    fleet.evolve("harbour", AgentDeparted("harbour-1", "unreachable"), 77)
    again = Fleet()
    again.restore(fleet.save())
    assert again.save() == fleet.save()
    assert again.site("harbour").capabilities == fleet.site("harbour").capabilities
    assert again.site("harbour").agents["harbour-1"].since == 77


skills = st.lists(st.sampled_from(["pick", "pack"]), unique=True).map(" ".join)


@given(documents(), skills, skills, skills, st.lists(st.booleans(), min_size=3, max_size=3))
def test_a_task_is_placed_only_where_it_can_be_done(
    tasks: dict[str, dict[str, Any]], airport: str, depot: str, harbour: str, links: list[bool]
) -> None:
    """Every task or none is placed; each at a site that has what it asks for; and something is waited for only if no site
    has it."""
    plan, fleet = plan_of(tasks), fleet_of(airport=airport, depot=depot, harbour=harbour)
    for name, is_linked in zip(("airport", "depot", "harbour"), links, strict=True):
        fleet.site(name).linked = is_linked
    placement = place(plan, b"{}", fleet)
    wanted = {task.capability for task in plan.tasks} - {""}
    missing = {capability for capability in wanted if not any(capability in site.capabilities for site in fleet.sites.values())}
    if isinstance(placement, Unplaceable):
        assert any(capability in placement.waits_for for capability in missing)
        return
    assert not missing
    for task, index in zip(plan.tasks, placement.places, strict=True):
        assert not task.capability or task.capability in fleet.site(placement.sites[index]).capabilities
