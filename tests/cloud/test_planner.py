"""The planner: runs are accepted, placed, released, watched to their end, cancelled; and a restart knows all of it again."""

from typing import Any

import pytest

from cloud.answers import decode_answer, encode_answer
from cloud.crossing import blobs_handed
from cloud.inputs import AgentLoad, NewRun, Refusal, RegisterDefinition, SiteLoads, StartRuns
from cloud.intents import Intent
from cloud.port import Problem, Started
from tests.cloud.control import Control
from tests.workflow.plans import plan_of
from workflow.commands import Assign, Cancel, Complete, Lose
from workflow.events import Blob, FragmentReleased, RunCreated
from workflow.plan import Plan

PICK = plan_of({"a": {"capability": "pick"}}, name="one")
ACROSS: dict[str, dict[str, Any]] = {
    "a": {"capability": "pick"},
    "b": {"capability": "pack", "needs": ["a"], "with": {"n": "${{ tasks.a.output }}"}},
    "c": {"capability": "pick", "needs": ["b"], "with": {"n": "${{ tasks.a.output }}", "m": "${{ tasks.b.output }}"}},
}
TWO_SITES = plan_of(ACROSS, name="across")


@pytest.fixture
def cloud() -> Control:
    return Control()


def two_sites(cloud: Control, plan: Plan = TWO_SITES) -> str:
    """A run whose tasks `pick` are at the harbour and `pack` at the airport, adopted by both."""
    cloud.join("harbour", "pick")
    cloud.join("airport", "pack")
    (run,) = cloud.start(plan)
    cloud.settle()
    return run


# Placing and releasing


def test_a_run_is_released_to_the_site_that_can_do_it(cloud: Control) -> None:
    """With the definition before it, in the site's own stream, under an epoch above the one it was born with."""
    cloud.join("harbour", "pick")
    (run,) = cloud.start(PICK)
    assert cloud.said_to("harbour") == [("", "DefinitionRegistered"), (run, "FragmentReleased")]
    assert cloud.planner.runs[run].state() == "pending"
    cloud.settle()
    assert cloud.planner.runs[run].state() == "active"
    epochs = [row.epoch for row in cloud.log.disk.rows if row.run == run and row.kind != "FragmentAdopted"]
    assert epochs == [1, 2]


def test_a_run_is_placed_as_soon_as_a_silent_agent_is_back(cloud: Control) -> None:
    """Until then it waits and says for whom, over a restart too; what was released before stays where it is."""
    cloud.join("harbour", "pick")
    (before,) = cloud.start(PICK)
    cloud.leave("harbour", "unreachable")
    (run,) = cloud.start(PICK)
    assert (cloud.planner.runs[before].sites, cloud.planner.runs[run].sites) == (["harbour"], [])
    assert "anna at harbour since" in cloud.planner.runs[run].waits_for
    cloud.restart()
    assert cloud.planner.runs[run].sites == []
    assert "anna at harbour since" in cloud.planner.runs[run].waits_for
    cloud.join("harbour", "pick")
    assert (cloud.planner.runs[run].sites, cloud.planner.runs[run].waits_for) == (["harbour"], "")


def test_a_definition_travels_once_to_each_site(cloud: Control) -> None:
    """However many runs follow, and over a restart, it is registered and sent to a site once."""
    for site in ("harbour", "airport"):
        cloud.join(site, "pick", capacity=1)
    cloud.start(PICK, 3)
    cloud.settle()
    cloud.restart()
    cloud.start(PICK, 3)
    cloud.settle()
    assert [outpost.registrations for outpost in cloud.outposts.values()] == [["one@1"], ["one@1"]]
    own = [row for row in cloud.log.disk.rows if row.stream == "cloud@1" and row.kind == "DefinitionRegistered"]
    assert len(own) == 1


