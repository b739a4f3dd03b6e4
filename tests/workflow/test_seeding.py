"""Laws of forking: a fork does the task with which it begins and what follows, and nothing else, and ends as the old run did."""

from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sync.values import RunId
from tests.workflow.definitions import definitions
from tests.workflow.play import Busy, Jam, Play, play
from workflow import anew
from workflow.events import FragmentAdopted
from workflow.fragment import Fragment
from workflow.orders import AddTasks, Rerun, RollBack, Skip
from workflow.origin import Origin
from workflow.plan import Plan, read_plan
from workflow.saved import load_saved
from workflow.seeding import ForkRefused, blank_of, origin_of
from workflow.states import COMPLETED, NAMES, SKIPPED
from workflow.tasks import Role

LAWS = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
CHAIN: dict[str, Any] = {
    "a": {"capability": "work", "with": {"n": 1}},
    "b": {"capability": "work", "needs": ["a"], "with": {"n": "${{ tasks.a.output.n + 1 }}"}},
    "c": {"capability": "work", "needs": ["b"], "with": {"n": "${{ tasks.b.output.n + 1 }}"}},
}


class Forked(Play):
    """A play of the fork of another play's run."""

    origin: Origin

    def __init__(self, old: Play, from_task: str, script: Any = None) -> None:
        self.origin = fork_of(old.fragment, from_task)
        super().__init__(old.plan, script or old.script, old.inputs)

    def adopt(self) -> FragmentAdopted:
        return msgspec.structs.replace(super().adopt(), origin=self.origin)


def fork_of(old: Fragment, from_task: str) -> Origin:
    plan = old.plan
    return origin_of(old.run, plan, [old], bytes(len(plan.tasks)), from_task, blank_of(plan, Fragment, "blank"))


def work_of(plan: Plan, names: list[str]) -> list[str]:
    """What agents did of the definition's own work, servants left out."""
    served = {task.id for task in plan.tasks if task.role is not Role.WORK}
    return [name for name in names if name not in served]


@given(definitions(8, ("work", "check", "parallel", "sequential", "map")), st.data())
@LAWS
def test_a_fork_does_what_follows_and_nothing_else(document: dict[str, Any], data: st.DataObject) -> None:
    """Of a completed run without failures, for work that always gives the same. What was taken over counts, and is undone by
    nothing."""
    document.pop("rules", None)
    plan = read_plan(document)[1]
    old = Play(plan)
    old.run().wait(100_000)
    tops = [task for task in plan.tasks if task.parent < 0 and task.role is Role.WORK]
    if old.fragment.outcome != "completed" or any(old.fragment.states[t.index] not in (COMPLETED, SKIPPED) for t in tops):
        return
    first = data.draw(st.sampled_from(tops))
    follows = anew.closure(blank_of(plan, Fragment, "blank"), [first.index])
    fork = Forked(old, first.id)
    again = {plan.tasks[task].id for task in follows}
    taken = [plan.tasks[seed.task].id for seed in fork.origin.seeds]
    assert not again & set(taken)
    assert fork.origin.begins_at == first.id
    fork.run().wait(100_000)
    assert fork.fragment.outcome == "completed"
    # By the outermost task: copies have names of their own.
    expected = [name for name in work_of(plan, old.done) if name.partition("[")[0] in again]
    assert Counter(work_of(plan, fork.done)) == Counter(expected)
    for task in tops:
        assert fork.fragment.states[task.index] == old.fragment.states[task.index], task.id
        assert (fork.fragment.outputs or {}).get(task.index) == (old.fragment.outputs or {}).get(task.index), task.id


@given(definitions(7, ("work", "wait", "check", "parallel", "sequential", "map")), st.data())
@LAWS
def test_a_run_under_way_is_forked(document: dict[str, Any], data: st.DataObject) -> None:
    """Whatever has not ended well begins anew with all that comes after it, so that nothing stands on what is not done; saved and
    restored it is the same."""
    plan = read_plan(document)[1]
    jams = data.draw(st.integers(0, 5))

    def script(task: str, parameters: Any) -> Any:
        if jams and len(task) % 5 == jams % 5:
            raise Jam
        return {"task": task}

    old = Play(plan, script)
    for _ in range(data.draw(st.integers(0, 12))):
        old.step()
    task = data.draw(st.sampled_from([task.id for task in plan.tasks if task.role is Role.WORK]))
    fork = Forked(old, task, lambda task, parameters: {"task": task})
    seeded = {seed.task for seed in fork.origin.seeds}
    for seed in seeded:
        assert set(plan.needs[seed]) <= seeded
    fork.run().wait(100_000)
    restored = Fragment.restore(RunId("r1"), plan, load_saved(fork.fragment.save()))
    assert restored.save() == fork.fragment.save()


def test_outputs_are_taken_over() -> None:
    """The task with which the fork begins reads what was done before it, as it was."""
    fork = Forked(play(CHAIN).run(), "c").run()
    assert (fork.done, fork.parameters["c"], fork.fragment.outcome) == (["c"], {"n": 3}, "completed")


def test_nothing_is_taken_over_without_a_task() -> None:
    """It is the whole run once more."""
    assert Forked(play(CHAIN).run(), "").run().done == ["a", "b", "c"]


