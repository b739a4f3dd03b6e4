"""Random definitions of today's form, all of them valid: `definitions()` for whole documents, `task_trees()` for their tasks.

Names are unique in the whole document, so that none hides another. What is read is upstream; an output is read where its task
must have succeeded, else the state. A caller that cannot take some kinds names those that it can. `rich` adds what only a whole
site can serve: resources, growth, reconciling work, stages, cancelled neighbours, times to begin.
"""

from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

KINDS = ("work", "wait", "signal", "check", "approval", "run", "parallel", "sequential", "map", "repeat", "sync_point")
NESTED = ("parallel", "sequential", "map", "repeat")
RESOURCES = {"dock": 1, "forklift": 3, "gate": 2}
STAGES = {"NEW": ["GOING", "BROKEN"], "GOING": ["GOING", "DONE", "BROKEN"], "DONE": ["GOING", "DONE"], "BROKEN": ["GOING"]}
INPUTS: dict[str, Any] = {
    "lines": {"type": "array", "default": ["a", "b", "c"]},
    "count": {"type": "integer", "default": 2},
    "flag": {"type": "boolean", "default": True},
}


@dataclass
class Surroundings:
    """Where tasks are written: what they can read from outside, how deep they lie, and what the tasks around them hold."""

    kinds: tuple[str, ...]
    left: list[int]  # One number: how many more tasks there may be.
    depth: int = 0
    bodies: int = 0
    outputs: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    in_map: bool = False
    names: list[str] = field(default_factory=list)
    rich: bool = False
    held: str = ""  # Of the resources of the tasks around, the last by name.

    def inside(self, outputs: list[str], states: list[str], word: str) -> "Surroundings":
        body = word in ("map", "repeat")
        return Surroundings(
            self.kinds,
            self.left,
            self.depth + 1,
            self.bodies + body,
            tuple(outputs),
            tuple(states),
            self.in_map or word == "map",
            self.names,
            self.rich,
            self.held,
        )


@st.composite
def definitions(
    draw: st.DrawFn, tasks_max: int = 10, kinds: tuple[str, ...] = KINDS, *, rich: bool = False, name: str = "story"
) -> dict[str, Any]:
    """A document as its author might write it: tasks of the given kinds, and some of what is said of the whole run."""
    tasks = draw(task_trees(tasks_max, kinds, rich=rich))
    whole: dict[str, Any] = {"name": name, "version": "1", "inputs": INPUTS, "tasks": tasks}
    first = next(iter(whole["tasks"]))
    extra = {
        "timeout": st.sampled_from(["1h", 90]),
        "on_failure": st.sampled_from(["stop", "continue"]),
        "recovery": st.lists(st.sampled_from(["restore", {"rollback": {"times": 2}}, "incident", "degrade"]), max_size=2),
        "priority": st.integers(0, 9),
        "checkpoints": st.integers(1, 10),
        "queries": st.just({"state": f"tasks.{first}.state"}),
        "outputs": st.just({"state": f"${{{{ tasks.{first}.state }}}}", "count": "${{ inputs.count }}"}),
        "rules": st.just([{"on": "task.failed", "when": "event.code == 'jam'", "do": {"skip": first}}]),
    }
    if rich:
        whole["stages"] = STAGES
        extra["rules"] = st.lists(st.sampled_from(_rules(first)), min_size=1, max_size=2)
    return whole | draw(st.fixed_dictionaries({}, optional=extra))


def _rules(first: str) -> list[dict[str, Any]]:
    return [
        {"on": "task.failed", "when": "event.code == 'jam'", "do": {"skip": first}},
        {"on": "task.reconcile", "do": "pause"},
        {"on": "task.failed", "do": {"start": {"definition": "other@1"}}},
        {"on": "stage.BROKEN", "do": "cancel"},
        {"on": "run.incident", "do": {"escalate": "role:chief"}},
    ]


