"""Defaults that all share, and what it costs to compile: counted, for a clock would count the neighbours, too."""

import sys
from collections import Counter
from types import FrameType
from typing import Any

import pytest

from workflow.definition import TaskDefinition
from workflow.nothing import NO_FIELDS, NO_ITEMS
from workflow.plan import read_plan


def groups(count: int) -> dict[str, Any]:
    tasks: dict[str, Any] = {}
    for number in range(count):
        inside = {"a": {"capability": "pick"}, "b": {"capability": "pick", "needs": ["a"]}}
        tasks[f"g{number}"] = {"parallel": {"tasks": inside}, "needs": [f"g{number - 1}"] if number else []}
    return {"name": "grouped", "version": "1", "tasks": tasks}


def calls(document: dict[str, Any]) -> Counter[str]:
    """How often which function of Python is called to compile it."""
    found: Counter[str] = Counter()

    def note(frame: FrameType, event: str, given: object) -> None:
        if event == "call":
            found[frame.f_code.co_name] += 1

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        read_plan(document)
    finally:
        sys.setprofile(before)
    return found


def test_what_is_compiled_costs_the_same_for_each_task() -> None:
    """Ten times as many groups take ten times as many calls, and no default is copied for each."""
    calls(groups(10))
    few, many = calls(groups(100)), calls(groups(1_000))
    assert few["deepcopy"] == many["deepcopy"] < 10
    assert many.total() < 10.5 * few.total()
    assert many.total() < 40 * 3_000


def test_a_shared_default_cannot_be_changed() -> None:
    """Whoever wants other items makes a new list."""
    task = TaskDefinition(capability="pick")
    assert (task.needs, task.cancels, task.parameters) == ([], [], {})
    with pytest.raises(TypeError, match="default that all share"):
        task.needs.append("a")
    with pytest.raises(TypeError, match="default that all share"):
        task.parameters["a"] = 1
    with pytest.raises(TypeError, match="default that all share"):
        NO_ITEMS.extend(["a"])
    with pytest.raises(TypeError, match="default that all share"):
        NO_FIELDS.update(a=1)
    assert (NO_ITEMS, NO_FIELDS) == ([], {})
