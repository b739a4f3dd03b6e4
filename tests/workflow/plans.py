"""Plans for tests: written as small documents, compiled as any definition is."""

from collections.abc import Mapping
from typing import Any

import msgspec
from hypothesis import strategies as st

from workflow.definition import WHO
from workflow.events import FragmentAdopted
from workflow.plan import Plan, plan_from_document

SITES = ["harbour", "airport"]


def plan_of(
    tasks: Mapping[str, Mapping[str, Any]],
    *,
    inputs: dict[str, Any] | None = None,
    name: str = "story",
    version: str = "1",
    **fields: Any,
) -> Plan:
    """Compile tasks; whoever does not say who does it asks for the capability `work`."""
    whole = {id: task if set(WHO) & task.keys() else {"capability": "work", **task} for id, task in tasks.items()}
    document = {"name": name, "version": version, "inputs": inputs or {}, "tasks": whole, **fields}
    return plan_from_document(msgspec.json.encode(document))


def adopted(plan: Plan, places: list[int] | None = None, *, inputs: bytes = b"{}") -> FragmentAdopted:
    """The harbour becomes home of a fragment; `places[i]` is the index in SITES of task i's site."""
    places = places or [0] * len(plan.tasks)
    sites = SITES if 1 in places else SITES[:1]
    return FragmentAdopted(plan.ref, inputs, "harbour", sites, bytes(places), 2)


@st.composite
def documents(draw: st.DrawFn, tasks_max: int = 7) -> dict[str, dict[str, Any]]:
    """Tasks of a random graph: any effect class, retries, waits, and parameters that read what is upstream."""
    tasks: dict[str, dict[str, Any]] = {}
    upstream: dict[str, set[str]] = {}
    for number in range(draw(st.integers(1, tasks_max))):
        earlier = [f"t{need}" for need in range(number)]
        task: dict[str, Any] = {
            "needs": draw(st.lists(st.sampled_from(earlier), unique=True, max_size=3) if earlier else st.just([]))
        }
        above = upstream[f"t{number}"] = {*task["needs"], *(far for need in task["needs"] for far in upstream[need])}
        if draw(st.integers(0, 5)) == 0:
            task["wait"] = {"for": draw(st.integers(1, 60))}
        else:
            task["capability"] = draw(st.sampled_from(["pick", "pack"]))
            task["effect"] = draw(st.sampled_from(["repeatable", "once", "physical"]))
            task["retry"] = {"max_attempts": draw(st.integers(1, 3)), "delay": 1, "jitter": 0}
            if draw(st.integers(0, 2)) == 0:
                task["timeout"] = draw(st.sampled_from([2, 20]))
            readable = sorted(need for need in above if "wait" not in tasks[need])
            task["with"] = {need: f"${{{{ tasks.{need}.output }}}}" for need in readable[: draw(st.integers(0, 3))]}
        tasks[f"t{number}"] = task
    return tasks
