"""Runs whose definition says for whom they wait: started by a client, by a schedule and by a parent."""

from typing import Any

import msgspec
import pytest

from cloud.dependencies.inputs import Wait
from cloud.inputs import NewRun, StartRuns
from cloud.port import Problem
from tests.cloud.control import Control
from tests.cloud.test_dependencies import CHAIN, PICK, detail, fact, held, plan, started
from workflow.between import Point
from workflow.plan import Plan

INPUTS = {"previous": {"type": "string", "default": ""}}
NEXT = plan({"a": PICK, "b": {**PICK, "needs": ["a"]}}, "next", inputs=INPUTS, awaits=["${{ inputs.previous }}"])
LATE = plan({"a": PICK, "b": {**PICK, "awaits": ["${{ inputs.previous }}/a"]}}, "late", inputs=INPUTS)


@pytest.fixture
def cloud() -> Control:
    control = Control()
    control.join("harbour", "pick")
    for story in (CHAIN, NEXT, LATE):
        control.register(story)
    return control


def ask(cloud: Control, story: Plan, *runs: dict[str, str], after: tuple[Wait, ...] = ()) -> Any:
    """Ids of what was started, or why not."""
    cloud.register(story)
    news = [NewRun(msgspec.json.encode(story.check_inputs(inputs)), {}, after=after) for inputs in runs]
    answer = cloud.ask(lambda token: StartRuns(token, story.ref, news, None))
    cloud.settle()
    return answer if isinstance(answer, Problem) else [each.id for each in answer]  # type: ignore[attr-defined]


def test_a_definition_lets_its_runs_wait_for_the_one_that_an_input_names(cloud: Control) -> None:
    """As `after` of the request would; without the input it begins at once; a restart forgets nothing."""
    (free,) = ask(cloud, NEXT, {})
    first = started(cloud)
    (second,) = ask(cloud, NEXT, {"previous": first})
    assert cloud.planner.runs[free].state() == "active"
    assert cloud.planner.runs[second].state() == "pending"
    cloud.restart()
    assert [str(each.awaited) for each in cloud.planner.dependencies.records.of(second)] == [first]
    cloud.work_all(first)
    cloud.work_all(second)
    assert cloud.outcome(second) == "completed"


def test_a_task_waits_as_its_definition_says(cloud: Control) -> None:
    """It is held from the first moment, and the others go on."""
    first = started(cloud)
    (second,) = ask(cloud, LATE, {"previous": first})
    assert held(cloud, second) == ["b"]
    assert fact(cloud, second)["a"] == "ready"
    cloud.outposts["harbour"].work(first, 0)
    cloud.settle()
    assert held(cloud, second) == []


def test_runs_of_a_batch_wait_each_for_its_own(cloud: Control) -> None:
    """All or none: one that names nobody refuses them all, and the refusal names the run, the place and the input."""
    one, other = started(cloud), started(cloud)
    runs = ask(cloud, NEXT, {"previous": one}, {"previous": other})
    awaited = [[str(each.awaited) for each in cloud.planner.dependencies.records.of(run)] for run in runs]
    assert awaited == [[one], [other]]
    known = len(cloud.planner.runs)
    refused = ask(cloud, NEXT, {"previous": one}, {"previous": "r-none"})
    assert (refused.status, refused.code, len(cloud.planner.runs)) == (404, "run_unknown", known)
    assert "run r-none, which is to be waited for (awaits[0].run: '${{ inputs.previous }}'), is not known" in refused.detail


def test_what_is_awaited_may_have_ended(cloud: Control) -> None:
    """It is read from the log, as for `after`."""
    first = started(cloud)
    cloud.work_all(first)
    (second,) = ask(cloud, NEXT, {"previous": first})
    assert cloud.planner.runs[second].state() == "active"


def test_request_and_definition_must_agree(cloud: Control) -> None:
    """The same said twice is one dependency; two kinds for one run are refused."""
    first = started(cloud)
    (second,) = ask(cloud, NEXT, {"previous": first}, after=(Wait("", Point(first)),))
    assert len(list(cloud.planner.dependencies.records.of(second))) == 1
    refused = ask(cloud, NEXT, {"previous": first}, after=(Wait("", Point(first), "after_end"),))
    assert (refused.status, refused.code) == (409, "dependency_exists")


def test_a_task_that_the_other_run_does_not_have_refuses_the_start(cloud: Control) -> None:
    """A 404 that names what it has."""
    wrong = plan({"a": PICK}, "wrong", inputs=INPUTS, awaits=[{"run": "${{ inputs.previous }}", "task": "z"}])
    refused = ask(cloud, wrong, {"previous": started(cloud)})
    assert (refused.status, refused.code) == (404, "task_unknown")


PARENT = plan({"ask": {"run": {"definition": "next", "inputs": {"previous": "${{ inputs.previous }}"}}}}, "parent", inputs=INPUTS)


def child_of(cloud: Control, previous: str) -> tuple[str, str]:
    (parent,) = ask(cloud, PARENT, {"previous": previous})
    cloud.outposts["harbour"].attend(parent, 0)
    cloud.settle()
    known = cloud.planner.runs.get(parent)
    return parent, next(iter(known.children)) if known is not None else next(r for r in cloud.finished() if r != parent)


def test_a_child_waits_as_its_definition_says(cloud: Control) -> None:
    """It is begun with its parent's request, and given to a site when its turn has come."""
    first = started(cloud)
    parent, child = child_of(cloud, first)
    assert cloud.planner.runs[child].state() == "pending"
    cloud.work_all(first)
    cloud.work_all(child)
    cloud.settle()
    assert (cloud.outcome(child), cloud.outcome(parent)) == ("completed", "completed")


def test_a_child_that_waits_for_nobody_known_is_cancelled_with_the_reason(cloud: Control) -> None:
    """And its parent hears of it, instead of waiting for ever."""
    parent, child = child_of(cloud, "r-none")
    assert cloud.outcome(child) == "cancelled"
    assert "r-none is not known here" in detail(cloud, child)
    assert cloud.outcome(parent) == "failed"


def test_a_child_never_waits_for_the_parent_that_waits_for_it(cloud: Control) -> None:
    """The circle is seen, and named in the reason for which the child is cancelled."""
    mine = plan({"ask": {"run": {"definition": "next", "inputs": {"previous": "${{ run.id }}"}}}}, "narcissus")
    (parent,) = ask(cloud, mine, {})
    cloud.outposts["harbour"].attend(parent, 0)
    cloud.settle()
    assert cloud.outcome(parent) == "failed"
    child = next(run for run in cloud.finished() if run != parent)
    assert cloud.outcome(child) == "cancelled"
    assert "in a circle" in detail(cloud, child)
