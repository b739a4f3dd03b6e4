"""Going back across the sites of a run: what one site does anew, the others do anew, on nothing that counts no more."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.crossing import refusal
from cloud.port import Problem
from sync.values import SiteId
from tests.cloud.control import Control
from workflow.commands import CancelDone
from workflow.orders import Order, Pause, Rerun, Retry, RollBack, TakeCheckpoint
from workflow.plan import Plan, plan_from_document
from workflow.states import NAMES

SITES = {"harbour": "pick", "airport": "pack", "station": "ship"}
PICK, PACK, SHIP = ({"capability": capability, "effect": "repeatable"} for capability in SITES.values())


def plan(tasks: dict[str, Any], **more: Any) -> Plan:
    return plan_from_document(msgspec.json.encode({"name": "story", "version": "1", "tasks": tasks, **more}))


@pytest.fixture
def cloud() -> Control:
    return three_sites()


def three_sites() -> Control:
    control = Control()
    for site, capability in SITES.items():
        control.join(site, capability)
    return control


def started(cloud: Control, story: Plan) -> str:
    (run,) = cloud.start(story)
    cloud.settle()
    return run


def work(cloud: Control, run: str, task: str, output: bytes = b"1", **how: str) -> None:
    """Whoever has the task ready does it."""
    for outpost in cloud.outposts.values():
        if run in outpost.fragments and (number := outpost.fragments[run].plan.index[task]) in outpost.ready(run):
            outpost.work(run, number, output, **how)
            cloud.settle()
            return
    raise AssertionError(f"{task} is ready nowhere")


def states(cloud: Control, site: str, run: str) -> dict[str, str]:
    outpost = cloud.outposts[site]
    fragment = outpost.fragments.get(run) or outpost.closed[run]
    return {task.id: NAMES[fragment.states[task.index]] for task in fragment.plan.tasks}


def replicas_are_equal(cloud: Control, run: str) -> None:
    known = cloud.planner.runs[run]
    for name in known.sites:
        outpost, replica = cloud.outposts[name], known.fragment(name)
        assert replica is not None
        assert replica.save() == (outpost.fragments.get(run) or outpost.closed[run]).save(), name


CHAIN = {"a": PICK, "b": {**PACK, "needs": ["a"]}, "c": {**PICK, "needs": ["b"]}, "d": {**SHIP, "needs": ["c"]}}


def test_a_retry_reopens_what_was_cancelled_elsewhere(cloud: Control) -> None:
    """The failed task begins anew, the cancelled ones of other sites too, those that wait for it only when it is done."""
    run = started(cloud, plan({**CHAIN, "e": SHIP}))
    work(cloud, run, "a")
    work(cloud, run, "b", fail="jam")
    assert cloud.outcome(run) == "failed"
    assert states(cloud, "station", run)["e"] == "cancelled"
    answer = cloud.order(run, Retry())
    assert not isinstance(answer, Problem)
    cloud.settle()
    assert [cloud.outposts[site].ready(run) for site in SITES] == [[], [1], [cloud.planner.runs[run].plan.index["e"]]]
    replicas_are_equal(cloud, run)
    cloud.work_all(run)
    assert cloud.outcome(run) == "completed"


def test_a_run_does_not_end_before_all_that_was_cancelled_has_answered(cloud: Control) -> None:
    """The site of the retried task is done with it before the others have heard that the run goes on; over a restart, too."""
    run = started(cloud, plan({"a": PICK, "b": PACK}))
    work(cloud, run, "a", fail="jam")
    cloud.order(run, Retry())
    harbour, airport = cloud.outposts["harbour"], cloud.outposts["airport"]
    while harbour.inbox:
        harbour.take()
    harbour.work(run, 0)
    cloud.hear("harbour")
    assert run in cloud.planner.runs
    before = cloud.state()
    cloud.restart()
    assert cloud.state() == before
    cloud.settle()
    assert airport.ready(run) == [1]
    cloud.work_all(run)
    assert cloud.outcome(run) == "completed"


@pytest.mark.parametrize("order", [Rerun("a"), RollBack(task="a")])
@pytest.mark.parametrize("ended", [False, True])
def test_all_that_comes_after_a_task_begins_anew_at_every_site(cloud: Control, order: Rerun | RollBack, ended: bool) -> None:
    """Site after site, though nothing but the value crosses; also when parts of the run, or all of it, had ended."""
    run = started(cloud, plan(CHAIN))
    for task in "abcd" if ended else "abc":
        work(cloud, run, task)
    assert cloud.outcome(run) == ("completed" if ended else "")
    cloud.order(run, order)
    cloud.settle()
    assert states(cloud, "harbour", run) == {"a": "ready", "b": "elsewhere", "c": "pending", "d": "elsewhere"}
    assert states(cloud, "airport", run) == {"a": "elsewhere", "b": "pending", "c": "elsewhere", "d": "elsewhere"}
    assert states(cloud, "station", run)["c"] == "elsewhere"
    replicas_are_equal(cloud, run)
    before = cloud.state()
    cloud.restart()
    assert cloud.state() == before
    cloud.work_all(run)
    assert cloud.outcome(run) == "completed"
    done = [row for row in cloud.log.disk.rows if row.kind == "TaskCompleted" and row.run == run]
    assert len(done) == (8 if ended else 7)


def test_a_failure_that_was_told_is_taken_back(cloud: Control) -> None:
    """What took it up at another site begins anew: it is skipped when the retry goes well."""
    tasks = {
        "a": PICK,
        "b": {**PACK, "needs": ["a"]},
        "mend": {**PACK, "needs": [{"task": "a", "after": "failure"}]},
        "z": {**PICK, "needs": [{"task": "mend", "after": "end"}]},
    }
    run = started(cloud, plan(tasks))
    work(cloud, run, "a", fail="jam")
    work(cloud, run, "mend")
    assert states(cloud, "harbour", run)["z"] == "ready"
    cloud.order(run, Retry(["a"]))
    cloud.settle()
    assert states(cloud, "airport", run) == {"a": "elsewhere", "b": "pending", "mend": "pending", "z": "elsewhere"}
    cloud.work_all(run)
    assert cloud.outcome(run) == "completed"
    assert states(cloud, "airport", run) == {"a": "completed", "b": "completed", "mend": "skipped", "z": "elsewhere"}


def test_compensations_read_what_they_are_to_undo(cloud: Control) -> None:
    """What had been handed over counts until the rollback is over; new values that came meanwhile follow then."""
    undo = {**PACK, "with": {"of": "${{ tasks.a.output }}"}}
    tasks = {"a": PICK, "b": {**PACK, "needs": ["a"], "with": {"of": "${{ tasks.a.output }}"}, "compensate": undo}}
    run = started(cloud, plan(tasks))
    work(cloud, run, "a", b'"old"')
    work(cloud, run, "b")
    assert cloud.outcome(run) == "completed"
    cloud.order(run, Rerun("a"))
    cloud.settle()
    airport = cloud.outposts["airport"]
    fragment = airport.fragments[run]
    (undoing,) = airport.ready(run)
    assert fragment.task(undoing).owner == fragment.plan.index["b"]
    work(cloud, run, "a", b'"new"')
    assert fragment.outputs is not None
    assert fragment.outputs[0] == b'"old"'
    airport.work(run, undoing)
    cloud.settle()
    assert (fragment.outputs[0], airport.ready(run)) == (b'"new"', [1])
    replicas_are_equal(cloud, run)
    cloud.work_all(run)
    assert cloud.outcome(run) == "completed"


def test_a_value_is_not_handed_again_while_its_own_site_undoes_it(cloud: Control) -> None:
    """The other site waits for it again before the task itself has begun anew; a greeting hands nothing over either."""
    run = started(cloud, plan({"a": {**PICK, "compensate": PICK}, "b": {**PACK, "needs": ["a"]}}))
    work(cloud, run, "a")
    cloud.order(run, Rerun("a"))
    cloud.settle()
    assert states(cloud, "harbour", run)["a"] == "completed", "it is being undone"
    assert states(cloud, "airport", run) == {"a": "elsewhere", "b": "pending"} | states_of_servants(cloud, run)
    cloud.restart()
    cloud.settle()
    assert states(cloud, "airport", run)["a"] == "elsewhere"
    cloud.work_all(run)
    assert cloud.outcome(run) == "completed"


def states_of_servants(cloud: Control, run: str) -> dict[str, str]:
    return {name: state for name, state in states(cloud, "airport", run).items() if name not in ("a", "b")}


def test_a_value_that_is_under_way_is_taken_back_too(cloud: Control) -> None:
    """The other site has not said that it has it; the order follows it in the same stream."""
    run = started(cloud, plan(CHAIN))
    cloud.outposts["harbour"].work(run, 0)
    cloud.hear("harbour")
    cloud.order(run, Rerun("a"))
    harbour, airport = cloud.outposts["harbour"], cloud.outposts["airport"]
    harbour.take()
    cloud.hear("harbour")
    airport.take()
    assert airport.ready(run) == [1]
    cloud.settle()
    assert airport.ready(run) == []
    cloud.work_all(run)
    assert cloud.outcome(run) == "completed"


def test_a_site_that_is_cut_off_goes_on_until_it_hears_of_it(cloud: Control) -> None:
    """What it did meanwhile is done anew; the run has not ended before it has answered."""
    run = started(cloud, plan({"a": PICK, "b": {**PACK, "needs": ["a"]}}))
    work(cloud, run, "a")
    cloud.cut("airport")
    cloud.begin_anew()
    cloud.turn()
    cloud.link("harbour")
    cloud.order(run, Rerun("a"))
    harbour, airport = cloud.outposts["harbour"], cloud.outposts["airport"]
    while harbour.inbox:
        harbour.take()
    cloud.hear("harbour")
    assert ("CommandRequested" in {kind for _, kind in cloud.said_to("airport")}) is False
    airport.work(run, 1)
    harbour.work(run, 0)
    cloud.hear("harbour")
    assert cloud.outcome(run) == ""
    cloud.link("airport")
    cloud.hear("airport")
    assert cloud.outcome(run) == "", "it has ended at both, and one of them is to go on"
    cloud.settle()
    assert airport.ready(run) == [1]
    cloud.work_all(run)
    assert cloud.outcome(run) == "completed"


def test_a_cancel_overtakes_what_is_going_back(cloud: Control) -> None:
    """A part that had ended is opened by the older order, and cancelled at once."""
    run = started(cloud, plan({"a": PICK, "b": {**PACK, "needs": ["a"]}, "c": PICK}))
    work(cloud, run, "a")
    work(cloud, run, "b")
    cloud.order(run, Rerun("a"))
    harbour = cloud.outposts["harbour"]
    while harbour.inbox:
        harbour.take()
    cloud.hear("harbour")
    cloud.cancel(run)
    cloud.settle()
    assert cloud.outcome(run) == "cancelled"


def test_two_parts_that_are_cancelled_do_not_send_each_other_back(cloud: Control) -> None:
    """The failure of a third stops both while each is to do anew what comes after the other: the run ends, and goes on whole."""
    tasks = {"a": PACK, "b": {**PICK, "needs": ["a"]}, "c": {**PACK, "needs": ["b"]}, "d": SHIP}
    run = started(cloud, plan(tasks, on_failure="continue"))
    cloud.outposts["station"].work(run, 3, fail="jam")
    cloud.order(run, Rerun("a"))
    cloud.outposts["airport"].work(run, 0, fail="jam")
    cloud.settle()
    assert cloud.outcome(run) == "failed"
    cloud.order(run, Retry())
    cloud.work_all(run)
    cloud.order(run, Retry())
    cloud.work_all(run)
    assert cloud.outcome(run) == "completed"


@pytest.mark.parametrize("mended", [True, False])
def test_a_failure_counts_at_the_end_unless_it_was_mended(cloud: Control, mended: bool) -> None:
    """With `on_failure: continue` the others went on; what failed was done anew meanwhile, or something else was."""
    run = started(cloud, plan({"a": PICK, "b": PICK, "c": PICK}, on_failure="continue"))
    work(cloud, run, "b")
    work(cloud, run, "a", fail="jam")
    cloud.order(run, Retry(["a"]) if mended else Rerun("b"))
    cloud.work_all(run)
    assert cloud.outcome(run) == ("completed" if mended else "failed")


def test_what_goes_on_without_the_failed_part_does_not_wait_for_it(cloud: Control) -> None:
    """Another task than the failed one is rerun: what needs that is skipped, and the run ends as failed, till it is retried."""
    run = started(cloud, plan({"a": SHIP, "b": {**PICK, "needs": ["a"]}, "c": PICK, "d": PACK}))
    work(cloud, run, "d")
    work(cloud, run, "a", fail="jam")
    assert cloud.outcome(run) == "failed"
    cloud.order(run, Rerun("d"))
    cloud.work_all(run)
    assert cloud.outcome(run) == "failed"
    assert states(cloud, "harbour", run) == {"a": "failed", "b": "skipped", "c": "completed", "d": "elsewhere"}
    cloud.order(run, Retry())
    cloud.work_all(run)
    assert cloud.outcome(run) == "completed"
    assert states(cloud, "harbour", run)["b"] == "completed"


@pytest.mark.parametrize("hears", ["while it is stopped", "before it is stopped", "after its end"])
def test_a_part_that_is_stopped_remembers_what_counts_no_more(cloud: Control, hears: str) -> None:
    """The new value came meanwhile, and its site is done: when the run goes on, what was made of the old one is done anew."""
    of = {"with": {"of": "${{ tasks.a.output }}"}}
    tasks = {"a": PICK, "b": {**PACK, "needs": ["a"], **of, "compensate": {**PACK, **of}}, "x": PACK, "w": PACK, "y": SHIP}
    run = started(cloud, plan(tasks))
    work(cloud, run, "a", b'"old"')
    work(cloud, run, "b")
    harbour, airport = cloud.outposts["harbour"], cloud.outposts["airport"]
    index = cloud.planner.runs[run].plan.index
    if hears == "while it is stopped":
        airport.begin(run, index["x"])
    cloud.order(run, Rerun("a"))
    while harbour.inbox:
        harbour.take()
    harbour.work(run, index["a"], b'"new"')
    cloud.hear("harbour")
    if hears == "before it is stopped":
        cloud.settle()
        work(cloud, run, "y", fail="jam")
    else:
        airport.work(run, index["w"], fail="jam")
        cloud.hear("airport")
        cloud.settle()
    if hears == "while it is stopped":
        airport.decide(run, CancelDone(index["x"], 1, "anna"))
        cloud.settle()
    assert cloud.outcome(run) == "failed" or hears == "after its end"
    cloud.order(run, Retry())
    cloud.settle()
    fragment = airport.fragments[run]
    assert fragment.outputs is not None
    assert fragment.outputs[0] == b'"old"', "it is being undone"
    replicas_are_equal(cloud, run)
    cloud.work_all(run)
    assert cloud.outcome(run) == "completed"
    assert airport.closed[run].outputs == {0: b'"new"'}
    assert len([row for row in cloud.log.disk.rows if row.kind == "TaskCompleted" and row.stream == airport.stream]) == 5


@pytest.mark.parametrize("ends", ["completed", "cancelled"])
def test_what_ends_while_it_goes_back_crosses_no_more(cloud: Control, ends: str) -> None:
    """Neither its value nor that it was stopped."""
    run = started(cloud, plan({"x": PICK, "a": {**PICK, "needs": ["x"]}, "b": {**PACK, "needs": ["a"]}}))
    work(cloud, run, "x")
    harbour = cloud.outposts["harbour"]
    harbour.begin(run, 1)
    cloud.settle()
    cloud.order(run, Rerun("x"))
    cloud.settle()
    harbour.finish(run, 1) if ends == "completed" else harbour.decide(run, CancelDone(1, 1, "anna"))
    cloud.settle()
    assert states(cloud, "airport", run) == {"x": "elsewhere", "a": "elsewhere", "b": "pending"}
    cloud.work_all(run)
    assert cloud.outcome(run) == "completed"


def test_only_its_own_site_tells_how_a_task_ended(cloud: Control) -> None:
    """One that was told says so, late; a third that waits for the task anew must not take that for its end."""
    after = {"needs": [{"task": "a", "after": "failure"}]}
    run = started(cloud, plan({"a": PICK, "b": {**PACK, **after}, "c": {**SHIP, **after}}))
    harbour, airport, station = (cloud.outposts[site] for site in SITES)
    harbour.work(run, 0, fail="jam")
    cloud.hear("harbour")
    cloud.order(run, Retry(["a"]))
    harbour.take()
    cloud.hear("harbour")
    airport.take()
    cloud.hear("airport")
    cloud.settle()
    assert states(cloud, "station", run)["a"] == states(cloud, "airport", run)["a"] == "elsewhere"
    cloud.work_all(run)
    assert states(cloud, "station", run)["c"] == "skipped"
    assert (cloud.outcome(run), station.ready(run)) == ("completed", [])


def test_a_run_that_is_being_stopped_goes_back_only_when_it_has_ended(cloud: Control) -> None:
    """The refusal names the site that has not."""
    run = started(cloud, plan({"a": PICK, "b": PACK}))
    airport = cloud.outposts["airport"]
    airport.begin(run, 1)
    work(cloud, run, "a", fail="jam")
    known = cloud.planner.runs[run]
    answer = cloud.order(run, Retry(["a"]))
    assert isinstance(answer, Problem)
    assert (answer.code, "being stopped at airport" in answer.detail) == ("command_refused", True)
    assert refusal(known, Pause()) == ""
    airport.decide(run, CancelDone(1, 1, "anna"))
    cloud.settle()
    assert cloud.outcome(run) == "failed"
    cloud.order(run, Retry())
    cloud.work_all(run)
    assert cloud.outcome(run) == "completed"


def test_back_to_a_checkpoint_at_every_site(cloud: Control) -> None:
    """Each goes back to its own; what follows from another's work follows it."""
    run = started(cloud, plan(CHAIN))
    work(cloud, run, "a")
    cloud.order(run, TakeCheckpoint("early"))
    cloud.settle()
    work(cloud, run, "b")
    work(cloud, run, "c")
    cloud.order(run, RollBack(checkpoint="early"))
    cloud.settle()
    assert states(cloud, "harbour", run) == {"a": "completed", "b": "elsewhere", "c": "pending", "d": "elsewhere"}
    assert states(cloud, "airport", run)["b"] == "ready"
    cloud.work_all(run)
    assert cloud.outcome(run) == "completed"


