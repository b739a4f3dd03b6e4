"""A world for one cyclic barrier: agents on machines that die and come back, a network that loses, repeats and delays, and a home
that is restarted. Time is virtual, one seed replays it.

What must hold is checked as it happens: a generation ends once, is released only while all of its parties are truly there, all
are told the same of it, and nobody waits past a deadline, or for one who is known to be gone.
"""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from coordination.barrier import Arrive, Barrier, Die, Expire, PointRefused, Return
from sync.points.events import PointArrived, PointBroken, PointEvent, PointReleased
from sync.points.showing import missing_of
from sync.points.terms import PointTerms
from sync.values import Now

LEASE_MS = 2_000
AGAIN_MS = 150
LATE_MS_MAX = 500
WORK_MS = (100, 400)
REPEATED_MS = (300, 3_000)  # What was begun when the process died is done again first.
DOWN_MS = (100, 4_000)
FAULTS_UNTIL_MS = 20_000
ENDS_MS = 120_000
PHASES = 12

Make = Callable[[str, PointTerms], Barrier]


class Wrong(AssertionError):
    """Something that must hold does not."""


@dataclass
class Machine:
    """An agent that works and then comes to the barrier, `PHASES` times. What it has passed is on its disk. If it `counts`, it
    says for which generation it comes, and not for what: `meant` is the next one, on its disk, too."""

    name: str
    boot: int = 1
    up: bool = True
    cut: bool = False
    passed: int = 0
    waiting: bool = False
    generation: int = 0
    counts: bool = False
    meant: int = 1
    turn: int = 0  # Of the present wait: what is told to an earlier one is not heard.

    @property
    def arrival(self) -> str:
        return "" if self.counts else f"{self.name}/{self.passed + 1}"

    def is_at(self, generation: int, arrival: str) -> bool:
        """Is it there, for this?"""
        return self.waiting and (self.meant == generation if self.counts else self.arrival == arrival)


