"""Schedules at the cloud: firings start runs, once, over restarts; those of a site travel there, and its runs are adopted."""

from typing import Any

import msgspec
import pytest

from cloud.port import Problem
from cloud.schedule.inputs import CreateSchedule, OrderSchedule
from cloud.schedule.views import schedule_view
from tests.cloud.control import Control
from tests.workflow.plans import plan_of
from workflow.events import FragmentAdopted, RunCreated
from workflow.fragment import Fragment
from workflow.schedule import Schedule, run_of_firing
from workflow.schedule_events import ScheduleChanged, ScheduleCreated, ScheduleFired, ScheduleRemoved
from workflow.schedules import ScheduleState

MINUTE = 60_000
COUNT = plan_of({"a": {"capability": "pick"}}, name="count", inputs={"n": {"type": "integer", "default": 1}})
NEWER = plan_of({"a": {"capability": "pick"}}, name="count", version="2")


@pytest.fixture
def cloud() -> Control:
    control = Control()
    control.join("harbour", "pick", capacity=64)
    control.register(COUNT)
    return control


def create(cloud: Control, **fields: Any) -> ScheduleState:
    spec = Schedule(**{"id": "s", "definition": "count", "every_ms": MINUTE, **fields})
    answer = cloud.ask(lambda token: CreateSchedule(token, spec, "count@1"))
    assert isinstance(answer, ScheduleState)
    return answer


def order(cloud: Control, what: str, *firings: int, id: str = "s", reason: str = "") -> object:
    return cloud.ask(lambda token: OrderSchedule(token, id, what, reason, firings))


def runs(cloud: Control) -> list[str]:
    """All runs that were ever created, in order."""
    return [row.run for row in cloud.log.disk.rows if row.kind == "RunCreated"]


def kinds(cloud: Control) -> list[str]:
    return [row.kind for row in cloud.log.disk.rows if row.kind.startswith("Schedule")]


def test_a_firing_starts_a_run_like_any_other(cloud: Control) -> None:
    """With the checked inputs and the schedule's labels, under the id of the firing, placed at once."""
    state = create(cloud, labels={"team": "a"})
    begin_ms = cloud.clock.wall_ms
    cloud.pass_ms(MINUTE)
    (run,) = runs(cloud)
    assert run == run_of_firing("s", state.created_ms, begin_ms + MINUTE)
    known = cloud.planner.runs[run]
    assert (known.plan.ref, known.inputs, known.labels) == ("count@1", b'{"n":1}', {"team": "a", "schedule": "s"})
    assert ("" if known.waits_for else known.sites[0]) == "harbour"
    cloud.work_all(run)
    assert cloud.outcome(run) == "completed"


@pytest.mark.parametrize("overlap", ["allow", "skip", "buffer_one", "cancel_other"])
def test_no_firing_is_made_twice_whenever_the_cloud_is_killed(cloud: Control, overlap: str) -> None:
    """Killed before, between and after the firings: a restart folds what was there, and every run has one id and one start."""
    create(cloud, overlap=overlap, catch_up="all")
    for minutes in (1, 2, 0, 3, 1):
        cloud.pass_ms(minutes * MINUTE + 100)
        if minutes == 2:
            cloud.snapshot()
        before = cloud.state()
        cloud.restart()
        assert cloud.state() == before
        for run in list(cloud.planner.runs):
            cloud.work_all(run)
    assert len(runs(cloud)) == len(set(runs(cloud)))
    assert len(runs(cloud)) == {"allow": 7, "skip": 4}.get(overlap, len(runs(cloud)))
    fired = [row for row in kinds(cloud) if row == "ScheduleFired"]
    assert len(fired) >= 4


def test_a_timer_that_was_heard_but_not_committed_is_heard_again(cloud: Control) -> None:
    """The process dies between hearing the timer and the commit: after the start the firing is made, once."""
    create(cloud)
    cloud.log.at_once = False
    cloud.clock.pass_ms(MINUTE)
    cloud.driver.turn(cloud.driver.take_due())
    assert runs(cloud) == []
    cloud.log.at_once = True
    cloud.restart()
    cloud.pass_ms(0)
    assert len(runs(cloud)) == 1


def test_a_run_that_waits_for_another_begins_when_that_has_ended(cloud: Control) -> None:
    """buffer_one: in the very batch in which the end is heard."""
    create(cloud, overlap="buffer_one")
    cloud.pass_ms(3 * MINUTE)
    (first,) = runs(cloud)
    cloud.work_all(first)
    assert len(runs(cloud)) == 2
    assert list(cloud.planner.runs) == runs(cloud)[1:]


def test_the_other_run_is_cancelled_before_the_next_begins(cloud: Control) -> None:
    """cancel_other: its home is asked, and only its answer lets the next one begin."""
    create(cloud, overlap="cancel_other")
    cloud.pass_ms(2 * MINUTE)
    (first,) = runs(cloud)
    assert cloud.planner.runs[first].cancelling
    cloud.settle()
    assert cloud.outcome(first) == "cancelled"
    assert len(runs(cloud)) == 2


