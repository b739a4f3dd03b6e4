"""Every kind of task and every field of it, compiled: what the plan holds of what the author wrote."""

from typing import Any

import jsonschema_rs
import msgspec
import pytest

from tests.workflow.documents import document, plan, refusals
from workflow.definition import json_schema
from workflow.loading import load_plan
from workflow.plan import Plan, plan_from_document
from workflow.scope import Scope
from workflow.tasks import LOCAL_BITS, Kind, Recovery, Role, RulePlan, Stages
from workflow.template import Template
from workflow.yaml_text import mark_yaml

WHOLE = """
name: fulfilment
version: 1.0.0
description: all there is
inputs: {order: {type: string}, lines: {type: array, default: []}, when: {type: string, default: "2030-01-01T00:00:00Z"}}
outputs: {total: "${{ tasks.sum.output.total }}", first: "${{ tasks.lines.output[0] }}"}
timeout: 2h
on_failure: continue
recovery: [restore, {rollback: {to: pick, times: 2}}, incident]
priority: 5
checkpoints: 3
stages: {CREATED: [ANALYZING], ANALYZING: [ANALYZED, ANALYSIS_FAILED], ANALYZED: [], ANALYSIS_FAILED: []}
rules:
- {on: task.failed, when: "event.code == 'jam'", do: pause}
- {on: stage.ANALYZED, do: {start: {definition: review@1, inputs: {order: "${{ inputs.order }}"}}}}
- {on: run.failed, do: {notify: "https://example.org/hook"}}
- {on: task.failed, do: {skip: sum}}
- {on: run.incident, do: {escalate: "role:chief"}}
queries: {progress: "tasks.pick.state"}
tasks:
  pick:
    capability: pick
    with: {order: "${{ inputs.order }}"}
    resources: [forklift, {name: pallet, units: 2}]
    validate: output.count > 0
    cleanup: {capability: sweep, with: {order: "${{ inputs.order }}"}}
    compensate: {agent: anna, with: {what: "${{ output.sku }}", count: "${{ tasks.pick.output.count }}"}}
    start_timeout: 1m
    heartbeat: 10s
    timeout: 5m
    retry: {max_attempts: 5, retry_on: [jam, slip]}
    cache: {key: "${{ inputs.order }}", lifetime: 1h}
    stage: {start: ANALYZING, success: ANALYZED, failure: ANALYSIS_FAILED}
    output: {type: object}
    site: harbour
  call: {action: http, with: {url: "http://localhost"}, optional: true, recovery: [degrade]}
  pause: {wait: {for: 5m}}
  until: {wait: {until: "${{ inputs.when }}"}}
  signal: {wait: {signal: go}, timeout: 1h}
  check: {check: "tasks.pick.output.count > 100", needs: [pick], when: "tasks.pick.state == 'completed'"}
  approval:
    approval:
      by: [ann, "role:chief"]
      count: 2
      deadline: 1h
      request: {text: "order ${{ inputs.order }}"}
      escalate: [{after: 30m, by: [boss]}]
      on_reject: complete
  child: {run: {definition: other@2, inputs: {order: "${{ inputs.order }}"}, wait: false, on_cancel: leave}}
  fallback: {capability: mend, needs: [{task: call, after: failure}, {task: pick, after: end}, check], join: 2}
  both:
    site: airport
    parallel:
      join: any
      rest: finish
      tasks:
        left: {capability: work}
        right: {capability: work, needs: [left], with: {x: "${{ tasks.left.output }}"}}
        steps: {sequential: {tasks: {one: {capability: work}, two: {capability: work}}}}
    needs: [pick]
  lines:
    map:
      over: inputs.lines
      concurrency: 8
      tasks:
        fetch: {capability: fetch, with: {sku: "${{ item.sku }}", place: "${{ index }}", pick: "${{ tasks.pick.output }}"}}
        pack: {capability: pack, needs: [fetch], with: {what: "${{ tasks.fetch.output }}"}}
    needs: [pick]
  again:
    repeat:
      until: tasks.try.output.done
      max: 10
      tasks: {try: {capability: try, with: {round: "${{ index }}"}}}
  meet: {sync_point: {point: gate, parties: 3}}
  sum: {capability: sum, needs: [both, lines], with: {both: "${{ tasks.both.output.left }}", lines: "${{ tasks.lines.output }}"}}
"""


