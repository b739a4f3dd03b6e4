"""Standing rules: what they may say, of which runs they speak, and what they do."""

from typing import Any

import msgspec
import pytest

from sync.values import Now, RunId
from tests.workflow.plans import adopted, plan_of
from workflow.commands import Assign, Complete, Fail
from workflow.event import Event
from workflow.events import FragmentCancelling
from workflow.fragment import Fragment
from workflow.loading import load_part
from workflow.problems import DefinitionError
from workflow.saved import load_saved
from workflow.standing import Standing, StandingPlan, read_standing, standing_from_document
from workflow.steering_events import ChildRequested, FragmentPaused, RuleFired, TaskSkipped

HOOK = "https://example.org/hook"
NOW = Now(7, 7, 1)
TWO = plan_of({"a": {}, "b": {"needs": ["a"]}}, name="two")


def rule(**fields: Any) -> StandingPlan:
    return read_standing({"name": "r", "on": "task.completed", "do": {"notify": HOOK}, **fields})


def standing(*plans: StandingPlan) -> Standing:
    found = Standing()
    for plan in plans:
        found.put(plan)
    return found


def begun(labels: dict[str, str] | None = None) -> Fragment:
    event = msgspec.structs.replace(adopted(TWO), labels=labels or {}, priority=7)
    return Fragment.adopt(RunId("r1"), TWO, event)


def fold(fragment: Fragment, rules: Standing, events: list[Event]) -> list[Event]:
    for event in events:
        fragment.evolve(event)
    said = fragment.decide_rules(events, rules)
    for event in said:
        fragment.evolve(event)
    return said


def work(fragment: Fragment, rules: Standing, *, fails: bool = False) -> list[Event]:
    """An agent takes the first task, and is done with it or fails for good."""
    said = fold(fragment, rules, fragment.decide(Assign(0, "anna", "b1", b""), NOW))
    done = Fail(0, 1, "anna", "jam", "torn", False) if fails else Complete(0, 1, "anna", b"1", None)
    return said + fold(fragment, rules, fragment.decide(done, NOW))


def test_a_standing_rule_fires_under_its_name() -> None:
    """Its condition sees the event and the run; the definition has no rules of its own."""
    when = "event.task == 'a' && run.id == 'r1' && run.definition == 'two@1' && run.labels.line == '4' && run.priority == 7"
    (fired,) = work(begun({"line": "4"}), standing(rule(when=when)))
    assert fired == RuleFired(-1, "task.completed", "notify", HOOK, fired.detail, "", "r")  # type: ignore[attr-defined]
    assert msgspec.json.decode(fired.detail) == {"task": "a", "state": "completed", "attempt": 1, "agent": "anna"}
    assert work(begun({"line": "5"}), standing(rule(when=when))) == []


def test_a_standing_rule_hears_of_attempts_that_are_repeated() -> None:
    """And not of the failures that end a task; skipping is of the task that waits for its next attempt."""
    fragment, rules = begun(), standing(rule(on="task.retrying", do="skip"))
    assert fold(fragment, rules, fragment.decide(Assign(0, "anna", "b1", b""), NOW)) == []
    fired, *more = fold(fragment, rules, fragment.decide(Fail(0, 1, "anna", "jam", "torn", True), NOW))
    assert isinstance(fired, RuleFired)
    assert (fired.on, fired.action, [type(event) for event in more][:1]) == ("task.retrying", "skip", [TaskSkipped])
    assert work(begun(), standing(rule(on="task.retrying")), fails=True) == []


@pytest.mark.parametrize(
    ("scope", "fires"),
    [
        ({}, True),
        ({"definition": "two"}, True),
        ({"definition": "two@1"}, True),
        ({"definition": "two@2"}, False),
        ({"definition": "tw"}, False),
        ({"labels": {"line": "4"}}, True),
        ({"labels": {"line": "4", "shift": "night"}}, False),
        ({"definition": "two", "labels": {"line": "5"}}, False),
    ],
)
def test_a_scope_says_of_which_runs_a_rule_speaks(scope: dict[str, Any], fires: bool) -> None:
    """All of it must fit."""
    assert bool(work(begun({"line": "4"}), standing(rule(scope=scope)))) is fires


def test_what_standing_rules_do() -> None:
    """As those of a definition; a skip is of the task that the event is about."""
    assert [type(event) for event in work(begun(), standing(rule(do="pause")))] == [RuleFired, FragmentPaused]
    assert [type(event) for event in work(begun(), standing(rule(do="cancel")))] == [RuleFired, FragmentCancelling]
    fragment = begun()
    paused = fold(fragment, standing(rule(on="run.paused", do={"escalate": "role:chief"})), [FragmentPaused("c1", "tide")])
    assert [(event.action, event.target) for event in paused if isinstance(event, RuleFired)] == [("escalate", "role:chief")]
    started = {"start": {"definition": "mend", "inputs": {"of": "${{ run.id }}", "why": "${{ event.code }}"}}}
    asked = work(begun(), standing(rule(on="task.failed", do=started)), fails=True)[-1]
    assert isinstance(asked, ChildRequested)
    assert (asked.definition, msgspec.json.decode(asked.inputs)) == ("mend", {"of": "r1", "why": "jam"})
    assert asked.child.startswith("r1.rule-r.")


