"""Small definitions for tests, as parsed documents."""

from typing import Any

from hypothesis import strategies as st

from workflow.definition import WHO
from workflow.plan import Plan, read_plan
from workflow.problems import DefinitionError


def document(tasks: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A definition with these tasks; a task that names nobody gets the capability `work`."""
    whole = {id: task if set(WHO) & set(task) else {"capability": "work"} | task for id, task in tasks.items()}
    return {"name": "flow", "version": "1.0.0", "tasks": whole, **fields}


def plan(tasks: dict[str, Any], **fields: Any) -> Plan:
    return read_plan(document(tasks, **fields))[1]


def refusals(found: object) -> list[str]:
    """All problems of a document, as text."""
    try:
        read_plan(found)
    except DefinitionError as refusal:
        return [str(problem) for problem in refusal.problems]
    return []


@st.composite
def graphs(draw: st.DrawFn, tasks_max: int = 12) -> dict[str, list[str]]:
    """Needs without a cycle, written in any order."""
    count = draw(st.integers(1, tasks_max))
    ids = draw(st.permutations([f"t{number}" for number in range(count)]))
    needs = {
        id: draw(st.lists(st.sampled_from(ids[:place]), unique=True, max_size=3)) if place else [] for place, id in enumerate(ids)
    }
    return {id: needs[id] for id in draw(st.permutations(ids))}
