"""Queries of a definition: answered from all sites of a run, at any moment of its life."""

from typing import Any

import msgspec
import pytest

from cloud.questions import UnknownQuery, answer_query
from tests.cloud.control import Control
from workflow.expression import ExpressionError
from workflow.plan import Plan, plan_from_document

PICK = {"capability": "pick"}
PACK = {"capability": "pack", "needs": ["pick"]}
QUERIES = {
    "picking": "tasks.pick.state",
    "picked": "tasks.pick.output.count * inputs.factor",
    "packing": "tasks.pack.state",
    "both": "tasks.pick.state + ' ' + tasks.pack.state",
    "trouble": "tasks.pack.error.message",
    "me": "run.id",
}


def plan() -> Plan:
    inputs = {"factor": {"type": "integer"}}
    document: dict[str, Any] = {"name": "story", "version": "1", "inputs": inputs, "tasks": {"pick": PICK, "pack": PACK}}
    return plan_from_document(msgspec.json.encode({**document, "queries": QUERIES, "on_failure": "continue"}))


@pytest.fixture
def cloud() -> Control:
    """`pick` at the harbour, `pack` at the airport."""
    control = Control()
    control.join("harbour", "pick")
    control.join("airport", "pack")
    return control


def ask(cloud: Control, run: str, name: str) -> object:
    return answer_query(cloud.planner.runs[run], name)


def test_each_task_is_seen_as_its_own_site_has_it(cloud: Control) -> None:
    """The output of one site's task, and the state of another's, in one answer."""
    (run,) = cloud.start(plan(), inputs=b'{"factor": 3}')
    cloud.settle()
    assert ask(cloud, run, "picking") == "ready"
    cloud.outposts["harbour"].work(run, 0, b'{"count": 7}')
    cloud.settle()
    assert ask(cloud, run, "picked") == 21
    assert ask(cloud, run, "both") == "completed ready"
    assert ask(cloud, run, "me") == run


def test_a_run_without_a_place_answers_too() -> None:
    """Its tasks are pending; what has no value yet is an error that names it."""
    cloud = Control()
    (run,) = cloud.start(plan(), inputs=b'{"factor": 3}')
    assert ask(cloud, run, "both") == "pending pending"
    with pytest.raises(ExpressionError, match="pick"):
        ask(cloud, run, "picked")


def test_a_query_that_the_definition_lacks_is_refused_with_those_it_has(cloud: Control) -> None:
    """So that a person can correct the name."""
    (run,) = cloud.start(plan(), inputs=b'{"factor": 3}')
    with pytest.raises(UnknownQuery, match=r"'pickin'.*both, me, packing, picked, picking, trouble"):
        ask(cloud, run, "pickin")
