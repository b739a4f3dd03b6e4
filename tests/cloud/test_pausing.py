"""Pausing sites at the planner: what is recorded, whom it reaches when, and where new runs go meanwhile."""

import pytest

from cloud.explain.core import explained
from cloud.pausing.inputs import OrderSitePause, SitePauseSettled
from cloud.port import Problem
from cloud.views import LinkView
from tests.cloud.control import Control
from tests.workflow.plans import plan_of
from workflow.site_events import SitePauseOrdered, SitePauseTaken

PICK = plan_of({"a": {"capability": "pick"}}, name="one")
PINNED = plan_of({"a": {"capability": "pick", "site": "harbour"}}, name="pinned")


@pytest.fixture
def cloud() -> Control:
    cloud = Control()
    cloud.join("harbour", "pick", agent="anna")
    cloud.join("airport", "pick", agent="bert")
    return cloud


def order(cloud: Control, site: str = "harbour", *, paused: bool = True, reason: str = "tide") -> str:
    command = cloud.ask(lambda token: OrderSitePause(token, site, paused, reason))
    assert isinstance(command, str), command
    return command


def take(cloud: Control, site: str = "harbour") -> None:
    """The site does what it was told, as the edge does."""
    outpost = cloud.outposts[site]
    for _, event in [each for each in outpost.inbox if isinstance(each[1], SitePauseOrdered)]:
        assert isinstance(event, SitePauseOrdered)
        outpost.say("", SitePauseTaken(event.command, event.paused, 7))
    outpost.inbox.clear()
    cloud.hear(site)


def state(cloud: Control, site: str = "harbour") -> str:
    pause = cloud.planner.fleet.site(site).pause
    return pause.state if pause is not None else "active"


def sites_of(cloud: Control, *runs: str) -> list[str]:
    return [site for run in runs for site in cloud.planner.runs[run].sites]


def test_a_site_is_paused_when_it_says_so_and_avoided_from_the_order_on(cloud: Control) -> None:
    """New runs go elsewhere at once, and come back when it is to go on."""
    command = order(cloud)
    assert state(cloud) == "pausing"
    runs = cloud.start(PICK, 4)
    assert sites_of(cloud, *runs) == ["airport"] * 4
    take(cloud)
    assert state(cloud) == "paused"
    assert [e.command for e in cloud.sent if isinstance(e, SitePauseSettled)] == [command]
    order(cloud, paused=False)
    assert state(cloud) == "resuming"
    assert sites_of(cloud, *cloud.start(PICK)) == ["harbour"]
    take(cloud)
    assert state(cloud) == "active"


def test_what_only_a_paused_site_can_do_waits_and_says_so(cloud: Control) -> None:
    """Pinned to it, or for want of others; it is placed as soon as the site is to go on."""
    order(cloud)
    (pinned,) = cloud.start(PINNED)
    said = "site harbour is paused by an operator since 2027-01-15T08:00:00Z (tide): resume it"
    assert cloud.planner.runs[pinned].waits_for == f"task a: {said}"
    order(cloud, "airport", reason="")
    (run,) = cloud.start(PICK)
    other = "site airport is paused by an operator since 2027-01-15T08:00:00Z: resume it"
    assert cloud.planner.runs[run].waits_for == f"a site that is not paused; {other}; {said}"
    order(cloud, "airport", paused=False)
    assert sites_of(cloud, run) == ["airport"]
    order(cloud, "harbour", paused=False)
    assert sites_of(cloud, pinned) == ["harbour"]


def test_what_lacks_a_capability_names_paused_sites_too(cloud: Control) -> None:
    """The one that has it may be paused."""
    cloud.join("harbour", "weigh", agent="carl")
    order(cloud)
    (run,) = cloud.start(plan_of({"a": {"capability": "weigh"}}, name="weigh"))
    said = cloud.planner.runs[run].waits_for
    assert said.startswith("task a: an agent with capability weigh; no site has one; site harbour is paused by an operator")


def test_asked_again_nothing_is_recorded(cloud: Control) -> None:
    """The answer is the order that is on its way; to resume what is active is nothing at all."""
    assert order(cloud, paused=False) == ""
    first = order(cloud)
    before = len(cloud.log.disk.rows)
    assert order(cloud, reason="other") == first
    assert len(cloud.log.disk.rows) == before


def test_an_unknown_site_is_refused(cloud: Control) -> None:
    """With those that are known."""
    refused = cloud.ask(lambda token: OrderSitePause(token, "moon", True, ""))
    assert isinstance(refused, Problem)
    assert (refused.code, refused.detail) == ("site_unknown", "site moon is not known (known: airport, harbour)")


def test_a_site_that_has_not_greeted_learns_of_it_when_it_does(cloud: Control) -> None:
    """The cloud writes into its stream only then; of several orders the last alone counts."""
    cloud.begin_anew()
    cloud.turn()
    cloud.link("airport")
    order(cloud)
    order(cloud, paused=False)
    last = order(cloud)
    assert not [kind for _, kind in cloud.said_to("harbour") if kind == "SitePauseOrdered"]
    cloud.link("harbour")
    told = [event for _, event in cloud.outposts["harbour"].inbox if isinstance(event, SitePauseOrdered)]
    assert [(event.command, event.paused) for event in told] == [(last, True)]
    cloud.link("harbour")
    assert len([kind for _, kind in cloud.said_to("harbour") if kind == "SitePauseOrdered"]) == 1


@pytest.mark.parametrize("snapshot", [False, True])
def test_a_restart_knows_which_sites_are_paused(cloud: Control, snapshot: bool) -> None:
    """In whichever state the order was, folded or from a snapshot."""
    order(cloud)
    for expected in ("pausing", "paused"):
        if snapshot:
            cloud.snapshot()
        pause = cloud.planner.fleet.site("harbour").pause
        cloud.restart()
        assert (state(cloud), cloud.planner.fleet.site("harbour").pause) == (expected, pause)
        assert sites_of(cloud, *cloud.start(PICK)) == ["airport"]
        take(cloud)
    order(cloud, paused=False)
    take(cloud)
    cloud.restart()
    assert state(cloud) == "active"


def test_an_order_that_the_cloud_lost_is_known_from_the_stream_for_the_site(cloud: Control) -> None:
    """Folded from there alone, the last one counts."""
    pauses = cloud.planner.pauses
    for number, paused in enumerate((True, False, True)):
        pauses._fold_ordered("harbour", "", SitePauseOrdered("harbour", f"c{number}", paused, "", 7), 7)
    pauses._fold_taken("harbour", "", SitePauseTaken("c0", True, 7), 7)
    assert state(cloud) == "pausing"
    pauses._fold_taken("harbour", "", SitePauseTaken("c2", True, 7), 7)
    assert state(cloud) == "paused"


def test_explain_says_that_a_site_is_paused(cloud: Control) -> None:
    """Of what was there before: since when, why, and what helps."""
    run = cloud.start(PINNED)[0]
    cloud.settle()
    order(cloud)
    told = explained(cloud.planner, cloud.planner.runs[run], lambda site: LinkView("up", 1))
    assert told.sites[0].note == "site harbour is paused by an operator since 2027-01-15T08:00:00Z (tide): resume it"
    assert "; its site is paused" in told.sites[0].reasons[0].why
