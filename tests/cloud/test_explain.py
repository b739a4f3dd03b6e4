"""What the cloud adds to the reasons of a run: agents, holders of resources, children, links, and its place in line."""

from typing import Any

import msgspec
import pytest

from cloud.explain.core import explained
from cloud.explain.views import ExplainView
from cloud.fleet import utc
from cloud.views import LinkView
from coordination.lease_events import Hold, ResourcesLocked, ResourcesUnlocked
from tests.cloud.control import Control
from workflow.commands import Block, Lose
from workflow.orders import Rerun
from workflow.plan import plan_from_document


def told(cloud: Control, run: str, link: str = "up") -> ExplainView:
    return explained(cloud.planner, cloud.planner.runs[run], lambda site: LinkView(link, 7))


def started(cloud: Control, tasks: dict[str, Any]) -> str:
    (run,) = cloud.start(plan_from_document(msgspec.json.encode({"name": "story", "version": "1", "tasks": tasks})))
    cloud.settle()
    return run


@pytest.fixture
def cloud() -> Control:
    control = Control()
    control.join("harbour", "pick")
    return control


def test_a_run_without_a_site_says_what_would_help(cloud: Control) -> None:
    """No site has told anything of it yet."""
    view = told(cloud, started(cloud, {"a": {"capability": "weld"}}))
    assert (view.state, view.sites) == ("pending", [])
    assert "weld" in view.waits_for


def test_a_ready_task_names_agents_and_how_they_do(cloud: Control) -> None:
    """And, when there is none, where else there would be one."""
    run = started(cloud, {"a": {"capability": "pick"}})
    (reason,) = told(cloud, run).sites[0].reasons
    assert (reason.who, "anna has 0 of 4 in hand" in reason.why) == (["anna"], True)
    cloud.leave("harbour", "unreachable")
    assert "anna is unreachable" in told(cloud, run).sites[0].reasons[0].why
    cloud.leave("harbour", "left")
    cloud.join("airport", "pick", agent="bob")
    assert "no agent at harbour has it, but at airport" in told(cloud, run).sites[0].reasons[0].why


def test_a_resource_names_who_holds_it(cloud: Control) -> None:
    """Run and task."""
    task: dict[str, Any] = {"a": {"capability": "pick", "resources": ["lift"]}}
    holder, waiting = started(cloud, task), started(cloud, task)
    cloud.outposts["harbour"].begin(holder, 0)
    cloud.outposts["harbour"].decide(waiting, Block(0, ("lift",)))
    cloud.settle()
    (reason,) = told(cloud, waiting).sites[0].reasons
    assert (reason.kind, reason.who) == ("resource", [f"{holder}/a"])


def test_a_resource_kept_by_an_unknown_outcome_names_who_settles_it(cloud: Control) -> None:
    """The task, that it is in reconcile, and the way to settle it."""
    task: dict[str, Any] = {"a": {"capability": "pick", "effect": "once", "resources": ["lift"]}}
    holder, waiting = started(cloud, task), started(cloud, task)
    harbour = cloud.outposts["harbour"]
    harbour.begin(holder, 0)
    harbour.decide(holder, Lose(0, 1, False, "its agent left"))
    harbour.decide(waiting, Block(0, ("lift",)))
    cloud.settle()
    (kept,) = told(cloud, holder).sites[0].reasons
    assert (kept.kind, "it keeps lift" in kept.why) == ("reconcile", True)
    (reason,) = told(cloud, waiting).sites[0].reasons
    assert reason.who == [f"{holder}/a"]
    assert f"{holder}/a is in reconcile: a person settles it (tiercel run settle {holder} a --as ...)" in reason.why


def test_a_resource_that_a_lost_agent_may_still_act_on_names_it(cloud: Control) -> None:
    """And what has to pass; after a restart of the cloud, too, until the site says that it is over."""
    task: dict[str, Any] = {"a": {"capability": "pick", "resources": ["lift"]}}
    waiting, harbour = started(cloud, task), cloud.outposts["harbour"]
    harbour.decide(waiting, Block(0, ("lift",)))
    harbour.say("", ResourcesLocked("r9", 0, 2, "ben", [Hold(0, 7, [("lift", 1)])], 30_000, "load", 10_000))
    harbour.say("", ResourcesLocked("r8", 0, 1, "zoe", [Hold(0, 8, [("dock", 1)])], 30_000, "load"))
    cloud.settle()
    cloud.snapshot()
    cloud.restart()
    (reason,) = told(cloud, waiting).sites[0].reasons
    assert reason.who == ["ben"]
    assert "agent ben was lost with r9/load, attempt 2 and may still act: its lease and 30 s have to pass" in reason.why
    ben, zoe = sorted(cloud.planner.waiting.locked.values(), key=lambda each: each.lock.agent)
    assert f"which is at about {utc(ben.at_ms + 40_401)}, or later if site harbour is restarted meanwhile" in reason.why
    assert zoe.words().endswith("have to pass"), "an earlier version has not told how long the lease lasted"
    harbour.say("", ResourcesUnlocked("r9", 0, 2, "its lock-delay is over"))
    cloud.settle()
    assert told(cloud, waiting).sites[0].reasons[0].who == []


def test_a_child_is_told_with_its_state_and_the_cut_that_keeps_it_away(cloud: Control) -> None:
    """While the site is cut off its end cannot come."""
    cloud.register(plan_from_document(msgspec.json.encode({"name": "c", "version": "1", "tasks": {"w": {"capability": "pick"}}})))
    run = started(cloud, {"kid": {"run": {"definition": "c"}}})
    (reason,) = told(cloud, run).sites[0].reasons
    assert (reason.kind, reason.on) == ("child", [f"{run}.0.1"])
    assert reason.why.endswith("it is active")
    cut = told(cloud, run, "down").sites[0]
    assert "cut off" in cut.reasons[0].why
    assert "goes on alone" in cut.note


def test_a_run_that_is_asked_to_go_on_says_whose_answer_it_waits_for(cloud: Control) -> None:
    """Its end is known, and is not yet taken back."""
    run = started(cloud, {"a": {"capability": "pick"}})
    cloud.work_all(run)
    cloud.order(run, Rerun("a"))
    (site,) = told(cloud, run).sites
    said = "its part at harbour has ended (completed), it was asked to go on, and has not answered yet"
    assert (site.reasons, site.note) == ([], said)
