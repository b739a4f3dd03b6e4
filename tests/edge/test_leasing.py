"""Each acquisition of a site's resource has an epoch, which agents are told; and where nobody can check it, a delay keeps a lost
holder and the next apart."""

from pathlib import Path

import pytest

from coordination.lease_events import ResourcesLeased, ResourcesLocked, ResourcesUnlocked
from edge.assignments import assignment_messages
from edge.main import lock_delays_of, units_of
from tests.edge.site import LEASE_MS, Robot, Site
from tests.workflow.plans import plan_of
from tiercel import FencedResource
from tiercel.errors import StaleEpoch
from workflow.orders import Settle, Terminate

DELAY_MS = 30_000
GATE = {"resources": ["gate"], "effect": "repeatable"}


def locking(site: Site | None = None) -> Site:
    """A site whose gate cannot check epochs."""
    site = site or Site()
    site.core.home.leases.delays["gate"] = DELAY_MS
    return site


def leases(robot: Robot, run: str = "r1", task: int = 0) -> dict[str, int]:
    return dict(robot.hands[robot.key(run, task)].leases)


def test_every_acquisition_has_a_higher_epoch_and_agents_are_told() -> None:
    """Also over restarts and snapshots; what holds nothing is told nothing, and it is on the wire."""
    site, epochs = Site(), list[int]()
    anna = site.join()
    for number in range(6):
        run = f"r{number}"
        site.release(plan_of({"b": GATE}, name="one"), run)
        epochs.append(leases(anna, run)["gate"])
        (message,) = assignment_messages([anna.hands[anna.key(run)]])
        assert dict(message.assignments.items[0].leases) == {"gate": epochs[-1]}
        site.done(anna, run)
        if number % 2:
            site.restart()
            site.join()
    assert epochs == sorted(set(epochs))
    site.release(plan_of({"b": {}}, name="free"), "rf")
    assert leases(anna, "rf") == {}
    assert [event.epoch for event in site.events(ResourcesLeased)] == epochs


def test_a_site_that_remembers_nothing_goes_on_above() -> None:
    """Its log may be an old copy: epochs of a later start lie above those of every earlier second."""
    first, second = Site(), Site()
    second.clock.pass_ms(2_000)
    second.begin()
    found = []
    for site in (first, second):
        anna = site.join()
        site.release(plan_of({"b": GATE}, name="one"))
        found.append(leases(anna)["gate"])
    assert found[0] < found[1]


def test_a_site_that_remembers_nothing_and_has_the_wrong_time_is_refused_at_the_fence(tmp_path: Path) -> None:
    """A start counts on the wall clock for what it has forgotten: with one behind nobody new acts; set right, it goes on."""
    site, late, fence, epochs = Site(), Site(), FencedResource(tmp_path / "gate"), list[int]()
    late.clock.wall_ms -= 60_000
    late.begin()
    for number, each in enumerate((site, late, late)):
        if number == 2:
            late.clock.wall_ms += 120_000
            late.restart()
        each.release(plan_of({"b": GATE}, name="one"), f"r{number}")
        anna = each.join(f"anna{number}")
        epoch = leases(anna, f"r{number}")["gate"]
        if each is late and number == 1:
            with pytest.raises(StaleEpoch):
                fence.admit(epoch)
            each.done(anna, f"r{number}")
        else:
            fence.admit(epoch)
        epochs.append(epoch)
    assert epochs[1] < epochs[0] < epochs[2] == fence.highest


def test_what_is_inside_a_group_acts_under_its_leases() -> None:
    """One epoch for all of them while it holds the resource, a restart included; together with what they hold themselves."""
    site = Site()
    inside = {"x": {"capability": "work"}, "y": {"capability": "work", "resources": ["lift"]}}
    site.release(plan_of({"g": {"sequential": {"tasks": inside}, "resources": ["dock"]}}, name="group"))
    anna = site.join()
    dock = leases(anna, task=1)["dock"]
    site.restart()
    site.join()
    site.done(anna, task=1)
    found = leases(anna, task=2)
    assert found["dock"] == dock < found["lift"]
    site.done(anna, task=2)
    assert site.outcome() == "completed"
    assert site.core.home.leases.granted == {}


def test_who_waited_gets_an_epoch_above_that_of_whom_it_waited_for() -> None:
    """So the device refuses the first, should it still be there."""
    site = Site()
    anna = site.join(capacity=2)
    for run in ("r1", "r2"):
        site.release(plan_of({"b": GATE}, name="one"), run)
    first = leases(anna, "r1")["gate"]
    site.done(anna, "r1")
    assert leases(anna, "r2")["gate"] > first


def test_inside_a_group_what_follows_a_lost_attempt_acts_under_a_higher_epoch() -> None:
    """The group goes on and keeps its resource; the attempt that was lost is fenced off all the same."""
    site = Site()
    inside = {"x": {"capability": "work", "effect": "repeatable"}}
    site.release(plan_of({"g": {"sequential": {"tasks": inside}, "resources": ["dock"]}}, name="group"))
    anna = site.join()
    before = leases(anna, task=1)["dock"]
    site.hang_up(anna)
    site.pass_ms(2 * LEASE_MS)
    ben = site.join("ben")
    assert leases(ben, task=1)["dock"] > before


