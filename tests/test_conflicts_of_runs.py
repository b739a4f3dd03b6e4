"""Conflicts of runs between a cloud and two sites: they are in the run's history and in the feed, and disturb no version."""

from typing import Any

import msgspec
import pytest

from cloud.conflicts.core import Known
from cloud.conflicts.restoring import RESTORERS, Refusal, RunOrder, Wanted
from cloud.control.inputs import OrderRun
from cloud.looking.past import Past, versions
from cloud.moving.taking import REFUSED_MAX
from sync.conflicts.events import ConflictRecorded
from tests.edge.site import LEASE_MS
from tests.test_taking import force, robots, told
from tests.two_tiers import Tiers
from tests.workflow.plans import plan_of
from workflow.home_events import DecisionRefused
from workflow.losing import BLOB_KEY
from workflow.orders import Pause, Rerun, Settle, Skip, Terminate, encode_order
from workflow.states import NAMES


def world_of(tasks: dict[str, dict[str, Any]]) -> tuple[Tiers, str, str]:
    """Its one run, and the site that has it."""
    world = Tiers([plan_of(tasks)])
    (run,) = world.runs
    return world, run, world.cloud.planner.runs[run].sites[0]


def feed(world: Tiers) -> list[Known]:
    return list(world.cloud.planner.conflicts.known.values())


def holder(world: Tiers, site: str, run: str) -> Any:
    """The robot that has something of the run in its hands, and what."""
    ((robot, key),) = [(robot, key) for robot in robots(world, site) for key in robot.hands if key.run == run]
    return robot, key


def test_a_cancel_that_came_too_late_is_in_the_history_and_in_the_feed() -> None:
    """Both sides fold it as one event more of the run."""
    world, run, site = world_of({"a": {"capability": "pick"}, "b": {"capability": "pick", "needs": ["a"]}})
    robot, key = holder(world, site, run)
    world.cloud.cancel(run)
    world.drain()
    robot.finish(key, b"1")
    world.wires[site].site.report(robot)
    world.drain()
    assert world.cloud.outcome(run) == "cancelled"
    (lost,) = told(world, run, ConflictRecorded)
    (known,) = feed(world)
    assert (known.at, known.run, known.conflict) == (site, run, lost)
    refused = RESTORERS.restore(Wanted(known.conflict, run, "e", "ann"))
    assert isinstance(refused, Refusal)
    assert "roll the run back" in refused.detail
    world.check_equal()


@pytest.mark.parametrize("restarts", [False, True])
def test_an_outcome_of_a_part_that_has_ended_counts_in_no_version(*, restarts: bool) -> None:
    """The run goes on at another site: the part that ended stays as it ended at both sides, and the feed has what came of it."""
    tasks = {"a": {"capability": "pick", "agent": "anna"}, "b": {"capability": "pick", "agent": "cleo"}}
    world = Tiers([plan_of({name: {"agent": task["agent"]} for name, task in tasks.items()})])
    (run,) = world.runs
    harbour = world.wires["harbour"].site
    anna = harbour.robots["anna"]
    (key,) = [key for key in anna.hands if key.run == run]
    world.wires["airport"].cut()
    world.cloud.order(run, Terminate("fire"))
    world.drain()
    assert run not in harbour.core.fragments
    known = world.cloud.planner.runs[run]
    before = [fragment.version if fragment is not None else 0 for fragment in known.fragments]
    anna.finish(key, b"5")
    harbour.report(anna)
    world.drain()
    if restarts:
        world.live("restart_cloud", "harbour", 0, 0)
    known = world.cloud.planner.runs[run]
    assert [fragment.version if fragment is not None else 0 for fragment in known.fragments] == before
    past = Past(run, "cloud", world.cloud.planner.plans)
    for row in world.cloud.log.disk.rows:
        if row.run == run:
            past.fold(row)
    assert past.run is not None
    assert list(versions(past.run).values()) == before
    (found,) = feed(world)
    assert (found.run, found.conflict.rule, found.conflict.loses.value) == (run, "physical", b"5")
    (note,) = world.cloud.planner.notifications.settled.values()
    assert (note.event, note.to, note.task, note.state) == ("conflict.recorded", "*", "a", "undeliverable")
    for wire in world.wires.values():
        wire.link()
    world.drain()
    world.finish()
    world.check_equal()


