"""What people see of a run: all its tasks by name, groups with what is inside, and what stands in the way of what."""

from typing import Any

import msgspec
import pytest

from cloud.conditions import condition, path_of
from cloud.control.open import open_incidents
from cloud.pictures import history_entries, tombstone_summary
from cloud.task_pictures import task_views
from cloud.views import TaskView
from tests.cloud.control import Control
from workflow.commands import Steer
from workflow.orders import Hold, Pause, RollBack, Skip
from workflow.plan import Plan, plan_from_document

PICK = {"capability": "pick"}


def plan(tasks: dict[str, Any], **more: Any) -> Plan:
    return plan_from_document(msgspec.json.encode({"name": "story", "version": "1", "tasks": tasks, **more}))


@pytest.fixture
def cloud() -> Control:
    control = Control()
    control.join("harbour", "pick")
    return control


def started(cloud: Control, story: Plan) -> str:
    (run,) = cloud.start(story)
    cloud.settle()
    return run


def shown(cloud: Control, run: str) -> dict[str, TaskView]:
    rows = [row for row in cloud.log.disk.rows if row.run == run]
    views, left_out = task_views(cloud.planner.runs[run], rows, cloud.planner.fleet)
    assert left_out == 0
    assert len({view.id for view in views}) == len(views)
    return {view.id: view for view in views}


LOAD = {**PICK, "needs": ["label"]}
STORY = {
    "first": {**PICK, "cleanup": PICK},
    "ship": {
        "map": {"over": "['a', 'b', 'c']", "concurrency": 2, "tasks": {"label": PICK, "load": {**PICK, "needs": ["label"]}}}
    },
    "last": {**PICK, "needs": ["first", "ship"]},
}


def test_copies_are_shown_by_their_names_after_their_map(cloud: Control) -> None:
    """With agent, output and progress of their own; what serves a task is shown once it has begun."""
    run = started(cloud, plan(STORY))
    harbour = cloud.outposts["harbour"]
    views = shown(cloud, run)
    copies = [f"ship[{n}].{task}" for n in (0, 1) for task in ("label", "load")]
    assert [name for name in views if name.startswith("ship[")] == copies
    assert "first:cleanup" not in views
    assert (views["ship"].members, views["ship"].members_done) == (3, 0)
    label = harbour.fragments[run].index_of("ship[1].label")
    harbour.work(run, label, b'"done"')
    harbour.work(run, 0)
    cloud.settle()
    views = shown(cloud, run)
    assert (views["ship[1].label"].state, bytes(views["ship[1].label"].output)) == ("completed", b'"done"')
    assert views["ship[1].load"].waits_for == "a free agent with pick at harbour"
    assert views["first:cleanup"].state == "ready"
    assert views["last"].waits_for == "tasks ship"
    summary = cloud.planner.runs[run].summary()
    assert (summary.tasks, summary.completed) == (8, 2)
    entries = history_entries(cloud.planner.runs[run], [row for row in cloud.log.disk.rows if row.run == run])
    assert f"{run}/ship[1].label/1" in [entry.event.get("correlation_id") for entry in entries]
    cloud.work_all(run)
    assert cloud.outcome(run) == "completed"
    ended = tombstone_summary(cloud.log.disk.saved[run])
    assert (ended.tasks, ended.completed, ended.partial) == (10, 10, False)


def test_a_run_without_a_task_that_failed_is_complete_in_part(cloud: Control) -> None:
    """Its picture says which one is missing."""
    run = started(cloud, plan({"a": {**PICK, "optional": True}, "b": PICK, "c": PICK}))
    harbour = cloud.outposts["harbour"]
    harbour.work(run, 0, fail="jam")
    harbour.work(run, 1)
    cloud.settle()
    assert condition(cloud.planner.runs[run]).missing == ["a"]
    assert shown(cloud, run)["a"].error == "jam: jam"
    harbour.work(run, 2)
    cloud.settle()
    ended = tombstone_summary(cloud.log.disk.saved[run])
    assert (ended.state, ended.partial, ended.failed) == ("completed", True, 1)


def test_a_run_says_where_in_its_life_it_is(cloud: Control) -> None:
    """From waiting for its site to each step of its execution."""
    (run,) = cloud.start(plan({"a": {**PICK, "validate": PICK}, "b": {**PICK, "needs": ["a"]}}))
    known, harbour = cloud.planner.runs[run], cloud.outposts["harbour"]
    assert path_of(known) == "pending"
    cloud.settle()
    assert path_of(known) == "active.executing.step_preparation"
    harbour.begin(run, 0)
    cloud.settle()
    assert path_of(known) == "active.executing.step_execution"
    assert shown(cloud, run)["a"].path == "active.executing.step_execution"
    harbour.finish(run, 0)
    cloud.settle()
    assert path_of(known) == "active.executing.step_validation"
    harbour.decide(run, Steer("c1", Pause(reason="lunch")))
    cloud.settle()
    assert path_of(known) == "paused"
    assert condition(known).paused == "lunch"


def test_what_stands_in_the_way_is_in_the_picture(cloud: Control) -> None:
    """Incidents, open approvals with the hash that a decision must name, holds, and the stage."""
    tasks = {
        "broken": {**PICK, "recovery": ["incident"]},
        "ask": {"approval": {"by": ["ann"], "request": "go?"}},
        "later": {**PICK, "stage": "NEXT"},
    }
    run = started(cloud, plan(tasks, stages={"FIRST": ["NEXT"], "NEXT": []}))
    harbour = cloud.outposts["harbour"]
    index = harbour.fragments[run].plan.index
    harbour.work(run, index["broken"], fail="the gear is bent")
    harbour.decide(run, Steer("c1", Hold("later", "h1", "waits for run r1")))
    cloud.settle()
    seen = condition(cloud.planner.runs[run])
    assert [(i.task, i.message) for i in seen.incidents] == [("broken", "the gear is bent")]
    (asked,) = seen.approvals
    assert (asked.task, asked.by, len(asked.hash), bytes(asked.request)) == ("ask", ["ann"], 64, b'"go?"')
    assert [(h.task, h.hold, h.reason) for h in seen.holds] == [("later", "h1", "waits for run r1")]
    assert shown(cloud, run)["broken"].waits_for.startswith("a person")


def test_what_going_back_has_not_undone_is_in_the_picture(cloud: Control) -> None:
    """By name, in the condition and in the history; an incident of a compensation offers nothing that would be refused."""
    tasks = {"a": {**PICK, "compensate": PICK}, "b": {**PICK, "needs": ["a"]}, "c": {**PICK, "needs": ["b"]}}
    run = started(cloud, plan(tasks))
    harbour = cloud.outposts["harbour"]
    harbour.work(run, 0)
    harbour.work(run, 1)
    harbour.decide(run, Steer("c1", RollBack(task="a")))
    undo = harbour.fragments[run].index_of("a:compensate")
    harbour.work(run, undo, fail="jam")
    cloud.settle()
    known = cloud.planner.runs[run]
    (incident,) = open_incidents(known)
    assert (incident.task, incident.allowed) == ("a:compensate", ["retry", "skip", "settle", "cancel", "terminate"])
    assert condition(known).kept == ["b"]
    harbour.decide(run, Steer("c2", Skip("a:compensate")))
    cloud.settle()
    assert condition(known).kept == ["b", "a"]
    entries = history_entries(known, [row for row in cloud.log.disk.rows if row.run == run])
    (begun,) = [entry.event for entry in entries if entry.kind == "RollbackBegun"]
    assert begun["named"] == {"compensations": ["a:compensate"], "kept": ["b"], "resets": ["a", "b", "c"]}
