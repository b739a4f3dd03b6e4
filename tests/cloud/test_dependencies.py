"""Runs that wait for other runs: held, let go, never begun, refused; over restarts, cuts and losses."""

from typing import Any

import msgspec
import pytest

from cloud.dependencies.inputs import AddDependencies, RemoveDependency, Wait
from cloud.dependencies.records import Dependency
from cloud.explain.core import explained
from cloud.inputs import NewRun, StartRuns
from cloud.port import Problem
from cloud.views import LinkView
from tests.cloud.control import Control
from workflow.between import Kind, Point
from workflow.orders import Pause, Rerun, Resume, Retry, Skip
from workflow.plan import Plan, plan_from_document
from workflow.states import NAMES


def plan(tasks: dict[str, Any], name: str = "chain", **more: Any) -> Plan:
    return plan_from_document(msgspec.json.encode({"name": name, "version": "1", "tasks": tasks, **more}))


PICK = {"capability": "pick"}
CHAIN = plan({"a": PICK, "b": {**PICK, "needs": ["a"]}})


@pytest.fixture
def cloud() -> Control:
    control = Control()
    control.join("harbour", "pick")
    control.join("airport", "pack", agent="bea")
    control.register(CHAIN)
    return control


def started(cloud: Control, story: Plan = CHAIN, after: tuple[Wait, ...] = ()) -> str:
    (run,) = cloud.start(story, after=after)
    cloud.settle()
    return run


def depend(cloud: Control, run: str, on: str, *, task: str = "", on_task: str = "", kind: Kind = "after_success") -> Dependency:
    (id,) = asked(cloud, run, Wait(task, Point(on, on_task), kind))
    return cloud.planner.dependencies.records.known[id]


def asked(cloud: Control, run: str, *waits: Wait) -> Any:
    """Ids, or why not."""
    answer = cloud.ask(lambda token: AddDependencies(token, run, waits))
    assert isinstance(answer, list | Problem)
    return answer


def refused(cloud: Control, run: str, *waits: Wait) -> str:
    answer = asked(cloud, run, *waits)
    assert isinstance(answer, Problem), answer
    return f"{answer.status} {answer.code}: {answer.detail}"


def fact(cloud: Control, run: str, site: str = "harbour") -> dict[str, str]:
    fragment = cloud.outposts[site].fragments[run]
    return {task.id: NAMES[fragment.states[task.index]] for task in fragment.plan.tasks}


def held(cloud: Control, run: str, site: str = "harbour") -> list[str]:
    """The tasks that the home holds back."""
    fragment = cloud.outposts[site].fragments[run]
    holds = fragment.extras.holds if fragment.extras is not None else {}
    return sorted(fragment.id_of(task) for task, names in holds.items() if names)


def detail(cloud: Control, run: str) -> str:
    return str(msgspec.msgpack.decode(cloud.log.disk.saved[run].body)[8])


def may_begin(cloud: Control, run: str) -> bool:
    """Is there a task that an agent could be given?"""
    return any(outpost.fragments[run].may_start(task) for outpost in cloud.outposts.values() for task in outpost.ready(run))


# A run that waits from its start ---------------------------------------------------------------------------------------


def test_a_run_that_waits_as_a_whole_is_given_to_no_site_before(cloud: Control) -> None:
    """It stays pending, holds no place of those that are active, and says for whom it waits; then it begins by itself."""
    first = started(cloud)
    second = started(cloud, after=(Wait("", Point(first)),))
    assert cloud.planner.runs[second].state() == "pending"
    assert cloud.planner.admission.active == 1
    assert cloud.said_to("harbour").count((second, "FragmentReleased")) == 0
    assert (
        f"{first} (after success), which is active at harbour"
        in explained(cloud.planner, cloud.planner.runs[second], up).waits_for
    )
    cloud.work_all(first)
    cloud.settle()
    assert cloud.outcome(first) == "completed"
    assert fact(cloud, second) == {"a": "ready", "b": "pending"}
    assert held(cloud, second) == []
    cloud.work_all(second)
    assert cloud.outcome(second) == "completed"