def whole() -> Plan:
    return load_plan(WHOLE)[1]


def test_the_whole_form_is_compiled() -> None:
    """A definition that uses every field is compiled, its document gives the same plan, and the published schema takes both."""
    known = whole()
    assert known == plan_from_document(known.document)
    validator = jsonschema_rs.validator_for(json_schema(), pattern_options=jsonschema_rs.RegexOptions())
    validator.validate(mark_yaml(WHOLE).document)
    validator.validate(msgspec.json.decode(known.document))


def test_kinds_are_told_apart() -> None:
    """Each task has the kind that its author gave it."""
    known = whole()
    kinds = {
        "pick": Kind.WORK, "call": Kind.WORK, "pause": Kind.WAIT, "until": Kind.WAIT, "signal": Kind.SIGNAL, "check": Kind.CHECK,
        "approval": Kind.APPROVAL, "child": Kind.CHILD, "both": Kind.GROUP, "both.steps": Kind.GROUP, "lines": Kind.MAP,
        "again": Kind.REPEAT, "meet": Kind.SYNC, "both.steps.two": Kind.WORK,
    }  # fmt: skip
    assert kinds == {id: known.tasks[known.index[id]].kind for id in kinds}
    assert (known.tasks[known.index["signal"]].signal, known.tasks[known.index["call"]].capability) == ("go", "http")


def test_groups_come_before_their_members() -> None:
    """A group has its members, those without needs start with it, and each knows the group around it; the site is inherited."""
    known = whole()
    index = known.index
    both = known.tasks[index["both"]].group
    assert both is not None
    assert (both.quorum, both.finishes) == (1, True)
    assert {known.tasks[member].id for member in both.members} == {"both.left", "both.right", "both.steps"}
    assert {known.tasks[member].id for member in both.first} == {"both.left", "both.steps"}
    assert known.needs[index["both.steps.two"]] == (index["both.steps.one"],)
    assert all(known.tasks[member].parent == index["both"] < member for member in both.members)
    assert known.tasks[index["both.steps.one"]].site == Template(b'"airport"')
    assert known.needs[index["both.left"]] == ()


def test_hidden_tasks_come_last() -> None:
    """Cleanup and compensation by agents are tasks without needs at the end, which their owner and they know each other by."""
    known = whole()
    pick = known.tasks[known.index["pick"]]
    hidden = [(task.id, task.role, task.owner) for task in known.tasks[-2:]]
    assert hidden == [("pick:cleanup", Role.CLEANUP, pick.index), ("pick:compensate", Role.COMPENSATE, pick.index)]
    assert [known.tasks[pick.cleanup].id, known.tasks[pick.compensate].id] == ["pick:cleanup", "pick:compensate"]
    assert pick.validate is not None
    assert pick.validator == -1
    assert known.needs[-2:] == ((), ())
    assert known.retained[pick.index]


def test_needs_say_after_what() -> None:
    """Needs that are met by failure or any end are told apart; a fallback's dependents are no dependents of success."""
    known = whole()
    call, pick, fallback = (known.index[id] for id in ("call", "pick", "fallback"))
    assert known.fallbacks == {call: (fallback,)}
    assert known.ends == {(pick, fallback)}
    assert fallback not in known.dependents[call]
    assert fallback in known.dependents[pick]
    assert known.tasks[fallback].join == 2


