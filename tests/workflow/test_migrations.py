"""Documents of older forms come to today's, step by step, and back as far as an older form can say them."""

import contextlib
from copy import deepcopy
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workflow.definitions import definitions
from tests.workflow.older import OLD_FORMS, older
from workflow.migrations import FORMS, TODAY, Migrated, form_of, migrate
from workflow.plan import plan_from_document, read_plan
from workflow.problems import DefinitionError, Problem


def old(tasks: Any, **fields: Any) -> dict[str, Any]:
    return {"name": "Flow", "version": "1.0", "tasks": tasks, **fields}


def today(tasks: Any, **fields: Any) -> dict[str, Any]:
    return {"name": "flow", "version": "1", "tasks": tasks, **fields}


def refused(document: Any, form: str = TODAY) -> list[str]:
    with pytest.raises(DefinitionError) as caught:
        migrate(document, form)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize("form", OLD_FORMS)
@given(st.data())
@settings(deadline=None, max_examples=50)
def test_every_older_document_compiles(form: str, data: st.DataObject) -> None:
    """A valid document of an older form becomes a definition, by the steps that lie between, and is itself left as it was."""
    document = data.draw(older(form))
    before = deepcopy(document)
    moved = migrate(document)
    assert document == before
    assert moved.steps == tuple(f"{a} -> {b}" for a, b in pairwise(FORMS) if a >= form)
    _, plan = read_plan(moved.document)
    assert len(plan.tasks) == len(document["tasks"])
    assert form_of(moved.document) == TODAY


@pytest.mark.parametrize("form", OLD_FORMS)
@given(st.data())
@settings(deadline=None, max_examples=50)
def test_the_way_back_and_forth_ends_in_the_same_plan(form: str, data: st.DataObject) -> None:
    """What came from an older form can go back to it, and comes again as the same definition."""
    moved = migrate(data.draw(older(form))).document
    back = migrate(moved, form)
    assert back.document["schema_version"] == form
    assert read_plan(migrate(back.document).document)[1] == read_plan(moved)[1]


@given(definitions())
@settings(deadline=None)
def test_what_cannot_be_said_is_refused_by_name(document: dict[str, Any]) -> None:
    """Any definition of today goes back with the same needs, or is refused with the place of what is too new."""
    problems: list[Problem] = []
    try:
        back = migrate(document, "2.0.0")
        _, again = read_plan(migrate(back.document).document)
        assert {task.id for task in again.tasks} == set(document["tasks"])
    except DefinitionError as refusal:
        problems = refusal.problems
    assert all(problem.place for problem in problems)


@pytest.mark.parametrize(
    ("document", "form"),
    [
        (old({"a": {"agent_id": "x"}}), "1.0.0"),
        (old({"a": {"action": "agent_task"}}), "1.0.0"),
        (old({"a": {"execution_mode": "parallel"}}), "1.1.0"),
        (old({"a": {"conditions": []}, "b": {"execution_mode": "parallel"}}), "1.2.0"),
        (old({"a": {"retry_count": 1}}), "2.0.0"),
        (old({"a": {"dependencies": []}}, checkpoints=3), "2.0.0"),
        (old({"a": {"dependencies": []}}, schema_version="1.2.0"), "1.2.0"),
        ({"name": "x", "version": "1", "steps": []}, "steps"),
        (today({"a": {"capability": "x", "dependencies": []}}), TODAY),
        (old({"a": {"action": "http"}}), TODAY),
        ("text", TODAY),
        ({}, TODAY),
    ],
)
def test_a_form_is_known_by_its_fields(document: Any, form: str) -> None:
    """A document that does not name its form is of the first one that has all its fields."""
    assert form_of(document) == form


def test_actions_become_kinds() -> None:
    """Each action of the older forms, with what it becomes."""
    moved = migrate(
        old({
            "a": {"action": "agent_task", "agent_id": "anna", "parameters": {"x": 1}, "retry_count": 2, "retry_delay": 5},
            "b": {"action": "api_call", "parameters": {"url": "http://x"}, "timeout_seconds": 30, "retry_count": 0},
            "c": {"action": "workflow_trigger", "parameters": {"workflow": "Other Flow"}, "retry_count": 0},
            "d": {"action": "approval_gate", "parameters": {"approvers": ["ann"]}, "timeout_seconds": 60},
            "e": {"action": "condition_check", "parameters": {"condition": "a.status == 'completed'"}, "dependencies": ["a"]},
            "f": {"action": "sort", "dependencies": ["e"], "conditions": [{"field": "e.output", "operator": "eq", "value": 1}]},
        })
    )  # fmt: skip
    assert moved.document == {
        "name": "flow",
        "version": "1.0",
        "tasks": {
            "a": {"agent": "anna", "with": {"x": 1}, "retry": {"max_attempts": 3, "delay": 5, "factor": 1, "jitter": 0}},
            "b": {"action": "api_call", "with": {"url": "http://x"}, "timeout": 30, "retry": {"max_attempts": 1}},
            "c": {"run": {"definition": "other-flow"}, "retry": {"max_attempts": 1}},
            "d": {"approval": {"by": ["ann"], "deadline": 60}},
            "e": {"check": "tasks.a.state == 'completed'", "needs": ["a"]},
            "f": {"capability": "sort", "needs": ["e"], "when": "tasks.e.output == 1"},
        },
    }
    read_plan(moved.document)