def up(site: str) -> LinkView:
    return LinkView("up", 1)


@pytest.mark.parametrize("snapshot", [False, True])
def test_a_restart_forgets_nobody_who_waits(cloud: Control, snapshot: bool) -> None:
    """Neither a run that waits as a whole, nor a task; what is known is the same before and after."""
    first = started(cloud)
    second = started(cloud, after=(Wait("", Point(first)),))
    third = started(cloud)
    known = depend(cloud, third, first, task="b", on_task="a")
    cloud.settle()
    if snapshot:
        cloud.snapshot()
    before = cloud.state(), cloud.planner.dependencies.save()
    cloud.restart()
    assert (cloud.state(), cloud.planner.dependencies.save()) == before
    cloud.settle()
    assert cloud.planner.runs[second].state() == "pending"
    assert held(cloud, third) == ["b"]
    cloud.outposts["harbour"].work(first, 0)
    cloud.settle()
    assert (held(cloud, third), cloud.planner.dependencies.records.known[known.id].state) == ([], "met")
    cloud.work_all(first)
    cloud.restart()
    cloud.work_all(second)
    assert cloud.outcome(second) == "completed"


def test_an_end_while_the_cloud_was_away_settles_when_it_is_heard(cloud: Control) -> None:
    """The awaited run goes on at its site without the cloud."""
    first = started(cloud)
    second = started(cloud, after=(Wait("", Point(first)),))
    harbour = cloud.outposts["harbour"]
    harbour.work(first, 0)
    harbour.work(first, 1)
    cloud.begin_anew()
    cloud.turn()
    cloud.link("harbour", "airport")
    assert cloud.planner.runs[second].state() == "pending"
    cloud.settle()
    assert fact(cloud, second)["a"] == "ready"


def test_a_run_that_waits_for_what_cannot_come_is_cancelled_with_the_reason(cloud: Control) -> None:
    """So are those that wait for it in their turn, a long chain of them; whoever waits for any end begins."""
    first = started(cloud)
    chain = [first]
    for _ in range(1_500):
        chain += cloud.start(CHAIN, after=(Wait("", Point(chain[-1])),))
    sweeper = started(cloud, after=(Wait("", Point(chain[1]), "after_end"),))
    cloud.outposts["harbour"].work(first, 0, fail="it broke")
    cloud.settle()
    assert {cloud.outcome(run) for run in chain[1:]} == {"cancelled"}
    assert detail(cloud, chain[1]) == f"it was to begin after success of {first}, but {first} has failed"
    assert detail(cloud, chain[-1]) == f"it was to begin after success of {chain[-2]}, but {chain[-2]} has been cancelled"
    assert fact(cloud, sweeper)["a"] == "ready"


def test_what_has_ended_already_is_read_from_the_log_and_holds_nothing(cloud: Control) -> None:
    """Met at once, or hopeless at once; a run that nobody knows is refused."""
    first = started(cloud)
    cloud.work_all(first)
    assert first not in cloud.planner.runs
    second = started(cloud, after=(Wait("", Point(first)),))
    assert fact(cloud, second)["a"] == "ready"
    (known,) = cloud.planner.dependencies.records.of(second)
    assert (known.state, known.detail, known.told) == ("met", f"{first} has completed", [])
    third = started(cloud, after=(Wait("", Point(first, "a"), "after_failure"),))
    assert cloud.outcome(third) == "cancelled"
    answer = cloud.ask(lambda token: StartRuns(token, CHAIN.ref, [NewRun(b"{}", {}, after=(Wait("", Point("r9")),))], None))
    assert isinstance(answer, Problem)
    assert (answer.status, answer.code) == (404, "run_unknown")
    assert first not in cloud.planner.runs, "nothing was opened to look at it"


