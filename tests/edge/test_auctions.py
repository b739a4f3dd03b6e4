"""Auctions at a site: what is offered to whom, what its bids come to, and what is told of those that do not count."""

from typing import Any

import msgspec
import pytest

from edge.coordinating.auctions import Auctions
from tests.edge.site import Robot, Site
from tests.workflow.plans import plan_of
from workflow.coordination_events import TaskAwarded
from workflow.events import TaskFailed
from workflow.orders import ChangeCoordination, Pause, Resume
from workflow.tasks import CoordinationPlan

WINDOW_MS = 50


def bidders(site: Site, *names: str, **face: Any) -> list[Robot]:
    return [site.join(name, features=("bids",), **face) for name in names]


def auction(**fields: Any) -> dict[str, Any]:
    return {"protocol": "auction", **fields}


def offered(site: Site, coordination: dict[str, Any] | None = None, count: int = 1, **task: Any) -> None:
    """Tasks to be auctioned, whose window has just ended."""
    tasks = {f"t{number}": {"capability": "work", **task} for number in range(count)}
    site.release(plan_of(tasks, coordination=coordination or auction()))
    site.pass_ms(WINDOW_MS)


def why(site: Site, number: int = -1) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(site.events(TaskAwarded)[number].detail)
    return found


def test_the_best_bid_gets_it() -> None:
    """All who can are asked; once all have answered nobody waits on. The award names every bid, the rule and the reason."""
    site = Site()
    anna, ben, cleo = bidders(site, "anna", "ben", "cleo")
    offered(site)
    for robot, cost in ((anna, 3.0), (ben, 1.5), (cleo, 2.0)):
        assert not ben.hands
        site.bid(robot, cost)
    assert [key.run for key in ben.hands] == ["r1"]
    told = why(site)
    assert (told["rule"], told["reason"]) == ("cheapest", "ben made the cheapest of 3 bids")
    assert [(bid["agent"], bid["score"]) for bid in told["given"]] == [("ben", 1.5), ("cleo", 2.0), ("anna", 3.0)]


def test_nothing_is_offered_before_the_window_is_over() -> None:
    """What comes meanwhile is auctioned together with it."""
    site = Site()
    (anna,) = bidders(site, "anna")
    plan = plan_of({"a": {}}, coordination="auction")
    site.release(plan)
    site.pass_ms(WINDOW_MS - 1)
    site.release(plan, "r2")
    assert not anna.offers
    site.pass_ms(1)
    site.pass_ms(WINDOW_MS)
    assert [[lot.key.run for lot in offer.lots] for offer in anna.offers] == [["r1"]]
    site.bid(anna)
    site.pass_ms(0)
    assert [[lot.key.run for lot in offer.lots] for offer in anna.offers] == [["r1"], ["r2"]]


def test_who_does_not_answer_is_not_waited_for_longer() -> None:
    """After `wait` the bids that are there decide."""
    site = Site()
    anna, _ = bidders(site, "anna", "ben")
    offered(site, auction(wait="300ms"))
    site.bid(anna, 9.0)
    site.pass_ms(299)
    assert not anna.hands
    site.pass_ms(1)
    assert anna.hands
    assert why(site)["reason"] == "anna made the only bid"


def test_who_leaves_is_not_waited_for() -> None:
    """Its connection ended, so it cannot answer; what it had bid counts no more."""
    site = Site()
    anna, ben = bidders(site, "anna", "ben")
    offered(site)
    site.bid(ben, 1.0)
    site.hang_up(ben)
    site.bid(anna, 2.0)
    assert anna.hands


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({"cost": float("nan")}, "not_a_number"),
        ({"cost": float("inf")}, "not_a_number"),
        ({"cost": -1.0}, "negative"),
        ({"cost": 21.0}, "above_price_max"),
        ({"units": 5}, "above_capacity"),
        ({"confidence": 1.5}, "out_of_range"),
        ({"finish_ms": 1e13}, "out_of_range"),
        ({"epoch": 1}, "old_epoch"),
        ({"auction": 99}, "not_offered"),
    ],
)
def test_a_bid_that_makes_no_sense_is_refused(said: dict[str, Any], code: str) -> None:
    """The agent is told under which code, it is counted, and the others' bids decide."""
    site = Site()
    anna, ben = bidders(site, "anna", "ben")
    offered(site, auction(price_max=20))
    site.bid(anna, **said)
    site.bid(ben, 7.0)
    assert (anna.refused, site.core.dispatch.coordinating.refused()) == ([code], {code: 1})
    site.pass_ms(500)
    assert ben.hands