def test_the_latest_version_is_started_unless_one_is_named(cloud: Control) -> None:
    """By its name alone a definition is what it is at each firing."""
    create(cloud)
    create(cloud, id="fixed", definition="count@1")
    cloud.register(NEWER)
    cloud.pass_ms(MINUTE)
    assert sorted(cloud.planner.runs[run].plan.ref for run in runs(cloud)) == ["count@1", "count@2"]


def test_inputs_that_no_longer_fit_cost_the_firing_and_say_so(cloud: Control) -> None:
    """The newer version takes no `n`: the firing is skipped for that reason, and the schedule lives on."""
    create(cloud, inputs={"n": 3})
    cloud.register(NEWER)
    cloud.pass_ms(MINUTE)
    assert runs(cloud) == []
    assert "do not fit count@2" in cloud.planner.schedules.own.known["s"].skipped[1]


def test_orders_are_carried_out_and_answered(cloud: Control) -> None:
    """Pause, run now, resume, remove; and what is not there is refused."""
    create(cloud)
    order(cloud, "pause", reason="stocktaking")
    cloud.pass_ms(5 * MINUTE)
    assert runs(cloud) == []
    assert cloud.driver.due() is None
    order(cloud, "run_now")
    assert len(runs(cloud)) == 1
    cloud.work_all(*runs(cloud))
    order(cloud, "resume")
    cloud.pass_ms(MINUTE)
    assert len(runs(cloud)) == 2
    order(cloud, "remove")
    cloud.pass_ms(5 * MINUTE)
    assert len(runs(cloud)) == 2
    assert cloud.driver.due() is None
    refused = order(cloud, "pause")
    assert isinstance(refused, Problem)
    assert refused.code == "schedule_unknown"


def test_a_backfill_makes_what_was_skipped(cloud: Control) -> None:
    """Under the ids that the firings would have had."""
    state = create(cloud)
    begin_ms = cloud.clock.wall_ms
    cloud.pass_ms(3 * MINUTE)
    skipped = [begin_ms + 2 * MINUTE, begin_ms + 3 * MINUTE]
    order(cloud, "backfill", *skipped)
    assert runs(cloud)[1:] == [run_of_firing("s", state.created_ms, moment) for moment in skipped]


def test_an_id_is_taken_once(cloud: Control) -> None:
    """Until it is removed; then it may be used again, and its firings are others."""
    first = create(cloud)
    spec = Schedule("s", "count", every_ms=MINUTE)
    taken = cloud.ask(lambda token: CreateSchedule(token, spec, "count@1"))
    assert isinstance(taken, Problem)
    assert taken.code == "schedule_exists"
    order(cloud, "remove")
    cloud.clock.pass_ms(1)
    again = create(cloud)
    assert again.run(0) != first.run(0)


# For a site


def adopt(cloud: Control) -> ScheduleState:
    """A schedule of the harbour, which has taken it."""
    state = create(cloud, site="harbour")
    event = ScheduleCreated("s", msgspec.json.encode(state.spec), "count@1", state.created_ms)
    cloud.outposts["harbour"].say("", event)
    cloud.hear("harbour")
    return state


def begin_at_site(cloud: Control, moment: int) -> str:
    """The harbour makes a firing by itself, as an edge does."""
    harbour, state = cloud.outposts["harbour"], cloud.planner.schedules.asked["s"]
    run = state.run(moment)
    harbour.say("", ScheduleFired("s", [moment], [run], [run], "time"), 0)
    harbour.say(run, RunCreated("count@1", b'{"n":1}', {"schedule": "s"}, moment), 1)
    adopted = FragmentAdopted("count@1", b'{"n":1}', "harbour", ["harbour"], bytes(1), 1)
    harbour.fragments[run] = Fragment.adopt(cloud.planner.runs[run].id if run in cloud.planner.runs else run, COUNT, adopted)  # type: ignore[arg-type]
    harbour.say(run, adopted, 1)
    return run


def test_a_schedule_of_a_site_is_handed_to_it(cloud: Control) -> None:
    """With its definition before it, once; the cloud starts nothing for it and shows it as released until the site has it."""
    state = create(cloud, site="harbour")
    assert cloud.said_to("harbour") == [("", "DefinitionRegistered"), ("", "ScheduleCreated")]
    cloud.pass_ms(5 * MINUTE)
    assert runs(cloud) == []
    assert schedule_view(cloud.planner.schedules, state, None).state == "released"
    before = cloud.state()
    cloud.restart()
    assert cloud.state() == before
    assert len(cloud.said_to("harbour")) == 2