def test_a_skip_is_of_the_task_that_waits_for_a_person() -> None:
    """One that has ended by then stays as it is."""
    plan = plan_of({"a": {"recovery": ["incident"]}, "b": {"needs": ["a"]}}, name="stuck")
    fragment = Fragment.adopt(RunId("r1"), plan, adopted(plan))
    rules = standing(rule(on="task.incident", do="skip"))
    said = work(fragment, rules, fails=True)
    assert [event.task for event in said if isinstance(event, TaskSkipped)] == [plan.index["a"]]
    assert [type(event) for event in work(begun(), standing(rule(do="skip")))] == [RuleFired]


def test_a_condition_that_cannot_be_computed_is_on_record() -> None:
    """Under the rule's name; the run goes on."""
    (fired,) = work(begun(), standing(rule(when="event.nothing == 1")))
    assert isinstance(fired, RuleFired)
    assert fired.name == "r"
    assert "nothing" in fired.error


def test_what_a_standing_rule_does_sets_off_no_rule() -> None:
    """Neither another standing one nor one of the definition."""
    rules = standing(rule(do="pause"), rule(name="s", on="run.paused", do={"notify": HOOK}))
    assert [event.name for event in work(begun(), rules) if isinstance(event, RuleFired)] == ["r"]


def test_rules_go_by_name_whatever_came_first() -> None:
    """So every site does the same."""
    one, two = rule(name="a"), rule(name="b")
    assert standing(one, two) == standing(two, one) or standing(two, one).by_event == standing(one, two).by_event
    found = standing(two, one)
    found.put(rule(name="a", on="task.failed"))
    assert {on: [plan.name for plan in plans] for on, plans in found.by_event.items()} == {
        "task.failed": ["a"],
        "task.completed": ["b"],
    }
    for name in ("a", "b", "c"):
        found.remove(name)
    assert not found
    assert found.by_event == {}


def test_a_rule_survives_its_document() -> None:
    """What the cloud checked is what the site compiles."""
    plan = rule(when="run.priority > 3", scope={"site": "harbour", "labels": {"b": "1", "a": "2"}})
    assert standing_from_document(plan.document) == plan


def test_labels_are_part_of_a_fragment() -> None:
    """Saved, and there again; a run without any saves as before but for an empty mapping."""
    fragment = begun({"b": "1", "a": "2"})
    assert load_saved(fragment.save()).labels == {"a": "2", "b": "1"}
    again = Fragment.restore(RunId("r1"), TWO, load_saved(fragment.save()))
    assert again.save() == fragment.save()
    assert begun().labels is None


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"name": "R"}, "name: 'R' is no valid name here; allowed: a lower-case letter"),
        ({"on": "task.fail"}, "on: unknown event of a task 'fail'; did you mean 'failed'?; allowed: started"),
        ({"on": "job.failed"}, "on: 'job.failed' is no valid name here; allowed: task.<state>, run.<state> or stage.<name>"),
        ({"on": "enter.paused"}, "on: 'enter.paused' is no valid name here; allowed: task.<state>, run.<state> or stage.<name>"),
        ({"do": "notify"}, "do: 'notify' is no action that stands alone; allowed: pause, cancel, skip, or a mapping"),
        ({"do": {}}, "do: it names none of them; allowed: one of pause, cancel, start, notify, skip, escalate"),
        ({"do": {"notify": "ftp://a"}}, "do.notify: 'ftp://a' is no valid name here; allowed: http://... or https://..."),
        ({"on": "run.failed", "do": "skip"}, "do.skip: run.failed is about no task; allowed: on: task. with started"),
        ({"when": "tasks.a.output == 1"}, "when: 'tasks' is not known here; allowed: run, event"),
        ({"when": "inputs.a == 1"}, "when: 'inputs' is not known here; allowed: run, event"),
        ({"when": "size(inputs) == 1"}, "when: 'inputs' is not known here; allowed: run, event"),
        ({"when": "item == 1"}, "when: 'item' is not known here"),
        ({"when": "event.a =="}, "when: "),
        ({"when": "run.name == 'a'"}, "when: run is only known by its id"),
        ({"when": "x" * 5_000}, "when: the expression is too long"),
        (
            {"scope": {"sites": "a"}},
            "scope.sites: unknown field 'sites'; did you mean 'site'?; allowed: site, definition, labels",
        ),
        ({"scope": {"site": "A B"}}, "scope.site: 'A B' is no valid name here; allowed: the name of a site"),
        ({"to": "ann"}, "to: unknown field 'to'"),
        ({"do": {"start": {"definition": "m", "inputs": {"a": "${{ tasks.b.output }}"}}}}, "do.start.inputs.a: 'tasks' is not"),
    ],
)
def test_a_wrong_rule_is_refused(fields: dict[str, Any], line: str) -> None:
    """With the place, what stands there, and what is allowed."""
    with pytest.raises(DefinitionError) as refused:
        rule(**fields)
    assert any(str(problem).startswith(line) for problem in refused.value.problems), refused.value


def test_what_only_standing_rules_know_is_refused_elsewhere() -> None:
    """A definition's own rules read the run's id alone."""
    with pytest.raises(DefinitionError, match=r"run\.labels is known in standing rules only; allowed: run\.id"):
        plan_of({"a": {}}, rules=[{"on": "task.failed", "when": "run.labels.x == '1'", "do": "pause"}])


def test_a_refusal_names_file_and_line() -> None:
    """As of a definition."""
    with pytest.raises(DefinitionError) as refused:
        load_part("name: r\non: task.fail\ndo: pause\n", "rule.yaml", read_standing)
    assert str(refused.value).startswith("rule.yaml:2: on: unknown event")
    with pytest.raises(DefinitionError, match=r"rule.yaml:2: .*twice"):
        load_part("name: r\nname: s\non: task.failed\ndo: pause\n", "rule.yaml", read_standing)