def test_a_version_never_changes(cloud: Control) -> None:
    """The same document again is fine; another one under the same name and version is refused, and the first stays."""
    first = plan_of({"a": {}}, name="same")
    assert isinstance(cloud.register(first), Plan)
    assert isinstance(cloud.register(first), Plan)
    answer = cloud.register(plan_of({"b": {}}, name="same"))
    assert isinstance(answer, Problem)
    assert (answer.status, answer.code) == (409, "definition_exists")
    assert cloud.planner.plans["same@1"].document == first.document


def test_large_outputs_for_other_sites_are_known_after_a_restart(cloud: Control) -> None:
    """The cloud fetches them as soon as it starts; what nobody elsewhere reads is left where it is."""
    run = two_sites(cloud)
    blob = Blob(b"b" * 32, 1_000_000)
    cloud.outposts["harbour"].decide(run, Assign(0, "anna", "b1", b""))
    cloud.outposts["harbour"].decide(run, Complete(0, 1, "anna", b"", blob))
    cloud.settle()
    assert list(blobs_handed(cloud.planner.runs[run])) == [blob]
    cloud.restart()
    assert list(blobs_handed(cloud.planner.runs[run])) == [blob]
    (alone,) = cloud.start(plan_of({"a": {"capability": "pick"}, "b": {"capability": "pick", "needs": ["a"]}}, name="alone"))
    cloud.settle()
    cloud.outposts["harbour"].decide(alone, Assign(0, "anna", "b1", b""))
    cloud.outposts["harbour"].decide(alone, Complete(0, 1, "anna", b"", blob))
    cloud.settle()
    assert list(blobs_handed(cloud.planner.runs[alone])) == []


def test_the_latest_version_is_the_one_registered_last(cloud: Control) -> None:
    """Not the highest name: `1.10` may follow `1.9`, and a restart knows that too."""
    for version in ("1.9", "1.10"):
        cloud.register(plan_of({"a": {}}, name="w", version=version))
    assert cloud.planner.latest["w"] == "w@1.10"
    cloud.restart()
    assert cloud.planner.latest["w"] == "w@1.10"


def test_a_run_nobody_can_do_waits_and_says_for_what(cloud: Control) -> None:
    """It is released as soon as an agent with the capability registers anywhere."""
    cloud.join("harbour", "pick")
    (run,) = cloud.start(plan_of({"a": {"capability": "fly"}}, name="flight"))
    assert cloud.planner.runs[run].waits_for == "task a: an agent with capability fly; no site has one"
    cloud.join("airport", "pick")
    assert cloud.planner.runs[run].state() == "pending"
    cloud.join("airport", "fly", agent="rotor")
    assert cloud.planner.runs[run].sites == ["airport"]
    assert cloud.planner.runs[run].waits_for == ""
    cloud.work_all(run)
    assert cloud.outcome(run) == "completed"


def test_a_waiting_run_still_waits_after_a_restart(cloud: Control) -> None:
    """It says for what, and is released when that comes."""
    cloud.join("airport", "weigh")
    (run,) = cloud.start(PICK)
    cloud.restart()
    assert cloud.planner.runs[run].waits_for == "task a: an agent with capability pick; no site has one"
    cloud.join("harbour", "pick")
    cloud.work_all(run)
    assert cloud.outcome(run) == "completed"


def test_work_that_was_released_counts_as_load(cloud: Control) -> None:
    """The next run goes to the site with less to do, and what has ended is load no more, over a restart too."""
    for site in ("airport", "harbour"):
        cloud.join(site, "pick")
    runs = cloud.start(PICK, 4)
    assert [cloud.planner.runs[run].sites for run in runs] == [["airport"], ["harbour"]] * 2
    cloud.settle()
    for run in runs[::2]:
        cloud.work_all(run)
    for _ in range(2):
        loads = {name: (site.active_runs, site.open_tasks) for name, site in cloud.planner.fleet.sites.items()}
        assert loads == {"airport": (0, 0), "harbour": (2, 2)}
        cloud.restart()


