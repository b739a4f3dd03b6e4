"""Random documents of the older forms, all of them valid."""

from typing import Any

from hypothesis import strategies as st

OLD_FORMS = ("1.0.0", "1.1.0", "1.2.0", "2.0.0")
ACTIONS = ("agent_task", "file_operation", "api_call", "workflow_trigger", "approval_gate", "condition_check", "sort-parcels")


@st.composite
def older(draw: st.DrawFn, form: str) -> dict[str, Any]:
    """A document of one of OLD_FORMS, with its name or known by its fields."""
    count = draw(st.integers(1, 6))
    names = [f"{draw(st.sampled_from(['Task ', 'step_', 't']))}{number}" for number in range(count)]
    tasks = {name: _task(draw, form, names[:number]) for number, name in enumerate(names)}
    whole: dict[str, Any] = {"name": draw(st.sampled_from(["Order Flow", "flow"])), "version": "1.2.3", "tasks": tasks}
    if form == "2.0.0" and draw(st.booleans()):
        whole["checkpoints"] = draw(st.integers(1, 20))
    return whole | {"schema_version": form}


def _task(draw: st.DrawFn, form: str, before: list[str]) -> dict[str, Any]:
    action = draw(st.sampled_from(ACTIONS))
    task: dict[str, Any] = {"name": "A task", "action": action, "parameters": _parameters(action)}
    if action in ("agent_task", "sort-parcels") and draw(st.booleans()):
        task["agent_id"] = "anna"
    task["dependencies"] = draw(st.lists(st.sampled_from(before), unique=True, max_size=2)) if before else []
    if draw(st.booleans()):
        task["timeout_seconds"] = draw(st.integers(1, 600))
    if form >= "1.1.0":
        task["execution_mode"] = draw(st.sampled_from(["sequential", "parallel"]))
    if form >= "1.2.0" and draw(st.booleans()):
        task["execution_mode"] = "conditional"
        task["conditions"] = draw(st.lists(_conditions(task["dependencies"]), min_size=1, max_size=2))
    if form >= "2.0.0" and action not in ("approval_gate", "condition_check"):
        task["retry_count"] = draw(st.integers(0, 3))
        task["retry_delay"] = draw(st.integers(1, 5))
    return task


def _parameters(action: str) -> dict[str, Any]:
    known: dict[str, dict[str, Any]] = {
        "agent_task": {"capability": "pick"},
        "workflow_trigger": {"workflow": "other@1", "inputs": {"a": 1}},
        "approval_gate": {"approvers": ["ann", "bob"], "required_approvals": 2},
        "condition_check": {"condition": {"field": "priority", "operator": ">", "value": 3}},
    }
    return known.get(action, {"path": "a.txt"})


def _conditions(dependencies: list[str]) -> st.SearchStrategy[Any]:
    fields = ["priority", "inputs.order.total"]
    if dependencies:
        fields.append(f"{dependencies[0]}.status" if " " not in dependencies[0] else "urgent")
    compared = st.fixed_dictionaries({
        "field": st.sampled_from(fields),
        "operator": st.sampled_from(["==", "ne", "greater_than", "<=", "in", "contains"]),
        "value": st.sampled_from([1, "x", True, None, 2.5, [1, 2], 'a "b" \\ é\n']),
    })  # fmt: skip
    return st.one_of(compared, st.sampled_from(["priority > 3 and urgent", "not inputs.urgent", "size(name) == 2"]))
