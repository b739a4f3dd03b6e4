"""The laws of the barrier, for any story: against a naive twin, and what no story may break."""

from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordination.barrier import Arrive, Barrier, BarrierInput, Break, Die, Expire, PointRefused, Reset, Return, Withdraw
from sync.points.events import PointBroken, PointEvent, PointReleased
from sync.points.showing import missing_of, shown, waits_at
from sync.points.state import PAST_KEPT, Point, fold
from sync.points.terms import PointTerms
from sync.values import Now

NAMES = ("a", "b", "c", "d", "e")


@st.composite
def terms(draw: st.DrawFn) -> PointTerms:
    count = draw(st.integers(2, 4))
    on_death = draw(st.sampled_from(("fail", "proceed", "replace")))
    quorum = draw(st.integers(1, count)) if on_death == "proceed" else 0
    parties = NAMES[:count] if draw(st.booleans()) else ()
    return PointTerms(count, parties, draw(st.sampled_from((0, 5_000))), on_death, quorum, draw(st.booleans()))  # type: ignore[arg-type]


AGENT = st.sampled_from(NAMES)
BOOT = st.sampled_from(("", "1", "2"))
NOBODY = st.just(())
ARRIVALS = st.builds(
    Arrive,
    AGENT,
    st.sampled_from(("", "x/1", "x/2")),
    st.integers(0, 3),
    st.sets(AGENT).map(lambda names: tuple(sorted(names))),
    st.sets(AGENT).map(lambda names: tuple(sorted(names))),
    st.booleans(),
    BOOT,
    st.integers(0, 3),
)
STEPS = st.one_of(
    ARRIVALS,
    ARRIVALS,
    st.builds(Arrive, AGENT, st.just(""), st.just(0), NOBODY, NOBODY, st.just(True), BOOT, st.integers(0, 3)),
    st.builds(Withdraw, AGENT, st.integers(0, 2), st.integers(0, 3), BOOT),
    st.builds(Die, AGENT, st.sampled_from(("left", "unreachable"))),
    st.builds(Return, AGENT, BOOT),
    st.builds(Expire, st.integers(1, 4)),
    st.builds(Break, st.just("run_stopping"), st.just("why")),
    st.builds(Reset, st.just("by a person")),
)
STORIES = st.lists(STEPS, max_size=40)


@dataclass
class Told:
    """A story, told to a barrier step by step."""

    barrier: Barrier
    events: list[PointEvent] = field(default_factory=list)
    now_ms: int = 1

    def tell(self, step: BarrierInput) -> list[PointEvent]:
        self.now_ms += 7
        try:
            events = self.barrier.decide(step, Now(self.now_ms, self.now_ms, 1))
        except PointRefused:
            return []
        for event in events:
            self.barrier.evolve(event)
        self.events += events
        return events


