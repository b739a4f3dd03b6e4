"""Auctions over a bad network, by seeds; and each safeguard taken out once: the market must notice."""

from collections.abc import Iterable, Mapping

import pytest

from coordination.auction import house as module
from coordination.auction.bids import Bid, Bidder, Lot, Refused
from coordination.auction.house import Auction, House, Result
from sync.values import AgentId
from tests.coordination.auction.market import Market, Starved, Violated

SEEDS = 150
ABLATION_SEEDS = 300


def test_whatever_is_lost_late_or_said_twice() -> None:
    """Every task is awarded in the end, once under an epoch, within what agents can take, to bids that count; the stories have
    bids of every fault in them."""
    told: dict[str, int] = {}
    for seed in range(SEEDS):
        market = Market(seed, House())
        market.run()
        for code, count in market.told.items():
            told[code] = told.get(code, 0) + count
    assert {"late", "twice", "old_epoch", "not_a_number", "above_capacity", "above_price_max"} <= told.keys()


def test_one_seed_is_one_story() -> None:
    """Nothing depends on anything but the seed."""
    stories = []
    for _ in range(2):
        market = Market(7, House())
        market.run()
        stories.append((market.now_ms, market.awards, market.told))
    assert stories[0] == stories[1]


def noticed(kind: type[House]) -> bool:
    """Does a seed find that something happens which must not?"""
    for seed in range(ABLATION_SEEDS):
        try:
            Market(seed, kind()).run()
        except Violated:
            return True
        except Starved:
            continue
    return False


def test_ablation_window_close() -> None:
    """A house that takes bids after the end of an auction is found out."""

    class Patient(House):
        def hear(self, agent: AgentId, auction: int, bids: Iterable[Bid], now_ms: int) -> list[Refused]:
            known = self.auctions.get(auction)
            return super().hear(agent, auction, bids, min(now_ms, known.closes_ms) if known is not None else now_ms)

    assert noticed(Patient)


def test_ablation_epoch_check() -> None:
    """One that takes a bid for an older epoch is found out."""

    class Forgetful(House):
        def hear(self, agent: AgentId, auction: int, bids: Iterable[Bid], now_ms: int) -> list[Refused]:
            known = self.auctions.get(auction)
            lots = known.lots if known is not None else {}
            for key in lots:
                lots[key] = lots[key]._replace(epoch=next((bid.epoch for bid in bids if bid.key == key), lots[key].epoch))
            refused = super().hear(agent, auction, bids, now_ms)
            for key in lots:
                lots[key] = self.standing[key].lot
            return refused

    assert noticed(Forgetful)


def test_ablation_capacity_check() -> None:
    """One that goes by the room that there was when the auction opened is found out."""

    class Trusting(House):
        def close(self, auction: Auction, bidders: Mapping[AgentId, Bidder], now_ms: int) -> list[Result]:
            told = {agent: bidder for invited in auction.invited.values() for agent, bidder in invited.items()}
            return super().close(auction, told, now_ms)

    assert noticed(Trusting)


def test_ablation_once_under_an_epoch() -> None:
    """One that does not remember its awards gives a task out twice."""

    class Absent(House):
        def may_award(self, lot: Lot) -> bool:
            return True

    assert noticed(Absent)


def test_ablation_first_answer_stands() -> None:
    """One that lets agents bid again is found out."""

    class Generous(House):
        def hear(self, agent: AgentId, auction: int, bids: Iterable[Bid], now_ms: int) -> list[Refused]:
            refused = []
            for bid in bids:
                if (known := self.auctions.get(auction)) is not None and agent in known.answered.get(bid.key, ()):
                    known.answered[bid.key].discard(agent)
                    known.waits_for += 1
                refused += super().hear(agent, auction, [bid], now_ms)
            return refused

    assert noticed(Generous)


def test_ablation_price_and_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that believes every number is found out."""
    monkeypatch.setattr(module, "fault_of", lambda bid, lot, bidder: None if bid.cost == bid.cost else Refused(bid, "nan", ""))  # type: ignore[arg-type]
    assert noticed(House)