def test_bodies_count_from_zero() -> None:
    """Inside a body tasks count from 0 and are read under its depth; what is read outside counts as read by the map."""
    known = whole()
    lines = known.tasks[known.index["lines"]]
    assert lines.body is not None
    body = lines.body
    assert (body.depth, body.members, body.first, body.concurrency) == (1, (0, 1), (0,), 8)
    fetch, pack = body.graph.tasks
    assert (fetch.index, fetch.id, pack.parameters.reads) == (0, "fetch", (1 << LOCAL_BITS,))
    assert fetch.parameters.reads == (known.index["pick"],)
    assert known.index["pick"] in lines.reads
    assert body.graph.retained == (True, True)
    again = known.tasks[known.index["again"]].body
    assert again is not None
    assert again.again is not None
    assert again.again.value(Scope({}, {1 << LOCAL_BITS: {"done": False}})) is True
    assert again.again.value(Scope({}, {1 << LOCAL_BITS: {"done": True}})) is False
    assert (again.rounds_max, again.graph.retained) == (10, (True,))


def test_the_whole_run_is_compiled() -> None:
    """Timeout, stages, recovery, rules, queries and outputs of the run."""
    known = whole()
    pick = known.index["pick"]
    assert (known.timeout_ms, known.stops, known.priority, known.checkpoints) == (7_200_000, False, 5, 3)
    assert next(iter(known.stages.items())) == ("CREATED", ("ANALYZING",))
    restored = (Recovery("restore"), Recovery("rollback", 2, pick), Recovery("incident"))
    assert known.tasks[known.index["meet"]].recovery == restored
    assert known.tasks[known.index["call"]].recovery == (Recovery("degrade"),)
    assert known.tasks[pick].stages == Stages("ANALYZING", "ANALYZED", "ANALYSIS_FAILED")
    assert known.queries["progress"].value(Scope({}, states={pick: "running"})) == "running"
    assert known.outputs is not None
    assert known.rules[3] == RulePlan("task.failed", "skip", task=known.index["sum"])
    assert known.rules[0].when is not None
    assert known.rules[0].when.value(Scope({}, locals={"event": {"code": "jam"}})) is True


@pytest.mark.parametrize(
    ("tasks", "says"),
    [
        ({"a": {"parallel": {"tasks": {"b": {"capability": "x", "site": "s"}}}}}, "tasks.a.parallel.tasks.b.site: a task inside"),
        ({"a": {"sequential": {"tasks": {"b": {"capability": "x", "needs": ["c"]}}}}}, "in a sequence nobody has needs"),
        ({"a": {"needs": ["b"], "join": 2}, "b": {}}, "tasks.a.join: join asks for 2 of 1 needs"),
        ({"a": {"needs": [{"task": "b", "after": "sucess"}]}, "b": {}}, "tasks.a.needs[0].after: 'sucess' is unknown"),
        (
            {"a": {"needs": [{"task": "b", "aftr": 1}]}, "b": {}},
            "tasks.a.needs[0].aftr: unknown field 'aftr'; did you mean 'after'",
        ),
        ({"a": {"when": "inputs.x > "}}, "tasks.a.when: "),
        ({"a": {"when": "item.x"}}, "tasks.a.when: 'item' is not known here; allowed: inputs, tasks, run"),
        ({"a": {"stage": "X"}}, "tasks.a.stage.start: unknown stage 'X'"),
        ({"a": {"recovery": ["restor"]}}, "tasks.a.recovery[0]: 'restor' is no strategy"),
        ({"a": {"recovery": [{"rollback": {"to": "b"}}]}, "b": {}}, "tasks.a.recovery: task 'a' cannot go back to 'b'"),
        (
            {"a": {"site": "s"}, "b": {"site": "t", "needs": ["a"], "recovery": ["restore", {"rollback": {"to": "a"}}]}},
            "tasks.b.recovery[1].rollback.to: task 'b' is done at t, and 'a' at s; allowed: tasks of the same site; a person's",
        ),
        ({"a": {"resources": ["b", "b"]}}, "tasks.a.resources[1]: resource 'b' is named twice"),
        (
            {"a": {"resources": ["m"], "parallel": {"tasks": {"b": {"capability": "x", "resources": ["c"]}}}}},
            "tasks.a.parallel.tasks.b.resources[0]: a task around this one holds 'm', and 'c' comes no later",
        ),
        ({"a": {"map": {"over": "inputs.x", "tasks": {"b": {"capability": "x"}}}}}, "tasks.a.map.over: unknown input 'x'"),
        ({"a": {"wait": {}}}, "tasks.a.wait: it names none of them; allowed: one of for, until, signal"),
        ({"a": {"validate": {"capability": "x", "with": {"y": "${{ outpt }}"}}}}, "did you mean 'output'?"),
        ({"a": {"approval": {"by": ["ann"], "count": 2}}}, "tasks.a.approval: 2 must approve, and it names 1"),
        ({"a": {"join": "some"}}, "tasks.a.join: 'some' is no join; allowed: all, any, or a number"),
        ({"a": {"output": {"type": "strng"}}}, "tasks.a.output.type: "),
    ],
)
def test_faults_of_content_are_named(tasks: dict[str, Any], says: str) -> None:
    """Each fault is one problem with its place."""
    kinds = {"parallel", "sequential", "map", "wait", "approval"}
    whole = {id: task if kinds & task.keys() else {"capability": "work"} | task for id, task in tasks.items()}
    (found,) = refusals({"name": "flow", "version": "1", "tasks": whole})
    assert says in found