def test_telemetry_is_shown_and_changes_nothing_else(cloud: Control) -> None:
    """How busy agents are is known as last told; an agent that is not named is idle."""
    cloud.join("harbour", "pick")
    length = len(cloud.log.disk.rows)
    cloud.turn(SiteLoads("harbour", {"anna": AgentLoad(3, "open", 9_000)}, 7, 3))
    site = cloud.planner.fleet.site("harbour")
    anna = site.agents["anna"]
    assert (site.ready_tasks, site.running_tasks, anna.running) == (7, 3, 3)
    assert (anna.health, anna.open_until_ms) == ("open", 9_000)
    cloud.turn(SiteLoads("harbour", {}, 0, 0))
    assert (anna.running, anna.health, anna.open_until_ms) == (0, "ok", 0)
    assert len(cloud.log.disk.rows) == length


# Between sites


def test_values_are_handed_from_site_to_site(cloud: Control) -> None:
    """Each site gets the values its tasks need or read, in an order that lets them start; the run ends with its last fragment."""
    run = two_sites(cloud)
    harbour, airport = cloud.outposts["harbour"], cloud.outposts["airport"]
    assert (harbour.ready(run), airport.ready(run)) == ([0], [])
    harbour.work(run, 0, b"41")
    cloud.settle()
    assert airport.fragments[run].outputs == {0: b"41"}
    airport.work(run, 1, b"42")
    cloud.settle()
    assert airport.ended[run] == "completed"
    assert cloud.outcome(run) == ""
    harbour.work(run, 2)
    cloud.settle()
    assert (cloud.outcome(run), cloud.finished()) == ("completed", [run])
    handed = [(site, kind) for site in ("harbour", "airport") for _, kind in cloud.said_to(site) if kind == "ValueHanded"]
    assert handed == [("harbour", "ValueHanded"), ("airport", "ValueHanded")]


def test_a_value_reaches_a_reader_that_does_not_need_it_directly(cloud: Control) -> None:
    """A task may read any task upstream of it; where that was done elsewhere, its value comes along."""
    tasks: dict[str, dict[str, Any]] = {
        "a": {"capability": "pick"},
        "b": {"capability": "pick", "needs": ["a"]},
        "c": {"capability": "pack", "needs": ["b"], "with": {"n": "${{ tasks.a.output }}"}},
    }
    run = two_sites(cloud, plan_of(tasks, name="far"))
    cloud.work_all(run)
    assert cloud.outcome(run) == "completed"


def test_a_value_waits_for_a_site_that_has_not_adopted_yet(cloud: Control) -> None:
    """Written behind the release in the site's stream, it arrives in time even if the site was away."""
    cloud.join("harbour", "pick")
    cloud.join("airport", "pack")
    (run,) = cloud.start(TWO_SITES)
    harbour, airport = cloud.outposts["harbour"], cloud.outposts["airport"]
    while harbour.inbox:
        harbour.take()
    harbour.work(run, 0)
    cloud.hear("harbour")
    assert cloud.planner.runs[run].fragment("airport") is None
    while airport.inbox:
        airport.take()
    assert airport.ready(run) == [1]
    cloud.work_all(run)
    assert cloud.outcome(run) == "completed"


def test_a_failed_fragment_cancels_the_others(cloud: Control) -> None:
    """The run has failed, with the message of the task that failed, once all its fragments have ended."""
    tasks: dict[str, dict[str, Any]] = {"a": {"capability": "pick"}, "b": {"capability": "pack"}, "c": {"capability": "pack"}}
    run = two_sites(cloud, plan_of(tasks, name="both"))
    cloud.outposts["airport"].decide(run, Assign(1, "anna", "b1", b""))
    cloud.outposts["harbour"].work(run, 0, fail="the box is torn")
    cloud.settle()
    assert cloud.outcome(run) == ""
    assert cloud.planner.runs[run].cancelling
    assert cloud.outposts["airport"].fragments[run].stopping == "cancelled"
    cloud.outposts["airport"].decide(run, Lose(1, 1, True, "never began"))
    cloud.settle()
    summary = cloud.log.disk.saved[run]
    assert (summary.ended, summary.state) == (True, "failed")
    assert "a: jam: the box is torn" in str(summary.body)