def test_bids_of_others_and_of_yesterday_are_refused() -> None:
    """Who was not invited, who bids twice, who bids for what is not offered, who is late."""
    site = Site()
    anna, ben = bidders(site, "anna", "ben")
    (eve,) = bidders(site, "eve", capabilities=("watch",))
    offered(site)
    eve.offers = anna.offers
    site.bid(eve)
    site.bid(anna, 2.0)
    site.bid(anna, 1.0)
    site.bid(ben, 3.0)
    site.bid(ben, 1.0)
    anna.offers[-1] = anna.offers[-1]._replace(
        lots=[anna.offers[-1].lots[0]._replace(key=anna.offers[-1].lots[0].key._replace(run="r9"))]
    )
    site.bid(anna, run="r9")
    assert (eve.refused, anna.refused, ben.refused) == (["not_invited"], ["twice", "not_offered"], ["late"])
    assert [bid["cost"] for bid in why(site)["given"]] == [2.0, 3.0]


def test_nobody_gets_more_than_it_has_room_for() -> None:
    """Units of a bid are of the agent's capacity, and stay taken while it works."""
    site = Site()
    anna, ben = bidders(site, "anna", "ben", capacity=3)
    offered(site, count=4)
    for task in range(4):
        for robot, cost in ((anna, 1.0), (ben, 5.0)):
            if any(lot.key.task == task for lot in robot.offers[-1].lots):
                site.bid(robot, cost, task=task, units=2)
    assert (len(anna.hands), len(ben.hands)) == (1, 1)
    assert site.core.roster.assigner.room(site.core.roster.slots["anna"].agent) == 1
    site.done(anna, task=anna.key(task=min(key.task for key in anna.hands)).task)
    assert site.core.roster.assigner.room(site.core.roster.slots["anna"].agent) == 3


def test_who_gives_it_back_is_not_asked_again_at_once() -> None:
    """A declined award re-opens the lot for the others, under the next epoch; the history tells both rounds."""
    site = Site()
    anna, ben = bidders(site, "anna", "ben")
    offered(site)
    site.bid(anna, 1.0)
    site.bid(ben, 2.0)
    anna.decline(anna.key())
    site.report(anna)
    site.pass_ms(10_000)
    site.pass_ms(WINDOW_MS)
    assert (len(anna.offers), len(ben.offers)) == (1, 2)
    site.bid(ben, 2.0)
    first, second = site.events(TaskAwarded)
    assert (first.agent, second.agent) == ("anna", "ben")
    assert first.epoch < second.epoch
    assert why(site)["round"] == 2


def test_without_bids_it_is_offered_again_and_then_otherwise() -> None:
    """Later and later; after the rounds it fails, if that is what is to be done."""
    site = Site()
    (anna,) = bidders(site, "anna")
    offered(site, auction(rounds=2, otherwise="fail"), retry={"max_attempts": 1})
    for _ in range(2):
        site.bid(anna, accepted=False)
        site.pass_ms(200)
    assert len(anna.offers) == 2
    site.pass_ms(200)
    (failed,) = site.events(TaskFailed)
    assert (failed.code, "no award in 2 rounds" in failed.message) == ("no_bids", True)
    assert why(site)["reason"].startswith("no award in 2 rounds")


def test_otherwise_can_be_direct() -> None:
    """Then the least loaded agent has it, whatever it would have said."""
    site = Site()
    (anna,) = bidders(site, "anna")
    offered(site, auction(rounds=1, otherwise="direct"))
    site.bid(anna, accepted=False)
    site.pass_ms(200)
    assert anna.hands


def test_agents_that_know_nothing_of_bids_take_part() -> None:
    """The site bids for them: by the label `cost` and what they hold. A dear agent of today's SDK loses against a cheap old
    one."""
    site = Site()
    site.join("old-1", labels={"cost": "4"})
    old = site.join("old-2", labels={"cost": "3"})
    (modern,) = bidders(site, "modern")
    offered(site)
    assert not old.hands
    site.bid(modern, 3.5)
    assert old.hands
    assert [(bid["agent"], bid["cost"]) for bid in why(site)["given"]] == [("old-2", 3.0), ("modern", 3.5), ("old-1", 4.0)]


def test_old_agents_alone_are_waited_for_by_nobody() -> None:
    """The auction closes in the turn in which it opens."""
    site = Site()
    robots = [site.join(f"old-{number}", capacity=2) for number in range(3)]
    offered(site, count=6)
    assert [len(robot.hands) for robot in robots] == [2, 2, 2]