def test_a_task_of_a_run_that_has_no_home_yet_is_held_from_the_first_moment(cloud: Control) -> None:
    """The hold follows the release in the stream, in one commit; a run whose task cannot come goes on without it."""
    first = started(cloud)
    (second,) = cloud.start(CHAIN, after=(Wait("a", Point(first, "b")),))
    kinds = [kind for run, kind in cloud.said_to("harbour") if run == second]
    assert kinds == ["FragmentReleased", "CommandRequested"]
    cloud.settle()
    assert (fact(cloud, second)["a"], may_begin(cloud, second)) == ("ready", False)
    cloud.work_all(first)
    assert may_begin(cloud, second)


def test_pausing_and_waiting_do_not_lift_each_other(cloud: Control) -> None:
    """A run that is resumed waits on; one that need not wait stays paused."""
    first, second = started(cloud), ""
    second = started(cloud, after=(Wait("", Point(first)),))
    cloud.order(second, Pause())
    cloud.order(second, Resume())
    assert cloud.planner.runs[second].sites == []
    cloud.order(second, Pause())
    cloud.work_all(first)
    assert cloud.planner.runs[second].sites == []
    cloud.order(second, Resume())
    assert cloud.planner.runs[second].sites == ["harbour"]


# Runs under way --------------------------------------------------------------------------------------------------------


def test_a_task_waits_for_a_task_of_another_run_at_another_site(cloud: Control) -> None:
    """It is held at its home and let go once the other is done there."""
    far = plan({"pack": {"capability": "pack"}, "seal": {"capability": "pack", "needs": ["pack"]}}, "far")
    other, run = started(cloud, far), started(cloud)
    known = depend(cloud, run, other, task="b", on_task="pack")
    cloud.settle()
    assert (held(cloud, run), known.held) == (["b"], ["harbour"])
    cloud.outposts["harbour"].work(run, 0)
    cloud.settle()
    assert not may_begin(cloud, run)
    (reason,) = explained(cloud.planner, cloud.planner.runs[run], up).sites[0].reasons
    assert reason.on == [f"{other}/pack"]
    assert f"waits for {other}/pack (after success), which is ready at airport" in reason.why
    assert reason.since == known.since_ms
    assert known.id in " ".join(reason.who)
    cloud.outposts["airport"].work(other, 0)
    cloud.settle()
    assert known.state == "met"
    cloud.work_all(run)
    assert cloud.outcome(run) == "completed"


def test_a_run_under_way_that_is_to_wait_holds_all_that_has_not_begun(cloud: Control) -> None:
    """And goes on with it once the other has ended."""
    first, second = started(cloud), started(cloud)
    cloud.outposts["harbour"].begin(second, 0)
    cloud.settle()
    known = depend(cloud, second, first)
    cloud.settle()
    assert held(cloud, second) == ["b"]
    cloud.outposts["harbour"].finish(second, 0)
    cloud.settle()
    assert not may_begin(cloud, second)
    cloud.work_all(first)
    assert (known.state, held(cloud, second)) == ("met", [])


def test_a_run_under_way_that_waits_in_vain_is_cancelled(cloud: Control) -> None:
    """As one is that has not begun."""
    first, second = started(cloud), started(cloud)
    depend(cloud, second, first)
    cloud.settle()
    cloud.cancel(first)
    cloud.settle()
    assert (cloud.outcome(first), cloud.outcome(second)) == ("cancelled", "cancelled")
    assert f"{first} has been cancelled" in detail(cloud, second)


def test_a_task_that_waits_in_vain_is_skipped(cloud: Control) -> None:
    """And the run goes on without it: also if that is known at once, and if the other task was only cancelled with its run."""
    first, second = started(cloud), started(cloud)
    depend(cloud, second, first, task="a", on_task="b")
    cloud.settle()
    cloud.outposts["harbour"].work(first, 0, fail="it broke")
    cloud.settle()
    assert cloud.outcome(second) == "completed", "both were skipped: b only needs a"
    third = started(cloud)
    depend(cloud, third, first, task="b")
    cloud.settle()
    assert fact(cloud, third) == {"a": "ready", "b": "skipped"}
    cloud.work_all(third)
    assert cloud.outcome(third) == "completed"


