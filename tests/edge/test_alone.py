"""What a site offers to agents that may lose it, what it gives nobody meanwhile, and what it makes of what they did."""

from typing import Any

import msgspec
import pytest

from edge.coordinating.words import OfferStanding, StandingLot
from edge.inputs import AttemptKey, Claimed
from tests.edge.site import Robot, Site
from tests.workflow.plans import plan_of
from workflow.coordination_events import AttemptLeft, TaskAwarded, TaskOffered
from workflow.events import TaskCompleted
from workflow.orders import ChangeCoordination, Pause, Resume
from workflow.tasks import CoordinationPlan

ALONE_MS = 20_000
LATE_MS = 20_300
"""So long the site counts it, whatever the clocks of agents do."""


def team(site: Site, *names: str, **face: Any) -> list[Robot]:
    return [site.join(name, features=("bids", "alone"), peer=f"{name}:1", **face) for name in names]


def offered(site: Site, count: int = 1, **more: Any) -> None:
    """Tasks to be auctioned, or done alone; nobody has bid yet."""
    tasks = {f"t{number}": {"capability": "work", "effect": "repeatable"} for number in range(count)}
    coordination = {"protocol": "auction", "wait": "600s", "window": "10s", "alone": "20s", **more}
    site.release(plan_of(tasks, coordination=coordination))


def lots(robot: Robot) -> list[StandingLot]:
    """What it may do by itself, as its session has told it."""
    held: dict[tuple[str, int], StandingLot] = {}
    for said in robot.heard:
        if isinstance(said, OfferStanding) and said.session == robot.session:
            for key in said.withdrawn:
                held.pop(key[:2], None)
            held.update({lot.assigned.key[:2]: lot for lot in said.lots})
    return [held[key] for key in sorted(held)]


def begin(robot: Robot, number: int = 0) -> AttemptKey:
    """It does a task by agreement with its peers."""
    made = lots(robot)[number].assigned
    robot.hands[made.key] = made
    return made.key


def back(site: Site, robot: Robot, **bids: float) -> Robot:
    """It returns, and says what it has begun for which bid."""
    held = (*robot.hands, *robot.journal)
    told = tuple((name, bid) for name, bid in bids.items())
    claims = tuple(Claimed(key, bids.get(robot.name, 0.0), told) for key in held)
    return site.join(robot.name, claims)


def awards(site: Site) -> list[tuple[str, int]]:
    return [(event.agent, event.epoch & 0xFFFFF) for event in site.events(TaskAwarded)]


def test_who_could_do_it_is_told_and_who_else_could() -> None:
    """All that there is to know without the site: the whole assignment, for how long, and where the others are."""
    site = Site()
    anna, ben = team(site, "anna", "ben")
    site.join("old", features=("bids",))
    offered(site)
    (lot,) = lots(anna)
    assert lots(ben) == [lot]
    assert (lot.assigned.key.attempt, lot.alone_ms, lot.evaluator) == (1, ALONE_MS, "cheapest")
    told = [said for said in ben.heard if isinstance(said, OfferStanding)][-1]
    assert told.peers == (("anna", "anna:1"), ("ben", "ben:1"))
    assert [(event.agents, event.alone_ms) for event in site.events(TaskOffered)] == [(["anna", "ben"], ALONE_MS)]


def test_who_comes_later_is_offered_it_too() -> None:
    """Both know then of each other; who returns is told again, without an event."""
    site = Site()
    (anna,) = team(site, "anna")
    offered(site)
    (ben,) = team(site, "ben")
    assert len(lots(anna)) == len(lots(ben)) == 1
    assert [event.agents for event in site.events(TaskOffered)] == [["anna"], ["anna", "ben"]]
    site.join("ben")
    assert len(lots(ben)) == 1
    assert len(site.events(TaskOffered)) == 2


