"""What nobody at a site may decide goes on at another site, or becomes a person's; through real cores, Drivers and sessions."""

from typing import Any

from cloud.control.open import open_incidents
from cloud.coordinating.mandates import mandates_of
from cloud.escalating.mandates import CloudMandates
from cloud.explain.core import explained
from cloud.views import LinkView
from tests.test_moving import hands, move, other, where
from tests.two_tiers import SITES, Tiers
from tests.workflow.plans import plan_of
from workflow.coordination_events import TaskEscalated
from workflow.events import decode
from workflow.steering_events import IncidentOpened

LEVELS: dict[str, Any] = {
    "protocol": "hierarchical",
    "levels": [{"level": "site", "protocol": "direct", "budget": 1}, {"level": "group", "protocol": "direct"}],
}


def chain(*names: str, cloud: dict[str, Any] | None = None) -> Tiers:
    """A cloud and two sites, and a run of tasks one after the other, of which each site may decide one."""
    tasks = {
        name: {"capability": "pick", "needs": [before] if before else []}
        for before, name in zip(("", *names), names, strict=False)
    }
    above = [{"level": "cloud", "protocol": "direct", **cloud}] if cloud is not None else []
    return Tiers([plan_of(tasks, coordination={**LEVELS, "levels": [*above, *LEVELS["levels"]]})])


def finish(world: Tiers, run: str) -> str:
    """Whoever works on the run is done: at which site."""
    ((site, robot),) = hands(world, run)
    (key,) = [key for key in robot.hands if key.run == run]
    robot.finish(key)
    world.wires[site].site.report(robot)
    world.drain()
    return site


def escalated(world: Tiers, run: str) -> list[TaskEscalated]:
    rows = [decode(row.kind, row.payload) for row in world.cloud.log.disk.rows if row.run == run]
    return [event for event in rows if isinstance(event, TaskEscalated)]


def test_a_run_goes_on_at_a_site_that_has_a_mandate() -> None:
    """The first site may decide one task; the second task is done at the other, under the next epoch of the run."""
    world = chain("a", "b")
    (run,) = world.runs
    first = where(world, run)
    assert finish(world, run) == first
    assert where(world, run) == other(first)
    assert finish(world, run) == other(first)
    assert world.cloud.outcome(run) == "completed"
    assert [(event.to, event.reason) for event in escalated(world, run)] == [("cloud", "budget")]
    world.check_equal()


def test_what_no_site_may_decide_is_an_incident() -> None:
    """Both sites have tried: a person sees what, where and why, and a second word of the site changes nothing."""
    world = chain("a", "b", "c")
    (run,) = world.runs
    for _ in range(2):
        finish(world, run)
    (incident,) = open_incidents(world.known(run))
    assert (incident.task, incident.code, incident.site) == ("c", "budget", where(world, run))
    assert "no other site" in incident.message
    assert "retry" in incident.allowed
    site = world.wires[where(world, run)].site
    site.pass_ms(1_000)
    world.drain()
    assert len(site.events(IncidentOpened)) == 1
    assert world.cloud.planner.parts.save().keys() >= {"escalations"}
    world.check_equal()


def test_the_cloud_is_not_asked_where_the_site_does_something_else() -> None:
    """`otherwise: direct`: the task goes to whoever has room, and the run stays; it is neither moved nor an incident."""
    levels = {**LEVELS, "otherwise": "direct"}
    tasks: dict[str, dict[str, Any]] = {"a": {"capability": "pick"}, "b": {"capability": "pick", "needs": ["a"]}}
    world = Tiers([plan_of(tasks, coordination=levels)])
    (run,) = world.runs
    first = finish(world, run)
    assert [event.reason for event in escalated(world, run)] == ["budget"]
    assert finish(world, run) == first
    assert world.cloud.outcome(run) == "completed"
    assert world.wires[first].site.events(IncidentOpened) == []


def test_an_escalation_waits_for_the_link() -> None:
    """Cut off, the task waits at its site; when the cloud hears of it, the run goes on elsewhere."""
    world = chain("a", "b")
    (run,) = world.runs
    first = where(world, run)
    wire = world.wires[first]
    wire.cut()
    ((_, robot),) = hands(world, run)
    (key,) = list(robot.hands)
    robot.finish(key)
    wire.site.report(robot)
    assert [event.reason for event in wire.site.events(TaskEscalated)] == ["budget"]
    assert escalated(world, run) == []
    wire.link()
    world.drain()
    assert where(world, run) == other(first)
    assert finish(world, run) == other(first)
    assert world.cloud.outcome(run) == "completed"


def test_the_cloud_has_a_mandate_too() -> None:
    """Of a budget of two tasks each site may decide one: the third is a person's, and the level that is named is the cloud."""
    world = chain("a", "b", "c", "d", cloud={"budget": 2})
    (run,) = world.runs
    for _ in range(2):
        finish(world, run)
    (incident,) = open_incidents(world.known(run))
    assert (incident.task, incident.code) == ("c", "budget")
    assert "cloud has decided 2 of the 2 tasks that it may" in incident.message
    mandates = world.cloud.planner.escalations.mandates
    assert mandates.whole(world.known(run)).tasks == 2
    assert {site: each.level((site,)).spent.tasks for site, each in mandates.books[run].items()} == {"harbour": 1, "airport": 1}


