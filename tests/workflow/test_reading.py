"""Every fault of form is found, with its path, what stands there and what is allowed."""

import contextlib
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workflow.documents import document, refusals
from workflow.definition import json_schema
from workflow.plan import read_plan
from workflow.problems import PROBLEMS_MAX, DefinitionError

SCHEMA = jsonschema_rs.validator_for(json_schema(), pattern_options=jsonschema_rs.RegexOptions())


@pytest.mark.parametrize(
    ("task", "path", "says"),
    [
        ({"capabilty": "x"}, "tasks.a.capabilty", "did you mean 'capability'?; allowed: capability, agent, action, wait"),
        ({"retry": {"factr": 2}}, "tasks.a.retry.factr", "did you mean 'factor'?; allowed: max_attempts, delay"),
        ({"wait": {"for": "1h", "util": 1}}, "tasks.a.wait.util", "did you mean 'until'?; allowed: for, until, signal"),
        ({"timeout": "3 weeks"}, "tasks.a.timeout", "'3 weeks' is no duration; allowed: a number of seconds"),
        ({"timeout": True}, "tasks.a.timeout", "true is no duration"),
        ({"timeout": 0}, "tasks.a.timeout", "0 is no time at all"),
        ({"wait": {"for": -1}}, "tasks.a.wait.for", "-1 is no duration"),
        ({"retry": {"delay": 1e999}}, "tasks.a.retry.delay", "is no value that JSON can carry"),
        ({"retry": {"max_attempts": 0}}, "tasks.a.retry.max_attempts", "0 is not accepted; allowed: greater than or equal to 1"),
        ({"retry": {"delay": "1h", "delay_max": "1s"}}, "tasks.a.retry", "delay_max is less than delay"),
        ({"effect": "twice"}, "tasks.a.effect", "'twice' is unknown; allowed: repeatable, once or physical"),
        ({"capability": "x", "agent": "y"}, "tasks.a", "It names capability and agent; allowed: one of capability, agent"),
        (
            {"wait": {"for": "1h"}, "with": {}},
            "tasks.a",
            "a wait has nothing to do with with; allowed: wait, desc",
        ),
        ({"needs": "b"}, "tasks.a.needs", "'b' stands here; allowed: a list"),
        ({"needs": [1]}, "tasks.a.needs[0]", '1 is not read as text; allowed: text: "1" in quotes'),
        ({"with": [1]}, "tasks.a.with", "a list stands here; allowed: a mapping"),
        ({"capability": "pick item"}, "tasks.a.capability", "'pick item' is no valid name here"),
        ({"site": ""}, "tasks.a.site", "is empty"),
        ({"with": {"x": 2**70}}, "tasks.a.with.x", "is no value that JSON can carry"),
        ({"with": {"x": ["\ud800"]}}, "tasks.a.with.x[0]", "is no value that JSON can carry"),
    ],
)
def test_a_fault_in_a_task_is_named(task: dict[str, Any], path: str, says: str) -> None:
    """The one problem begins with the path of the fault and says what is allowed."""
    (found,) = refusals(document({"a": task}))
    assert found.startswith(f"{path}: ")
    assert says in found


@pytest.mark.parametrize(
    "task",
    [
        {"capabilty": "x"},
        {"retry": {"factr": 2}},
        {"timeout": "3 weeks"},
        {"timeout": True},
        {"wait": {"for": -1}},
        {"wait": {"for": 1, "signal": "go"}},
        {"wait": {"for": 1}, "with": {}},
        {"retry": {"max_attempts": 0}},
        {"effect": "twice"},
        {"capability": "x", "agent": "y"},
        {"capability": "x", "check": "true"},
        {"needs": "b"},
        {"needs": [1]},
        {"needs": [{"task": "b", "after": "never"}]},
        {"needs": [{"tsk": "b"}]},
        {"with": [1]},
        {"site": ""},
        {"join": 0},
        {"join": "some"},
        {"resources": [{"name": "x", "units": 0}]},
        {"validate": {"check": "true", "capability": "x"}},
        {"cleanup": {}},
        {"recovery": ["restor"]},
        {"recovery": [{"restore": {}, "rollback": {}}]},
        {"approval": {"on_reject": "maybe"}},
        {"run": {}},
        {"parallel": {"tasks": {}}},
        {"parallel": {"tasks": {"A": {"capability": "x"}}}},
        {"sequential": {"tasks": {"a": {"capability": "x", "agent": "y"}}}},
        {"map": {"tasks": {"a": {"capability": "x"}}}},
        {"repeat": {"max": 3, "tasks": {"a": {"capability": "x"}}}},
        {"sync_point": {"point": "gate", "parties": 1}},
        {"cache": {"key": "x"}},
        {"stage": {"begin": "X"}},
    ],
)
def test_the_published_schema_refuses_what_is_refused(task: dict[str, Any]) -> None:
    """Faults of form are faults for editors, too."""
    whole = document({"a": task, "b": {}})
    assert refusals(whole)
    assert not SCHEMA.is_valid(whole)