def test_a_group_that_goes_on_is_waited_for_again(cloud: Control) -> None:
    """One inside begins anew, so the group has not ended, though nobody named it."""
    group = {"parallel": {"tasks": {"x": PICK, "y": PICK}}}
    run = started(cloud, plan({"g": group, "b": {**PACK, "needs": ["g"]}}))
    for task in ("g.x", "g.y", "b"):
        work(cloud, run, task)
    assert cloud.outcome(run) == "completed"
    cloud.order(run, Rerun("g.x"))
    cloud.settle()
    assert states(cloud, "airport", run)["b"] == "pending"
    cloud.work_all(run)
    assert cloud.outcome(run) == "completed"


def test_a_run_does_not_end_before_all_that_were_asked_have_answered(cloud: Control) -> None:
    """One of them refuses, for it has nothing to retry by then; the other goes on, and the run never ended in between."""
    run = started(cloud, plan({"a": PICK, "b": PACK}, on_failure="continue"))
    harbour, airport = cloud.outposts["harbour"], cloud.outposts["airport"]
    harbour.work(run, 0, fail="jam")
    airport.work(run, 1, fail="jam")
    cloud.settle()
    assert cloud.outcome(run) == "failed"
    cloud.order(run, Rerun("a"))
    command = cloud.order(run, Retry())
    harbour.take()
    harbour.work(run, 0)
    harbour.take()
    cloud.hear("harbour")
    assert cloud.planner.intents.commands[str(command)].state == "refused"
    assert run in cloud.planner.runs
    before = cloud.state()
    cloud.restart()
    assert cloud.state() == before
    cloud.settle()
    assert airport.ready(run) == [1]
    cloud.work_all(run)
    assert cloud.outcome(run) == "completed"
    assert [row.kind for row in cloud.log.disk.rows].count("RunEnded") == 2


