"""Peers without an auctioneer: in a net that loses, delays, repeats and parts, they agree soon, and well."""

from collections.abc import Callable
from itertools import product
from random import Random

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tiercel.agreeing import Chosen, Message, Offer, Peer

Net = list[tuple[int, int]]
seeds = st.integers(0, 2**32 - 1)
worths = st.sampled_from(["steady", "rising", "wild"])


class Swarm:
    """Peers with random values for tasks, on a random connected net. A task is worth the same whatever else a peer does; more
    beside others (`rising`); or anything at all (`wild`)."""

    def __init__(self, seed: int, kind: type[Peer] = Peer, *, worths: str = "steady", few: bool = False) -> None:
        chance = self.chance = Random(seed)
        count, self.tasks = chance.randint(2, 3 if few else 5), [f"t{n}" for n in range(chance.randint(1, 4 if few else 8))]
        self.values = [{task: chance.randint(1, 5) * 1.0 for task in self.tasks} for _ in range(count)]
        self.seed, self.worths = seed, worths
        self.room = chance.randint(1, 3)
        self.peers = [kind(f"p{n}", self.worth_of(n), self.room) for n in range(count)]
        chain: Net = [(n, chance.randrange(n)) for n in range(1, count)]
        self.net = chain + [(a, b) for a in range(count) for b in range(a) if (a, b) not in chain and chance.random() < 0.2]
        for peer in self.peers:
            peer.open(self.tasks)

    def worth_of(self, number: int) -> Callable[[tuple[str, ...], str], tuple[float, int]]:
        def worth(path: tuple[str, ...], task: str) -> tuple[float, int]:
            if self.worths == "wild":
                return Random(f"{self.seed}/{number}/{sorted(path)}/{task}").randint(1, 9) * 1.0, len(path)
            more = 3.0 * len(path) if self.worths == "rising" else 0.0
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


@settings(max_examples=150, deadline=None)
@given(seeds, worths)
@example(19949, "rising")
@example(582, "rising")
def test_all_agree_within_the_rounds_that_theory_gives(seed: int, worths: str) -> None:
    """On a net that holds: one award per task, known to all, after min(tasks, peers x room) x diameter rounds; then silence."""
    swarm = Swarm(seed, worths=worths)
    assert _conflicts_in_time(swarm) == []
    for _ in range(swarm.diameter()):
        swarm.round()
    assert not swarm.round()


def _conflicts_in_time(swarm: Swarm) -> list[str]:
    for _ in range(min(len(swarm.tasks), len(swarm.peers) * swarm.room) * swarm.diameter()):
        swarm.round()
    return swarm.conflicts()


@settings(max_examples=100, deadline=None)
@given(seeds, worths)
def test_they_agree_on_what_one_would_choose_greedily_for_all(seed: int, worths: str) -> None:
    """The best pair of a peer and a task first, by what the task adds at most, then the best of the rest: the same end."""
    swarm = Swarm(seed, worths=worths)
    settle(swarm)
    assert [peer.bundle for peer in swarm.peers] == _greedily(swarm)


def _greedily(swarm: Swarm) -> list[list[str]]:
    bundles: list[list[str]] = [[] for _ in swarm.peers]
    left = list(swarm.tasks)
    while pairs := [(-_most(swarm, n, b, task), n, task) for n, b in enumerate(bundles) if len(b) < swarm.room for task in left]:
        _, n, task = min(pairs)
        bundles[n].append(task)
        left.remove(task)
    return bundles


def _most(swarm: Swarm, number: int, bundle: list[str], task: str) -> float:
    return min(swarm.worth_of(number)(tuple(bundle[:length]), task)[0] for length in range(len(bundle) + 1))


@settings(max_examples=70, deadline=None)
@given(seeds, worths)
def test_a_storm_changes_nothing_of_the_end(seed: int, worths: str) -> None:
    """Whatever was lost, late, doubled or overtaken: once messages arrive again, all agree."""
    swarm = Swarm(seed, worths=worths)
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
    newcomer = Peer("a0", lambda path, _task: (99.0, len(path)), 1)
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
        self.settle()
        return True


class WithoutGivingBack(Peer):
    """Keeps what it took after a task that it has lost."""

    def _chosen(self) -> list[Chosen]:
        own = [(task, self.offers[task][self.agent].value) for task in self.bundle]
        kept = [(task, value) for task, value in own if self._beats(task, value)]
        return [Chosen(task, value, place) for place, (task, value) in enumerate(kept)] or super()._chosen()


