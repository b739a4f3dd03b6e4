"""What levels may decide at a site without sockets: by count, by cost, among whom, how long, and without the level above."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.coordinating.mandates import Mandates
from edge.leading.inputs import AskLeader
from edge.voting.inputs import AgentVoted, ProposeVotes, Said
from sync.levels import Level
from tests.edge.mandate_twin import accounts
from tests.edge.site import Site
from tests.edge.test_hierarchical import NORTH, SOUTH, answer, detail, halls, keep, levels, release
from tests.workflow.plans import plan_of
from workflow.contract import Contract
from workflow.coordination_events import MandateEnded, MandateGiven, TaskAwarded, TaskDelegated, TaskEscalated
from workflow.orders import ChangeCoordination
from workflow.tasks import CoordinationPlan, LevelPlan

OFFER = {"level": "agent", "protocol": "offer", "wait": "2s"}


def with_agents(agent: dict[str, Any], site: dict[str, Any] | None = None, **group: Any) -> dict[str, Any]:
    found = levels(site, **group)
    found["levels"].append(agent)
    return found


def bidders(**costs: float) -> Site:
    """Agents of the north that answer offers themselves; `costs` are what they would ask."""
    site = Site()
    for name in costs:
        site.join(name, capacity=4, labels=NORTH, features=("bids",))
    return site


def spent(site: Site, *path: str, run: str = "r1") -> tuple[int, float]:
    """Tasks and costs of a level."""
    account = site.core.mandates.spent[run].level(("harbour", *path)).spent
    return account.tasks, account.cost


def escalated(site: Site, run: str | None = None) -> list[tuple[str, str, str]]:
    return [(event.level, event.to, event.reason) for event in site.events(TaskEscalated, run)]


# Counts and costs ---------------------------------------------------------------------------------------------------------


def test_a_task_that_is_awarded_again_counts_once() -> None:
    """Its agent gave it back: the award came to nothing, and the budget of one task is there again, with its cost."""
    site = halls(anna={**NORTH, "cost": "3"}, ben={**NORTH, "cost": "3"})
    release(site, levels({"budget": {"tasks": 1, "cost": 3}}))
    (robot,) = [robot for robot in site.robots.values() if robot.hands]
    assert spent(site) == spent(site, "north") == (1, 3.0)
    robot.decline(robot.key())
    site.report(robot)
    assert spent(site) == (0, 0.0)
    for _ in range(20):
        keep(site, 3_000)
    assert site.states() == ["running"]
    assert len(site.events(TaskAwarded)) == 2
    assert spent(site) == (1, 3.0)
    assert site.events(TaskEscalated) == []


def test_an_attempt_that_has_failed_was_paid_for() -> None:
    """It counts as one task, and costs twice; the second attempt would be one too much for the cost, and the site says so."""
    site = halls(anna={**NORTH, "cost": "3"})
    release(site, levels({"budget": {"tasks": 1, "cost": 5}}))
    robot = site.robots["anna"]
    robot.fail(robot.key())
    site.report(robot)
    for _ in range(5):
        keep(site, 3_000)
    assert spent(site) == (1, 3.0)
    (told,) = site.events(TaskEscalated)
    assert (told.level, told.name, told.to, told.reason) == ("site", "harbour", "cloud", "budget")
    assert told.whose == ("site harbour",)
    assert "site harbour has spent 3 of the 5 that it may: 3 more are too much" in told.message


def test_what_is_given_back_wakes_who_waits_for_a_budget() -> None:
    """The other task has it at once, and not when the site would have tried again."""
    site = halls(anna=NORTH)
    release(site, levels({"budget": 1}), tasks=2)
    assert sorted(site.states()) == ["ready", "running"]
    robot = site.robots["anna"]
    robot.decline(robot.key(task=site.states().index("running")))
    site.report(robot)
    assert site.states()[1] == "running"


def test_what_is_decided_at_the_same_time_is_within_the_budget() -> None:
    """Three tasks are auctioned together; the first takes the last of it, and the site is named, whose budget it is."""
    site = bidders(anna=1, ben=1)
    release(site, levels({"budget": 1}, protocol="auction", window="10ms"), tasks=3)
    keep(site, 20)
    for task in range(3):
        for robot in site.robots.values():
            site.bid(robot, 1.0, task=task)
    keep(site, 20)
    assert sorted(site.states()) == ["ready", "ready", "running"]
    assert {(event.level, event.name, event.whose) for event in site.events(TaskEscalated)} == {
        ("site", "harbour", ("site harbour",))
    }


def test_no_bid_above_what_is_left_is_taken() -> None:
    """The group may spend 10: the first task costs 6, nobody does the second for 4, and the group is named."""
    site = bidders(anna=6, ben=7)
    release(site, levels(protocol="auction", budget={"cost": 10}, window="10ms", rounds=1), tasks=1, run="r1")
    keep(site, 20)
    site.bid(site.robots["anna"], 6.0)
    site.bid(site.robots["ben"], 7.0)
    keep(site, 20)
    assert (detail(site)["cost"], detail(site)["path"]) == (6.0, ["harbour", "north"])
    assert spent(site, "north") == (1, 6.0)
    site.done(site.robots["anna"])
    assert site.outcome() == "completed"
    run = {"first": {}, "second": {"needs": ["first"]}}
    said = levels(protocol="auction", budget={"cost": 10}, window="10ms", rounds=1)
    site.release(plan_of({name: {"coordination": said, **task} for name, task in run.items()}, name="two"), "r2")
    for task in range(2):
        keep(site, 20)
        for name, cost in (("anna", 6.0), ("ben", 7.0)):
            site.bid(site.robots[name], cost, run="r2", task=task)
        for _ in range(3):
            keep(site, 500)
        if task == 0:
            site.done(site.robots["anna"], "r2", 0)
    assert site.robots["anna"].refused == ["above_price_max"]
    told = site.events(TaskEscalated, "r2")
    assert [(event.level, event.to, event.reason) for event in told] == [
        ("group", "harbour", "budget"),
        ("site", "cloud", "budget"),
    ]
    assert told[0].whose == told[1].whose == ("group north",)
    assert "group north has 4 of its budget left" in told[1].message


def test_an_agent_that_asks_too_much_is_passed_over() -> None:
    """Handed out directly, the price is what the agent asks: of two the dearer is the idle one."""
    site = halls(anna={**NORTH, "cost": "2"}, ben={**NORTH, "cost": "50"})
    release(site, levels(budget={"cost": 20}), tasks=2)
    assert {name: len(robot.hands) for name, robot in site.robots.items()} == {"anna": 2, "ben": 0}
    assert spent(site, "north") == (2, 5.0)  # Half busy, it asks half as much again.


def test_a_person_gives_new_mandates() -> None:
    """Of a higher epoch: what was spent under the one before does not count. For one task alone it is the same mandate."""
    site = halls(anna=NORTH)
    release(site, levels({"budget": 1}), tasks=3)
    before = site.core.mandates.spent["r1"].epoch
    assert sorted(site.states()) == ["ready", "ready", "running"]
    plan = CoordinationPlan(
        "hierarchical",
        levels=(
            LevelPlan("site", CoordinationPlan("direct"), budget=1),
            LevelPlan("group", CoordinationPlan("direct"), by="hall"),
        ),
    )
    assert site.order(ChangeCoordination(plan, "t2")) == "accepted"
    assert site.core.mandates.spent["r1"].epoch == before
    assert site.order(ChangeCoordination(plan)) == "accepted"
    assert site.core.mandates.spent["r1"].epoch > before
    assert sorted(site.states()) == ["ready", "running", "running"]
    site.restart()
    assert site.core.mandates.spent["r1"].epoch > before
    assert spent(site) == (1, 1.5)


# Scopes -------------------------------------------------------------------------------------------------------------------


def test_a_scope_says_on_what_and_among_whom() -> None:
    """The site may use the south alone, and the south may not decide on what it was not told."""
    site = halls(anna=NORTH, cleo=SOUTH)
    release(site, levels({"scope": {"groups": ["south"]}}))
    assert {name: len(robot.hands) for name, robot in site.robots.items()} == {"anna": 0, "cleo": 1}
    release(site, levels({"scope": {"groups": ["east"]}}), run="r2")
    assert escalated(site, "r2") == [("site", "cloud", "out_of_scope")]
    assert "site harbour may choose among east alone" in site.events(TaskEscalated, "r2")[0].message
    release(site, levels(scope={"capabilities": ["paint"]}), run="r3")
    told = site.events(TaskEscalated, "r3")
    assert escalated(site, "r3")[-1] == ("site", "cloud", "out_of_scope")
    assert told[-1].whose == ("group north", "group south")
    release(site, levels(scope={"agents": ["anna"]}), tasks=1, run="r4")
    assert [key.run for key in site.robots["anna"].hands] == ["r4"]


# Ends ---------------------------------------------------------------------------------------------------------------------


def chain(**group: Any) -> Any:
    """Two tasks with 60 s between them, under a mandate that is given with the first."""
    said = levels(**group)
    return plan_of(
        {
            "first": {"coordination": said},
            "later": {"wait": {"for": 60}, "needs": ["first"]},
            "last": {"needs": ["later"], "coordination": said},
        }
    )


@pytest.mark.parametrize(("expires", "reasons"), [("50s", ["expired"]), ("80s", [])])
@pytest.mark.parametrize("by_ms", [0, 3_600_000, -3_600_000])
def test_a_mandate_keeps_its_length(expires: str, reasons: list[str], by_ms: int) -> None:
    """Over restarts, which take time, and over a clock that is set an hour forth or back: 60 s are 60 s."""
    site = halls(anna=NORTH)
    site.release(chain(expires=expires))
    site.turn()
    (told,) = site.events(MandateGiven)
    assert (told.level, told.path, told.until_ms) == (
        "group",
        ("harbour", "north"),
        site.clock.wall_ms + int(expires[:-1]) * 1_000,
    )
    site.done(site.robots["anna"])
    keep(site, 15_000)
    site.clock.wall_ms += by_ms
    site.turn()
    keep(site, 9_000)
    site.restart()
    site.join("anna")
    keep(site, 18_000)
    site.restart()
    site.join("anna")
    keep(site, 24_000)
    assert [event.reason for event in site.events(TaskEscalated)] == reasons
    assert [event.path for event in site.events(MandateEnded)] == [("harbour", "north")] * bool(reasons)
    assert site.states()[2] == ("ready" if reasons else "running")


def test_the_end_of_a_mandate_is_that_of_its_level() -> None:
    """The site's own is over, and not that of its group: the site is named."""
    site = halls(anna=NORTH)
    said = levels({"expires": "30s"}, expires="1h")
    site.release(plan_of({"a": {"coordination": said}, "b": {"wait": {"for": 40}}, "c": {"needs": ["b"], "coordination": said}}))
    site.turn()
    keep(site, 48_000)
    (told,) = site.events(TaskEscalated)
    assert (told.level, told.whose, told.message) == ("site", ("site harbour",), "the mandate of site harbour has expired")