def test_a_part_that_had_ended_and_is_away_goes_back_before_the_run_ends(cloud: Control) -> None:
    """It is asked when it links; the others are done by then, over a restart too."""
    run = started(cloud, plan({"a": PICK, "b": PACK}))
    cloud.order(run, TakeCheckpoint("early"))
    cloud.settle()
    work(cloud, run, "b")
    cloud.begin_anew()
    cloud.turn()
    cloud.link("harbour")
    cloud.order(run, RollBack(checkpoint="early"))
    harbour, airport = cloud.outposts["harbour"], cloud.outposts["airport"]
    harbour.take()
    harbour.work(run, 0)
    cloud.hear("harbour")
    assert (cloud.outcome(run), harbour.ended[run]) == ("", "completed")
    before = cloud.state()
    cloud.begin_anew()
    cloud.turn()
    assert cloud.state() == before
    cloud.link("harbour", "airport")
    cloud.settle()
    assert airport.ready(run) == [1]
    cloud.work_all(run)
    assert cloud.outcome(run) == "completed"


def test_a_part_that_was_stopped_while_it_undid_what_it_had_done_is_retried(cloud: Control) -> None:
    """It has nothing that failed or was cancelled, and was cancelled all the same: only it is asked, and is completed again."""
    run = started(cloud, plan({"a": {**SHIP, "compensate": SHIP}, "b": PICK}, on_failure="continue"))
    harbour, station, index = cloud.outposts["harbour"], cloud.outposts["station"], cloud.planner.runs[run].plan.index
    station.work(run, index["a"])
    harbour.work(run, index["b"], fail="jam")
    cloud.order(run, Retry(["b"]))
    harbour.take()
    harbour.work(run, index["b"])
    cloud.order(run, Rerun("a"))
    station.take()
    cloud.settle()
    assert (cloud.outcome(run), states(cloud, "station", run)["a"]) == ("cancelled", "completed")
    command = cloud.order(run, Retry())
    cloud.settle()
    intent = cloud.planner.intents.commands[str(command)]
    assert (intent.state, intent.targets) == ("accepted", ["station"])
    assert cloud.outcome(run) == "completed"