def test_evaluators() -> None:
    """The fastest, the most even loads, and an author's own rule each find another winner of the same bids."""
    found = {}
    rule = auction(
        evaluator="custom", score="bid.cost + 10.0 * agent.load + double(size(agent.id)) * 0.0 + lot.parameters.far * 0.0"
    )
    for terms in (auction(evaluator="cheapest"), auction(evaluator="fastest"), auction(evaluator="balanced"), rule):
        site = Site()
        anna, ben, cleo = bidders(site, "anna", "ben", "cleo")
        site.release(plan_of({"a": {"agent": "anna"}, "b": {"agent": "anna"}, "c": {"agent": "ben"}}, name="load"), "r0")
        site.release(plan_of({"a": {"with": {"far": 1.5}}}, coordination=terms))
        site.pass_ms(WINDOW_MS)
        for robot, cost, finish in ((anna, 1.0, 500), (ben, 4.0, 100), (cleo, 9.0, 400)):
            site.bid(robot, cost, finish_ms=finish)
        found[terms["evaluator"]] = site.events(TaskAwarded)[0].agent
    assert found == {"cheapest": "anna", "fastest": "ben", "balanced": "cleo", "custom": "anna"}


def test_a_rule_without_a_value_refuses_the_bid() -> None:
    """The agent is told, and so is who looks at the award."""
    site = Site()
    anna, ben = bidders(site, "anna", "ben")
    offered(site, auction(evaluator="custom", score="agent.labels.wage == '1' ? 1.0 : bid.cost"))
    site.core.roster.slots["ben"].labels["wage"] = "1"
    site.bid(anna)
    site.bid(ben)
    assert anna.refused == ["no_score"]
    assert ben.hands
    assert [(refused["agent"], refused["code"]) for refused in why(site)["refused"]] == [("anna", "no_score")]


def test_a_group_keeps_others_out() -> None:
    """Only the named ones, or those with the label, are asked."""
    site = Site()
    anna, ben = bidders(site, "anna", "ben")
    (cleo,) = bidders(site, "cleo", labels={"shift": "night"})
    plan = plan_of(
        {"a": {"coordination": auction(group=["ben"])}, "b": {"coordination": auction(group={"label": "shift=night"})}}
    )
    site.release(plan)
    site.pass_ms(WINDOW_MS)
    assert [[lot.name for offer in robot.offers for lot in offer.lots] for robot in (anna, ben, cleo)] == [[], ["a"], ["b"]]


def test_a_restart_begins_anew() -> None:
    """Offers of before are nothing any more: who comes back is asked again, and the old bid is refused."""
    site = Site()
    (anna,) = bidders(site, "anna")
    offered(site)
    site.restart()
    site.join("anna")
    site.pass_ms(WINDOW_MS)
    assert len(anna.offers) == 2
    site.bid(anna)
    assert anna.hands


def test_a_change_to_direct_ends_the_auction() -> None:
    """Bids that come then are for nothing that is offered."""
    site = Site()
    anna, ben = bidders(site, "anna", "ben")
    offered(site)
    assert site.order(ChangeCoordination(CoordinationPlan("direct"))) == "accepted"
    assert anna.hands
    site.bid(ben)
    assert ben.refused == ["not_offered"]


def test_nothing_is_kept_of_what_is_over() -> None:
    """Runs that are cancelled while their tasks are auctioned, and those that end, leave nothing behind but whom they were given
    to."""
    site = Site()
    anna, _ = bidders(site, "anna", "ben")
    for number in range(20):
        site.release(plan_of({"a": {}, "b": {}}, coordination="auction"), f"r{number}")
        site.pass_ms(WINDOW_MS)
        site.cancel(f"r{number}", f"c{number}")
    site.release(plan_of({"a": {}, "b": {}}, coordination="auction"), "last")
    site.pass_ms(WINDOW_MS)
    site.bid(anna, run="last")
    site.pass_ms(500)
    (seeker,) = [each for each in site.core.dispatch.coordinating.seekers if isinstance(each, Auctions)]
    house = seeker.house
    assert {key.run for key in (*house.standing, *seeker.offered)} <= {"last"}
    assert (len(house.auctions), len(seeker.sessions)) == (0, 0)
    assert [key.run for key in house.given] == ["last"]


def test_what_waits_can_say_for_what() -> None:
    """In every phase: who is missing, when it is offered, who has bid."""
    site = Site()
    core = site.core

    def said() -> tuple[str, str]:
        (found,) = core.dispatch.coordinating.negotiations(site.clock.now())
        return found.phase, found.why

    site.release(plan_of({"a": {}}, coordination="auction"))
    assert said() == ("gathering", "nobody who may bid is here: work")
    anna, _ = bidders(site, "anna", "ben")
    site.pass_ms(1)
    assert said() == ("gathering", "tasks gather to be auctioned together; offered in 49 ms")
    site.pass_ms(WINDOW_MS)
    site.bid(anna, 2.0)
    assert said() == ("open", "1 of 2 agents have bid in auction 1")
    (found,) = core.dispatch.coordinating.negotiations(site.clock.now())
    assert (found.invited, [bid["agent"] for bid in found.given]) == (["anna", "ben"], ["anna"])