@dataclass
class Twin:
    """The same as people would say it: who is there, who is gone, and what follows, in sets, without events to fold."""

    terms: PointTerms
    here: dict[str, tuple[str, str, str]] = field(default_factory=dict)  # Agent -> whose place, what for, in which process.
    gone: set[str] = field(default_factory=set)  # Named, or (without names) those who died in this generation.
    generation: int = 1
    over: bool = False
    ends: list[tuple[int, bool, frozenset[str]]] = field(default_factory=list)
    said: list[tuple[str, str, int]] = field(default_factory=list)  # (agent, arrival, generation) that were released.
    left: set[str] = field(default_factory=set)  # Who gave up the last of its waits.
    waits: dict[str, tuple[str, int, int]] = field(default_factory=dict)  # Agent -> process, wait, generation.
    opened: bool = False  # Somebody is here, or was until its process crashed.

    def tell(self, step: BarrierInput) -> None:
        match step:
            case Arrive():
                self._arrive(step)
            case Withdraw(agent, generation, wait, boot) if generation in (0, self.generation):
                is_other = wait > 0 and agent in self.waits and self.waits[agent][1] != wait
                is_stranger = boot != "" and agent in self.here and self.here[agent][2] != boot
                if not is_other and not is_stranger and self.here.pop(agent, None) is not None:
                    self.left.add(agent)
                    self.opened = bool(self.here)
            case Die(agent, reason) if (
                not self.over and agent not in self.gone and (agent in self.here or agent in self.terms.parties)
            ):
                self._die(agent, reason)
            case Return(agent, boot) if agent in self.here:
                if boot and self.here[agent][2] not in ("", boot):
                    del self.here[agent]
                    self.left.add(agent)
            case Return(agent):
                self.gone.discard(agent)
            case Expire(generation) if generation == self.generation and self.opened:
                self._end(self.terms.on_death == "proceed" and len(self.here) >= self.terms.quorum)
            case Break() if self.opened:
                self._end(False)
            case Reset() if self.opened:
                self._end(False, again=True)
            case Reset() if self.over:
                self.over, self.generation = False, self.generation + 1
            case _:
                pass

    def _taken(self) -> set[str]:
        return {place or who for who, (place, *_) in self.here.items()}

    def _arrive(self, step: Arrive) -> None:
        if self.over or step.generation not in (0, self.generation):
            return
        if step.agent in self.here:
            boot, wait, _ = self.waits.get(step.agent, ("", 0, 0))
            if wait and boot == step.boot and step.wait > wait and not self._went_on(step):
                place = self.here.pop(step.agent)[0]
                self.here[step.agent] = place, step.arrival, step.boot
                self.waits[step.agent] = step.boot, step.wait, self.generation
                self.left.discard(step.agent)
            return
        if self._went_on(step):
            return
        boot, wait, generation = self.waits.get(step.agent, ("", 0, 0))
        is_late = bool(generation) and step.wait and boot == step.boot and step.wait <= wait
        if not step.generation and is_late and (step.wait < wait or generation != self.generation or step.agent in self.left):
            return
        taken, place = self._taken(), ""
        if self.terms.parties and step.agent not in self.terms.parties:
            free = [p for p in self.terms.parties if p not in taken and (p in self.gone or p in step.away) and p in step.fits]
            if self.terms.on_death != "replace" or not free:
                return
            place = free[0]
        elif (self.terms.parties and step.agent in taken) or (not self.terms.parties and not step.is_able):
            return
        self.here[step.agent], self.opened = (place, step.arrival, step.boot), True
        if step.wait:
            self.waits[step.agent] = step.boot, step.wait, self.generation
            self.left.discard(step.agent)
        self.gone.discard(step.agent)
        self._see()

    def _went_on(self, step: Arrive) -> bool:
        kept = [end[0] for end in self.ends[-PAST_KEPT:]]
        mine = [arrival for who, arrival, _ in self.said if who == step.agent and arrival]
        is_known = any((step.agent, step.arrival, g) in self.said for g in kept) or mine[-1:] == [step.arrival]
        return not step.generation and bool(step.arrival) and is_known

    def _die(self, agent: str, reason: str) -> None:
        if self.terms.on_death == "fail":
            if self.here:
                self.here.pop(agent, None)
                self._end(False, and_dead=agent)
            return
        if agent in self.terms.parties or (self.terms.on_death == "proceed" and not self.terms.parties):
            self.gone.add(agent)
        if self.here.pop(agent, None) is not None and reason != "unreachable":
            self.opened = bool(self.here)
        self._see()

    def _see(self) -> None:
        if not self.here:
            return
        without = self.gone if self.terms.on_death == "proceed" else set[str]()
        wanted = self.terms.count - len(without)
        if self.terms.on_death == "proceed" and max(wanted, len(self.here)) < self.terms.quorum:
            self._end(False)
        elif len(self.here) >= wanted:
            self._end(True)

    def _end(self, released: bool, *, again: bool = False, and_dead: str = "") -> None:
        self.ends.append((self.generation, released, frozenset(self.here)))
        if released:
            self.said += [(who, arrival, self.generation) for who, (_, arrival, *_) in self.here.items()]
        self.here, self.opened = {}, False
        if not self.terms.parties:
            self.gone = set()
        if self.terms.cyclic or again:
            self.generation += 1
        else:
            self.over = True


