"""Ballots over a bad network: voters that change their minds, die and come back, and a node that restarts in the middle."""

from dataclasses import dataclass, field

from coordination.ballot import Ballot, BallotClosed, Cast, Gone, Returned, Tick, VoteRefused, VoteTaken
from coordination.tallying import Rule, Terms
from sync.event import Event
from tests.coordination.worlds.net import World

NAMES = tuple(f"agent-{n}" for n in range(5))
OPTIONS = ("yes", "no")
DEADLINE_MS = 1_500
ASK_AGAIN_MS = 150


@dataclass
class Voter:
    """Thinks anew whenever it is asked under a higher epoch. What was acknowledged it forgets."""

    name: str
    said: dict[tuple[str, int], str] = field(default_factory=dict)
    acknowledged: dict[str, str] = field(default_factory=dict)
    is_up: bool = True


@dataclass
class Node:
    """Asks two questions at once. Its log is `results` and `epochs`; all else is lost when it restarts."""

    world: World
    ballot_type: type[Ballot] = Ballot
    acknowledges_early: bool = False
    has_timer: bool = True
    voters: dict[str, Voter] = field(default_factory=lambda: {name: Voter(name) for name in NAMES})
    results: dict[str, list[BallotClosed]] = field(default_factory=dict)
    epochs: dict[str, int] = field(default_factory=dict)
    open: dict[str, Ballot] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    def begin(self) -> None:
        """Ask what is undecided, under the next epoch."""
        self.open.clear()
        for name in ("paint", "weld"):
            if name not in self.results:
                self.epochs[name] = epoch = self.epochs.get(name, 0) + 1
                terms = Terms(options=OPTIONS, weights=dict.fromkeys(NAMES, 1), rule=Rule.MAJORITY, quorum=2)
                self.open[name] = self.ballot_type(name, epoch, f"{name}?", terms, self.world.now_ms + DEADLINE_MS)
                self._ask(name, epoch)

    def _ask(self, name: str, epoch: int) -> None:
        ballot = self.open.get(name)
        if ballot is None or ballot.epoch != epoch:
            return
        for voter in ballot.waited_for():
            self.world.send(lambda voter=voter: self._asked(self.voters[voter], name, epoch))  # type: ignore[misc]
        if self.has_timer:
            self._take(name, ballot.step(Tick(), self.world.now_ms))
        self.world.later(ASK_AGAIN_MS, lambda: self._ask(name, epoch))

    def _asked(self, voter: Voter, name: str, epoch: int) -> None:
        if not voter.is_up or name in voter.acknowledged:
            return
        key = name, epoch
        if key not in voter.said:
            voter.said[key] = self.world.chance.choice((*OPTIONS, ""))
        cast = Cast(name, epoch, voter.name, voter.said[key])
        self.world.send(lambda: self._hear(cast))

    def _hear(self, cast: Cast) -> None:
        """A node that has lost its memory may hear a vote for what it asks now, of what it asked then."""
        for name, ballot in list(self.open.items()):
            if name == cast.ballot or type(ballot) is not Ballot:
                self._take(name, ballot.step(cast, self.world.now_ms))

    def _take(self, name: str, events: list[Event]) -> None:
        for event in events:
            match event:
                case VoteTaken(agent, option) if self.acknowledges_early:
                    self._acknowledge(name, agent, option)
                case BallotClosed():
                    self.results.setdefault(name, []).append(event)
                    self.open.pop(name, None)
                    for agent, option in event.votes.items():
                        self._acknowledge(name, agent, option)
                case VoteRefused():
                    pass

    def _acknowledge(self, name: str, agent: str, option: str) -> None:
        self.world.send(lambda: self.voters[agent].acknowledged.__setitem__(name, option))

    def kill_voter(self, name: str, back_ms: int) -> None:
        """It dies, and comes back without what it had said but not in order to say something else under the same epoch."""
        voter = self.voters[name]
        voter.is_up = False
        for ballot_name, ballot in list(self.open.items()):
            self._take(ballot_name, ballot.step(Gone(name), self.world.now_ms))
        self.world.later(back_ms, lambda: self._revive(voter))

    def _revive(self, voter: Voter) -> None:
        voter.is_up = True
        for name, ballot in list(self.open.items()):
            self._take(name, ballot.step(Returned(voter.name), self.world.now_ms))

    def check(self) -> list[str]:
        """What must hold once all is quiet."""
        wrong = [f"{name} was decided {len(found)} times" for name, found in self.results.items() if len(found) != 1]
        wrong += [f"{name} was never decided" for name in ("paint", "weld") if name not in self.results]
        for name, found in self.results.items():
            for agent, option in found[0].votes.items():
                said = self.voters[agent].said.get((name, found[0].epoch))
                if said != option:
                    wrong.append(f"{agent} said {said!r} to {name} under epoch {found[0].epoch}, and {option!r} was counted")
            for voter in self.voters.values():
                if name in voter.acknowledged and found[0].votes.get(voter.name) != voter.acknowledged[name]:
                    wrong.append(f"{voter.name} was told that its vote on {name} counts, and it does not")
        return wrong


def play(seed: int, **changes: object) -> list[str]:
    """One story: what went wrong in it."""
    world = World(seed)
    node = Node(world, **changes)  # type: ignore[arg-type]
    world.later(0, node.begin)
    for _ in range(world.chance.randint(0, 3)):
        world.later(world.chance.randint(50, 1_400), node.begin)  # The node restarts.
    for _ in range(world.chance.randint(0, 4)):
        name, at_ms, back_ms = world.chance.choice(NAMES), world.chance.randint(0, 1_500), world.chance.randint(100, 2_000)
        world.later(at_ms, lambda name=name, back_ms=back_ms: node.kill_voter(name, back_ms))  # type: ignore[misc]
    world.run(20_000)
    return node.check()
