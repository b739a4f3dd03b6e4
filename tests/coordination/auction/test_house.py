"""Laws of the auction house, whatever agents bid and in whatever order it comes."""

from collections import Counter
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from coordination.auction.bids import Bid, Bidder, Key, Lot, Terms, Who
from coordination.auction.house import REFUSED_MAX, House, Result
from sync.values import AgentId

WHO = Who("lift")
EVALUATORS = ("cheapest", "fastest", "balanced")
costs = st.floats(allow_nan=True, allow_infinity=True) | st.floats(0, 100) | st.integers(0, 3).map(float)


class Story(NamedTuple):
    terms: Terms
    rooms: dict[str, int]
    priorities: list[int]
    bids: list[Bid]


@st.composite
def stories(draw: st.DrawFn) -> Story:
    """Agents with room, lots, and one bid or none of each agent for each lot."""
    terms = Terms(draw(st.sampled_from(EVALUATORS)), price_max=draw(st.sampled_from([-1.0, 50.0])))
    rooms = {f"a{number}": draw(st.integers(1, 3)) for number in range(draw(st.integers(1, 4)))}
    priorities = draw(st.lists(st.integers(0, 2), min_size=1, max_size=2 * sum(rooms.values())))
    bids = []
    for agent in rooms:
        for number in range(len(priorities)):
            if draw(st.booleans()):
                said = draw(costs), draw(st.floats(0, 1_000)), draw(st.integers(1, 4))
                bids.append(Bid(AgentId(agent), Key(f"r{number}", 0), 1, *said))
    return Story(terms, rooms, priorities, bids)


def held(story: Story, bids: list[Bid]) -> tuple[House, list[Result]]:
    """An auction of all lots, with the bids in this order, and its results."""
    house = House()
    for number, priority in enumerate(story.priorities):
        house.seek(Lot(Key(f"r{number}", 0), 1, WHO, story.terms, priority), 0)
    house.tick(story.terms.window_ms)
    bidders = {AgentId(agent): Bidder(AgentId(agent), room, 4) for agent, room in story.rooms.items()}
    house.announce(story.terms, {WHO: bidders}, story.terms.window_ms)
    for bid in bids:
        house.hear(bid.agent, 1, [bid], story.terms.window_ms + 1)
    (auction,) = house.auctions.values()
    return house, house.close(auction, bidders, story.terms.window_ms + story.terms.wait_ms)


@given(stories())
@settings(deadline=None)
def test_never_above_room_and_at_most_one_each(story: Story) -> None:
    """Each lot has at most one winner, who bid for it; the units that an agent has won are within its room."""
    _, results = held(story, story.bids)
    taken: Counter[str] = Counter()
    assert sorted(result.lot.key for result in results) == sorted({Key(f"r{n}", 0) for n in range(len(story.priorities))})
    for result in results:
        if result.won is not None:
            assert result.won.bid in story.bids
            assert result.won.bid.key == result.lot.key
            taken[result.won.bid.agent] += result.won.bid.units
    assert all(units <= story.rooms[agent] for agent, units in taken.items())