@pytest.mark.parametrize("restarts", [False, True])
def test_a_lock_delay_keeps_a_lost_holder_and_the_next_apart(restarts: bool) -> None:
    """The next, its own retry included, gets the gate when the delay is over; after a restart delay and lease begin anew."""
    site = locking()
    anna = site.join()
    site.release(plan_of({"b": GATE}, name="one"), "r1")
    site.release(plan_of({"b": GATE}, name="one"), "r2")
    site.hang_up(anna)
    site.pass_ms(LEASE_MS + 200)
    ben = site.join("ben")
    (locked,) = site.events(ResourcesLocked)
    assert (locked.run, locked.attempt, locked.agent, locked.delay_ms) == ("r1", 1, "anna", DELAY_MS)
    assert (site.states("r1"), site.states("r2")) == (["waiting_for_resource"], ["waiting_for_resource"])
    if restarts:
        site.restart()
        locking(site)
        ben = site.join("ben")
        site.pass_ms(LEASE_MS // 2)
        site.beat(ben)
        site.pass_ms(LEASE_MS // 2)
    for _ in range(DELAY_MS // 5_000):
        assert not ben.hands, "not before the delay is over"
        site.pass_ms(5_000)
        site.beat(ben)
    site.pass_ms(1_000)
    assert [event.reason for event in site.events(ResourcesUnlocked)] == ["its lock-delay is over"]
    held = [key.run for key in ben.hands]
    assert len(held) == 1, "there is one gate"
    for run in (*held, "r2" if held == ["r1"] else "r1"):
        site.done(ben, run)
    assert (site.outcome("r1"), site.outcome("r2")) == ("completed", "completed")
    assert [use[2:] for use in site.core.home.resources.in_use()] == [(0, 0)]


def test_the_word_of_the_lost_agent_ends_the_delay() -> None:
    """It comes back and says what became of the attempt: nobody acts any more."""
    site = locking()
    anna = site.join()
    site.release(plan_of({"b": GATE}, name="one"), "r1")
    site.hang_up(anna)
    site.pass_ms(LEASE_MS + 200)
    ben = site.join("ben")
    anna.finish(key := anna.key("r1"))
    site.join()
    assert not ben.hands
    site.report(anna, key)
    assert site.events(ResourcesUnlocked)[0].reason == "agent anna has said what became of it"
    assert site.outcome("r1") == "completed"
    assert [use[2:] for use in site.core.home.resources.in_use()] == [(0, 0)]


def test_a_terminated_run_leaves_its_agent_acting() -> None:
    """The attempt is abandoned; the gate is given on once the agent has stopped, or its lease and the delay are over."""
    site = locking()
    anna, ben = site.join(capacity=1), site.join("ben", capacity=1)
    site.release(plan_of({"b": {**GATE, "effect": "physical"}}, name="one"), "r1")
    worker, other = (anna, ben) if anna.hands else (ben, anna)
    site.order(Terminate("enough"), "r1")
    site.release(plan_of({"b": GATE}, name="two"), "r2")
    assert site.states("r2") == ["waiting_for_resource"]
    worker.stop(key := worker.key("r1"))
    site.report(worker, key)
    assert site.states("r2") == ["running"]
    assert other.hands or worker.hands


def test_a_person_who_settles_takes_the_delay_upon_himself() -> None:
    """What became of a physical attempt is for a person to say; the gate is free by his word."""
    site = locking()
    anna = site.join()
    site.release(plan_of({"b": {**GATE, "effect": "physical"}}, name="one"), "r1")
    site.release(plan_of({"b": GATE}, name="two"), "r2")
    site.hang_up(anna)
    site.pass_ms(2 * LEASE_MS)
    site.join("ben")
    assert (site.states("r1"), site.states("r2")) == (["reconcile"], ["waiting_for_resource"])
    site.order(Settle("b", "completed", "ann"), "r1")
    assert site.states("r2") == ["running"]


def test_inside_a_group_nobody_acts_before_the_delay_is_over() -> None:
    """The group keeps the gate, and its next attempt waits as others do; if the group ends, the gate stays taken."""
    site = locking()
    inside = {"x": {"capability": "work", "effect": "repeatable"}}
    group = {"g": {"sequential": {"tasks": inside}, "resources": ["gate"]}}
    site.release(plan_of(group, name="group"), "r1")
    anna = site.join()
    site.release(plan_of({"b": GATE}, name="one"), "r2")
    site.hang_up(anna)
    site.pass_ms(LEASE_MS + 200)
    ben = site.join("ben")
    assert (site.states("r1"), ben.hands) == (["running", "ready"], {})
    site.cancel("r1")
    assert (site.outcome("r1"), site.states("r2")) == ("cancelled", ["waiting_for_resource"])
    for _ in range(DELAY_MS // 5_000 + 1):
        site.beat(ben)
        site.pass_ms(5_000)
    assert site.states("r2") == ["running"]
    site.done(ben, "r2")
    assert [use[2:] for use in site.core.home.resources.in_use()] == [(0, 0)]


def test_lock_delays_are_written_beside_the_units() -> None:
    """Of what is written otherwise, nothing is guessed."""
    written = ["forklift=2,lock_delay=30s", "gate=1"]
    assert (units_of(written), lock_delays_of(written)) == ({"forklift": 2, "gate": 1}, {"forklift": 30_000})
    for wrong in (
        "forklift=2,",
        "forklift=2,lock_delay=",
        "forklift=2,lock_delay=2h",
        "forklift=2,delay=3s",
        "forklift,lock_delay=3s",
    ):
        with pytest.raises(ValueError, match="lock_delay=TIME"):
            lock_delays_of([wrong])