# Cancelling


def test_a_run_without_a_place_is_cancelled_at_once(cloud: Control) -> None:
    """No home has to be asked."""
    (run,) = cloud.start(PICK)
    assert cloud.cancel(run) == ""
    assert (cloud.outcome(run), cloud.finished(), dict(cloud.planner.runs)) == ("cancelled", [run], {})
    cloud.join("harbour", "pick")
    assert cloud.said_to("harbour") == []


def test_a_released_run_is_cancelled_by_its_homes(cloud: Control) -> None:
    """The command is an intent: pending until a home has answered; the run is cancelled when the homes say so."""
    run = two_sites(cloud)
    command = cloud.cancel(run)
    assert isinstance(command, str)
    view = cloud.planner.intents.commands[command]
    assert (view.run, view.state, view.homes, view.detail) == (run, "pending", ["harbour", "airport"], "not wanted")
    assert cloud.outcome(run) == ""
    cloud.settle()
    assert cloud.planner.intents.commands[command].state == "accepted"
    assert cloud.outcome(run) == "cancelled"


def test_to_cancel_twice_is_to_cancel_once(cloud: Control) -> None:
    """While the first intent is under way it is the answer to the second."""
    run = two_sites(cloud)
    assert cloud.cancel(run) == cloud.cancel(run)
    assert [kind for _, kind in cloud.said_to("harbour")].count("CancelRequested") == 1


def test_cancelling_again_settles_an_unknown_outcome(cloud: Control) -> None:
    """A run whose last attempt may or may not have had its effect ends when a person cancels it once more."""
    cloud.join("harbour", "pick")
    (run,) = cloud.start(PICK)
    cloud.settle()
    cloud.outposts["harbour"].decide(run, Assign(0, "anna", "b1", b""))
    cloud.settle()
    first = cloud.cancel(run)
    cloud.settle()
    cloud.outposts["harbour"].decide(run, Lose(0, 1, False, "unreachable"))
    cloud.settle()
    assert (cloud.outcome(run), cloud.planner.intents.commands[str(first)].state) == ("", "accepted")
    assert cloud.cancel(run) != first
    cloud.settle()
    assert cloud.outcome(run) == "cancelled"


def test_what_has_ended_cannot_be_cancelled(cloud: Control) -> None:
    """The answer says so, and where to look."""
    cloud.join("harbour", "pick")
    (run,) = cloud.start(PICK)
    cloud.work_all(run)
    for name in (run, "r00009999-000001"):
        answer = cloud.cancel(name)
        assert isinstance(answer, Problem)
        assert (answer.status, answer.code) == (409, "run_not_active")
        assert f"/api/v1/workflows/{name}" in answer.detail


def test_a_home_that_had_ended_refuses(cloud: Control) -> None:
    """A cancellation that crosses the end on its way is answered with a refusal; the run stays completed."""
    cloud.join("harbour", "pick")
    (run,) = cloud.start(PICK)
    cloud.settle()
    cloud.outposts["harbour"].work(run, 0)
    command = cloud.cancel(run)
    cloud.settle()
    assert cloud.outcome(run) == "completed"
    view = cloud.planner.intents.commands[str(command)]
    assert (view.state, view.detail) == ("refused", f"run {run} has already ended at harbour")


# Ids and idempotency


def test_ids_are_never_given_twice(cloud: Control) -> None:
    """Over restarts, and even if a restored copy brings back a boot number that has been used."""
    cloud.join("harbour", "pick")
    seen = set(cloud.start(PICK, 3))
    for boot in (2, 3, 2, 1):
        cloud.restart(boot)
        started = cloud.start(PICK, 2)
        assert seen.isdisjoint(started)
        seen |= set(started)
        assert cloud.cancel(started[0]) not in seen
        cloud.settle()
    assert len(seen) == 11