@given(stories(), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_the_order_of_bids_counts_for_nothing(story: Story, chance: "st.DataObject") -> None:
    """The same bids in another order give the same awards, with the same reasons."""
    shuffled = list(story.bids)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = held(story, story.bids)[1], held(story, shuffled)[1]
    told = [[(r.kind, r.lot, r.won, r.bids) for r in results] for results in (one, other)]
    assert told[0] == told[1]


@given(stories())
@settings(deadline=None)
def test_a_lot_that_somebody_has_room_for_is_not_left(story: Story) -> None:
    """What is lost would not have fitted: every agent that bid for it has less room left than its bid takes."""
    _, results = held(story, story.bids)
    left = dict(story.rooms)
    for result in results:
        if result.won is not None:
            left[result.won.bid.agent] -= result.won.bid.units
    for result in results:
        if result.kind == "lost":
            assert all(scored.bid.units > left[scored.bid.agent] for scored in result.bids)


@given(stories())
@settings(deadline=None)
def test_every_bid_counts_or_is_refused(story: Story) -> None:
    """None is swallowed: what is neither among those that count nor refused was not made."""
    house, results = held(story, story.bids)
    counted = sum(len(result.bids) for result in results)
    assert counted + house.counts.total() == len(story.bids)


def test_a_lot_is_awarded_once_under_an_epoch() -> None:
    """Sought again under the same epoch it may not be awarded; under the next it may."""
    story = Story(Terms(), {"a0": 2}, [0], [Bid(AgentId("a0"), Key("r0", 0), 1, 1.0)])
    house, (result,) = held(story, story.bids)
    house.awarded(result)
    assert not house.may_award(result.lot)
    assert house.may_award(result.lot._replace(epoch=2))
    assert not house.standing


def test_a_bid_holds_as_long_as_it_says() -> None:
    """One that is over when the auction closes counts no more, and is on record."""
    bids = [Bid(AgentId("a0"), Key("r0", 0), 1, 1.0, valid_ms=10), Bid(AgentId("a1"), Key("r0", 0), 1, 2.0)]
    house, (result,) = held(Story(Terms(), {"a0": 1, "a1": 1}, [0], bids), bids)
    assert result.won is not None
    assert (result.won.bid.agent, [str(each.code) for each in result.refused]) == ("a1", ["expired"])
    assert house.counts == {"expired": 1}


def test_it_waits_longer_and_longer() -> None:
    """Without bids the next auction is put off, doubling, up to a bound; the lot says why."""
    house, terms = House(), Terms(wait_ms=1)
    house.seek(Lot(Key("r0", 0), 1, WHO, terms), 0)
    now_ms, waits = terms.window_ms, []
    for _ in range(9):
        house.tick(now_ms)
        house.announce(terms, {WHO: {AgentId("a0"): Bidder(AgentId("a0"), 1, 1)}}, now_ms)
        (auction,) = house.auctions.values()
        house.close(auction, {}, now_ms + 1)
        waits.append((house.wake_ms() or 0) - now_ms - 1)
        now_ms = house.wake_ms() or 0
    assert waits == [100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000]
    assert house.standing[Key("r0", 0)].why == "nobody bid in round 9"


def test_no_more_lots_are_announced_than_there_is_choice_for() -> None:
    """Twice the room, the urgent first; the others wait for the next auction without a window."""
    house, terms = House(), Terms()
    for number in range(10):
        house.seek(Lot(Key(f"r{number}", 0), 1, WHO, terms, priority=int(number == 9)), 0)
    house.tick(terms.window_ms)
    (offer,) = house.announce(terms, {WHO: {AgentId("a0"): Bidder(AgentId("a0"), 2, 4)}}, terms.window_ms)
    assert [lot.key.run for lot in offer.lots] == ["r9", "r0", "r1", "r2"]
    assert not house.ready(), "one auction of equal terms at a time"
    house.hear(AgentId("a0"), 1, [Bid(AgentId("a0"), lot.key, 1, 1.0, units=2) for lot in offer.lots], terms.window_ms)
    (auction,) = house.over(terms.window_ms)
    assert [result.kind for result in house.close(auction, {}, terms.window_ms)] == ["lost"] * 4
    assert sum(len(lots) for _, ready in house.ready() for lots in ready.values()) == 6


def test_what_does_not_count_is_on_record_once_for_each_bidder() -> None:
    """Bids that come twice, from strangers, or for an epoch before the one that is offered are in the award of the lot too."""
    key = Key("r0", 0)
    bids = [Bid(AgentId("a0"), key, 1, 1.0), *[Bid(AgentId("a0"), key, 1, 2.0)] * 3, Bid(AgentId("a1"), key, 0, 1.0)]
    strangers = [Bid(AgentId(f"s{number}"), key, 1, 1.0) for number in range(2 * REFUSED_MAX)]
    house, (result,) = held(Story(Terms(), {"a0": 1, "a1": 1}, [0], bids), [*bids, *strangers])
    told = [(each.bid.agent, str(each.code)) for each in result.refused]
    assert told[:3] == [("a0", "twice"), ("a1", "old_epoch"), ("s0", "not_invited")]
    assert (len(told), house.counts["twice"], house.counts["not_invited"]) == (REFUSED_MAX, 3, 2 * REFUSED_MAX)
