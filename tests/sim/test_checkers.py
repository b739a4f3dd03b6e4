"""The checkers themselves: they accept what is right and find what is wrong."""

from math import inf
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sim.checkers.linearizability import Operation, broken_key, cas_step, linearizable, register_step
from tests.sim.checkers.staleness import Read, Truth


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