def test_what_is_for_a_site_waits_until_it_has_greeted() -> None:
    """A restarted cloud writes nothing for a site that it has not compared with; then all of it, in order, once."""
    cloud = Control()
    cloud.join("harbour", "pick")
    cloud.register(COUNT)
    cloud.driver = cloud._begin()
    create(cloud, site="harbour")
    order(cloud, "pause")
    assert cloud.said_to("harbour") == []
    cloud.snapshot()
    before = cloud.state()
    cloud.driver = cloud._begin()
    assert cloud.state() == before
    cloud.link("harbour")
    expected = [("", "DefinitionRegistered"), ("", "ScheduleCreated"), ("", "ScheduleOrdered")]
    assert cloud.said_to("harbour") == expected
    cloud.cut("harbour")
    cloud.link("harbour")
    cloud.restart()
    assert cloud.said_to("harbour") == expected


def test_a_run_that_a_site_began_is_shown_and_never_placed(cloud: Control) -> None:
    """From the first event on its home is the site; the cloud ends it when the site says that it has ended."""
    adopt(cloud)
    run = begin_at_site(cloud, cloud.clock.wall_ms + MINUTE)
    cloud.hear("harbour")
    known = cloud.planner.runs[run]
    assert (known.state(), known.sites, known.labels) == ("active", ["harbour"], {"schedule": "s"})
    before = cloud.state()
    cloud.restart()
    assert cloud.state() == before
    assert (run, "FragmentReleased") not in cloud.said_to("harbour")
    cloud.work_all(run)
    assert cloud.outcome(run) == "completed"
    assert cloud.planner.fleet.site("harbour").active_runs == 0
    assert cloud.planner.schedules.sited.known["s"].recent[-1][1] == run


def test_a_run_that_a_site_began_can_be_cancelled(cloud: Control) -> None:
    """By an intent, as any run whose home is a site."""
    adopt(cloud)
    run = begin_at_site(cloud, cloud.clock.wall_ms + MINUTE)
    cloud.hear("harbour")
    cloud.cancel(run)
    cloud.settle()
    assert cloud.outcome(run) == "cancelled"
    assert cloud.outposts["harbour"].ended[run] == "cancelled"


def test_an_order_for_a_site_is_open_until_the_site_answers(cloud: Control) -> None:
    """And the answer is what changes the picture."""
    adopt(cloud)
    command = order(cloud, "pause", reason="tide")
    schedules = cloud.planner.schedules
    assert list(schedules.orders) == [command]
    assert not schedules.sited.known["s"].paused
    cloud.outposts["harbour"].say("", ScheduleChanged("s", True, "count@1", cloud.clock.wall_ms, "tide", str(command)))
    cloud.hear("harbour")
    assert schedules.orders == {}
    assert schedules.sited.known["s"].reason == "tide"
    order(cloud, "pause")
    gone = order(cloud, "remove")
    cloud.outposts["harbour"].say("", ScheduleRemoved("s", str(gone)))
    cloud.hear("harbour")
    assert (schedules.find("s"), schedules.orders, schedules.unsent) == (None, {}, {})


def test_a_site_learns_of_a_newer_version_before_it_starts_it(cloud: Control) -> None:
    """The definition first, then the order to start it; a schedule that names its version keeps it."""
    adopt(cloud)
    create(cloud, id="fixed", definition="count@1", site="harbour")
    told = len(cloud.said_to("harbour"))
    cloud.register(NEWER)
    assert cloud.said_to("harbour")[told:] == [("", "DefinitionRegistered"), ("", "ScheduleOrdered")]


def test_a_site_that_was_away_learns_of_the_latest_version_alone() -> None:
    """However many came meanwhile; once it starts the latest, a greeting brings nothing."""
    cloud = Control()
    cloud.join("harbour", "pick")
    cloud.register(COUNT)
    adopt(cloud)
    cloud.driver = cloud._begin()
    told = len(cloud.said_to("harbour"))
    cloud.register(NEWER)
    cloud.register(plan_of({"a": {"capability": "pick"}}, name="count", version="3"))
    assert cloud.planner.schedules.orders == {}
    cloud.link("harbour")
    assert cloud.said_to("harbour")[told:] == [("", "DefinitionRegistered"), ("", "ScheduleOrdered")]
    (command,) = cloud.planner.schedules.orders
    cloud.outposts["harbour"].say("", ScheduleChanged("s", False, "count@3", cloud.clock.wall_ms, "", command))
    cloud.hear("harbour")
    cloud.restart()
    assert len(cloud.said_to("harbour")) == told + 2


def test_runs_of_a_schedule_wait_as_their_definition_says(cloud: Control) -> None:
    """For the run that the inputs name; it begins when that has ended."""
    waits = plan_of({"a": {"capability": "pick"}}, name="count", version="3", inputs={"p": {}}, awaits=["${{ inputs.p }}"])
    (first,) = cloud.start(COUNT, inputs=b'{"n":1}')
    cloud.register(waits)
    create(cloud, inputs={"p": first})
    cloud.pass_ms(MINUTE)
    run = runs(cloud)[-1]
    assert (run != first, cloud.planner.runs[run].state()) == (True, "pending")
    cloud.work_all(first)
    assert cloud.planner.runs[run].state() == "active"
