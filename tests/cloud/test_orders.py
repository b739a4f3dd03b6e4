"""Orders for runs at the planner: who is asked, what is recorded, what comes of the answers, and what a restart knows of it."""

import pytest

from cloud.control.core import home_of
from cloud.intents import COMMANDS_KEPT, Intent, Intents
from cloud.port import Problem
from tests.cloud.control import Control
from tests.cloud.test_planner import TWO_SITES, two_sites
from tests.workflow.plans import plan_of
from workflow.events import CommandAnswered
from workflow.orders import Pause, Prioritise, Resume, Retry, RollBack, Signal, Skip, TakeCheckpoint, Terminate, Update
from workflow.states import ELSEWHERE
from workflow.steering_events import CommandRequested

PICK = plan_of({"a": {"capability": "pick"}}, name="one")
SIGNALLED = plan_of(
    {"go": {"wait": {"signal": "go"}}, "a": {"capability": "pick", "needs": ["go"]}, "b": {"capability": "pack"}},
    name="signalled",
)


@pytest.fixture
def cloud() -> Control:
    return Control()


def state(cloud: Control, command: object) -> tuple[str, str]:
    intent = cloud.planner.intents.commands[str(command)]
    return intent.state, intent.detail


def refusal(answer: object) -> tuple[str, str]:
    assert isinstance(answer, Problem), answer
    return answer.code, answer.detail


def test_all_homes_of_a_run_are_asked_and_all_must_accept(cloud: Control) -> None:
    """One answer is not enough; then the run is paused, and resumes just so."""
    run = two_sites(cloud)
    command = cloud.order(run, Pause(reason="tide"))
    assert (run, "CommandRequested") in cloud.said_to("harbour")
    assert (run, "CommandRequested") in cloud.said_to("airport")
    cloud.outposts["harbour"].take()
    cloud.hear("harbour")
    assert state(cloud, command) == ("pending", "")
    cloud.settle()
    assert state(cloud, command) == ("accepted", "")
    assert cloud.planner.runs[run].state() == "paused"
    cloud.order(run, Resume())
    cloud.work_all(run)
    assert cloud.outcome(run) == "completed"


def test_an_order_for_a_task_goes_to_its_home_alone(cloud: Control) -> None:
    """And of several tasks each home is told its own."""
    run = two_sites(cloud)
    before = len(cloud.said_to("airport"))
    command = cloud.order(run, Update("c", {"n": 7}))
    assert len(cloud.said_to("airport")) == before
    cloud.settle()
    assert state(cloud, command) == ("accepted", "")
    both = cloud.order(run, Pause(tasks=["b", "c"]))
    parts = {
        name: [event.arguments for _, event in outpost.inbox if isinstance(event, CommandRequested)]
        for name, outpost in cloud.outposts.items()
    }
    assert parts == {"harbour": [b'{"verb":"pause","tasks":["c"]}'], "airport": [b'{"verb":"pause","tasks":["b"]}']}
    cloud.settle()
    assert state(cloud, both) == ("accepted", "")


def test_a_refusal_of_a_home_is_told_in_its_words(cloud: Control) -> None:
    """Whatever the others say."""
    run = two_sites(cloud)
    cloud.settle()
    cloud.outposts["harbour"].work(run, 0)
    cloud.settle()
    command = cloud.order(run, Skip("a"))
    cloud.settle()
    said, detail = state(cloud, command)
    assert said == "refused"
    assert detail.startswith("task a is completed, which cannot be skipped")


def test_a_task_that_nobody_has_is_refused_here(cloud: Control) -> None:
    """With those that there are; nothing is sent."""
    run = two_sites(cloud)
    before = len(cloud.log.disk.rows)
    assert refusal(cloud.order(run, Skip("x"))) == ("task_unknown", f"run {run} has no task 'x'; it has: a, b, c")
    assert len(cloud.log.disk.rows) == before


def test_what_a_map_made_lately_is_looked_for_at_the_map(cloud: Control) -> None:
    """The replica here may be behind its home."""
    run = two_sites(cloud)
    assert home_of(cloud.planner.runs[run], "b[3].label") == "airport"


def test_a_signal_goes_to_the_home_of_the_task_that_waits_for_it(cloud: Control) -> None:
    """Sent to all, it would set off a second task."""
    run = two_sites(cloud, SIGNALLED)
    go = SIGNALLED.index["go"]
    (home,) = [outpost for outpost in cloud.outposts.values() if outpost.fragments[run].states[go] != ELSEWHERE]
    (other,) = cloud.outposts.keys() - {home.name}
    home.attend(run, go)
    cloud.settle()
    before = len(cloud.said_to(other))
    cloud.order(run, Signal("go", {"by": "ann"}))
    assert len(cloud.said_to(other)) == before
    cloud.work_all(run)
    assert cloud.outcome(run) == "completed"


def test_versions_of_several_homes_are_not_mixed_up(cloud: Control) -> None:
    """A version counts at one home; a name is one for all."""
    run = two_sites(cloud)
    code, detail = refusal(cloud.order(run, RollBack(version=0)))
    assert (code, "allowed: a task, a moment (at), or a checkpoint" in detail) == ("command_refused", True)
    cloud.order(run, TakeCheckpoint("before"))
    cloud.settle()
    command = cloud.order(run, RollBack(checkpoint="before"))
    cloud.settle()
    assert state(cloud, command)[0] == "accepted"