def test_a_mandate_of_a_run_that_has_ended_leaves_nothing() -> None:
    """No count and no timer."""
    site = halls(anna=NORTH)
    release(site, levels(expires="60s"))
    assert site.driver.due() is not None
    site.done(site.robots["anna"])
    assert site.outcome() == "completed"
    assert site.core.mandates.spent == {}
    assert site.driver.due() is None


# Agents -------------------------------------------------------------------------------------------------------------------


def test_an_agent_takes_a_task_or_leaves_it() -> None:
    """It is offered to the one that the group has chosen; who leaves it is not asked again, and the next one is."""
    site = bidders(anna=1, ben=1)
    release(site, with_agents(OFFER))
    assert [event.to for event in site.events(TaskDelegated)] == ["north", "anna"]
    assert site.robots["ben"].offers == []
    site.bid(site.robots["anna"], accepted=False)
    keep(site, 200)
    assert escalated(site) == [("agent", "north", "rejected")]
    site.bid(site.robots["ben"], 4.0)
    site.turn()
    assert len(site.robots["ben"].hands) == 1
    assert (detail(site)["cost"], detail(site)["path"]) == (4.0, ["harbour", "north", "ben"])
    assert "anna could not: rejected" in detail(site)["reason"]


def test_what_all_agents_leave_goes_up_to_the_cloud() -> None:
    """Agent, group, site: each says who has it next, and why."""
    site = bidders(anna=1)
    release(site, with_agents(OFFER))
    site.bid(site.robots["anna"], accepted=False)
    keep(site, 200)
    assert escalated(site) == [("agent", "north", "rejected"), ("group", "harbour", "rejected"), ("site", "cloud", "rejected")]
    assert "anna does not take it" in site.events(TaskEscalated)[-1].message