class WithoutNames(Peer):
    """Among equal offers takes its own for the best."""

    def _beats(self, task: str, value: float) -> bool:
        others = [offer.value for agent, offer in self.offers.get(task, {}).items() if agent != self.agent]
        return value >= max(others, default=0.0)


class WithoutCeiling(Peer):
    """Offers what a task is worth beside what it has taken before, also if that is more than it was worth without."""

    def _ceiling(self, value: float, before: float | None) -> float:
        return value


class WithoutAnyChoosing(Peer):
    """Keeps what it has while it wins it, though something better has come free."""

    def _chosen(self) -> list[Chosen]:
        held = [task for task in self.bundle if task in self.tasks]
        lost = next((n for n, task in enumerate(held) if not self._beats(task, self.offers[task][self.agent].value)), len(held))
        kept = [Chosen(task, self.offers[task][self.agent].value, n) for n, task in enumerate(held[:lost])]
        if len(kept) == self.room:
            return kept
        free = self.tasks.difference(each.task for each in kept)
        path = tuple(each.task for each in kept)
        values = {task: self.worth(path, task)[0] for task in sorted(free)}
        won = [task for task in values if self._beats(task, values[task])]
        if not won:
            return kept
        best = max(won, key=lambda task: values[task])
        return [*kept, Chosen(best, values[best], len(kept))]


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


def _first_late(kind: type[Peer], worths: str) -> int:
    return next((seed for seed in range(3_000) if _conflicts_in_time(Swarm(seed, kind, worths=worths))), -1)


def test_ablation_worth_only_falls() -> None:
    """Where a task may be worth more beside others, offers that are over by then hold up better ones for longer."""
    assert _first_late(WithoutCeiling, "rising") >= 0


def test_ablation_what_comes_free_is_taken() -> None:
    """Who keeps what it took while a better task was another's ends elsewhere than the best choice for all."""
    swarms = [Swarm(seed, WithoutAnyChoosing, worths="wild") for seed in range(300)]
    for swarm in swarms:
        settle(swarm)
    assert any([peer.bundle for peer in swarm.peers] != _greedily(swarm) for swarm in swarms)


def test_ablation_ties_by_name() -> None:
    """Without a rule for equal offers, two peers do the same task for ever."""
    assert _found_by_storms(WithoutNames)


def test_ablation_counts_of_offers() -> None:
    """Without counts an old message brings back an offer that was taken back, and the peers do not come to rest."""

    def rests(kind: type[Peer]) -> bool:
        peers = [kind(name, lambda path, _task: (2.0, len(path)), 1) for name in ("p0", "p1", "p2")]
        for peer in peers:
            peer.open(["t"])
        old = peers[1].message()
        peers[1].hear(peers[0].message())  # p1 is outbid by name, and takes its offer back.
        peers[2].hear(peers[1].message())
        peers[2].hear(old)
        return peers[2].offers["t"]["p1"].value == 0.0

    assert rests(Peer)
    assert not rests(WithoutCounts)


def test_ablation_giving_back_what_was_taken_later() -> None:
    """What was worth its offer only beside a task that is lost is offered anew, else under what is not true."""

    def offered(kind: type[Peer]) -> float:
        def worth(path: tuple[str, ...], task: str) -> tuple[float, int]:
            return (5.0 if task == "first" else 2.0 if "first" in path else 4.0), len(path)

        peer = kind("p1", worth, 2)
        peer.open(["first", "second"])
        assert peer.bundle == ["first", "second"]
        peer.hear(Message((("first", "p0", Offer(1, 9.0)),), ()))
        return peer.offers["second"]["p1"].value

    assert offered(Peer) == 4.0
    assert offered(WithoutGivingBack) == 2.0


def test_what_is_begun_stays_with_who_began_it() -> None:
    """A higher offer comes too late; a peer that was begun with and is silent keeps it, and its offers are free."""
    low, high = Peer("a", _always(1.0), 2), Peer("b", _always(5.0), 2)
    low.open(["t", "u"])
    assert low.begin("t") == 1.0
    high.open(["t", "u"])
    assert high.bundle == ["t", "u"]
    high.hear(low.message())
    assert (high.bundle, high.awards()) == (["u"], {"t": "a", "u": "b"})
    high.leave("a")
    assert (high.bundle, high.awards()["t"], low.begun()) == (["u"], "a", ["t"])


def _always(value: float) -> Callable[[tuple[str, ...], str], tuple[float, int]]:
    return lambda path, _: (value, len(path))
