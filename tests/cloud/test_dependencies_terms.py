"""Runs that wait for runs under conditions, and are given what these made: parameters of tasks, inputs of runs."""

from typing import Any

import msgspec
import pytest

from cloud.dependencies.inputs import RemoveDependency, Wait
from cloud.dependencies.pictures import of_history, view_of
from cloud.dependencies.records import hold_name, of_hold
from cloud.inputs import NewRun, StartRuns
from cloud.port import Problem
from tests.cloud.control import Control
from tests.cloud.test_dependencies import CHAIN, PICK, asked, detail, fact, held, plan, refused, started
from tests.cloud.test_dependencies_defined import ask
from workflow.between import Point
from workflow.orders import Lift
from workflow.plan import Plan
from workflow.terms import Terms

BOX = {"box": {"type": "object", "required": ["id"]}, "note": {"default": "none"}}
SHIP = plan({"load": {"capability": "pick", "with": {"box": "${{ inputs.box }}"}}}, "ship", inputs=BOX)
PACKED = plan({"pack": PICK}, "packed", outputs={"box": "${{ tasks.pack.output }}"})


@pytest.fixture
def cloud() -> Control:
    control = Control()
    control.join("harbour", "pick")
    for story in (CHAIN, SHIP, PACKED):
        control.register(story)
    return control


def terms(**fields: Any) -> Terms:
    return Terms(**fields)


def later(cloud: Control, *waits: Wait, story: Plan = SHIP) -> str:
    """A run that is given its input by the one that it waits for."""
    inputs = story.check_inputs({}, later=frozenset({"box"}))
    (run,) = cloud.start(story, inputs=msgspec.json.encode(inputs), after=waits)
    cloud.settle()
    return run


def dependency(cloud: Control, run: str) -> Any:
    (known,) = cloud.planner.dependencies.records.of(run)
    return known


def parameters(cloud: Control, run: str, task: int) -> object:
    fragment = cloud.outposts["harbour"].fragments[run]
    overrides = fragment.extras.overrides if fragment.extras is not None else {}
    return msgspec.json.decode(overrides[task]) if task in overrides else None


def test_a_condition_that_holds_lets_go(cloud: Control) -> None:
    """It reads the output of the task, though nobody else does."""
    first, second = started(cloud), started(cloud)
    asked(cloud, second, Wait("b", Point(first, "a"), terms=terms(when="output == 7")))
    cloud.settle()
    assert held(cloud, second) == ["b"]
    cloud.outposts["harbour"].work(first, 0, b"7")
    cloud.settle()
    assert (held(cloud, second), dependency(cloud, second).state) == ([], "met")


def test_a_condition_that_does_not_hold_is_waited_for_in_vain(cloud: Control) -> None:
    """A task is skipped, a run that waits as a whole is cancelled and names the condition."""
    first, second = started(cloud), started(cloud)
    third = later(cloud, Wait("", Point(first, "a"), terms=terms(when="output.kg < 5")), story=CHAIN)
    asked(cloud, second, Wait("b", Point(first, "a"), terms=terms(when="output == 8")))
    cloud.settle()
    cloud.outposts["harbour"].work(first, 0, b'{"kg":9}')
    cloud.settle()
    assert fact(cloud, second)["b"] == "skipped"
    assert dependency(cloud, second).state == "hopeless"
    assert cloud.outcome(third) == "cancelled"
    assert f"`when` (output.kg < 5) is false of {first}/a" in detail(cloud, third)


def test_a_value_goes_into_a_parameter_before_the_task_may_begin(cloud: Control) -> None:
    """The order of the two is that of the stream; a restart in between changes nothing."""
    first, second = started(cloud), started(cloud)
    asked(cloud, second, Wait("b", Point(first, "a"), terms=terms(select="output.box.id", into="box")))
    cloud.settle()
    cloud.outposts["harbour"].work(first, 0, b'{"box":{"id":"b7"}}')
    cloud.hear("harbour")
    before = cloud.planner.dependencies.save()
    cloud.restart()
    assert cloud.planner.dependencies.save() == before
    said = [event.verb for _, event in cloud.outposts["harbour"].inbox if hasattr(event, "verb")]
    assert said == ["update", "lift"]
    cloud.settle()
    assert (held(cloud, second), parameters(cloud, second, 1)) == ([], {"box": "b7"})
    assert dependency(cloud, second).value == b""