def test_a_site_decides_within_what_the_cloud_has_left() -> None:
    """Sites have no bounds of their own: the run moves by a person's order, and the second site knows what the first spent."""
    levels = [{"level": "cloud", "protocol": "direct", "budget": {"tasks": 3}}, {"level": "site", "protocol": "direct"}]
    names = ("a", "b", "c", "d")
    tasks = {
        name: {"capability": "pick", "needs": [before] if before else []}
        for before, name in zip(("", *names), names, strict=False)
    }
    world = Tiers([plan_of(tasks, coordination={"protocol": "hierarchical", "levels": levels})])
    (run,) = world.runs
    first = finish(world, run)
    assert isinstance(move(world, run), str)
    world.drain()
    finish(world, run)
    assert where(world, run) == other(first)
    world.wires[where(world, run)].site.restart()
    world.wires[where(world, run)].ends = None
    world.wires[where(world, run)].link()
    world.drain()
    for name in SITES[where(world, run)]:
        world.wires[where(world, run)].site.join(name)
    finish(world, run)
    (incident,) = open_incidents(world.known(run))
    assert (incident.task, incident.code) == ("d", "budget")
    told = escalated(world, run)[-1]
    assert (told.level, told.name, told.to, told.whose) == ("site", other(first), "cloud", ("cloud",))
    assert "cloud has decided 3 of the 3 tasks that it may" in incident.message


def test_what_was_spent_counts_for_a_home_that_has_not_heard_of_it_yet() -> None:
    """Told once more, it would be told the same."""
    world = chain("a", "b", cloud={"budget": 9})
    (run,) = world.runs
    first = where(world, run)
    ((_, robot),) = hands(world, run)
    (key,) = list(robot.hands)
    robot.finish(key)
    world.wires[first].site.report(robot)
    while where(world, run) == first:
        assert world.wires[first].send(1)
    mandates = world.cloud.planner.escalations.mandates
    assert run not in world.wires[other(first)].site.core.fragments
    assert mandates.whole(world.known(run)).tasks == 1
    (held,) = mandates_of(mandates, world.known(run))[:1]
    assert (held.level, held.tasks_used, held.tasks_left) == ("cloud", 1, 8)
    world.drain()
    assert world.wires[other(first)].site.core.mandates.spent[run].level(()).spent.tasks == 2


def test_it_is_explained_whose_budget_is_spent() -> None:
    """Of a task that waits, until the run has begun to move; then why that moves."""
    tasks: dict[str, dict[str, Any]] = {"a": {"capability": "pick"}, "b": {"capability": "pick"}}
    world = Tiers([plan_of(tasks, coordination=LEVELS)])
    world.start(0)
    run, mandates = world.runs[-1], world.cloud.planner.escalations.mandates
    while not mandates.books.get(run):
        assert [wire.send(1) for wire in world.wires.values()]
    site = where(world, run)
    while not mandates.books[run][site].level((site,)).spent.tasks:
        assert [wire.send(1) for wire in world.wires.values()]

    def why() -> str:
        view = explained(world.cloud.planner, world.known(run), lambda name: LinkView("up", 0))
        return " ".join(reason.why for reason in view.sites[0].reasons if reason.task == "b")

    assert f"site {site} has used 1 of 1 tasks" in why()
    shown = {(each.level, each.name): each for each in mandates_of(mandates, world.known(run))}
    assert (shown[("site", site)].state, shown[("site", site)].by, shown[("group", "-")].state) == ("spent", "cloud", "open")
    world.drain()
    assert f"{site} could not decide b (budget: site {site} has decided 1 of the 1 tasks that it may)" in why()


def test_a_run_stays_where_the_cloud_may_send_it() -> None:
    """The other site could do it, and is not in the cloud's scope."""
    world = chain("a", "b", cloud={"scope": {"sites": ["airport"]}})
    (run,) = world.runs
    assert finish(world, run) == "airport"
    (incident,) = open_incidents(world.known(run))
    assert (incident.site, incident.code) == ("airport", "budget")
    assert "it may be at airport alone" in incident.message


def test_both_sides_count_alike() -> None:
    """What a site has spent, the cloud has folded from its events; over a snapshot of either, too."""
    world = chain("a", "b")
    (run,) = world.runs
    site = world.wires[where(world, run)].site
    mandates, planner = site.core.mandates, world.cloud.planner
    assert mandates.spent[run].levels
    assert planner.escalations.mandates.books[run][site.name] == mandates.spent[run]
    again = CloudMandates(planner)
    again.restore(planner.escalations.mandates.save())
    assert again.books == planner.escalations.mandates.books
    finish(world, run)
    finish(world, run)
    assert planner.escalations.mandates.books == {}