@pytest.mark.parametrize("sites", [("s", "s"), ("s", None), (None, "s"), ("${{ inputs.where }}", "s")])
def test_a_recovery_goes_back_where_its_own_site_may_be(sites: tuple[str | None, str | None]) -> None:
    """Only a run shows where a task without a site is done, or one whose site is an input."""
    first, second = ({"capability": "x"} | ({"site": site} if site else {}) for site in sites)
    tasks = {"a": first, "b": second | {"needs": ["a"], "recovery": [{"rollback": {"to": "a"}}]}}
    assert not refusals({"name": "flow", "version": "1", "tasks": tasks, "inputs": {"where": {"type": "string"}}})


def test_a_definition_that_was_taken_before_stays_taken() -> None:
    """A recovery that goes back to another site's task is refused today; a log may have one, and is folded all the same."""
    back = {"needs": ["a"], "recovery": [{"rollback": {"to": "a"}}]}
    tasks = {"a": {"capability": "x", "site": "s"}, "b": {"capability": "x", "site": "t", **back}}
    whole = {"name": "flow", "version": "1", "tasks": tasks}
    assert refusals(whole)
    assert plan_from_document(msgspec.json.encode(whole)).tasks[1].recovery


@pytest.mark.parametrize(
    ("reads", "says"),
    [
        ("tasks.g.output", "reads the output of 'g', which it is inside of"),
        ("tasks.other.output", "reads the output of task 'other', which it does not wait for"),
        ("tasks.far.output", "unknown task 'far'"),
        ("tasks.before.output", ""),
        ("tasks.sister.output", ""),
    ],
)
def test_names_are_looked_up_from_the_inside(reads: str, says: str) -> None:
    """A member reads siblings upstream and what its group waits for, and neither the group itself nor what is in another."""
    tasks = {
        "before": {},
        "other": {"parallel": {"tasks": {"far": {"capability": "x"}}}},
        "g": {
            "needs": ["before"],
            "parallel": {
                "tasks": {
                    "sister": {"capability": "x"},
                    "me": {"capability": "x", "needs": ["sister"], "with": {"x": f"${{{{ {reads} }}}}"}},
                }
            },
        },
    }
    found = refusals(document(tasks))
    assert ([says in problem for problem in found] == [True]) if says else not found


def test_what_a_group_makes_is_kept_whole() -> None:
    """If a group's output is read, its members' outputs are kept, however deep; else only what is read itself."""
    inner = {"parallel": {"tasks": {"x": {"capability": "w"}, "y": {"sequential": {"tasks": {"z": {"capability": "w"}}}}}}}
    known = plan({"g": inner, "h": inner, "r": {"needs": ["g"], "with": {"g": "${{ tasks.g.output }}"}}})
    kept = {task.id for task in known.tasks if known.retained[task.index]}
    assert kept == {"g", "g.x", "g.y", "g.y.z"}