def test_a_task_that_was_skipped_holds_up_nobody(cloud: Control) -> None:
    """As inside a run."""
    first, second = started(cloud), started(cloud)
    known = depend(cloud, second, first, task="a", on_task="a")
    cloud.settle()
    cloud.order(first, Skip("a"))
    cloud.settle()
    assert (known.state, held(cloud, second)) == ("met", [])


def test_what_has_begun_cannot_wait(cloud: Control) -> None:
    """Neither a task, nor a run of which nothing is left to begin; the state is named."""
    first, second = started(cloud), started(cloud)
    cloud.outposts["harbour"].begin(second, 0)
    cloud.settle()
    assert "409 task_begun: task a of run" in refused(cloud, second, Wait("a", Point(first)))
    assert "is running" in refused(cloud, second, Wait("a", Point(first)))
    assert "404 task_unknown" in refused(cloud, second, Wait("z", Point(first)))
    assert "404 task_unknown" in refused(cloud, second, Wait("b", Point(first, "z")))
    cloud.outposts["harbour"].finish(second, 0)
    cloud.outposts["harbour"].begin(second, 1)
    cloud.settle()
    assert "409 run_begun" in refused(cloud, second, Wait("", Point(first)))
    cloud.outposts["harbour"].finish(second, 1)
    cloud.settle()
    assert "409 run_not_active" in refused(cloud, second, Wait("", Point(first)))
    assert len(cloud.planner.dependencies.records) == 0


def test_a_task_that_begins_before_its_home_hears_of_the_hold_is_shown_as_refused(cloud: Control) -> None:
    """Never silently: the hold travels as long as the link is cut, and the home's word counts."""
    first, second = started(cloud), started(cloud)
    cloud.cut("harbour")
    known = depend(cloud, second, first, task="a")
    assert (known.state, known.is_unanswered) == ("waiting", True)
    harbour = cloud.outposts["harbour"]
    harbour.begin(second, 0)
    cloud.link("harbour")
    cloud.settle()
    assert (known.state, known.refused) == ("refused", ["harbour"])
    assert "running" in known.detail
    harbour.finish(second, 0)
    cloud.work_all(second)
    assert cloud.outcome(second) == "completed"


def test_a_hold_for_a_site_that_has_not_greeted_yet_is_written_at_its_greeting(cloud: Control) -> None:
    """And its lift too, once each."""
    first, second = started(cloud), started(cloud)
    cloud.begin_anew()
    cloud.turn()
    known = depend(cloud, second, first, task="b")
    assert known.told == []
    cloud.link("harbour")
    cloud.settle()
    assert held(cloud, second) == ["b"]
    cloud.work_all(first)
    cloud.restart()
    cloud.settle()
    told = [row for row in cloud.log.disk.rows if row.run == second and row.kind == "CommandRequested" and ">" in row.stream]
    assert len(told) == 2
    assert held(cloud, second) == []


def test_a_dependency_that_is_removed_holds_nothing(cloud: Control) -> None:
    """A run that has not begun begins, a task is let go; what is over cannot be removed."""
    first, third = started(cloud), started(cloud)
    second = started(cloud, after=(Wait("", Point(first)),))
    known = depend(cloud, third, first, task="b")
    cloud.settle()
    (whole,) = cloud.planner.dependencies.records.of(second)
    for each in (whole, known):
        assert cloud.ask(lambda token, d=each: RemoveDependency(token, d.run, d.id)) == each.id  # type: ignore[misc]
    cloud.settle()
    assert (held(cloud, third), fact(cloud, second)["a"]) == ([], "ready")
    again = cloud.ask(lambda token: RemoveDependency(token, third, known.id))
    assert isinstance(again, Problem)
    assert again.code == "dependency_settled"
    other = cloud.ask(lambda token: RemoveDependency(token, first, known.id))
    assert isinstance(other, Problem)
    assert other.code == "dependency_unknown"


