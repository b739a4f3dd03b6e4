"""The checkers themselves: they accept what is right and find what is wrong."""

import asyncio
from collections.abc import Iterator
from math import inf
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.chain import Head
from sync.commit import Commit, Row
from sync.levels import Level
from sync.values import StreamId
from tests.sim.checkers.linearizability import Operation, broken_key, cas_step, linearizable, register_step
from tests.sim.checkers.promises import BOUNDED, Promises
from tests.sim.checkers.staleness import Read, Truth
from tests.sim.oracle import Broke
from tests.sim.plan import Plan
from tests.sim.process import CloudProcess
from tests.sim.world import World
from workflow.contract import Contract
from workflow.event import Event
from workflow.events import FragmentAdopted, TaskAssigned, encode


def test_porcupine_first_example() -> None:
    """Of two reads beside a put of 100, one may find 100 and one 0 (README of Porcupine)."""
    events = [
        Operation(0, 100, ("put", 100)),
        Operation(25, 75, ("get",), 100),
        Operation(30, 60, ("get",), 0),
    ]
    assert linearizable(0, register_step, events)


def test_porcupine_second_example() -> None:
    """Who reads 0 after somebody has read 200 and been answered has found a violation (README of Porcupine)."""
    events = [
        Operation(0, 100, ("put", 200)),
        Operation(10, 30, ("get",), 200),
        Operation(40, 90, ("get",), 0),
    ]
    assert not linearizable(0, register_step, events)


def test_unknown_outcome_may_have_taken_place_or_not() -> None:
    """A put without an answer may be seen, may never be seen, and is not unseen again."""
    put = Operation(0, inf, ("put", 1))
    assert linearizable(0, register_step, [put, Operation(1, 2, ("get",), 0)])
    assert linearizable(0, register_step, [put, Operation(1, 2, ("get",), 1)])
    assert linearizable(0, register_step, [put, Operation(1, 2, ("get",), 0), Operation(3, 4, ("get",), 1)])
    assert not linearizable(0, register_step, [put, Operation(1, 2, ("get",), 1), Operation(3, 4, ("get",), 0)])


def test_two_cannot_both_win() -> None:
    """Of two who compare with the same and set, one is told that it failed."""
    both = [Operation(0, 5, ("cas", 0, 1), True), Operation(0, 5, ("cas", 0, 2), True)]
    assert not linearizable(0, cas_step, both)
    assert linearizable(0, cas_step, [both[0], Operation(0, 5, ("cas", 0, 2), False)])


def test_keys_are_judged_one_by_one() -> None:
    """The violation is named by its key."""
    good = [Operation(0, 1, ("put", 1), key="a"), Operation(2, 3, ("get",), 1, key="a")]
    bad = [Operation(0, 1, ("put", 1), key="b"), Operation(2, 3, ("get",), 0, key="b")]
    assert broken_key(0, register_step, good) is None
    assert broken_key(0, register_step, [*good, *bad]) == "b"
    with pytest.raises(AssertionError, match="at most 300"):
        broken_key(0, register_step, [Operation(n, n, ("put", 1)) for n in range(301)])


@given(st.integers(0, 10_000))
def test_what_one_register_answers_is_linearizable_and_a_stale_answer_is_not(seed: int) -> None:
    """Operations that each take effect at a moment between call and answer pass; one read of a value that was overwritten before
    that read began does not."""
    chance, value, history, clock = Random(seed), 0, list[Operation](), 0.0
    for number in range(60):
        clock += chance.random()
        begun, ended = clock - chance.random(), clock + chance.random()
        if chance.random() < 0.5:
            value = number + 1
            history.append(Operation(begun, ended, ("put", value)))
        else:
            history.append(Operation(begun, ended, ("get",), value))
    assert linearizable(0, register_step, history)
    late = [Operation(100, 101, ("put", 1_000)), Operation(102, 103, ("put", 1_001)), Operation(104, 105, ("get",), 1_000)]
    assert not linearizable(0, register_step, [*history, *late])