@st.composite
def task_trees(draw: st.DrawFn, tasks_max: int = 10, kinds: tuple[str, ...] = KINDS, *, rich: bool = False) -> dict[str, Any]:
    """What stands under `tasks:`; at most so many tasks, those inside of others counted."""
    return _tasks(draw, Surroundings(kinds, [draw(st.integers(1, tasks_max))], rich=rich), is_sequence=False)


def _tasks(draw: st.DrawFn, around: Surroundings, *, is_sequence: bool) -> dict[str, Any]:
    tasks: dict[str, Any] = {}
    # By name: what has succeeded, and what has ended, when the task has succeeded.
    succeeded: dict[str, set[str]] = {}
    ended: dict[str, set[str]] = {}
    count = draw(st.integers(1, max(1, min(5, around.left[0]))))
    for _ in range(count):
        name = f"t{len(around.names)}"
        around.names.append(name)
        around.left[0] -= 1
        before = list(tasks)
        needs = [{"task": before[-1], "after": "success"}] if is_sequence and before else []
        task: dict[str, Any] = {}
        if not is_sequence and before:
            needs, written = draw(_needs(before))
            task |= written
        sure = [need["task"] for need in needs if need["after"] == "success"] if "join" not in task else []
        succeeded[name] = {far for need in sure for far in (need, *succeeded[need])}
        ended[name] = {far for need in sure for far in ended[need]} | {need["task"] for need in needs if "join" not in task}
        outputs = [far for far in sorted(succeeded[name]) if _has_output(tasks[far])] + list(around.outputs)
        states = [*sorted(ended[name]), *around.states]
        task |= _kind(draw, around, outputs, states)
        if draw(st.integers(0, 3)) == 0:
            task["when"] = draw(st.sampled_from(["inputs.flag", "!inputs.flag", "inputs.count > 1"]))
        if draw(st.integers(0, 5)) == 0:
            task["optional"] = True
        if "when" in task or "optional" in task:
            succeeded[name] = set()
        tasks[name] = task
    return tasks


def _has_output(task: dict[str, Any]) -> bool:
    is_certain = "when" not in task and "optional" not in task
    return is_certain and ("wait" not in task or "signal" in task["wait"])


@st.composite
def _needs(draw: st.DrawFn, before: list[str]) -> tuple[list[dict[str, str]], dict[str, Any]]:
    """Needs in the long form, and what is written."""
    names = draw(st.lists(st.sampled_from(before), unique=True, max_size=3))
    needs = [
        {"task": name, "after": draw(st.sampled_from(["success", "success", "success", "failure", "end"]))} for name in names
    ]
    short = draw(st.booleans())
    written: dict[str, Any] = {"needs": [need["task"] if short and need["after"] == "success" else dict(need) for need in needs]}
    if len(names) > 1 and draw(st.integers(0, 3)) == 0:
        written["join"] = draw(st.sampled_from(["any", len(names)]))
    return needs, written


def _kind(draw: st.DrawFn, around: Surroundings, outputs: list[str], states: list[str]) -> dict[str, Any]:
    kinds = [kind for kind in around.kinds if kind not in NESTED or _may_nest(kind, around)]
    kind = draw(st.sampled_from(["work", "work", *kinds] if "work" in kinds else kinds))
    match kind:
        case "wait":
            return {"wait": {"for": draw(st.integers(1, 60))}}
        case "signal":
            return {"wait": {"signal": "go"}, "timeout": draw(st.integers(1, 60))}
        case "check":
            return {"check": draw(st.sampled_from(["inputs.flag", "inputs.count > 1", "${{ size(inputs.lines) == 3 }}"]))}
        case "approval":
            return {"approval": draw(st.sampled_from([{}, {"by": ["ann", "role:chief"], "count": 2, "deadline": "1h"}]))}
        case "run":
            return {"run": {"definition": "other@1", "inputs": _reading(draw, outputs, states), "wait": draw(st.booleans())}}
        case "sync_point":
            return {"sync_point": {"point": "gate", "parties": 2}}
        case "parallel" | "sequential" | "map" | "repeat":
            inside = around.inside(outputs, states, kind)
            claims = draw(_claims(around)) if around.rich else {}
            inside.held = max((around.held, *_names(claims)))
            return {kind: _nested(draw, kind, inside), **claims}
        case _:
            return _work(draw, around, outputs, states)


