"""Peers without an auctioneer: in a net that loses, delays, repeats and parts, they agree soon, and well."""

from collections.abc import Callable
from itertools import product
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordination.auction.agreeing import Award, Lost, Message, Offer, Peer, reconciled
from sync.values import AgentId

Net = list[tuple[int, int]]
seeds = st.integers(0, 2**32 - 1)


class Swarm:
    """Peers with random values for tasks, on a random connected net. `synergy`: what is taken makes other tasks worth more."""

    def __init__(self, seed: int, kind: type[Peer] = Peer, *, synergy: bool = False, few: bool = False) -> None:
        chance = self.chance = Random(seed)
        count, self.tasks = chance.randint(2, 3 if few else 5), [f"t{n}" for n in range(chance.randint(1, 4 if few else 8))]
        self.values = [{task: chance.randint(1, 5) * 1.0 for task in self.tasks} for _ in range(count)]
        self.synergy = synergy
        self.room = chance.randint(1, 3)
        self.peers = [kind(AgentId(f"p{n}"), self.worth_of(n), self.room) for n in range(count)]
        chain: Net = [(n, chance.randrange(n)) for n in range(1, count)]
        self.net = chain + [(a, b) for a in range(count) for b in range(a) if (a, b) not in chain and chance.random() < 0.2]
        for peer in self.peers:
            peer.open(self.tasks)

    def worth_of(self, number: int) -> Callable[[tuple[str, ...], str], tuple[float, int]]:
        def worth(path: tuple[str, ...], task: str) -> tuple[float, int]:
            more = 3.0 * len(path) if self.synergy else 0.0
            return self.values[number][task] + more, len(path)

        return worth

    def neighbours(self, number: int) -> list[int]:
        return sorted({a if b == number else b for a, b in self.net if number in (a, b)})

    def round(self) -> bool:
        """Everybody tells its neighbours, at once. Was anything new to anybody?"""
        said = [peer.message() for peer in self.peers]
        heard = [peer.hear(said[other]) for n, peer in enumerate(self.peers) for other in self.neighbours(n)]
        return any(heard)

    def diameter(self) -> int:
        return max(max(self._distances(n)) for n in range(len(self.peers)))

    def _distances(self, start: int) -> list[int]:
        known, edge, steps = {start: 0}, [start], 0
        while edge:
            steps += 1
            edge = [other for n in edge for other in self.neighbours(n) if known.setdefault(other, steps) == steps]
            edge = sorted(set(edge) - {n for n, at in known.items() if at < steps})
        return list(known.values())

    def storm(self, steps: int) -> None:
        """Messages between neighbours: late, twice, out of order, or never."""
        under_way: list[tuple[int, Message]] = []
        for _ in range(steps):
            sender = self.chance.randrange(len(self.peers))
            for other in self.neighbours(sender):
                under_way += [(other, self.peers[sender].message())] * self.chance.choice([0, 1, 1, 2])
            self.chance.shuffle(under_way)
            for _ in range(self.chance.randrange(3)):
                if under_way:
                    other, message = under_way.pop()
                    self.peers[other].hear(message)
        for other, message in under_way:
            self.peers[other].hear(message)

    def conflicts(self) -> list[str]:
        """Tasks in two bundles, in none though somebody has room, or told differently by two peers."""
        taken = [task for peer in self.peers for task in peer.bundle]
        told = [peer.awards() for peer in self.peers]
        twice = sorted({task for task in taken if taken.count(task) > 1})
        idle = [task for task in self.tasks if task not in taken and any(len(peer.bundle) < self.room for peer in self.peers)]
        return twice + idle + ([] if all(each == told[0] for each in told) else ["they differ"])


@settings(max_examples=70, deadline=None)
@given(seeds, st.booleans())
def test_all_agree_within_the_rounds_that_theory_gives(seed: int, synergy: bool) -> None:
    """On a net that holds: one award per task, known to all, after min(tasks, peers x room) x diameter rounds; then silence."""
    swarm = Swarm(seed, synergy=synergy)
    for _ in range(min(len(swarm.tasks), len(swarm.peers) * swarm.room) * swarm.diameter()):
        swarm.round()
    assert swarm.conflicts() == []
    for _ in range(swarm.diameter()):
        swarm.round()
    assert not swarm.round()


