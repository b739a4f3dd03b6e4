"""The cap on active runs: who waits, whose turn it is, what is told, and when nothing more is accepted."""

import msgspec
import pytest

from cloud.admission import Admission
from cloud.inputs import NewRun, StartRuns
from cloud.port import Problem
from tests.cloud.control import Control
from tests.workflow.plans import plan_of
from workflow.events import RunEnded, decode
from workflow.plan import Plan, plan_from_document

PICK = plan_of({"a": {"capability": "pick"}}, name="one")
WELD = plan_of({"a": {"capability": "weld"}}, name="weld")


@pytest.fixture
def cloud() -> Control:
    """Two runs may be active; a site can pick."""
    cloud = Control(active_max=2)
    cloud.join("harbour", "pick")
    cloud.register(PICK)
    return cloud


def start(cloud: Control, *runs: NewRun) -> list[str]:
    started = cloud.ask(lambda token: StartRuns(token, "one@1", list(runs), None))
    assert isinstance(started, list), started
    return [run.id for run in started]


def released(cloud: Control) -> list[str]:
    return [run for run, kind in cloud.said_to("harbour") if kind == "FragmentReleased"]


def waits_for(cloud: Control, run: str) -> str:
    return cloud.planner.admission.waits_for(run)


def test_runs_beyond_the_cap_wait_and_say_for_what(cloud: Control) -> None:
    """They stay pending, with their number in the queue, and go on as others end."""
    runs = cloud.start(PICK, 4)
    assert released(cloud) == runs[:2]
    assert waits_for(cloud, runs[1]) == ""
    assert waits_for(cloud, runs[3]) == "a free place: 2 of 2 runs are active, it is number 2 in the queue"
    assert cloud.planner.runs[runs[3]].state() == "pending"
    cloud.work_all(runs[0])
    assert released(cloud) == runs[:3]
    assert waits_for(cloud, runs[3]).endswith("it is number 1 in the queue")
    for run in runs[1:]:
        cloud.work_all(run)
    assert sorted(cloud.finished()) == runs
    assert cloud.planner.admission.active == 0


def test_the_urgent_go_first_and_keys_take_turns(cloud: Control) -> None:
    """As given at the start of each run, and after a restart too."""
    start(cloud, NewRun(b"{}", {}), NewRun(b"{}", {}))
    big = start(cloud, *[NewRun(b"{}", {}, 4, "big")] * 3)
    (small,) = start(cloud, NewRun(b"{}", {}, 4, "small"))
    (urgent,) = start(cloud, NewRun(b"{}", {}, 9, "big"))
    cloud.restart()
    assert [cloud.planner.admission.waits_for(run)[-14] for run in (urgent, big[0], small, *big[1:])] == list("12345")
    for run in released(cloud)[:2]:
        cloud.work_all(run)
    assert released(cloud)[2:] == [urgent, big[0]]
    assert [cloud.planner.runs[run].priority for run in (urgent, small)] == [9, 4]
    assert cloud.planner.runs[small].fairness_key == "small"


def test_a_run_that_no_site_can_do_holds_up_nobody(cloud: Control) -> None:
    """It steps aside and takes no place; when the fleet has changed it stands in line again."""
    (welding,) = cloud.start(WELD)
    runs = cloud.start(PICK, 3)
    assert released(cloud) == runs[:2]
    assert "weld" in cloud.planner.runs[welding].waits_for
    assert waits_for(cloud, welding) == ""
    cloud.join("harbour", "weld", agent="ben")
    assert waits_for(cloud, welding).endswith("it is number 2 in the queue")
    for run in runs:
        cloud.work_all(run)
    assert released(cloud)[-1] == welding


def test_a_cancelled_run_leaves_the_line(cloud: Control) -> None:
    """At once, without a site; those behind it move up."""
    runs = cloud.start(PICK, 4)
    cloud.cancel(runs[2])
    assert cloud.outcome(runs[2]) == "cancelled"
    assert waits_for(cloud, runs[3]).endswith("it is number 1 in the queue")
    cloud.work_all(runs[0])
    assert released(cloud) == [runs[0], runs[1], runs[3]]