def test_a_value_waits_for_a_site_that_is_cut_off(cloud: Control) -> None:
    """It is kept over a restart with a snapshot, and written at the greeting."""
    cloud.join("airport", "pack", agent="bea")
    first = started(cloud, plan({"p": {"capability": "pack"}}, "elsewhere"))
    second = started(cloud)
    asked(cloud, second, Wait("b", Point(first, "p"), terms=terms(into="box")))
    cloud.settle()
    cloud.snapshot()
    cloud.begin_anew()
    cloud.turn()
    cloud.link("airport")
    cloud.outposts["airport"].work(first, 0, b'{"n":1}')
    cloud.hear("airport")
    assert (dependency(cloud, second).state, dependency(cloud, second).value) == ("met", b'{"n":1}')
    cloud.snapshot()
    cloud.begin_anew()
    cloud.turn()
    cloud.link("harbour")
    cloud.settle()
    assert (held(cloud, second), parameters(cloud, second, 1)) == ([], {"box": {"n": 1}})


def test_a_run_is_given_an_input_before_any_site_has_it(cloud: Control) -> None:
    """It may start without, and begins with it; a restart keeps it."""
    first = started(cloud, PACKED)
    second = later(cloud, Wait("", Point(first), terms=terms(select="output.box", into="box")))
    assert cloud.planner.runs[second].state() == "pending"
    cloud.outposts["harbour"].work(first, 0, b'{"id":"b7"}')
    cloud.settle()
    assert cloud.outcome(first) == "completed"
    assert msgspec.json.decode(cloud.planner.runs[second].inputs) == {"box": {"id": "b7"}, "note": "none"}
    inputs = cloud.outposts["harbour"].fragments[second].inputs
    assert msgspec.json.decode(inputs)["box"] == {"id": "b7"}
    before = cloud.state()
    cloud.restart()
    assert cloud.state() == before
    cloud.work_all(second)
    assert cloud.outcome(second) == "completed"


@pytest.mark.parametrize(("output", "said"), [(b'{"nr":1}', '"id" is a required property'), (b'"b7"', "is not of type")])
def test_a_value_that_does_not_fit_the_input_is_waited_for_in_vain(cloud: Control, output: bytes, said: str) -> None:
    """The run is cancelled and says what does not fit where."""
    first = started(cloud, PACKED)
    second = later(cloud, Wait("", Point(first), terms=terms(select="output.box", into="box")))
    cloud.outposts["harbour"].work(first, 0, output)
    cloud.settle()
    assert cloud.outcome(second) == "cancelled"
    assert "does not fit: inputs.box" in detail(cloud, second)
    assert said in detail(cloud, second)


def test_several_values_of_one_run(cloud: Control) -> None:
    """One dependency for each; the run begins with all of them."""
    first = started(cloud, PACKED)
    point = Point(first)
    box = Wait("", point, terms=terms(select="output.box", into="box"))
    note = Wait("", point, terms=terms(select="output.box.id", into="note"))
    second = later(cloud, box, note)
    assert len(list(cloud.planner.dependencies.records.of(second))) == 2
    cloud.outposts["harbour"].work(first, 0, b'{"id":"b7"}')
    cloud.settle()
    assert msgspec.json.decode(cloud.planner.runs[second].inputs) == {"box": {"id": "b7"}, "note": "b7"}


def test_an_input_that_nobody_gives_refuses_the_start(cloud: Control) -> None:
    """It is neither in the request nor awaited."""
    wait = Wait("", Point(started(cloud, PACKED)), terms=terms(into="note"))
    new = NewRun(b"{}", {}, after=(wait,))
    answer = cloud.ask(lambda token: StartRuns(token, SHIP.ref, [new], None))
    assert isinstance(answer, Problem)
    assert (answer.code, "inputs.box: is missing" in answer.detail) == ("invalid_inputs", True)


def test_what_cannot_be_handed_over_is_refused_when_it_is_asked_for(cloud: Control) -> None:
    """Outputs that nobody has kept, runs without outputs, inputs that stand or are not there, tasks without parameters."""
    first, second = started(cloud), started(cloud)
    into = terms(into="box")
    cloud.outposts["harbour"].work(first, 0, b"7")
    cloud.settle()
    assert "409 output_not_kept: task a" in refused(cloud, second, Wait("b", Point(first, "a"), terms=into))
    assert asked(cloud, second, Wait("b", Point(first, "a"), terms=terms(when="outcome == 'completed'")))
    assert "409 no_output" in refused(cloud, second, Wait("b", Point(first), terms=into))
    assert "409 run_begun" in refused(cloud, second, Wait("", Point(first, "b"), terms=into))
    (waiting,) = cloud.start(SHIP, inputs=b'{"box":{"id":"b"},"note":"n"}', after=(Wait("", Point(first), "after_end"),))
    assert "404 input_unknown" in refused(cloud, waiting, Wait("", Point(first, "b"), terms=terms(into="bax")))
    timed = plan({"x": PICK, "w": {"wait": {"signal": "go"}, "needs": ["x"]}}, "timed")
    assert "409 no_parameters" in refused(cloud, started(cloud, timed), Wait("w", Point(first, "b"), terms=into))