def test_a_value_that_was_handed_over_stands(cloud: Control) -> None:
    """The awaited task is done anew, the awaited run is opened again: whoever waited has gone on."""
    first, second = started(cloud), started(cloud)
    known = depend(cloud, second, first, task="b", on_task="a")
    cloud.settle()
    harbour = cloud.outposts["harbour"]
    harbour.work(first, 0)
    cloud.settle()
    cloud.order(first, Rerun("a"))
    cloud.settle()
    assert (fact(cloud, first)["a"], known.state, held(cloud, second)) == ("ready", "met", [])


def test_a_run_that_is_opened_again_waits_on_for_what_it_waited_for(cloud: Control) -> None:
    """It ended while a task of it was held; what it waits for is still to come."""
    first, second = started(cloud), started(cloud, plan({"a": PICK, "b": PICK}, "two"))
    depend(cloud, second, first, task="b")
    cloud.settle()
    cloud.outposts["harbour"].work(second, 0, fail="it broke")
    cloud.settle()
    assert cloud.outcome(second) == "failed"
    assert len(cloud.planner.dependencies.records) == 0
    cloud.outposts["harbour"].reopen(second, Retry())
    cloud.settle()
    (known,) = cloud.planner.dependencies.records.of(second)
    assert (known.state, known.task, known.on_run) == ("waiting", "b", first)
    cloud.work_all(first)
    cloud.work_all(second)
    assert known.state == "met"
    assert cloud.outposts["harbour"].ended[second] == "completed"


def test_what_a_run_that_is_opened_again_waits_for_may_have_ended_meanwhile(cloud: Control) -> None:
    """The log tells, and it is let go."""
    first, second = started(cloud), started(cloud, plan({"a": PICK, "b": PICK}, "two"))
    depend(cloud, second, first, task="b")
    cloud.settle()
    cloud.outposts["harbour"].work(second, 0, fail="it broke")
    cloud.work_all(first)
    cloud.outposts["harbour"].reopen(second, Retry())
    cloud.settle()
    assert [known.state for known in cloud.planner.dependencies.records.of(second)] == ["met"]
    assert held(cloud, second) == []


def test_the_record_of_a_dependency_that_is_lost_comes_back_from_the_site(cloud: Control) -> None:
    """The cloud's own stream ends before it; the stream for the site tells of the hold."""
    first, second = started(cloud), started(cloud)
    known = depend(cloud, second, first, task="b", on_task="a", kind="after_end")
    cloud.settle()
    rows = cloud.log.disk.rows
    rows[:] = [row for row in rows if row.kind != "DependencyAdded"]
    cloud.restart()
    again = cloud.planner.dependencies.records.known[known.id]
    assert (again.state, again.waiting, again.awaited, again.kind) == ("waiting", known.waiting, known.awaited, "after_end")
    cloud.outposts["harbour"].work(first, 0)
    cloud.settle()
    assert held(cloud, second) == []


# Circles ---------------------------------------------------------------------------------------------------------------


def test_a_circle_is_refused_and_named(cloud: Control) -> None:
    """Between runs, through the tasks inside a run and of a run with itself; nothing of the request is kept."""
    first, second, third = started(cloud), started(cloud), started(cloud)
    depend(cloud, first, second)
    answer = asked(cloud, second, Wait("b", Point(third)), Wait("b", Point(first, "a")))
    assert isinstance(answer, Problem)
    assert (answer.status, answer.code) == (409, "dependency_circle")
    assert [*cloud.planner.dependencies.records.of(second)] == []
    depend(cloud, third, second, task="a", on_task="b")
    assert f"{second}/a -> {third}/b -> " in refused(cloud, second, Wait("a", Point(third, "b")))
    assert f"circle: {third} -> {third}" in refused(cloud, third, Wait("", Point(third)))
    for _ in range(2):
        cloud.restart()
        assert "circle" in refused(cloud, second, Wait("a", Point(third, "b")))