def test_bounds_of_staleness() -> None:
    """K counts versions, T the time since the version that was shown had been replaced."""
    truth = Truth()
    for at_s in (1.0, 2.0, 3.0):
        truth.wrote("d", at_s)
    assert not truth.judge(Read("d", 3, 10.0, versions=1, time_s=0.5))
    assert not truth.judge(Read("d", 2, 10.0, versions=1))
    assert "2 versions behind" in truth.judge(Read("d", 1, 10.0, versions=1))
    assert not truth.judge(Read("d", 2, 3.4, time_s=0.5))
    assert "7.000 s old" in truth.judge(Read("d", 2, 10.0, time_s=0.5))
    assert "never was" in truth.judge(Read("d", 4, 10.0))
    assert not truth.judge(Read("d", 3, 2.5)), "a write under way may be seen"


HARBOUR = StreamId("harbour@1")
CONTRACT = Contract(Level("bounded", versions=3, time_ms=3_000))
BEGIN = TaskAssigned(1, 1, "anna", "anna-1")


class Bounded:
    """What a site decides of runs that may be 3 events and 3 s ahead of the cloud, before the checker of that."""

    def __init__(self) -> None:
        self.world = World(Plan(1, ()))
        self.world.cloud = CloudProcess(self.world, "cloud", Random(1))
        self.promises = Promises(self.world)

    def adopts(self, seq: int, run: str) -> None:
        self.decides(seq, run, FragmentAdopted("d@1", b"{}", "harbour", ["harbour"], b"\0", 1, contract=CONTRACT))

    def decides(self, seq: int, run: str, event: Event) -> None:
        row = Row(seq, HARBOUR, seq, 1, event.kind, run, 0, encode(event), b"", 0)
        self.promises.decided("harbour", Commit([row]))

    def waits(self, duration_s: float) -> None:
        self.world.loop.run_until_complete(asyncio.sleep(duration_s))


@pytest.fixture
def bounded() -> Iterator[Bounded]:
    story = Bounded()
    yield story
    story.world.loop.close()


def test_old_decisions_that_the_cloud_lacks_are_beyond_the_bound_of_time(bounded: Bounded) -> None:
    """A run whose adoption is 4 s old begins nothing before the cloud has that."""
    bounded.adopts(1, "r1")
    bounded.waits(4.0)
    with pytest.raises(Broke, match=f"{BOUNDED}: harbour begins work of r1 4.00 s ahead"):
        bounded.decides(2, "r1", BEGIN)
    bounded.world.cloud.platter.heads[HARBOUR] = Head(1, b"")
    bounded.decides(2, "r1", BEGIN)


def test_decisions_that_the_cloud_lacks_are_counted_run_by_run(bounded: Bounded) -> None:
    """Of 3 events a run may be ahead, whatever lies between them; a fourth is one too many."""
    bounded.adopts(1, "r1")
    bounded.adopts(2, "r2")
    for seq in (3, 4):
        bounded.decides(seq, "r1", BEGIN)
    bounded.decides(5, "r2", BEGIN)
    with pytest.raises(Broke, match=f"{BOUNDED}: harbour begins work of r1 4 events ahead"):
        bounded.decides(6, "r1", BEGIN)


def test_what_was_never_durable_is_nothing_that_the_cloud_lacks(bounded: Bounded) -> None:
    """A site dies before the commit of an adoption; its place is another's then, and the run is adopted again behind that."""
    bounded.adopts(1, "r1")
    bounded.adopts(2, "r2")
    bounded.waits(4.0)
    bounded.adopts(1, "r3")
    bounded.adopts(2, "r1")
    bounded.decides(3, "r1", BEGIN)
    bounded.decides(4, "r1", BEGIN)
    with pytest.raises(Broke, match=f"{BOUNDED}: harbour begins work of r1 4 events ahead"):
        bounded.decides(5, "r1", BEGIN)


def test_what_the_cloud_gave_back_is_nothing_that_it_lacks(bounded: Bounded) -> None:
    """A site on an old copy of its disk writes again what it had decided, however much that is; what it decides anew counts."""
    bounded.world.cloud.platter.heads[HARBOUR] = Head(5, b"")
    bounded.adopts(1, "r1")
    for seq in range(2, 9):
        bounded.decides(seq, "r1", BEGIN)
    with pytest.raises(Broke, match=f"{BOUNDED}: harbour begins work of r1 4 events ahead"):
        bounded.decides(9, "r1", BEGIN)
