"""What definitions say of other runs: read, refused, and evaluated with the inputs of a run."""

from typing import Any

import jsonschema_rs
import pytest

from workflow.awaits import AwaitRefused, awaited_by
from workflow.between import Point
from workflow.definition import json_schema
from workflow.loading import load
from workflow.plan import DefinitionError, Plan, plan_from_document, read_plan
from workflow.problems import Problem

PICK = {"capability": "pick"}
INPUTS = {"previous": {"type": ["string", "null"], "default": None}, "several": {"type": "array", "default": []}}


def document(**more: Any) -> dict[str, Any]:
    return {"name": "ship", "version": "1", "inputs": INPUTS, "tasks": {"a": PICK, "b": PICK}, **more}


def plan(**more: Any) -> Plan:
    return read_plan(document(**more))[1]


def refused(**more: Any) -> list[Problem]:
    with pytest.raises(DefinitionError) as caught:
        read_plan(document(**more))
    return caught.value.problems


def points(plan: Plan, **inputs: object) -> list[tuple[str, Point, str]]:
    return [(each.task, each.on, each.kind) for each in awaited_by(plan, plan.check_inputs(inputs))]


def test_a_run_and_its_tasks_await_what_the_inputs_name() -> None:
    """The whole and each task on its own; the short form is a run's success; the other's task is named apart or with its run."""
    story = plan(
        awaits=["${{ inputs.previous }}", {"run": "r7", "kind": "end"}],
        tasks={"a": {**PICK, "awaits": [{"run": "${{ inputs.previous }}/pack", "kind": "failure"}]}, "b": PICK},
    )
    assert points(story, previous="r1") == [
        ("", Point("r1"), "after_success"),
        ("", Point("r7"), "after_end"),
        ("a", Point("r1", "pack"), "after_failure"),
    ]
    assert points(plan(awaits=[{"run": "r1", "task": "${{ inputs.previous }}"}]), previous="p") == [
        ("", Point("r1", "p"), "after_success")
    ]


@pytest.mark.parametrize("previous", [None, ""])
def test_an_input_that_is_empty_awaits_nothing(previous: str | None) -> None:
    """Neither as a whole text nor within one: the first of a chain of runs has no previous one."""
    texts = ["${{ inputs.previous }}"] + (["${{ inputs.previous }}/pack"] if previous == "" else [])
    assert points(plan(awaits=texts), previous=previous) == []
    assert points(plan(awaits=["${{ inputs.previous }}"])) == []


def test_a_list_of_runs_is_awaited_each() -> None:
    """An input may hold many, and the same twice is one."""
    story = plan(awaits=["${{ inputs.several }}"])
    assert [str(on) for _, on, _ in points(story, several=["r1", "r2/x", "r1", "", None])] == ["r1", "r2/x"]


@pytest.mark.parametrize(
    ("value", "said"),
    [([7], "gives 7, which names no run"), ([{"id": "r1"}], "gives a mapping"), ([f"r{n}" for n in range(1_001)], "1,001")],
)
def test_what_names_no_run_is_refused_with_its_place(value: object, said: str) -> None:
    """The message has the place in the definition and the input that is written there; and there are bounds."""
    with pytest.raises(AwaitRefused) as caught:
        awaited_by(plan(awaits=["${{ inputs.several }}"]), {"several": value, "previous": None})
    assert said in str(caught.value)
    if "gives" in said:
        assert str(caught.value).startswith("awaits[0].run: '${{ inputs.several }}'")


def test_wrong_awaits_are_refused_when_the_definition_is_read() -> None:
    """With their places, and what is allowed there."""
    assert [str(p) for p in refused(awaits=["${{ tasks.a.output }}"])] == [
        "awaits[0].run: 'tasks' is not known here; allowed: inputs"
    ]
    assert "unknown input 'prior'" in str(refused(awaits=["${{ inputs.prior }}"])[0])
    assert [p.path for p in refused(awaits=[{"run": "r1", "kind": "whenever"}])] == ["awaits[0].kind"]
    assert "allowed: run, task, kind" in str(refused(awaits=[{"runs": "r1"}])[-1])
    inside = {"m": {"map": {"over": "[1]", "tasks": {"x": {**PICK, "awaits": ["r1"]}}}}}
    assert [p.path for p in refused(tasks=inside)] == ["tasks.m.map.tasks.x.awaits"]
    secret = refused(inputs={"key": {"secret": True}}, awaits=["${{ inputs.key }}"])
    assert "is a secret" in str(secret[0])


def test_a_registered_definition_awaits_the_same() -> None:
    """Its canonical document gives the same plan, and one without awaits says nothing of them."""
    story = plan(awaits=["${{ inputs.previous }}"])
    again = plan_from_document(story.document)
    assert again.awaits == story.awaits != ()
    assert b"awaits" not in plan().document


def test_the_published_schema_has_them() -> None:
    """In both forms, of the whole and of a task of any kind."""
    schema = jsonschema_rs.validator_for(json_schema())
    assert schema.is_valid(document(awaits=["r1", {"run": "r2", "kind": "end", "task": "x"}]))
    assert schema.is_valid(document(tasks={"w": {"wait": {"for": "1s"}, "awaits": ["r1"]}}))
    assert not schema.is_valid(document(awaits=[{"kind": "end"}]))


def test_awaits_are_read_from_a_file_with_their_lines() -> None:
    """A refusal names file and line."""
    text = 'name: x\nversion: "1"\nawaits:\n  - run: ${{ inputs.gone }}\ntasks:\n  a: {capability: pick}\n'
    with pytest.raises(DefinitionError) as caught:
        load(text, "x.yaml")
    assert str(caught.value).startswith("x.yaml:4: awaits[0].run: unknown input 'gone'")