def test_a_dependency_that_gives_an_input_is_not_removed(cloud: Control) -> None:
    """The run would begin without it: it can only be cancelled."""
    first = started(cloud, PACKED)
    second = later(cloud, Wait("", Point(first), terms=terms(select="output.box", into="box")))
    answer = cloud.ask(lambda token: RemoveDependency(token, second, dependency(cloud, second).id))
    assert isinstance(answer, Problem)
    assert (answer.status, answer.code) == (409, "input_missing")


def test_a_definition_says_all_of_it(cloud: Control) -> None:
    """`when`, `select`, `into` and `schema`, of the whole and of a task."""
    await_box = {"run": "${{ inputs.p }}", "when": "output.box.id != ''", "select": "output.box", "into": "box"}
    inputs = {**BOX, "p": {"type": "string"}}
    story = plan({"load": PICK}, "told", inputs=inputs, awaits=[{**await_box, "schema": {"type": "object"}}])
    first = started(cloud, PACKED)
    cloud.register(story)
    given = msgspec.json.encode(story.check_inputs({"p": first}, later=frozenset({"box"})))
    (second,) = cloud.start(story, inputs=given)
    cloud.settle()
    cloud.outposts["harbour"].work(first, 0, b'{"id":"b7"}')
    cloud.settle()
    assert msgspec.json.decode(cloud.planner.runs[second].inputs)["box"] == {"id": "b7"}
    alone = ask(cloud, plan({"load": PICK}, "alone", inputs={"p": {"default": ""}}, awaits=[{"run": "${{ inputs.p }}"}]), {})
    assert cloud.planner.runs[alone[0]].state() == "active"


def test_views_and_histories_show_the_terms(cloud: Control) -> None:
    """While it waits, and of a run that has ended."""
    first, second = started(cloud), started(cloud)
    schema = b'{"type":"integer"}'
    asked(cloud, second, Wait("b", Point(first, "a"), terms=terms(when="output > 3", into="n", schema=schema)))
    view = msgspec.json.decode(msgspec.json.encode(view_of(cloud.planner, dependency(cloud, second))))
    assert (view["when"], view["into"], view["schema"]) == ("output > 3", "n", {"type": "integer"})
    (known,) = of_history(second, [row for row in cloud.log.disk.rows if row.run == second])
    assert known.terms == Terms("output > 3", "", "n", schema)


def test_the_name_of_a_hold_tells_all_of_its_dependency() -> None:
    """So that one whose record is lost is known again with its terms."""
    asked_for = Terms("output.x == ' run' || output.y == ' terms='", "output.z", "z", b'{"a":1}')
    for task, said in (("b", asked_for), ("", asked_for), ("", None)):
        made = of_hold(hold_name("d1", "after_end", Point("r1", "a"), task, said))
        assert made is not None
        assert (made.kind, made.awaited, made.is_whole, made.terms) == ("after_end", Point("r1", "a"), not task, said)


def test_a_hold_that_a_person_lifts_is_waited_for_no_longer(cloud: Control) -> None:
    """The dependency says so, and a restart knows it; what comes of the other matters no more."""
    first, second = started(cloud), started(cloud)
    asked(cloud, second, Wait("b", Point(first, "a")))
    cloud.settle()
    known = dependency(cloud, second)
    cloud.order(second, Lift("b", known.hold))
    cloud.settle()
    assert held(cloud, second) == []
    assert (known.state, known.detail) == ("lifted", "its hold was lifted at harbour")
    cloud.restart()
    assert dependency(cloud, second).state == "lifted"
    cloud.cancel(first)
    cloud.work_all(second)
    assert cloud.outcome(second) == "completed"


def test_a_run_whose_holds_are_lifted_one_by_one_waits_until_the_last(cloud: Control) -> None:
    """Of a run under way that waits as a whole, each task is held by itself."""
    first, second = started(cloud), started(cloud)
    asked(cloud, second, Wait("", Point(first)))
    cloud.settle()
    known = dependency(cloud, second)
    cloud.order(second, Lift("a", known.hold))
    cloud.settle()
    assert (held(cloud, second), known.state) == (["b"], "waiting")
    cloud.order(second, Lift("", known.hold))
    cloud.settle()
    assert (held(cloud, second), known.state) == ([], "lifted")