def test_what_an_agent_has_done_settles_its_task_when_that_waits_for_a_person() -> None:
    """Nobody knew what had become of it, and a person skipped it; it is done anew, lost again, and settled with what was done."""
    world, run, site = world_of({"a": {"capability": "pick"}})
    station = world.wires[site].site
    robot, key = holder(world, site, run)
    robot.connected = False
    world.pass_ms(2 * LEASE_MS)
    world.cloud.order(run, Skip("a"))
    world.drain()
    robot.finish(key, b"[7]")
    station.join(robot.name)
    station.report(robot)
    world.drain()
    (known,) = feed(world)
    wanted = RESTORERS.restore(Wanted(known.conflict, known.run, "e", "ann"))
    assert wanted == RunOrder(run, Settle("a", "completed", "ann", [7]))
    world.cloud.order(run, Rerun("a"))
    world.drain()
    again, _ = holder(world, site, run)
    again.restart()
    world.pass_ms(2 * LEASE_MS)
    world.drain()
    assert [NAMES[state] for state in station.fragment(run).states] == ["reconcile"]
    assert isinstance(wanted, RunOrder)
    world.cloud.ask(lambda token: OrderRun(token, run, encode_order(wanted.order)))
    world.drain()
    assert world.cloud.outcome(run) == "completed"


def test_an_output_beside_the_log_is_too_large_for_an_order() -> None:
    """Whoever wants it back is told where it is."""
    world, run, site = world_of({"a": {"capability": "pick"}})
    robot, key = holder(world, site, run)
    world.cloud.order(run, Terminate("fire"))
    world.drain()
    robot.finish(key, b"1")
    world.wires[site].site.report(robot)
    world.drain()
    (known,) = feed(world)
    beside = msgspec.json.encode({BLOB_KEY: "ab", "size": 70_000})
    large = msgspec.structs.replace(known.conflict, loses=msgspec.structs.replace(known.conflict.loses, value=beside))
    refused = RESTORERS.restore(Wanted(large, run, "e", "ann"))
    assert isinstance(refused, Refusal)
    assert "ab, 70,000 bytes" in refused.detail


def test_an_order_that_came_after_the_end_is_in_the_feed() -> None:
    """The site was cut off, and went on to the end; an order that is refused for another reason is none."""
    world, run, site = world_of({"a": {"capability": "pick"}})
    world.wires[site].cut()
    robot, key = holder(world, site, run)
    robot.finish(key, b"1")
    world.wires[site].site.report(robot)
    world.cloud.order(run, Pause())
    world.wires[site].link()
    world.drain()
    (known,) = feed(world)
    said = known.conflict
    assert (said.family, said.rule, said.subject, said.loses.what, said.loses.at) == ("order", "overtaken", run, "pause", "cloud")
    assert "has already ended" in said.reason
    assert isinstance(RESTORERS.restore(Wanted(said, run, "e", "ann")), Refusal)


def test_decisions_of_an_earlier_home_beyond_those_recorded_are_counted() -> None:
    """The last record says how many more there were."""
    names = [f"t{number}" for number in range(REFUSED_MAX + 5)]
    tasks = {
        name: {"capability": "pick", "needs": [need] if need else []} for name, need in zip(names, ["", *names], strict=False)
    }
    world = Tiers([plan_of(tasks, rules=[{"on": "task.completed", "do": {"notify": "https://example.org/hook"}}])])
    (run,) = world.runs
    old = world.cloud.planner.runs[run].sites[0]
    world.wires[old].cut()
    for _ in names:
        robot, key = holder(world, old, run)
        robot.finish(key)
        world.wires[old].site.report(robot)
    force(world, run)
    world.drain()
    world.wires[old].link()
    world.drain()
    refused = told(world, run, DecisionRefused)
    assert [event.decision for event in refused[-2:]] == ["RuleFired", "6 decisions more"]
    assert len(refused) == REFUSED_MAX + 1
    assert len([known for known in feed(world) if known.conflict.family == "home"]) == REFUSED_MAX + 1