def test_an_agent_has_a_mandate_of_its_own() -> None:
    """One task of the run each; the third is nobody's."""
    site = halls(anna=NORTH, ben=NORTH)
    release(site, with_agents({"level": "agent", "protocol": "direct", "budget": 1}), tasks=3)
    assert {name: len(robot.hands) for name, robot in site.robots.items()} == {"anna": 1, "ben": 1}
    assert sorted(site.states()) == ["ready", "running", "running"]
    told = site.events(TaskEscalated)
    assert told[-1].to == "cloud"
    assert told[-1].reason == "budget"
    assert {name for event in told if event.level == "group" for name in event.whose} == {"agent anna", "agent ben"}


# Without the level above --------------------------------------------------------------------------------------------------


def led(**group: Any) -> dict[str, Any]:
    """A site whose leader says which group decides."""
    return levels({"protocol": "leader", "group": {"name": "yard", "capability": "work"}, "wait": "5s"}, **group)


def test_the_leader_of_a_site_says_which_group_decides() -> None:
    """Whom it names stands for his group, which decides by its own protocol."""
    site = halls(anna=NORTH, ben=NORTH, cleo=SOUTH)
    release(site, led())
    answer(site, "anna", {"r1/0": "cleo"})
    site.turn()
    (told,) = site.events(TaskDelegated)
    assert (told.to, told.protocol) == ("south", "leader")
    assert len(site.robots["cleo"].hands) == 1
    assert detail(site)["path"] == ["harbour", "south"]