def test_when_too_many_wait_nothing_more_is_accepted(cloud: Control) -> None:
    """The refusal says how many there are and what helps, and nothing of the request was started."""
    cloud.planner.admission.pending_max = 3
    runs = cloud.start(PICK, 4)
    refused = cloud.ask(lambda token: StartRuns(token, "one@1", [NewRun(b"{}", {})] * 2, None))
    assert isinstance(refused, Problem)
    assert (refused.status, refused.code) == (503, "queue_full")
    assert refused.detail.startswith("2 of 2 runs are active and 2 wait for a place, at most 3 may: nothing was started")
    assert sorted(cloud.planner.runs) == runs
    cloud.start(PICK)
    cloud.work_all(runs[0])
    cloud.start(PICK)


def test_a_smaller_cap_after_a_restart_stops_nobody(cloud: Control) -> None:
    """What is active goes on; the next run begins when fewer are active than may be."""
    runs = cloud.start(PICK, 3)
    cloud.active_max = 1
    cloud.restart()
    cloud.work_all(runs[0])
    assert released(cloud) == runs[:2]
    cloud.work_all(runs[1])
    assert released(cloud) == runs


def test_the_line_is_counted_right_when_a_run_is_forgotten() -> None:
    """A run leaves either the line or the active ones, once."""
    admission = Admission(1, 1)
    admission.accept("r1", 4, "")
    admission.accept("r2", 4, "")
    assert admission.next(1) == "r1"
    admission.activate("r1")
    admission.activate("r1")
    assert (admission.active, admission.next(1)) == (1, None)
    admission.forget("r1")
    assert (admission.active, admission.next(1)) == (0, "r2")
    admission.forget("r2")
    assert (admission.active, admission.pending, admission.next(2)) == (0, {}, None)


def limited(**fields: object) -> Plan:
    """A definition that only a welder can do, with limits."""
    task = {"capability": "weld", **({"start_timeout": "5s"} if "start" in fields else {})}
    whole = {"timeout": fields["timeout"]} if "timeout" in fields else {}
    return plan_from_document(msgspec.json.encode({"name": "limited", "version": "1", "tasks": {"seam": task}, **whole}))


@pytest.mark.parametrize(("fields", "what"), [({"timeout": "10s"}, "the run had 10 s"), ({"start": 1}, "task seam had 5 s")])
def test_a_run_that_no_site_can_do_fails_when_its_time_is_over(cloud: Control, fields: dict[str, object], what: str) -> None:
    """It says for whom it waited; over a restart too, and not before its time."""
    (run,) = cloud.start(limited(**fields))
    cloud.pass_ms(4_000)
    cloud.restart()
    assert cloud.planner.runs[run].state() == "pending"
    cloud.pass_ms(7_000)
    assert cloud.outcome(run) == "failed"
    ended = next(decode(row.kind, row.payload) for row in cloud.log.disk.rows if row.run == run and row.kind == "RunEnded")
    assert isinstance(ended, RunEnded)
    assert ended.detail.startswith(f"timeout: {what} and no site could begin it: task seam: an agent with capability weld")
    assert cloud.log.disk.due == {}


def test_the_time_of_a_run_that_waits_its_turn_does_not_run_out(cloud: Control) -> None:
    """Nor that of one which a site has been given: from then on its home counts."""
    (run,) = cloud.start(limited(timeout="10s"))
    busy = cloud.start(PICK, 2)
    cloud.join("harbour", "weld", agent="ben")
    assert waits_for(cloud, run)
    cloud.pass_ms(25_000)
    assert cloud.planner.runs[run].state() == "pending"
    cloud.work_all(busy[0])
    assert run in released(cloud)
    cloud.pass_ms(25_000)
    assert run in cloud.planner.runs
    assert cloud.log.disk.due == {}
