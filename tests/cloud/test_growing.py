"""Tasks that are added to a run of several sites: each addition is for one of them."""

from typing import Any

import msgspec
import pytest

from cloud.control.core import homes_for
from cloud.port import Problem
from tests.cloud.control import Control
from workflow.orders import AddTasks
from workflow.plan import Plan, plan_from_document

STORY = {
    "pick": {"capability": "pick"},
    "pack": {"capability": "pack", "needs": ["pick"]},
    "ship": {"capability": "pack", "needs": ["pack"]},
}


def plan(tasks: dict[str, Any]) -> Plan:
    return plan_from_document(msgspec.json.encode({"name": "story", "version": "1", "tasks": tasks}))


@pytest.fixture
def cloud() -> Control:
    """`pick` at the harbour, `pack` and `ship` at the airport."""
    control = Control()
    control.join("harbour", "pick")
    control.join("airport", "pack")
    return control


def begun(cloud: Control) -> str:
    (run,) = cloud.start(plan(STORY))
    cloud.settle()
    return run


@pytest.mark.parametrize(
    ("tasks", "links", "home"),
    [
        ({"weigh": {"capability": "pack", "needs": ["pack"]}}, {}, "airport"),
        ({"weigh": {"capability": "pick", "needs": [{"task": "pick", "after": "end"}]}}, {}, "harbour"),
        ({"weigh": {"capability": "pack"}}, {"ship": ["weigh"]}, "airport"),
        ({"a": {"capability": "pack", "needs": ["ship"]}, "b": {"capability": "pack", "needs": ["a"]}}, {}, "airport"),
    ],
)
def test_added_tasks_go_to_the_site_that_they_are_tied_to(
    cloud: Control, tasks: dict[str, Any], links: dict[str, list[str]], home: str
) -> None:
    """By what they need, or by what is to wait for them; no other home adds them, too."""
    run = begun(cloud)
    assert homes_for(cloud.planner.runs[run], AddTasks(tasks, "ann", links)) == [home]


@pytest.mark.parametrize(
    ("tasks", "links", "said"),
    [
        ({"weigh": {"capability": "pack"}}, {}, "nothing says where the tasks belong"),
        ({"weigh": {"capability": "pack", "needs": ["pick"]}}, {"ship": ["weigh"]}, "pick at harbour, ship at airport"),
        ({"weigh": {"capability": "pack", "needs": ["pluck"]}}, {}, "no task 'pluck'"),
    ],
)
def test_an_addition_without_one_site_is_refused(
    cloud: Control, tasks: dict[str, Any], links: dict[str, list[str]], said: str
) -> None:
    """Nobody is asked, and the refusal names what it found."""
    run = begun(cloud)
    with pytest.raises(Problem) as refused:
        homes_for(cloud.planner.runs[run], AddTasks(tasks, "", links))
    assert said in refused.value.detail
