"""What an agent takes from peers while the site cannot be heard, and what it refuses."""

import math
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiercel.council import ALONE, CONNECTED, PEERS_MAX, TASKS_MAX, Council, id_of
from tiercel.v1 import agent_pb2, peers_pb2

NAMES = ("a", "b", "c")


def key(task: int, epoch: int = 5) -> agent_pb2.AttemptKey:
    return agent_pb2.AttemptKey(run="r1", task=task, attempt=1, epoch=epoch)


def council(name: str, worth: Callable[[str], float] = lambda task: 0.5, tasks: int = 2) -> Council:
    made = Council(
        "harbour", name, lambda path, task: (worth(task) / (1 + len(path)), len(path)), frozenset(NAMES) - {name}, ALONE
    )
    made.open({id_of(key(task)): key(task) for task in range(tasks)}, 2)
    return made


def word(**more: object) -> peers_pb2.PeerWord:
    return peers_pb2.PeerWord(**{"site": "harbour", "agent": "b", "state": ALONE, **more})  # type: ignore[arg-type]


def offer(task: int = 0, *, agent: str = "b", value: float = 0.9, epoch: int = 5) -> peers_pb2.PeerOffer:
    return peers_pb2.PeerOffer(key=key(task, epoch), agent=agent, change=1, value=value)


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (word(site="quarry", offers=[offer()]), "other_site"),
        (word(agent="mallory", offers=[offer()]), "unknown_peer"),
        (word(offers=[offer()] * (PEERS_MAX * TASKS_MAX + 1)), "too_many"),
        (word(offers=[offer(agent="mallory")]), "unknown_peer"),
        (word(offers=[offer(epoch=4)]), "old_epoch"),
        (word(offers=[offer(epoch=6)]), "not_offered"),
        (word(offers=[offer(7)]), "not_offered"),
        (word(offers=[offer(value=math.nan)]), "not_a_number"),
        (word(offers=[offer(value=math.inf)]), "not_a_number"),
        (word(offers=[offer(value=-0.1)]), "not_a_number"),
        (word(offers=[offer(value=2.0)]), "not_a_number"),
    ],
)
def test_what_does_not_count_is_refused_with_its_code(said: peers_pb2.PeerWord, code: str) -> None:
    """Strangers, other sites, too much, other tasks and epochs, and what is no number change nothing."""
    hearer = council("a")
    before = dict(hearer.peer.offers)
    refused = hearer.answer(said).refused
    assert [each.code for each in refused] == [code]
    assert refused[0].message
    assert (hearer.peer.offers, hearer.refused) == (before, {code: 1})


def test_a_stranger_is_told_nothing() -> None:
    """Who is no peer, or of another site, does not learn what there is to do."""
    hearer = council("a")
    assert not hearer.answer(word(agent="mallory")).HasField("word")
    assert not hearer.answer(word(site="quarry")).HasField("word")
    assert hearer.answer(word()).word.offers


def test_who_has_the_site_takes_no_part() -> None:
    """It says so, and nothing of what it is told counts."""
    hearer = council("a")
    hearer.state = CONNECTED
    answer = hearer.answer(word(offers=[offer()]))
    assert (answer.word.state, len(answer.word.offers)) == (CONNECTED, 0)
    assert "b" not in hearer.peer.offers.get("r1/0", {})


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_words_in_any_order_end_in_one_award_per_task(seed: int) -> None:
    """Peers that talk in pairs at random agree; who begins what it has won has the highest bid, and all go by it."""
    chance = Random(seed)
    worths = {name: {f"r1/{task}": chance.randint(1, 4) / 10 for task in range(4)} for name in NAMES}
    peers = {name: council(name, worths[name].__getitem__, tasks=4) for name in NAMES}
    for _ in range(60):
        one, other = chance.sample(NAMES, 2)
        answer = peers[other].answer(peers[one].word())
        assert not peers[one].hear(answer.word)
        assert not answer.refused
    bundles = [task for each in peers.values() for task in each.peer.bundle]
    assert sorted(bundles) == [f"r1/{task}" for task in range(4)]
    for name, each in peers.items():
        for task in list(each.peer.bundle):
            claim = each.begin(task)
            bids = {bid.agent: bid.bid for bid in claim.bids}
            assert claim.bid == bids[name] == max(bids.values())