def test_modes_become_needs() -> None:
    """A sequential task without dependencies follows the one before it, unless that one waits for it; a parallel one does not."""
    modes = {"a": "parallel", "b": "sequential", "c": "parallel", "d": "sequential"}
    tasks: dict[str, Any] = {name: {"action": "x", "execution_mode": mode} for name, mode in modes.items()}
    tasks["c"]["dependencies"] = ["d"]
    found = migrate(old(tasks)).document["tasks"]
    assert {name: task.get("needs", []) for name, task in found.items()} == {"a": [], "b": ["a"], "c": ["d"], "d": []}


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"field": "inputs.total", "operator": ">", "value": 100}, "inputs.total > 100"),
        ({"field": "priority", "operator": "in", "value": ["a", "b"]}, 'inputs.priority in ["a","b"]'),
        ({"field": "Pick It.status", "operator": "==", "value": "success"}, None),
        ({"field": "pick.status", "operator": "==", "value": "success"}, 'tasks.pick.state == "completed"'),
        ({"field": "pick.result.count", "operator": "gte", "value": 2}, "tasks.pick.output.count >= 2"),
        ({"field": "pick.output.lines[0].sku", "operator": "exists"}, "has(tasks.pick.output.lines[0].sku)"),
        ({"field": "order-id", "operator": "starts_with", "value": "x"}, 'inputs.order_id.startsWith("x")'),
        ("pick.status == 'completed' and not urgent", "tasks.pick.state == 'completed' && ! inputs.urgent"),
        ("inputs.total > 3 or name == \"a and b\"", "inputs.total > 3 || inputs.name == \"a and b\""),
        ("pick.output.name.startsWith('x')", "tasks.pick.output.name.startsWith('x')"),
    ],
)  # fmt: skip
def test_conditions_become_cel(condition: Any, expected: str | None) -> None:
    """Comparisons and expressions are written with the names of today."""
    tasks = {"pick": {"action": "x"}, "b": {"action": "y", "dependencies": ["pick"], "conditions": [condition]}}
    if expected is None:
        (found,) = refused(old(tasks))
        assert "tasks.b.conditions[0].field: 'Pick It.status' is no field" in found
        return
    moved = migrate(old(tasks)).document
    assert moved["tasks"]["b"]["when"] == expected
    read_plan(moved)


def test_steps_follow_one_another() -> None:
    """A list of steps becomes tasks in that order; parallel steps lie side by side; a condition's branches run by its value."""

    def step(id: str, kind: str = "action", **config: Any) -> dict[str, Any]:
        return {"id": id, "name": id.upper(), "type": kind, "config": config}

    steps = [
        step("a", action="sort"),
        step("both", "parallel", steps=[step("b"), step("line", "sequential", steps=[step("c"), step("d")])]),
        step("big", "condition", condition={"field": "a.output.total", "operator": ">", "value": 3}, then=["e"]),
        step("e", agent_id="anna", parameters={"x": 1}),
    ]  # fmt: skip
    moved = migrate({"name": "x", "version": "1", "steps": steps})
    assert moved.steps == ("steps -> 2.0.0", "2.0.0 -> today")
    tasks = moved.document["tasks"]
    needs = {name: task.get("needs", []) for name, task in tasks.items()}
    assert needs == {"a": [], "b": ["a"], "c": ["a"], "d": ["c"], "big": ["b", "d"], "e": ["big"]}
    assert tasks["e"]["when"] == "tasks.big.output == true"
    assert (tasks["a"]["capability"], tasks["e"]["agent"], tasks["big"]["check"]) == ("sort", "anna", "tasks.a.output.total > 3")
    read_plan(moved.document)