@given(terms(), STORIES)
@settings(max_examples=300, deadline=None)
def test_it_does_what_its_twin_does(promised: PointTerms, story: list[BarrierInput]) -> None:
    """Step by step: who is there, which generation it is, and how each ended."""
    told, twin = Told(Barrier("p", promised)), Twin(promised)
    for step in story:
        told.tell(step)
        twin.tell(step)
        point = told.barrier.point
        assert ({*point.arrived}, point.generation, point.is_over) == ({*twin.here}, twin.generation, twin.over), step
        ended = [e for e in told.events if isinstance(e, PointReleased | PointBroken)]
        assert [(e.generation, isinstance(e, PointReleased)) for e in ended] == [end[:2] for end in twin.ends]
        assert [frozenset(e.parties) for e in ended if isinstance(e, PointReleased)] == [e[2] for e in twin.ends if e[1]]


@given(terms(), STORIES)
@settings(max_examples=300, deadline=None)
def test_no_story_breaks_its_laws(promised: PointTerms, story: list[BarrierInput]) -> None:
    """Deciding changes nothing, said twice is said once, nobody waits for nobody, a generation ends once, and for enough."""
    told, ends = Told(Barrier("p", promised)), list[int]()
    for step in story:
        before = told.barrier.point.copy()
        events = told.barrier.decide(step, Now(told.now_ms + 7, 1, 1)) if not _refuses(told.barrier, step) else []
        assert told.barrier.point == before
        assert told.tell(step) == events
        for event in events:
            if isinstance(event, PointReleased):
                assert len({*event.parties}) == len(event.parties) >= (promised.quorum or promised.count)
            if isinstance(event, PointReleased | PointBroken):
                ends.append(event.generation)
        point = told.barrier.point
        assert not point.arrived or missing_of(promised, point)[1] > 0
        assert bool(point.opened_ms) == point.is_open >= bool(point.arrived)
        assert before.opened_ms in (0, point.opened_ms) or not point.opened_ms, "an opening is put off by nothing"
        assert len(waits_at("p", promised, point)) == len(point.arrived)
        assert len(point.dead) <= promised.count >= len(point.lost)
        if isinstance(step, Arrive) and step.agent in point.arrived:
            assert told.tell(step) == []
    assert ends == sorted({*ends})


@given(terms(), STORIES)
@settings(max_examples=200, deadline=None)
def test_a_replica_is_its_home(promised: PointTerms, story: list[BarrierInput]) -> None:
    """Folding the events, through bytes and from any snapshot on, gives the same state."""
    told = Told(Barrier("p", promised))
    for step in story:
        told.tell(step)
    half = len(told.events) // 2
    replica = Point()
    for event in told.events[:half]:
        fold(replica, event)
    restored = msgspec.msgpack.decode(msgspec.msgpack.encode(replica), type=Point)
    for event in told.events[half:]:
        kind = type(event)
        fold(restored, msgspec.msgpack.decode(msgspec.msgpack.encode(event), type=kind))
    assert restored == told.barrier.point
    assert msgspec.json.encode(shown("p", promised, restored)) == msgspec.json.encode(shown("p", promised, told.barrier.point))


def _refuses(barrier: Barrier, step: BarrierInput) -> bool:
    try:
        barrier.decide(step, Now(1, 1, 1))
    except PointRefused:
        return True
    return False


def told_of(promised: PointTerms, *story: BarrierInput) -> Told:
    told = Told(Barrier("lift", promised))
    for step in story:
        told.tell(step)
    return told