def test_a_paused_site_auctions_nothing() -> None:
    """While it is paused no time is over; afterwards it goes on."""
    site = Site()
    (anna,) = bidders(site, "anna")
    site.core.home.paused = True
    offered(site)
    assert not anna.offers
    assert site.core.dispatch.coordinating.wake_mono_ms() is None
    site.core.home.paused = False
    site.turn()
    site.pass_ms(WINDOW_MS)
    assert anna.offers


def test_a_winner_waits_for_resources_that_others_hold() -> None:
    """What an auction decides takes nobody's forklift: the task stands in line, and is auctioned anew once it has what it
    needs."""
    site = Site()
    anna, ben = bidders(site, "anna", "ben")
    site.release(plan_of({"a": {"agent": "anna", "resources": ["forklift"]}}, name="first"), "r0")
    offered(site, resources=["forklift"])
    site.bid(anna, 1.0)
    site.bid(ben, 2.0)
    assert (len(anna.hands), site.states()) == (1, ["waiting_for_resource"])
    assert not site.core.dispatch.coordinating.sought
    site.done(anna, "r0")
    site.pass_ms(WINDOW_MS)
    site.bid(anna, 3.0)
    site.bid(ben, 2.0)
    assert [key.run for key in ben.hands] == ["r1"]
    assert [award.agent for award in site.events(TaskAwarded)] == ["ben"]


def test_a_pause_during_the_auction_gives_nothing_away() -> None:
    """The bids of before the pause are for nothing; after it the task is offered anew."""
    site = Site()
    (anna,) = bidders(site, "anna")
    offered(site)
    assert site.order(Pause()) == "accepted"
    site.bid(anna)
    assert not anna.hands
    assert site.order(Resume()) == "accepted"
    site.pass_ms(WINDOW_MS)
    site.bid(anna)
    assert anna.hands


def test_a_result_that_is_kept_needs_no_award() -> None:
    """Another run has given it while the auction was under way: whoever has won is asked for nothing."""
    site = Site()
    anna, ben = bidders(site, "anna", "ben")
    kept = {"a": {"cache": {"key": "same", "lifetime": 600}}}
    site.release(plan_of(kept, coordination="auction"))
    site.release(plan_of(kept, coordination=auction(evaluator="fastest"), name="other"), "r2")
    site.pass_ms(WINDOW_MS)
    site.bid(anna, 1.0)
    site.bid(ben, 2.0)
    site.bid(anna, 1.0, run="r2")
    site.done(anna)
    site.bid(ben, 2.0, run="r2")
    assert site.outcome("r2") == "completed"
    assert not anna.hands
    assert not ben.hands
    assert [award.agent for award in site.events(TaskAwarded)] == ["anna"]


def test_a_failed_attempt_is_auctioned_again() -> None:
    """A retry finds its agent like the first attempt, and who failed may win again: failing is no giving back."""
    site = Site()
    anna, ben = bidders(site, "anna", "ben")
    offered(site, retry={"max_attempts": 2, "delay": 1, "jitter": 0})
    site.bid(anna, 1.0)
    site.bid(ben, 2.0)
    anna.fail(anna.key())
    site.report(anna)
    site.pass_ms(1_000)
    site.pass_ms(WINDOW_MS)
    assert (len(anna.offers), len(ben.offers)) == (2, 2)
    site.bid(anna, 1.0)
    site.bid(ben, 2.0)
    first, second = site.events(TaskAwarded)
    assert (first.agent, second.agent, why(site)["round"]) == ("anna", "anna", 1)
    assert first.epoch < second.epoch


def test_what_has_a_higher_priority_is_served_first() -> None:
    """Of tasks that are auctioned together there is room for one: it is that of the urgent run, though it came last."""
    site = Site()
    (anna,) = bidders(site, "anna", capacity=1)
    site.release(plan_of({"a": {}}, coordination="auction", priority=2))
    site.release(plan_of({"a": {}}, coordination="auction", priority=9, name="urgent"), "r2")
    site.pass_ms(WINDOW_MS)
    site.bid(anna)
    site.bid(anna, run="r2")
    assert [key.run for key in anna.hands] == ["r2"]