def test_a_group_and_what_is_inside_it_wait_as_they_are_nested(cloud: Control) -> None:
    """A group ends after its members, so a member cannot wait for what waits for the group."""
    nested = plan({"g": {"parallel": {"tasks": {"x": PICK, "y": PICK}}}, "z": PICK}, "nested")
    first, second = started(cloud, nested), started(cloud)
    depend(cloud, second, first, task="b", on_task="g")
    assert "dependency_circle" in refused(cloud, first, Wait("g.x", Point(second, "b")))
    assert asked(cloud, first, Wait("z", Point(second, "b")))


def test_a_parent_that_waits_for_its_child_is_part_of_the_circle(cloud: Control) -> None:
    """Whether the child was there before anybody waited, or came later."""
    cloud.register(plan({"work": PICK}, "child"))
    story = plan({"kid": {"run": {"definition": "child"}}, "after": {**PICK, "needs": ["kid"]}}, "parent")
    for _ in range(2):
        run = started(cloud, story)
        child = f"{run}.{story.index['kid']}.1"
        assert child in cloud.planner.runs
        assert "dependency_circle" in refused(cloud, child, Wait("", Point(run)))
        assert f"{child}" in refused(cloud, child, Wait("work", Point(run, "after")))
        assert asked(cloud, run, Wait("after", Point(child, "work")))


def test_the_same_again_changes_nothing_and_another_kind_is_refused(cloud: Control) -> None:
    """One tie between two points at a time."""
    first, second = started(cloud), started(cloud)
    known = depend(cloud, second, first, task="b")
    assert asked(cloud, second, Wait("b", Point(first))) == [known.id]
    assert "409 dependency_exists" in refused(cloud, second, Wait("b", Point(first), "after_end"))


def test_what_is_kept_is_bounded(cloud: Control) -> None:
    """More are refused, clearly, also at a start; ended runs make room."""
    cloud.planner.dependencies.dependencies_max = 2
    first, second = started(cloud), started(cloud)
    depend(cloud, second, first, task="b")
    depend(cloud, second, first, task="a")
    assert "503 dependencies_full: 2 dependencies" in refused(cloud, second, Wait("b", Point(first, "a")))
    answer = cloud.ask(lambda token: StartRuns(token, CHAIN.ref, [NewRun(b"{}", {}, after=(Wait("", Point(first)),))], None))
    assert isinstance(answer, Problem)
    assert answer.code == "dependencies_full"
    cloud.cancel(second)
    cloud.settle()
    assert len(cloud.planner.dependencies.records) == 0
    assert cloud.planner.dependencies.records.watched == {}


def test_a_run_for_which_nobody_waits_takes_the_short_way(cloud: Control) -> None:
    """Only runs of which single tasks matter are looked at event by event."""
    first, second, third = started(cloud), started(cloud), started(cloud)
    depend(cloud, second, first)
    assert cloud.planner.dependencies.records.watched == {}
    depend(cloud, second, third, task="b", on_task="a")
    assert set(cloud.planner.dependencies.records.watched) == {second, third}
    cloud.work_all(third)
    assert cloud.planner.dependencies.records.watched == {}


@pytest.mark.parametrize("role", ["cleanup", "compensate"])
@pytest.mark.parametrize("is_placed", [False, True])
def test_what_serves_a_task_neither_waits_nor_is_waited_for(cloud: Control, role: str, is_placed: bool) -> None:
    """It may never begin, or only once its task has ended: a run that waited by it would wait for ever."""
    story = plan({"a": {**PICK, role: PICK}, "b": {**PICK, "needs": ["a"]}, "c": PICK}, "served")
    if not is_placed:
        cloud.leave("harbour", "left")
    run, name = started(cloud, story), f"a:{role}"
    said = f"409 task_serves: task {name} is there for task a ({role}), so it waits for no other run, and none for it; allowed: a"
    assert refused(cloud, run, Wait("c", Point(run, name))) == said
    assert refused(cloud, run, Wait(name, Point(started(cloud)))) == said
    new = NewRun(b"{}", {}, after=(Wait("", Point(run, name)),))
    problem = cloud.ask(lambda token: StartRuns(token, CHAIN.ref, [new], None))
    assert isinstance(problem, Problem)
    assert problem.detail == said.partition(": ")[2]