def test_agents_vote_which_group_decides() -> None:
    """Whom they choose stands for his group, which decides by its own protocol."""
    site = Site()
    for name, labels in (("anna", NORTH), ("ben", NORTH), ("cleo", SOUTH)):
        site.join(name, capacity=2, labels=labels, features=("votes",))
    release(site, levels({"protocol": "consensus", "wait": "5s"}))
    for robot in site.robots.values():
        asked = [item for order in robot.heard if isinstance(order, ProposeVotes) for item in order.items]
        site.turn(AgentVoted(robot.session, robot.name, [Said(asked[-1].ballot, asked[-1].epoch, "cleo")]))
    site.turn()
    assert [(event.to, event.protocol) for event in site.events(TaskDelegated)] == [("south", "consensus")]
    assert detail(site)["path"] == ["harbour", "south"]
    assert len(site.robots["cleo"].hands) == 1


@pytest.mark.parametrize(("on_loss", "is_done"), [("continue", True), ("finish", False), ("hold", False)])
def test_groups_without_their_site_do_what_their_mandate_allows(on_loss: str, is_done: bool) -> None:
    """Its leader is silent: groups go on, or leave it to the cloud. `finish` goes on with what a group has begun."""
    site = halls(anna=NORTH, cleo=SOUTH)
    release(site, led(on_loss=on_loss), tasks=1)
    for _ in range(8):
        keep(site, 3_000)
    assert site.states() == ["running" if is_done else "ready"]
    if is_done:
        assert site.events(TaskDelegated)[-1].reason == (
            "anna, who leads yard, has not answered; north goes on by its mandate (continue)"
        )
        assert detail(site)["path"] == ["harbour", "north"]
        return
    told = site.events(TaskEscalated)[-1]
    assert (told.level, told.to, told.reason) == ("site", "cloud", "no_decision")
    assert f"nobody below may begin anything new ({on_loss})" in told.message


def test_a_group_that_has_begun_a_run_may_finish_it() -> None:
    """`finish`: the north had the first task; the second goes there, though the south is idle and nobody leads the site."""
    site = halls(anna=NORTH, cleo=SOUTH)
    release(site, led(on_loss="finish"), tasks=2)
    answer(site, "anna", {"r1/0": "anna"})
    site.turn()
    for _ in range(9):
        keep(site, 3_000)
    assert {name: len(robot.hands) for name, robot in site.robots.items()} == {"anna": 2, "cleo": 0}