def test_a_run_that_waits_for_its_place_is_the_clouds_own() -> None:
    """Paused, it lets others pass, over a restart too; resumed and put before the others, it goes first."""
    cloud = Control(active_max=1)
    cloud.join("harbour", "pick")
    first, second, third, fourth = cloud.start(PICK, 4)
    cloud.order(second, Pause(reason="not yet"))
    assert cloud.planner.runs[second].state() == "paused"
    assert refusal(cloud.order(second, Pause()))[1].endswith("is paused already; allowed: resume")
    cloud.snapshot()
    cloud.restart()
    assert cloud.planner.runs[second].held == "not yet"
    cloud.work_all(first)
    cloud.work_all(third)
    assert (cloud.outcome(second), cloud.outcome(third)) == ("", "completed")
    cloud.order(second, Resume())
    cloud.order(second, Prioritise(9))
    assert cloud.planner.runs[second].priority == 9
    assert refusal(cloud.order(second, Skip("a")))[0] == "command_refused"
    cloud.work_all(fourth)
    cloud.work_all(second)
    assert cloud.outcome(second) == "completed"


def test_a_pending_run_is_terminated_at_once() -> None:
    """No site has to be asked."""
    cloud = Control()
    (run,) = cloud.start(PICK)
    assert cloud.order(run, Terminate("wrong order")) == ""
    assert cloud.outcome(run) == "cancelled"
    assert refusal(cloud.order(run, Pause()))[0] == "run_not_active"


def test_a_site_that_was_away_since_the_start_gets_its_orders_when_it_links(cloud: Control) -> None:
    """What is decided before it has greeted this cloud is recorded in the cloud's own stream, and follows once."""
    run = two_sites(cloud)
    cloud.begin_anew()
    command = cloud.order(run, Pause())
    assert cloud.planner.intents.commands[str(command)].homes == []
    cloud.snapshot()
    cloud.begin_anew()
    cloud.turn()
    cloud.link("harbour", "airport")
    assert sum(kind == "CommandRequested" for _, kind in cloud.said_to("airport")) == 1
    cloud.settle()
    assert state(cloud, command)[0] == "accepted"
    cloud.restart()
    assert sum(kind == "CommandRequested" for _, kind in cloud.said_to("airport")) == 1
    assert cloud.planner.runs[run].state() == "paused"


def test_a_refusal_is_told_at_once_and_the_order_stays_for_the_other_homes(cloud: Control) -> None:
    """One has ended by then and says so; the other was away, and is asked when it links: once, over restarts too."""
    run = two_sites(cloud, plan_of({"a": {"capability": "pick"}, "b": {"capability": "pack"}}, name="apart"))
    cloud.outposts["harbour"].work(run, 0)
    cloud.begin_anew()
    cloud.turn()
    cloud.link("harbour")
    command = cloud.order(run, Pause())
    cloud.settle()
    assert state(cloud, command)[0] == "refused"
    assert cloud.planner.intents.commands[str(command)].is_open
    before = cloud.state()
    cloud.begin_anew()
    cloud.turn()
    assert cloud.state() == before
    cloud.link("harbour", "airport")
    cloud.settle()
    assert not cloud.planner.intents.commands[str(command)].is_open
    assert state(cloud, command)[0] == "refused"
    assert cloud.planner.runs[run].state() == "paused"
    cloud.restart()
    assert sum(kind == "CommandRequested" for _, kind in cloud.said_to("airport")) == 1


def test_an_order_of_before_that_was_refused_waits_for_nobody() -> None:
    """Who refused was not kept then; another refusal that comes now does not open it again."""
    intents = Intents()
    intents.restore([Intent("c1", "r1", "pause", "refused", 0, ["harbour"], targets=["harbour", "airport"])])
    assert intents.unsent("airport") == []
    intents.answer(CommandAnswered("c1", False, "no"), "airport")
    assert not intents.commands["c1"].is_open


def test_a_retry_without_names_asks_only_where_something_failed(cloud: Control) -> None:
    """A home where all is well would refuse."""
    run = two_sites(
        cloud, plan_of({"a": {"capability": "pick", "recovery": ["incident"]}, "b": {"capability": "pack"}}, name="halting")
    )
    cloud.outposts["harbour"].work(run, 0, fail="jammed")
    cloud.settle()
    before = len(cloud.said_to("airport"))
    command = cloud.order(run, Retry())
    cloud.settle()
    assert (state(cloud, command)[0], len(cloud.said_to("airport"))) == ("accepted", before)
    cloud.work_all(run)
    assert cloud.outcome(run) == "completed"


def test_a_restart_knows_what_was_asked_and_answered(cloud: Control) -> None:
    """From the log as from snapshots."""
    run = two_sites(cloud, TWO_SITES)
    cloud.order(run, Pause())
    cloud.settle()
    cloud.order(run, Resume())
    before = cloud.state()
    cloud.restart()
    assert cloud.state() == before
    cloud.snapshot()
    cloud.restart()
    assert cloud.state() == before


def test_commands_that_are_answered_are_forgotten_first() -> None:
    """And if none is, no more are taken."""
    intents = Intents()
    intents.restore(Intent(f"c{n}", "r1", "pause", "pending", 0, [], targets=["harbour"]) for n in range(COMMANDS_KEPT))
    assert intents.is_full()
    intents.commands["c7"].state = "accepted"
    assert not intents.is_full()
    intents.note_order(CommandRequested("next", "pause", b"{}", ["harbour"]), "r1", "", 0)
    assert (len(intents.commands), "c7" in intents.commands, "c0" in intents.commands) == (COMMANDS_KEPT, False, True)