def _may_nest(kind: str, around: Surroundings) -> bool:
    return around.left[0] > 0 and around.depth < 4 and (around.bodies < 2 or kind not in ("map", "repeat"))


def _nested(draw: st.DrawFn, kind: str, inside: Surroundings) -> dict[str, Any]:
    tasks = _tasks(draw, inside, is_sequence=kind == "sequential")
    first = next(iter(tasks))
    match kind:
        case "parallel":
            joins = st.sampled_from(["all", "any", len(tasks)])
            return {"tasks": tasks, "join": draw(joins), "rest": draw(st.sampled_from(["cancel", "finish"]))}
        case "map":
            over = draw(st.sampled_from(["inputs.lines", "[1, 2]", "[]"]))
            return {"over": over, "tasks": tasks, **({"concurrency": 1} if draw(st.booleans()) else {})}
        case "repeat":
            condition = draw(st.sampled_from([{"until": f"tasks.{first}.state == 'completed'"}, {"while": "index < 1"}]))
            return {"tasks": tasks, "max": draw(st.integers(1, 3)), **condition}
        case _:
            return {"tasks": tasks}


def _work(draw: st.DrawFn, around: Surroundings, outputs: list[str], states: list[str]) -> dict[str, Any]:
    task: dict[str, Any] = {"capability": draw(st.sampled_from(["pick", "pack"]))}
    task["effect"] = draw(st.sampled_from(["repeatable", "once", "physical"]))
    task["retry"] = {"max_attempts": draw(st.integers(1, 3)), "delay": 1, "jitter": 0}
    task["with"] = _reading(draw, outputs, states) | ({"item": "${{ item }}"} if around.in_map else {})
    service = {"capability": "pick", "effect": "repeatable"}
    extra = {
        "validate": st.sampled_from(["output != null", service]),
        "cleanup": st.just(service),
        "compensate": st.just({**service, "with": {"what": "${{ output }}"}}),
        "timeout": st.integers(1, 60),
        "recovery": st.lists(st.sampled_from(["restore", "rollback", "incident", "degrade"]), max_size=2),
    }
    if draw(st.integers(0, 2)) == 0:
        task |= draw(st.fixed_dictionaries({}, optional=extra))
    return task | draw(_claims(around)) | draw(_rare(service)) if around.rich else task


@st.composite
def _claims(draw: st.DrawFn, around: Surroundings) -> dict[str, Any]:
    """Some resources, each after those that are held around."""
    free = [name for name in RESOURCES if name > around.held]
    if not free or draw(st.integers(0, 1)):
        return {}
    names = draw(st.lists(st.sampled_from(free), unique=True, min_size=1, max_size=2))
    return {"resources": [{"name": name, "units": draw(st.integers(1, RESOURCES[name]))} for name in names]}


def _names(claims: dict[str, Any]) -> list[str]:
    return [resource["name"] for resource in claims.get("resources", ())]


@st.composite
def _rare(draw: st.DrawFn, service: dict[str, Any]) -> dict[str, Any]:
    if draw(st.integers(0, 2)):
        return {}
    stage = {"start": "GOING", "success": "DONE", "failure": "BROKEN"}
    extra = {
        "reconcile": st.just(service),
        "grows": st.just(True),
        "start_timeout": st.integers(5, 90),
        "stage": st.sampled_from([stage, {"start": "GOING"}, {"success": "DONE"}]),
        "output": st.just({"not": {"type": "string"}}),
    }
    return draw(st.fixed_dictionaries({}, optional=extra))


def _reading(draw: st.DrawFn, outputs: list[str], states: list[str]) -> dict[str, str]:
    read = {name: f"${{{{ tasks.{name}.output }}}}" for name in draw(_some(outputs))}
    return read | {f"{name}_state": f"${{{{ tasks.{name}.state }}}}" for name in draw(_some(states))}


def _some(names: list[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(names), unique=True, max_size=2) if names else st.just([])