def test_so_many_stand_offered_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others wait until one is given; what nobody here could do holds up nothing."""
    monkeypatch.setattr("edge.coordinating.alone.OFFERED_MAX", 2)
    site = Site()
    site.release(
        plan_of(
            {"a": {"capability": "far", "effect": "repeatable"}}, coordination={"protocol": "auction", "alone": True}, name="far"
        ),
        "r0",
    )
    (anna,) = team(site, "anna", capacity=1)
    offered(site, 3, window="5s", wait="1s")
    assert [lot.assigned.key.task for lot in lots(anna)] == [0, 1]
    site.pass_ms(5_000)
    site.bid(anna, task=0)
    site.pass_ms(1_000)
    assert [lot.assigned.key.task for lot in lots(anna)] == [1, 2]


def test_an_award_takes_the_offer_back() -> None:
    """The auction goes on as any; once the task is given, nobody may do it alone."""
    site = Site()
    anna, ben = team(site, "anna", "ben")
    offered(site)
    site.pass_ms(10_000)
    site.beat(anna, ben)
    site.bid(anna, 1.0)
    site.bid(ben, 2.0)
    assert anna.hands
    assert lots(anna) == lots(ben) == []
    assert awards(site) == [("anna", 1)]


def test_while_somebody_is_lost_nobody_else_gets_it() -> None:
    """For as long as the offer holds; then it is auctioned on, under a higher epoch."""
    site = Site()
    anna, ben = team(site, "anna", "ben")
    offered(site, window="50ms")
    site.hang_up(ben)
    site.pass_ms(50)
    assert not anna.offers
    assert "left to ben" in next(site.core.dispatch.coordinating.negotiations(site.clock.now())).why
    for _ in range(3):
        site.pass_ms(6_000)
        site.beat(anna)
    assert not anna.offers
    site.pass_ms(LATE_MS - 18_000)
    site.pass_ms(50)
    site.bid(anna)
    assert anna.hands
    assert (awards(site), site.events(AttemptLeft)[0].attempt) == ([("anna", 2)], 1)


def test_a_site_sleeps_until_the_last_promise_is_over() -> None:
    """Also when that to another agent was over before, and while the site is paused: nothing is due that cannot be done."""
    site = Site()
    anna, ben = team(site, "anna", "ben")
    offered(site, window="50ms")
    site.hang_up(ben)
    site.pass_ms(9_000)
    site.hang_up(anna)
    site.pass_ms(LATE_MS - 8_000)
    due = site.core.wake_mono_ms()
    assert due is not None
    assert due > site.clock.now().mono_ms + 5_000
    site.pass_ms(LATE_MS)
    assert site.core.wake_mono_ms() is None or not site.core.alone.barred


def test_who_is_back_with_empty_hands_holds_up_nobody() -> None:
    """The auction goes on at once, under the same epoch; nor does who said goodbye."""
    site = Site()
    anna, ben = team(site, "anna", "ben")
    offered(site, window="50ms")
    site.hang_up(ben)
    site.pass_ms(50)
    site.join("ben")
    site.hang_up(ben, goodbye=True)
    site.pass_ms(50)
    site.bid(anna)
    assert (awards(site), site.events(AttemptLeft)) == ([("anna", 1)], [])


def test_what_was_begun_alone_is_awarded_when_all_are_back() -> None:
    """Once, to who began it, with all that was bid; its result is a result like any other."""
    site = Site()
    anna, ben = team(site, "anna", "ben")
    offered(site)
    key = begin(ben)
    site.hang_up(anna)
    site.hang_up(ben)
    back(site, ben, anna=0.2, ben=0.5)
    assert (awards(site), site.states()) == ([], ["ready"])
    back(site, anna)
    assert (awards(site), site.states()) == ([("ben", 1)], ["running"])
    detail = msgspec.json.decode(site.events(TaskAwarded)[0].detail)
    assert detail["agreed_alone"]
    assert detail["given"] == [{"agent": "anna", "value": 0.2}, {"agent": "ben", "value": 0.5}]
    assert not anna.hands
    ben.finish(key)
    site.report(ben)
    assert (site.outcome(), ben.journal, ben.stops) == ("completed", {}, [])


def test_a_result_does_not_wait_for_the_others() -> None:
    """What is done is done: it is taken at once, and who comes later with the same is stopped."""
    site = Site()
    anna, ben = team(site, "anna", "ben")
    offered(site, 2)
    done, other = begin(ben), begin(anna)
    assert done == other
    site.hang_up(anna)
    site.hang_up(ben)
    ben.finish(done)
    back(site, ben, ben=0.1)
    site.report(ben)
    assert [event.agent for event in site.events(TaskCompleted)] == ["ben"]
    back(site, anna, anna=0.9)
    assert anna.stops == [other]
    assert awards(site) == [("ben", 1)]


@pytest.mark.parametrize(("anna_bid", "ben_bid", "winner"), [(0.4, 0.5, "ben"), (0.5, 0.4, "anna"), (0.5, 0.5, "anna")])
def test_of_two_halves_that_both_began_it_the_higher_bid_has_it(anna_bid: float, ben_bid: float, winner: str) -> None:
    """Then the first by name; in whichever order they come back. The other is stopped, and its result, if it comes all the same,
    is a fact."""
    for order in (("anna", "ben"), ("ben", "anna")):
        site = Site()
        robots = {robot.name: robot for robot in team(site, "anna", "ben")}
        offered(site)
        key = begin(robots["anna"])
        assert begin(robots["ben"]) == key
        for robot in robots.values():
            site.hang_up(robot)
        for name in order:
            back(site, robots[name], **({"anna": anna_bid} if name == "anna" else {"ben": ben_bid}))
        loser = robots["ben" if winner == "anna" else "anna"]
        assert awards(site) == [(winner, 1)]
        assert loser.stops == [key]
        assert not robots[winner].stops
        loser.finish(key)
        site.report(loser)
        assert [event.agent for event in site.events(TaskCompleted)] == [loser.name]
        assert robots[winner].stops == [key]


def test_who_comes_after_the_time_is_over_has_lost_to_the_higher_epoch() -> None:
    """Another has the task by then: it is stopped, and what it had done is adopted all the same."""
    site = Site()
    anna, ben = team(site, "anna", "ben")
    offered(site, window="50ms")
    key = begin(ben)
    site.hang_up(ben)
    for _ in range(4):
        site.pass_ms(6_000)
        site.beat(anna)
    site.pass_ms(50)
    site.bid(anna)
    assert awards(site) == [("anna", 2)]
    back(site, ben, ben=1.0)
    assert ben.stops == [key]
    ben.finish(key)
    site.report(ben)
    assert [(event.agent, event.attempt) for event in site.events(TaskCompleted)] == [("ben", 1)]
    assert [key.attempt for key in anna.stops] == [2]


def test_promises_outlive_the_site() -> None:
    """After kill -9 nobody gets what was offered before all have come back, and claims are taken as before."""
    site = Site()
    anna, ben = team(site, "anna", "ben")
    offered(site, window="50ms")
    begin(ben)
    site.restart()
    site.join("anna")
    site.pass_ms(1_000)
    assert not anna.offers
    back(site, ben, ben=0.5)
    assert awards(site) == [("ben", 1)]
    kept = site.core.alone.save()
    site.restart()
    assert site.core.alone.save() == kept != b""


def test_a_cancelled_run_wants_nothing_of_it() -> None:
    """Who began it is stopped when it comes."""
    site = Site()
    (anna,) = team(site, "anna")
    offered(site)
    key = begin(anna)
    site.hang_up(anna)
    site.cancel()
    back(site, anna, anna=0.5)
    assert (anna.stops, awards(site)) == ([key], [])


@pytest.mark.parametrize(
    ("key", "code"),
    [
        (AttemptKey("r1", 0, 1, 1), "claim_not_invited"),
        (AttemptKey("r1", 0, 7, 2 << 20 | 7), "claim_not_offered"),
        (AttemptKey("r1", 9, 1, 2 << 20 | 1), "claim_not_offered"),
    ],
)
def test_what_was_not_offered_is_stopped_and_counted(key: AttemptKey, code: str) -> None:
    """Under another epoch, another attempt, or of a task that there is not."""
    site = Site()
    (anna,) = team(site, "anna")
    offered(site)
    anna.hands[key] = lots(anna)[0].assigned
    back(site, anna, anna=0.5)
    assert anna.stops == [key]
    assert site.core.dispatch.coordinating.refused() == {code: 1}
    assert awards(site) == []


def test_a_stranger_to_the_offer_gets_nothing() -> None:
    """Who could not do it when it was offered cannot have begun it."""
    site = Site()
    anna, ben = team(site, "anna")[0], team(site, "ben", capabilities=("other",))[0]
    offered(site)
    ben.hands[key := lots(anna)[0].assigned.key] = lots(anna)[0].assigned
    back(site, ben, ben=0.9)
    assert ben.stops == [key]
    assert awards(site) == []


@pytest.mark.parametrize("task", [{"effect": "once"}, {"effect": "repeatable", "resources": ["dock"]}])
def test_what_may_not_be_done_twice_is_not_offered(task: dict[str, Any]) -> None:
    """Of a run that says `alone`, only what may be repeated and takes no resource of the site."""
    site = Site()
    (anna,) = team(site, "anna")
    coordination = {"protocol": "auction", "wait": "600s", "window": "10s", "alone": True}
    site.release(plan_of({"a": {"capability": "work", **task}}, coordination=coordination))
    assert lots(anna) == []
    assert site.events(TaskOffered) == []


def test_a_paused_run_takes_its_offers_back() -> None:
    """What may not start with the site may not start without it."""
    site = Site()
    (anna,) = team(site, "anna")
    offered(site, window="50ms")
    assert len(lots(anna)) == 1
    site.order(Pause())
    site.pass_ms(50)
    site.beat(anna)
    assert lots(anna) == []


def test_a_person_may_leave_repeatable_tasks_alone_and_no_others() -> None:
    """The order is refused for a task that may not be done twice."""
    site = Site()
    (anna,) = team(site, "anna")
    site.release(plan_of({"a": {"capability": "far", "effect": "repeatable"}, "b": {"capability": "far"}}))
    alone = CoordinationPlan("auction", evaluator="cheapest", window_ms=50, wait_ms=500, rounds=5, alone_ms=ALONE_MS)
    assert "allowed: repeatable tasks" in site.order(ChangeCoordination(alone, "b"))
    assert site.order(ChangeCoordination(alone, "a")) == "accepted"
    assert site.join("far", features=("alone",), peer="far:1", capabilities=("far",)).heard
    assert [event.task for event in site.events(TaskOffered)] == [0]
    assert not anna.heard


@pytest.mark.parametrize("was_paused", [False, True])
def test_a_person_who_wants_it_done_otherwise_gets_it_done_under_a_higher_epoch(*, was_paused: bool) -> None:
    """Ordered to go directly while it is left to agents that were lost, it is given to another, and never under the epoch under
    which these may have begun it; also if the run stood still at that time. Who returns is told to stop."""
    site = Site()
    anna, ben = team(site, "anna", "ben")
    offered(site)
    key = begin(anna)
    if was_paused:
        site.order(Pause())
    for robot in (anna, ben):
        site.hang_up(robot)
    site.pass_ms(11_000)
    cleo = site.join("cleo")
    assert not cleo.hands
    assert site.order(ChangeCoordination(CoordinationPlan("direct"))) == "accepted"
    if was_paused:
        site.order(Resume())
    ((given, _),) = [(each.attempt, each.epoch) for each in cleo.hands]
    assert (given, key.attempt, [event.attempt for event in site.events(AttemptLeft)]) == (2, 1, [1])
    assert key in back(site, anna, anna=0.5).stops
    site.done(cleo)
    assert [event.attempt for event in site.events(TaskCompleted)] == [2]