def test_a_task_inside_of_another_begins_with_it() -> None:
    """A group, map or repeat begins anew as a whole, and the note says so."""
    lines = {"over": "[1, 2]", "tasks": {"box": {"capability": "work"}}}
    old = play({"a": {"capability": "work"}, "ship": {"map": lines, "needs": ["a"]}}).run()
    fork = Forked(old, "ship[1]")
    assert fork.origin.note == "ship[1] is inside of ship, which begins anew as a whole"
    assert fork.run().done == ["ship[0]", "ship[1]"]
    group = {
        "g": {"parallel": {"tasks": {"x": {"capability": "work"}, "y": {"capability": "work"}}}},
        "z": {"capability": "work"},
    }
    fork = Forked(play(group).run(), "g.y")
    assert (fork.origin.begins_at, sorted(fork.run().done)) == ("g", ["g.x", "g.y"])


def test_a_map_is_taken_over_as_a_whole() -> None:
    """With its output, and without its copies."""
    tasks = {
        "ship": {"map": {"over": "[1, 2]", "tasks": {"box": {"capability": "work", "with": {"n": "${{ item }}"}}}}},
        "count": {"capability": "work", "with": {"all": "${{ tasks.ship.output }}"}, "needs": ["ship"]},
    }
    old = play(tasks).run()
    fork = Forked(old, "count").run()
    assert (fork.done, fork.parameters["count"]) == (["count"], old.parameters["count"])
    assert len(fork.fragment.states) == len(fork.plan.tasks)


def test_what_failed_begins_anew_with_what_follows() -> None:
    """A fork behind a failed task does it first."""

    def script(task: str, parameters: Any) -> Any:
        if task == "b":
            raise Jam
        return parameters

    old = play(CHAIN, script).run()
    assert Forked(old, "c", lambda task, parameters: parameters).run().done == ["b", "c"]


def test_what_was_skipped_stays_skipped() -> None:
    """By a condition or a person: it counts as passed. So it does after a restart, though every need is after success."""
    tasks = {"a": {"capability": "work"}, "b": {"capability": "work"}, "c": {"capability": "work", "needs": ["a", "b"]}}
    story = play(tasks, lambda task, parameters: _wait(task))
    assert story.order(Skip("a")) == ""
    old = Play(story.plan, inputs={})
    old.order(Skip("a"))
    again = Fragment.restore(RunId("r1"), old.plan, load_saved(old.fragment.save()))
    assert again.missing[again.index_of("c")] == old.fragment.missing[old.fragment.index_of("c")] == 1
    fork = Forked(old.run(), "c")
    assert (fork.run().done, fork.state("a")) == (["c"], "skipped")


def _wait(task: str) -> Any:
    raise Busy


def test_nothing_undoes_what_was_taken_over() -> None:
    """A rollback to the start undoes what the fork has done, and a rerun of what it has not done is refused."""
    undo = {"capability": "work"}
    tasks = {name: {**task, "compensate": undo} for name, task in CHAIN.items()}
    fork = Forked(play({**tasks, "gate": {"wait": {"signal": "go"}, "needs": ["c"]}}).run(), "b").run()
    assert fork.order(Rerun("a")).startswith("task a of run r1 is not done at ")
    assert fork.order(RollBack(version=0)) == ""
    fork.run()
    assert [name for name in fork.done if name.startswith("a")] == []
    assert [name for name in fork.done if name in ("b", "c")] == ["b", "c", "b", "c"]
    assert len([name for name in fork.done if "compensate" in name]) == 2


def test_the_stage_is_taken_over() -> None:
    """The fork goes on in the stage that the tasks before it had led to."""
    stages = {"NEW": ["PICKED"], "PICKED": ["SENT"], "SENT": []}
    tasks = {"a": {"capability": "work", "stage": "PICKED"}, "b": {"capability": "work", "stage": "SENT", "needs": ["a"]}}
    fork = Forked(play(tasks, stages=stages).run(), "b")
    assert fork.origin.stage == "PICKED"
    assert fork.run().done == ["b"]
    assert fork.fragment.extras is not None
    assert fork.fragment.extras.stage == "SENT"


def test_places_where_no_fork_begins() -> None:
    """The refusal says what there is; added tasks are not taken over, and the note says so."""
    story = play(
        {**CHAIN, "gate": {"wait": {"signal": "go"}}, "d": {"capability": "work", "cleanup": {"capability": "work"}}}
    ).run()
    with pytest.raises(ForkRefused, match="has no task 'e'; it has: a, "):
        fork_of(story.fragment, "e")
    servant = next(task.id for task in story.plan.tasks if task.role is not Role.WORK)
    with pytest.raises(ForkRefused, match="serves d: it is no place to begin"):
        fork_of(story.fragment, servant)
    assert story.order(AddTasks({"more": {"capability": "work"}})) == ""
    assert "tasks that were added" in fork_of(story.run().fragment, "gate").note


def test_large_outputs_are_refused() -> None:
    """What would not fit into one message is not taken over; beginning earlier helps."""
    story = play(CHAIN, lambda task, parameters: {"n": 1, "text": "x" * (1 << 20) + "y" * 600_000}).run()
    with pytest.raises(ForkRefused, match="outputs; allowed: 2,097,152, so begin earlier"):
        fork_of(story.fragment, "c")
    assert NAMES[COMPLETED] == Forked(story, "b", lambda task, parameters: {"n": 1}).state("a")