# The law ---------------------------------------------------------------------------------------------------------------


@st.composite
def stories(draw: st.DrawFn) -> dict[str, Any]:
    """Up to seven tasks over three sites; whoever needs something reads it, and perhaps what that needed."""
    tasks: dict[str, Any] = {}
    for number in range(draw(st.integers(2, 7))):
        needs = draw(st.lists(st.sampled_from(sorted(tasks)), unique=True, max_size=3)) if tasks else []
        far = sorted({above for need in needs for above in tasks[need]["needs"]})
        read = [*needs, *(above for above in far if above not in needs and draw(st.booleans()))]
        task: dict[str, Any] = {
            "capability": draw(st.sampled_from(sorted(SITES.values()))),
            "effect": "repeatable",
            "needs": needs,
        }
        task["with"] = {need: f"${{{{ tasks.{need}.output }}}}" for need in read}
        if draw(st.integers(0, 3)) == 0:
            task["compensate"] = {"capability": task["capability"], "effect": "repeatable", "with": dict(task["with"])}
        tasks[f"t{number}"] = task
    return tasks


class World:
    """A run, and what each task's last execution was given. Every execution has an output of its own."""

    def __init__(self, tasks: dict[str, Any], on_failure: str) -> None:
        self.cloud, self.tasks = three_sites(), tasks
        self.run = started(self.cloud, plan(tasks, on_failure=on_failure))
        self.used: dict[str, dict[str, Any]] = {}
        self.output: dict[str, bytes] = {}
        self.executed = 0

    def act(self, kind: str, number: int) -> None:
        """One thing happens, whichever is possible."""
        cloud, names = self.cloud, list(self.cloud.outposts)
        outpost = cloud.outposts[names[number % len(names)]]
        task = f"t{number % len(self.tasks)}"
        match kind:
            case "take" if outpost.inbox:
                outpost.take()
            case "hear" if self._is_linked(outpost.name):
                cloud.hear(outpost.name, 1 + number % 3)
            case "work" | "fail" if ready := outpost.ready(self.run):
                task_ready = ready[number % len(ready)]
                # A compensation that fails waits for a person to settle it.
                is_work = task_ready < len(self.tasks)
                self._execute(outpost, task_ready, "jam" if kind == "fail" and is_work else "")
            case "rerun" | "rollback" | "retry":
                orders: dict[str, Order] = {"rerun": Rerun(task), "rollback": RollBack(task=task), "retry": Retry()}
                cloud.order(self.run, orders[kind])
            case "checkpoint" | "back":
                early = f"early{number % 3}"
                cloud.order(self.run, TakeCheckpoint(early) if kind == "checkpoint" else RollBack(checkpoint=early))
            case "cancel":
                cloud.cancel(self.run)
            case "restart":
                cloud.restart()
            case "away":
                # A new cloud, which some sites have not greeted yet.
                cloud.begin_anew()
                cloud.turn()
                cloud.link(*names[: number % len(names)])
            case _:
                pass

    def settle(self) -> None:
        """All sites are there, and everything arrives."""
        self.cloud.link(*(name for name in self.cloud.outposts if not self._is_linked(name)))
        self.cloud.settle()

    def _is_linked(self, name: str) -> bool:
        return self.cloud.planner.fleet.site(SiteId(name)).greeted

    def _execute(self, outpost: Any, task: int, fail: str) -> None:
        fragment = outpost.fragments[self.run]
        name = fragment.plan.tasks[task].id
        self.executed += 1
        output = b"%d" % self.executed
        if name in self.tasks:
            outputs = fragment.outputs or {}
            # What was skipped before it, since something else had failed, gave nothing.
            self.used[name] = {need: outputs.get(fragment.plan.index[need]) for need in self.tasks[name]["with"]}
            self.output[name] = output
        outpost.work(self.run, task, output, fail=fail)

    def finish(self) -> None:
        """Everything arrives, everybody works, and what has failed is retried."""
        for _ in range(100):
            self.settle()
            ready = [(outpost, outpost.ready(self.run)) for outpost in self.cloud.outposts.values()]
            if any(tasks for _, tasks in ready):
                outpost, tasks = next((outpost, tasks) for outpost, tasks in ready if tasks)
                self._execute(outpost, tasks[0], "")
            elif self.cloud.outcome(self.run) == "completed" and self.run not in self.cloud.planner.runs:
                return
            else:
                assert self.run not in self.cloud.planner.runs, "it waits, and for nothing"
                assert not isinstance(self.cloud.order(self.run, Retry()), Problem)
        raise AssertionError("it does not end")