# Held back ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("versions", [1, 2])
@pytest.mark.parametrize("otherwise", ["wait", "direct"])
def test_a_bounded_run_is_not_decided_again_and_again(otherwise: str, versions: int) -> None:
    """The cloud may lack so many events: each delegation is one, so the award is held back until it has them, and then made as
    it was decided; so is what is done instead of asking the cloud."""
    site = bidders(anna=1, ben=1)
    site.link()
    said = {**with_agents(OFFER, budget={"cost": 0} if otherwise == "direct" else {"tasks": 9}), "otherwise": otherwise}
    plan = plan_of({"a": {"coordination": said}}, name="bounded")
    site.release(plan, contract=Contract(Level("bounded", versions=versions)))
    site.turn()
    for _ in range(6):
        for robot in site.robots.values():
            if robot.offers:
                site.bid(robot, 1.0)
        site.hold()
        keep(site, 500)
        site.hold()
    assert site.states() == ["running"]
    assert len(site.events(TaskDelegated)) == (2 if otherwise == "wait" else 1)
    assert len(site.events(TaskEscalated)) == (0 if otherwise == "wait" else 2)
    assert len(site.events(TaskAwarded)) == 1


# Stories of chance --------------------------------------------------------------------------------------------------------

AGENTS = {"anna": ("north", "1"), "ben": ("north", "2.5"), "cleo": ("south", "4")}
WHAT = ["finish", "decline", "decline", "fail", "leave", "join", "join", "pass", "restart", "bid", "bid", "plan"]
SITE_MAX, GROUP_MAX, AGENT_MAX = (6, 11.0), (4, 7.0), 3


def budget(tasks: int, cost: float) -> dict[str, Any]:
    return {"tasks": tasks, "cost": cost}


def come(site: Site, name: str) -> None:
    hall, cost = AGENTS[name]
    if name not in site.robots or not site.robots[name].connected:
        site.join(name, capacity=2, labels={"hall": hall, "cost": cost}, features=("bids", "leads"))


def happen(site: Site, what: str, name: str, number: int) -> None:
    robot = site.robots[name]
    key = sorted(robot.hands)[number % len(robot.hands)] if robot.hands else None
    match what:
        case "finish" | "decline" | "fail" if key is not None and robot.connected:
            getattr(robot, what)(key)
            site.report(robot)
        case "leave" if robot.connected:
            site.hang_up(robot)
        case "join":
            come(site, name)
        case "restart":
            site.restart()
        case "bid" if robot.connected and robot.offers:
            for lot in robot.offers[-1].lots:
                site.bid(robot, float(number), run=lot.key.run, task=lot.key.task, accepted=number != 5)
        case "plan" if robot.connected and any(isinstance(order, AskLeader) for order in robot.heard):
            answer(site, name, {f"r1/{task}": sorted(AGENTS)[number % 3] for task in range(8)})
        case _:
            keep(site, 500 + 1_000 * number)
    site.turn()


def check_budgets(site: Site) -> None:
    """By the log alone: what stands of the awards is within each budget, and is what the site counts."""
    rows = [(path, spending.spent) for path, spending in site.core.mandates.spent["r1"].levels.items()]
    for path, account in rows:
        most = (SITE_MAX, SITE_MAX, GROUP_MAX, (AGENT_MAX, 1e9))[len(path)]
        assert account.tasks <= most[0], f"{path} has decided {account.tasks} tasks"
        assert account.cost <= most[1], f"{path} has spent {account.cost}"
    twin = accounts(site)
    assert {path: account.awards for path, account in twin.items()} == {path: each.awards for path, each in rows if each.awards}
    assert all(abs(account.cost - twin[path].cost) < 1e-4 for path, account in rows if account.awards)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(st.sampled_from(WHAT), st.sampled_from(sorted(AGENTS)), st.integers(0, 5)), max_size=40),
    st.sampled_from(["direct", "auction", "leader"]),
)
def test_never_more_is_awarded_than_the_budgets_allow(happenings: list[tuple[str, str, int]], protocol: str) -> None:
    """Whatever agents take, leave, fail or give back, over restarts; and what the site counts follows from its log."""
    site = Site()
    for name in AGENTS:
        come(site, name)
    agent = {"level": "agent", "protocol": "direct" if protocol == "leader" else "offer", "budget": AGENT_MAX}
    group = {"protocol": protocol, "budget": budget(*GROUP_MAX), **({"wait": "3s"} if protocol != "direct" else {})}
    release(site, with_agents(agent, {"budget": budget(*SITE_MAX)}, **group), tasks=8, effect="repeatable")
    for what, name, number in happenings:
        happen(site, what, name, number)
        if "r1" in site.core.mandates.spent:
            check_budgets(site)
    kept = site.core.mandates.save()
    again = Mandates(site.core.home)
    if kept:
        again.restore(kept)
    assert again.spent == site.core.mandates.spent