def test_runs_are_told_apart_by_time(cloud: Control) -> None:
    """A later run has a greater id, over restarts."""
    ids = cloud.start(PICK, 2)
    for _ in range(3):
        cloud.restart()
        ids += cloud.start(PICK, 2)
    assert ids == sorted(ids)


def test_ids_that_only_a_site_remembers_are_not_given_again(cloud: Control) -> None:
    """If the cloud's own stream was lost, the releases that come back from a site raise the counter."""
    cloud.register(PICK)
    released = FragmentReleased("one@1", b"{}", "harbour", ["harbour"], b"\0", 2, {"who": "me"}, 7)
    cloud.planner.evolve(cloud.planner.site_stream("harbour"), "r00000005-00000a", released, 7)
    assert cloud.planner.runs["r00000005-00000a"].labels == {"who": "me"}
    (run,) = cloud.start(PICK)
    assert run == "r00000005-00000b"


def test_an_idempotent_start_remembers_its_answer(cloud: Control) -> None:
    """The answer goes into the same transaction as the runs."""
    cloud.register(PICK)
    cloud.ask(lambda token: StartRuns(token, "one@1", [NewRun(b"{}", {})], ("key-1", b"h" * 32)))
    (run,) = cloud.planner.runs
    ((key, answer),) = cloud.log.disk.answers.items()
    assert (key, decode_answer(answer)) == ("key-1", [Started(run, "pending", "one@1")])


def test_a_remembered_answer_keeps_every_item_in_its_place() -> None:
    """What was refused is part of the answer: a client pairs items by their place."""
    started = [Started("r1", "pending", "one@1"), Started("r2", "pending", "one@1")]
    items = decode_answer(encode_answer(started, [Refusal(1, 422, "invalid_inputs", "no", ("a: no",))]))
    assert [items[0], items[2]] == started
    assert isinstance(items[1], Problem)
    assert (items[1].status, items[1].code, items[1].problems) == (422, "invalid_inputs", ["a: no"])


# Restarts


def test_a_restart_knows_everything_again(cloud: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    """From snapshots and tail, or from all events: runs, replicas, commands, fleet, loads, what waits and for what."""
    run = two_sites(cloud)
    cloud.outposts["harbour"].work(run, 0)
    cloud.settle()
    cloud.start(plan_of({"a": {"capability": "fly"}}, name="flight"))
    two = cloud.start(PICK, 2)
    cloud.settle()
    cloud.outposts["harbour"].decide(two[0], Assign(0, "anna", "b1", b""))
    cloud.settle()
    cloud.cancel(two[0])
    cloud.settle()
    cloud.outposts["harbour"].decide(two[1], Cancel("x", "y"))
    cloud.leave("airport", "unreachable")
    before = cloud.state()
    cloud.restart()
    assert cloud.state() == before
    monkeypatch.setattr("sync.driver.SNAPSHOT_EVERY", 1)
    cloud.start(PICK)
    before = cloud.state()
    assert cloud.log.disk.floor == cloud.log.disk.pos
    cloud.restart()
    assert cloud.state() == before


def test_a_cancellation_is_known_after_the_floor(cloud: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all events cut off by snapshots, the run is still being cancelled under the same command."""
    monkeypatch.setattr("sync.driver.SNAPSHOT_EVERY", 1)
    run = two_sites(cloud)
    command = cloud.cancel(run)
    cloud.restart()
    assert cloud.cancel(run) == command
    assert isinstance(cloud.planner.intents.commands[str(command)], Intent)


def test_an_unknown_input_is_ignored_and_a_definition_is_registered_by_its_reference(cloud: Control) -> None:
    """The planner answers what is meant for it alone."""
    assert cloud.planner.step("what?", cloud.clock.now()) == []
    cloud.ask(lambda token: RegisterDefinition(token, PICK.ref, PICK.document))
    assert list(cloud.planner.plans) == ["one@1"]
    assert not [row for row in cloud.log.disk.rows if row.kind == RunCreated.kind]
