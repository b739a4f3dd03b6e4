"""The judge of what clients of lists saw, against one that tries every order of everything."""

from math import inf
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.coordination.raft.lists import EMPTY, is_explained
from tests.sim.checkers.linearizability import Operation, linearizable

VALUES = ("a", "b", "c", "d")


def slow_step(state: tuple[str, ...], operation: Operation) -> tuple[bool, tuple[str, ...]]:
    """The list itself is the state."""
    if operation.argument[0] == "read":
        return operation.ret == inf or operation.answer == state, state
    after = (*state, operation.argument[1])
    return operation.ret == inf or operation.answer == len(after), after


@st.composite
def histories(draw: st.DrawFn) -> list[Operation]:
    """Appends of different values, answered or not, and reads; what they say is near to what could be."""
    order = draw(st.permutations(VALUES))
    found: list[Operation] = []
    asked: list[tuple[Any, ...]] = [("append", value) for value in draw(st.permutations(VALUES))[: draw(st.integers(1, 4))]]
    asked += [("read",)] * draw(st.integers(0, 3))
    for argument in asked:
        call = draw(st.integers(0, 12))
        ret = draw(st.one_of(st.just(inf), st.integers(call + 1, call + 6)))
        read = tuple(order[: draw(st.integers(0, 4))]) if draw(st.integers(0, 9)) else tuple(draw(st.permutations(VALUES))[:2])
        answer: Any = read if argument[0] == "read" else draw(st.integers(1, 4))
        found.append(Operation(call, ret, argument, None if ret == inf else answer, "k0"))
    return found


@settings(max_examples=400)
@given(histories())
def test_the_judge_says_what_the_slow_one_says(history: list[Operation]) -> None:
    """Of any small history."""
    assert is_explained(history) == linearizable(EMPTY, slow_step, history)


def test_what_many_were_not_answered_is_judged_at_once() -> None:
    """Fifteen appends that nobody knows anything of may stand in any order; an acknowledged value that is missing is noticed."""
    lost = [Operation(n, inf, ("append", f"x{n}"), None, "k0") for n in range(15)]
    kept = Operation(20, 21, ("append", "kept"), 1, "k0")
    seen = Operation(22, 23, ("read",), ("kept",), "k0")
    assert is_explained([*lost, kept, seen])
    assert not is_explained([*lost, kept, seen._replace(answer=("x3",))])