@dataclass
class World:
    """One seed."""

    seed: int
    terms: PointTerms
    make: Make = Barrier
    now_ms: int = 0
    events: list[PointEvent] = field(default_factory=list)
    told: dict[int, str] = field(default_factory=dict)
    home_up: bool = True
    home_since_ms: int = 0
    known_dead: set[str] = field(default_factory=set)
    _queue: list[tuple[int, int, Callable[[], None]]] = field(default_factory=list)
    _count: int = 0

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        names = self.terms.parties or tuple(f"m{number}" for number in range(self.terms.count))
        counts = self.chance.random() < 0.4
        self.machines = {name: Machine(name, counts=counts) for name in names}
        self.registered = {name: str(machine.boot) for name, machine in self.machines.items()}
        self.barrier = self.make("beat", self.terms)

    def run(self) -> "World":
        for machine in self.machines.values():
            self.later(self.chance.randrange(*WORK_MS), partial(self.come, machine, machine.boot))
        for _ in range(self.chance.randrange(2, 16)):
            self.later(self.chance.randrange(FAULTS_UNTIL_MS), self.fault)
        while self._queue and self.now_ms < ENDS_MS:
            self.now_ms, _, step = heapq.heappop(self._queue)
            step()
            self.check()
        self.check_the_end()
        return self

    def later(self, in_ms: int, step: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._queue, (self.now_ms + in_ms, self._count, step))

    # Faults -----------------------------------------------------------------------------------------------------------

    def fault(self) -> None:
        machine = self.chance.choice([*self.machines.values()])
        match self.chance.randrange(4):
            case 0 if machine.up:
                machine.up = machine.waiting = False
                self.later(self.chance.randrange(*DOWN_MS), lambda: self.restart(machine))
                self.later(LEASE_MS, partial(self.expire_lease, machine, machine.boot))
            case 1 if machine.up and not machine.cut:
                machine.cut = True
                self.later(self.chance.randrange(*DOWN_MS), lambda: self.heal(machine))
                self.later(LEASE_MS, partial(self.expire_lease, machine, machine.boot))
            case 2 if self.home_up:
                self.home_up = False
                self.later(self.chance.randrange(100, 1_500), self.restart_home)
            case _:
                pass

    def restart(self, machine: Machine) -> None:
        machine.up, machine.boot, machine.generation = True, machine.boot + 1, 0
        self.register(machine)
        self.later(self.chance.randrange(*REPEATED_MS), lambda: self.come(machine, machine.boot))

    def heal(self, machine: Machine) -> None:
        machine.cut = False
        if machine.up:
            self.register(machine)

    def register(self, machine: Machine) -> None:
        """A session begins, as soon as the home is there."""
        if not self.home_up or machine.cut:
            self.later(AGAIN_MS, lambda: self.register(machine))
            return
        self.known_dead.discard(machine.name)
        self.registered[machine.name] = str(machine.boot)
        self.decide(Return(machine.name, str(machine.boot)))

    def expire_lease(self, machine: Machine, boot: int) -> None:
        """Nobody has heard of it for a lease."""
        if (machine.up and not machine.cut) or machine.boot != boot or machine.name in self.known_dead:
            return
        if not self.home_up:
            self.later(AGAIN_MS, lambda: self.expire_lease(machine, boot))
            return
        self.known_dead.add(machine.name)
        self.decide(Die(machine.name, "unreachable"))

    def restart_home(self) -> None:
        """What it had recorded, it has; timers are in its log, too."""
        self.home_up, self.home_since_ms, self.barrier = True, self.now_ms, self.make("beat", self.terms)
        for event in self.events:
            self.barrier.evolve(event)

    # Coming to the barrier --------------------------------------------------------------------------------------------

    def come(self, machine: Machine, boot: int) -> None:
        if not machine.up or machine.boot != boot or machine.passed >= PHASES:
            return
        machine.waiting, machine.generation, machine.turn = True, 0, machine.turn + 1
        self.say(machine, machine.turn)

    def say(self, machine: Machine, turn: int) -> None:
        """Until it is answered, again and again."""
        if not (machine.up and machine.waiting and machine.turn == turn):
            return
        generation = machine.meant if machine.counts else machine.generation
        boot = str(machine.boot)
        asked = Arrive(machine.name, machine.arrival, generation, boot=boot, wait=0 if machine.counts else turn)
        self.send(machine, lambda: self.hear(machine, turn, asked))
        self.later(AGAIN_MS, lambda: self.say(machine, turn))

    def hear(self, machine: Machine, turn: int, asked: Arrive) -> None:
        """At the home."""
        if not self.home_up or machine.name in self.known_dead or asked.boot != self.registered[machine.name]:
            return  # It has no session: what a process said that is dead by now, is not heard.
        answer: tuple[str, int]
        try:
            past = self.barrier.standing(asked)
            if past is not None:
                answer = ("broken" if past.code else "released", past.number)
            else:
                generation = self.barrier.point.generation
                self.decide(asked)
                answer = ("waiting", generation)
        except PointRefused as refused:
            answer = (refused.code, asked.generation)
        self.send(machine, lambda: self.learn(machine, turn, *answer))

    def learn(self, machine: Machine, turn: int, state: str, generation: int) -> None:
        """At the agent."""
        if not (machine.up and machine.waiting and machine.turn == turn):
            return
        if state != "waiting":
            machine.meant = generation + (state != "generation_unknown")
        if state == "waiting":
            machine.generation = machine.generation or generation
        elif state == "released":
            if self.told.setdefault(generation, state) != state:
                raise Wrong(f"{machine.name} was told that generation {generation} is released, others that it is broken")
            machine.waiting, machine.passed = False, machine.passed + 1
            self.later(self.chance.randrange(*WORK_MS), lambda: self.come(machine, machine.boot))
        else:
            if state == "broken" and self.told.setdefault(generation, state) != state:
                raise Wrong(f"{machine.name} was told that generation {generation} is broken, others that it is released")
            machine.waiting = False
            self.later(self.chance.randrange(*WORK_MS), lambda: self.come(machine, machine.boot))

    def send(self, machine: Machine, deliver: Callable[[], None]) -> None:
        """Lost, late, or twice, while there are faults."""
        if machine.cut or not machine.up:
            return
        is_bad = self.now_ms < FAULTS_UNTIL_MS
        for _ in range(2 if is_bad and self.chance.random() < 0.3 else 1):
            if not (is_bad and self.chance.random() < 0.25):
                self.later(self.chance.randrange(1, LATE_MS_MAX if is_bad else 20), deliver)

    # The home's decisions ---------------------------------------------------------------------------------------------

    def decide(self, asked: Any) -> None:
        point = self.barrier.point
        before = point.generation, point.opened_ms
        for event in self.barrier.decide(asked, Now(self.now_ms, self.now_ms, 1)):
            self.check_event(event)
            self.events.append(event)
            self.barrier.evolve(event)
        if (point.generation, point.opened_ms) != before and point.opened_ms and self.terms.deadline_ms:
            self.later(self.terms.deadline_ms, partial(self.elapse, point.generation, point.opened_ms))

    def elapse(self, generation: int, since: int) -> None:
        """A timer is kept in the log: of one that was set anew the earlier never fires."""
        if not self.home_up:
            self.later(AGAIN_MS, lambda: self.elapse(generation, since))
        elif self.barrier.point.opened_ms == since:
            self.decide(Expire(generation))

    # What must hold ---------------------------------------------------------------------------------------------------

    def check_event(self, event: PointEvent) -> None:
        match event:
            case PointArrived(_, generation, agent):
                arrived = [
                    e for e in self.events if isinstance(e, PointArrived) and (e.agent, e.generation) == (agent, generation)
                ]
                left = [e for e in self.events if getattr(e, "agent", "") == agent and not isinstance(e, PointArrived)]
                if len(arrived) > len([e for e in left if e.generation == generation]):
                    raise Wrong(f"{agent} arrived twice in generation {generation}")
            case PointReleased(_, generation, parties):
                self.check_end(generation)
                if len(parties) < (self.terms.quorum or self.terms.count):
                    raise Wrong(f"generation {generation} was released for {parties} alone")
                for name in parties:
                    self.check_party(name, generation)
                self.check_phases(parties)
            case PointBroken(_, generation):
                self.check_end(generation)
            case _:
                pass

    def check_end(self, generation: int) -> None:
        ended = [e.generation for e in self.events if isinstance(e, PointReleased | PointBroken)]
        if generation in ended or generation != len(ended) + 1:
            raise Wrong(f"generation {generation} ends after {ended}")

    def check_party(self, name: str, generation: int) -> None:
        """Is it truly there, for what it said? One of which nobody can know yet that it died, is believed to be."""
        machine = self.machines[name]
        if not machine.up or machine.cut or self.registered[name] != str(machine.boot):
            return
        known = self.barrier.point.arrived.get(name)
        arrival = known.name if known is not None else machine.arrival  # The last one arrives by this very decision.
        if not machine.is_at(generation, arrival):
            raise Wrong(f"generation {generation} was released for {name}, which is not there for {arrival}")

    def check_phases(self, parties: list[str]) -> None:
        """Where nobody goes on without the others, all are as far as each other: nobody waits twice for the same."""
        at = {name: self.barrier.point.arrived.get(name) for name in parties}
        phases = {
            known.name.partition("/")[2] if known is not None else str(self.machines[n].passed + 1) for n, known in at.items()
        }
        if self.terms.on_death != "proceed" and not self.machines[parties[0]].counts and len(phases) > 1:
            raise Wrong(f"released for {parties}, who are at {sorted(phases)}")

    def check(self) -> None:
        point, terms = self.barrier.point, self.terms
        if not self.home_up or not point.arrived:
            return
        late_ms = self.now_ms - max(point.opened_ms + terms.deadline_ms, self.home_since_ms)
        if terms.deadline_ms and late_ms > AGAIN_MS:
            raise Wrong(f"{[*point.arrived]} wait {late_ms} ms past the deadline")
        first = next(e for e in self.events if isinstance(e, PointArrived) and e.generation == point.generation)
        if point.opened_ms != first.at_ms:
            raise Wrong(f"generation {point.generation} counts from {point.opened_ms}, and began with {first}")
        if missing_of(terms, point)[1] == 0:
            raise Wrong(f"{[*point.arrived]} wait for nobody")
        if terms.on_death == "fail" and (gone := sorted(self.known_dead & {*point.arrived})):
            raise Wrong(f"{gone} are known to be gone, and the others wait for them")

    def check_the_end(self) -> None:
        """Long after the last fault everybody has passed as often as he wanted, or waits for one that has had enough."""
        stuck = [m.name for m in self.machines.values() if m.passed < PHASES]
        done = [m.name for m in self.machines.values() if m.passed >= PHASES]
        if stuck and not done:
            raise Wrong(f"{stuck} are still on their way: {self.barrier.point}")

    def releases(self) -> int:
        return sum(isinstance(event, PointReleased) for event in self.events)


def terms_of(seed: int) -> PointTerms:
    """Named or counted, with and without a deadline, and each of the rules of death."""
    chance = random.Random(-seed)
    count = chance.randrange(2, 5)
    parties = tuple(f"m{number}" for number in range(count)) if chance.random() < 0.5 else ()
    on_death = chance.choice(("fail", "proceed", "replace"))
    quorum = chance.randrange(1, count + 1) if on_death == "proceed" else 0
    deadline_ms = chance.choice((0, 600, 3_000, 8_000))
    return PointTerms(count, parties, deadline_ms, on_death, quorum, cyclic=True)  # type: ignore[arg-type]


def play(seed: int, make: Make = Barrier) -> World:
    """One seed to its end. Raises Wrong."""
    return World(seed, terms_of(seed), make).run()