@pytest.mark.parametrize(
    ("document", "form", "says"),
    [
        (old({"Pick": {"agent_id": "a"}, "pick": {}}), TODAY, "tasks.pick: 'pick' and 'Pick' would both become 'pick'"),
        (old({"a": {"agent_id": "a", "timeuot_seconds": 3}}), TODAY, "did you mean 'timeout_seconds'?"),
        (old({"a": {"execution_mode": "paralel"}}), TODAY, "unknown mode 'paralel'; did you mean 'parallel'?"),
        (old({"a": {"conditions": [{"field": "x", "operator": "near"}]}}), TODAY, "unknown operator 'near'"),
        (old({"a": {"conditions": [3]}}), TODAY, "tasks.a.conditions[0]: 3 is no condition"),
        (old({}, schema_version="3.0.0"), TODAY, "schema_version: unknown form '3.0.0'; allowed: 1.0.0, 1.1.0"),
        (old([], schema_version="1.0.0"), TODAY, "tasks: a list stands here; allowed: a mapping of tasks"),
        (old({"a": {"action": "workflow_trigger"}}), TODAY, "tasks.a.parameters.workflow: names no workflow"),
        (today({"a": {"capability": "x"}}), "2.1", "unknown form '2.1'"),
        (today({"a": {"wait": {"for": 1}}}), "2.0.0", "tasks.a.wait: form 2.0.0 has no wait"),
        (
            today({"a": {"agent": "x", "needs": [{"task": "b", "after": "end"}]}, "b": {"check": "true"}}),
            "2.0.0",
            "form 2.0.0 has no needs after",
        ),
        (
            today({"a": {"capability": "x", "retry": {"factor": 2}}}),
            "2.0.0",
            "tasks.a.retry.factor: form 2.0.0 cannot say 2",
        ),
        (today({"a": {"capability": "x"}}), "1.2.0", "form 1.2.0 tries nothing again, and this is tried 2 times more"),
        (today({"a": {"capability": "x"}}, priority=3), "2.0.0", "priority: form 2.0.0 has no priority"),
        ({"name": "x", "version": "1", "steps": [{"id": "a", "type": "loop"}]}, TODAY, "steps[0].type: 'loop' is unknown"),
        ({"name": "x", "version": "1", "steps": 3}, TODAY, "steps: 3 stands here; allowed: a list of steps"),
    ],
)
def test_what_is_wrong_is_named(document: Any, form: str, says: str) -> None:
    """A refusal has the place in the older document, what stands there and what is allowed."""
    assert any(says in problem for problem in refused(document, form))


def test_what_says_nothing_is_left_out_and_told() -> None:
    """Fields about the document itself are left out, and the answer names them."""
    moved = migrate(old({"a": {"agent_id": "x"}}, author="ann", tags=["x"]))
    assert isinstance(moved, Migrated)
    assert moved.left_out == ("author", "tags")


def test_variables_become_inputs_with_defaults() -> None:
    """Variables are inputs that need not be given; so are those that only a condition names."""
    tasks = {"a": {"action": "x", "conditions": ["limit > 3 and urgent"]}}
    moved = migrate(old(tasks, variables={"limit": 5})).document
    assert moved["inputs"] == {"limit": {"default": 5}, "urgent": {"default": None}}
    assert plan_from_document(read_plan(moved)[1].document).check_inputs({}) == {"limit": 5, "urgent": None}


values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["a", "b", "x > 3", "parallel", "approval_gate", "2.0.0"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "field", "task"]), inner, max_size=3),
)
names = [*("name", "agent_id", "action", "execution_mode", "dependencies", "conditions", "timeout_seconds", "retry_count")]
names += [
    "retry_delay",
    "parameters",
    "capability",
    "needs",
    "retry",
    "approval",
    "run",
    "when",
    "with",
    "steps",
    "config",
    "type",
]
tasks = st.dictionaries(st.sampled_from(["a", "b"]), st.dictionaries(st.sampled_from(names), values, max_size=5) | values)
heads = st.sampled_from(["name", "version", "schema_version", "steps", "variables", "inputs", "checkpoints"])


@given(st.dictionaries(heads, values | st.lists(tasks), max_size=3), tasks | values, st.sampled_from(FORMS))
@settings(deadline=None)
def test_no_document_breaks_the_migration(head: dict[str, Any], found: Any, form: str) -> None:
    """Whatever JSON comes, it is a document of the form that was asked for or a DefinitionError, never another error."""
    with contextlib.suppress(DefinitionError):
        migrate(head | {"tasks": found}, form)
    with contextlib.suppress(DefinitionError):
        migrate(head, form)