WORK = ["take", "take", "hear", "hear", "work", "work", "fail"]
ACTIONS = [*WORK, "rerun", "rollback", "retry", "checkpoint", "back", "cancel", "restart", "away"]
happenings = st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 60)), max_size=40)
endings = st.sampled_from(["stop", "continue"])


@settings(max_examples=50, deadline=None)
@given(stories(), endings, happenings)
def test_in_the_end_everything_was_made_of_what_counts(
    tasks: dict[str, Any], on_failure: str, story: list[tuple[str, int]]
) -> None:
    """Whatever fails, is retried, done anew, cancelled, delayed on the way, or killed: the run completes, replicas are equal, and
    what each task was given when it was done last is what the others gave when they were done last."""
    told(tasks, on_failure, story)


@pytest.mark.nightly
@settings(max_examples=2_000, deadline=None)
@given(stories(), endings, happenings)
def test_in_the_end_everything_was_made_of_what_counts_for_long(
    tasks: dict[str, Any], on_failure: str, story: list[tuple[str, int]]
) -> None:
    """The same, in many more stories."""
    told(tasks, on_failure, story)


def told(tasks: dict[str, Any], on_failure: str, story: list[tuple[str, int]]) -> None:
    world = World(tasks, on_failure)
    for kind, number in story:
        world.act(kind, number)
    world.settle()
    if world.run in world.cloud.planner.runs:
        replicas_are_equal(world.cloud, world.run)
    world.finish()
    assert world.used.keys() == tasks.keys(), "all of them were done"
    for name, used in world.used.items():
        assert used == {need: world.output[need] for need in used}, f"{name} was made of what counts no more"