@pytest.mark.parametrize("id", ["Pick", "1a", "", "a b", "a.b", "é", "a" * 129, "a\n"])
def test_ids_keep_to_the_pattern(id: str) -> None:
    """A task's id begins with a lower-case letter and has letters, digits, - and _ only."""
    (found,) = refusals(document({id: {}}))
    assert "is no valid name here; allowed: a lower-case letter" in found


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"version": 1.0}, 'version: 1.0 is not read as text; allowed: text: "1.0" in quotes'),
        ({"name": "My Flow"}, "name: 'My Flow' is no valid name here"),
        ({"version": "a@b"}, "version: 'a@b' is no valid name here"),
        ({"inputs": {"a-b": {}}}, "inputs.a-b: 'a-b' is no valid name here; allowed: a letter or _"),
        ({"inputs": {"a": "string"}}, "inputs.a: 'string' stands here; allowed: a mapping"),
        ({"tasks": {}}, "tasks: is empty; allowed: 1 at least"),
        ({"taks": {}}, "taks: unknown field 'taks'; did you mean 'tasks'?"),
    ],
)
def test_a_fault_in_the_head_is_named(fields: dict[str, Any], says: str) -> None:
    """Name, version, inputs and unknown fields are checked alike."""
    (found,) = refusals(document({"a": {}}) | fields)
    assert found.startswith(says)


@pytest.mark.parametrize("whole", [None, 3, "text", [], True])
def test_a_definition_is_a_mapping(whole: object) -> None:
    """Other documents are refused as a whole."""
    (found,) = refusals(whole)
    assert found.endswith("allowed: a mapping")


def test_faults_of_form_do_not_hide_others() -> None:
    """Unknown needs and references are reported together with unknown fields."""
    found = refusals(document({"a": {"colour": 1}, "b": {"needs": ["c"]}, "d": {"with": {"x": "${{ inputs.y }}"}}}))
    assert [problem.partition(":")[0] for problem in found] == ["tasks.a.colour", "tasks.b.needs[0]", "tasks.d.with.x"]


def test_a_fault_in_one_task_hides_none_in_another() -> None:
    """What other tasks, rules and queries say is checked in full: an author mends all in one go."""
    tasks = {"a": {"colour": 1}, "b": {"when": "1 +"}, "c": {"stage": "NOWHERE"}, "d": {"output": {"type": "strin"}}}
    rules = [{"on": "task.a", "do": "pause"}]
    found = refusals(document(tasks, stages={"A": []}, rules=rules, queries={"q": "tasks.e.output"}))
    places = ["queries.q", "rules[0].on", "tasks.a.colour", "tasks.b.when", "tasks.c.stage.start", "tasks.d.output.type"]
    assert sorted(problem.partition(":")[0] for problem in found) == places


def test_a_kind_of_task_that_is_written_as_an_action_is_pointed_out() -> None:
    """As older forms wrote them; what else is no action may be a capability that a package adds."""
    words = {"approval_gate": "approval", "workflow_trigger": "run", "condition_check": "check", "agent_task": "capability"}
    for action, word in (words | {"map": "map"}).items():
        (found,) = refusals(document({"a": {"action": action}}))
        assert f"'{action}' is no action here: a task says `{word}:` instead of `action:`" in found
    (found,) = refusals(document({"a": {"action": "measure"}}))
    assert found.endswith("database_query; what agents or installed packages add is a `capability`")


def test_nesting_is_bounded() -> None:
    """A value nested deeper than 64 levels is refused before anything recurses into it."""
    deep: list[Any] = []
    for _ in range(10_000):
        deep = [deep]
    assert refusals(document({"a": {"with": {"x": deep}}})) == ["lists and mappings are nested too deep; allowed: 64 levels"]


def test_a_flood_of_faults_is_counted() -> None:
    """Beyond the first PROBLEMS_MAX, problems are only counted, and the message says so."""
    with pytest.raises(DefinitionError) as caught:
        read_plan(document({f"t{number}": {"needs": ["nobody"]} for number in range(5_000)}))
    assert len(caught.value.problems) == PROBLEMS_MAX
    assert str(caught.value).endswith(f"and {5_000 - PROBLEMS_MAX} more problems")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
fields = st.sampled_from(["name", "version", "inputs", "tasks", "capability", "with", "needs", "site", "retry", "wait", "for"])
documents = st.recursive(values, lambda inner: st.dictionaries(fields | st.text(max_size=3), inner, max_size=5))


@given(documents)
def test_no_document_breaks_the_reading(found: object) -> None:
    """Whatever JSON comes, it is a plan or a DefinitionError, never another error."""
    with contextlib.suppress(DefinitionError):
        read_plan(found)