@settings(max_examples=70, deadline=None)
@given(seeds, st.booleans())
def test_a_storm_changes_nothing_of_the_end(seed: int, synergy: bool) -> None:
    """Whatever was lost, late, doubled or overtaken: once messages arrive again, all agree."""
    swarm = Swarm(seed, synergy=synergy)
    swarm.storm(60)
    settle(swarm)
    assert swarm.conflicts() == []


def settle(swarm: Swarm) -> None:
    for _ in range(2 * len(swarm.tasks) * len(swarm.peers) * swarm.diameter()):
        swarm.round()


@settings(max_examples=70, deadline=None)
@given(seeds)
def test_what_they_agree_on_is_worth_at_least_half_of_the_optimum(seed: int) -> None:
    """Against all ways to give the tasks away, on small cases."""
    swarm = Swarm(seed, few=True)
    settle(swarm)
    found = sum(swarm.values[n][task] for n, peer in enumerate(swarm.peers) for task in peer.bundle)
    ways = product(range(len(swarm.peers)), repeat=len(swarm.tasks))
    best = max(_worth(swarm, way) for way in ways)
    assert found >= best / 2


def _worth(swarm: Swarm, way: tuple[int, ...]) -> float:
    """What the tasks are worth to those who get them; what is beyond a peer's room is its least."""
    total = 0.0
    for n in range(len(swarm.peers)):
        mine = sorted((swarm.values[n][task] for task, who in zip(swarm.tasks, way, strict=True) if who == n), reverse=True)
        total += sum(mine[: swarm.room])
    return total


@settings(max_examples=100, deadline=None)
@given(seeds)
def test_two_halves_that_were_parted_agree_when_they_meet(seed: int) -> None:
    """Each half takes the others for gone and does everything itself; after the rejoin every task is one peer's again."""
    swarm = Swarm(seed)
    whole, half = swarm.net, len(swarm.peers) // 2
    settle(swarm)
    swarm.net = [(a, b) for a, b in whole if (a < half) == (b < half)]
    for n, peer in enumerate(swarm.peers):
        for m, other in enumerate(swarm.peers):
            if (n < half) != (m < half):
                peer.leave(other.agent)
    for _ in range(30):
        swarm.round()
    swarm.net = whole
    settle(swarm)
    assert swarm.conflicts() == []


@settings(max_examples=60, deadline=None)
@given(seeds)
def test_who_joins_late_is_taken_in(seed: int) -> None:
    """A peer that comes when all have agreed takes what it offers most for, and what is over is nobody's."""
    swarm = Swarm(seed)
    settle(swarm)
    newcomer = Peer(AgentId("a0"), lambda path, _task: (99.0, len(path)), 1)
    newcomer.open(swarm.tasks)
    swarm.peers.append(newcomer)
    swarm.values.append(dict.fromkeys(swarm.tasks, 99.0))
    swarm.net.append((len(swarm.peers) - 1, 0))
    settle(swarm)
    assert len(newcomer.bundle) == 1
    assert all(peer.awards()[newcomer.bundle[0]] == "a0" for peer in swarm.peers)
    for peer in swarm.peers:
        peer.open(swarm.tasks[1:])
    settle(swarm)
    assert all(swarm.tasks[0] not in peer.awards() for peer in swarm.peers)


@settings(max_examples=60, deadline=None)
@given(seeds)
def test_messages_are_bounded(seed: int) -> None:
    """However long it goes on: one offer per task and peer, one beat per peer."""
    swarm = Swarm(seed)
    swarm.storm(100)
    most = len(swarm.tasks) * len(swarm.peers)
    assert all(len(peer.message().offers) <= most and len(peer.message().beats) <= len(swarm.peers) for peer in swarm.peers)


class WithoutCounts(Peer):
    """Believes whatever comes, of whatever age."""

    def hear(self, message: Message) -> bool:
        for task, agent, offer in message.offers:
            if agent != self.agent and task in self.tasks:
                self.offers.setdefault(task, {})[agent] = offer
        self._settle()
        return True