def test_an_arrival_that_was_released_goes_through_when_it_is_said_again() -> None:
    """By its name, in whichever generation the point is by now, as long as that is kept; a broken one counts anew."""
    told = told_of(PointTerms(2, cyclic=True), Arrive("a", "t/1"), Arrive("b", "u/1"), Arrive("c", "v/1"))
    past = told.barrier.standing(Arrive("a", "t/1"))
    assert past is not None
    assert (past.number, past.code, told.tell(Arrive("a", "t/1"))) == (1, "", [])
    told.tell(Break("run_stopping", "why"))
    assert told.barrier.standing(Arrive("c", "v/1")) is None
    assert told.tell(Arrive("c", "v/1")) != []


@pytest.mark.parametrize(
    ("agent", "generation", "code"),
    [("e", 0, "party_unknown"), ("a", 9, "generation_unknown"), ("e", 1, "generation_over")],
)
def test_what_makes_no_sense_is_refused(agent: str, generation: int, code: str) -> None:
    """With a code, and in words that name the agent or the generation."""
    told = told_of(PointTerms(2, ("a", "b"), cyclic=True), Arrive("a"), Arrive("b"))
    with pytest.raises(PointRefused, match=agent if generation < 2 else "9") as refused:
        told.barrier.decide(Arrive(agent, "", generation), Now(9, 9, 1))
    assert refused.value.code == code


def test_a_point_that_is_over_lets_late_parties_through_and_nobody_else() -> None:
    """Named ones; of a counted point all who belong there have been there."""
    named = told_of(PointTerms(3, ("a", "b", "c"), 1, "proceed", 1), Arrive("a"), Arrive("b"), Expire(1))
    late = named.barrier.standing(Arrive("c"))
    assert late is not None
    assert (late.code, [*late.parties]) == ("", ["a", "b"])
    counted = told_of(PointTerms(2), Arrive("a"), Arrive("b"))
    with pytest.raises(PointRefused, match="is not one of the 2 who went on"):
        counted.barrier.decide(Arrive("c"), Now(9, 9, 1))


def test_a_process_that_is_gone_takes_back_no_arrival_of_the_next_one() -> None:
    """Its withdrawal comes late, and the numbers of its waits are those of the new process, too."""
    told = told_of(PointTerms(2), Arrive("a", "t", boot="1", wait=2), Return("a", "2"), Arrive("a", "t", boot="2", wait=2))
    assert told.tell(Withdraw("a", 0, 2, "1")) == []
    assert told.tell(Withdraw("a", boot="1")) == []
    assert [*told.barrier.point.arrived] == ["a"]
    assert told.tell(Withdraw("a", 0, 2, "2")) != []
    assert not told.barrier.point.arrived


def test_who_arrives_anew_pushes_no_deadline_back() -> None:
    """It waits alone, again and again; only where it has truly left does the time begin anew."""
    told = told_of(PointTerms(2, deadline_ms=30_000), Arrive("a", "t", boot="1", wait=1))
    opened_ms = told.barrier.point.opened_ms
    for wait in range(2, 6):
        assert told.tell(Arrive("a", "t", boot="1", wait=wait)) != []
    assert told.barrier.point.opened_ms == opened_ms
    assert told.barrier.point.arrived["a"].at_ms > opened_ms
    told.tell(Withdraw("a", 0, 5, "1"))
    told.tell(Arrive("a", "t", boot="1", wait=6))
    assert told.barrier.point.opened_ms > opened_ms


def test_a_withdrawal_from_what_has_not_begun_is_refused() -> None:
    """And one from what is over changes nothing."""
    told = told_of(PointTerms(2, cyclic=True), Arrive("a"), Arrive("b"), Arrive("a"))
    with pytest.raises(PointRefused, match="generation 3 of lift has not begun"):
        told.barrier.decide(Withdraw("a", 3), Now(9, 9, 1))
    assert told.tell(Withdraw("a", 1)) == []
    assert [*told.barrier.point.arrived] == ["a"]