class WithoutGivingBack(Peer):
    """Keeps what it took after a task that it has lost."""

    def _settle(self) -> None:
        for task in [task for task in self.bundle if not self._holds(task)]:
            self.bundle.remove(task)
            self.path.remove(task)
            self._offer(task, 0.0)
        self.build()


class WithoutNames(Peer):
    """Among equal offers takes its own for the best."""

    def _holds(self, task: str) -> bool:
        winner, own = self.winner(task), self.offers[task][self.agent]
        return winner is None or winner[1] <= own.value


def _found_by_storms(kind: type[Peer]) -> bool:
    for seed in range(300):
        swarm = Swarm(seed, kind)
        swarm.storm(60)
        if swarm.conflicts() != [] and _never_settles(swarm):
            return True
    return False


def _never_settles(swarm: Swarm) -> bool:
    settle(swarm)
    return swarm.conflicts() != []


def test_ablation_ties_by_name() -> None:
    """Without a rule for equal offers, two peers do the same task for ever."""
    assert _found_by_storms(WithoutNames)


def test_ablation_counts_of_offers() -> None:
    """Without counts an old message brings back an offer that was taken back, and the peers do not come to rest."""

    def rests(kind: type[Peer]) -> bool:
        peers = [kind(AgentId(name), lambda path, _task: (2.0, len(path)), 1) for name in ("p0", "p1", "p2")]
        for peer in peers:
            peer.open(["t"])
        old = peers[1].message()
        peers[1].hear(peers[0].message())  # p1 is outbid by name, and takes its offer back.
        peers[2].hear(peers[1].message())
        peers[2].hear(old)
        return peers[2].offers["t"][AgentId("p1")].value == 0.0

    assert rests(Peer)
    assert not rests(WithoutCounts)


def test_ablation_giving_back_what_was_taken_later() -> None:
    """What was worth its offer only beside a task that is lost is given back; else it is kept under an offer that is not true."""

    def kept(kind: type[Peer]) -> list[str]:
        def worth(path: tuple[str, ...], task: str) -> tuple[float, int]:
            return (5.0 if task == "first" else 4.0 if "first" in path else 1.0), len(path)

        peer = kind(AgentId("p1"), worth, 2)
        peer.open(["first", "second"])
        assert peer.bundle == ["first", "second"]
        others = (("first", AgentId("p0"), Offer(1, 9.0)), ("second", AgentId("p0"), Offer(2, 2.0)))
        peer.hear(Message(others, ()))
        return peer.bundle

    assert kept(Peer) == []
    assert kept(WithoutGivingBack) == ["second"]


awards = st.builds(Award, st.integers(1, 3), st.integers(0, 3).map(float), st.sampled_from("abc").map(AgentId))
tables = st.dictionaries(st.sampled_from(["t1", "t2", "t3"]), awards)


@given(tables, tables, tables)
def test_tables_are_reconciled_to_the_same_whoever_asks(
    one: dict[str, Award], two: dict[str, Award], three: dict[str, Award]
) -> None:
    """In any order, grouped in any way, and again: one table, in which every award was in one of them."""
    merged = reconciled(one, two)[0]
    assert merged == reconciled(two, one)[0]
    assert reconciled(merged, two)[0] == merged
    assert reconciled(merged, three)[0] == reconciled(one, reconciled(two, three)[0])[0]
    assert all(award in (one.get(task), two.get(task)) for task, award in merged.items())


@pytest.mark.parametrize(
    ("ours", "theirs", "stands"),
    [
        (Award(1, 9.0, AgentId("a")), Award(2, 1.0, AgentId("b")), "b"),
        (Award(1, 9.0, AgentId("b")), Award(1, 1.0, AgentId("a")), "b"),
        (Award(1, 1.0, AgentId("b")), Award(1, 1.0, AgentId("a")), "a"),
    ],
)
def test_epoch_then_bid_then_name_decide_and_the_loser_is_told(ours: Award, theirs: Award, stands: str) -> None:
    """The later epoch stands whatever was bid, then the higher bid, then the first name; who has lost hears to whom."""
    merged, lost = reconciled({"t": ours}, {"t": theirs})
    loser = theirs if ours.agent == stands else ours
    assert merged["t"].agent == stands
    assert lost == [Lost("t", loser, merged["t"])]
