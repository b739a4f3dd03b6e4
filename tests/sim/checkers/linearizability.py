"""Is a history linearizable? Wing and Gong's search with Lowe's memory of what was tried.

Wing, Gong, "Testing and verifying concurrent objects", 1993; Lowe, "Testing for linearizability", 2017 (the memo of done set and
state); Horn, Kroening, "Faster linearizability checking via P-compositionality", 2015 (keys are checked one by one).
"""

from collections.abc import Callable, Hashable, Iterable
from math import inf
from typing import Any, NamedTuple, TypeVar

S = TypeVar("S", bound=Hashable)
OPERATIONS_MAX = 300


class Operation(NamedTuple):
    """What somebody asked of a key at `call` and was answered at `ret` (inf: nobody knows whether it took place)."""

    call: float
    ret: float
    argument: Any
    answer: Any = None
    key: str = ""


Step = Callable[[S, Operation], tuple[bool, S]]
"""From a state by an operation: could it have been answered so, and the state after it."""


def linearizable(begin: S, step: Step[S], operations: Iterable[Operation]) -> bool:
    """Is there an order of all answered operations, and of some of the others, that keeps to real time and to `step`?"""
    history = sorted(operations, key=lambda operation: operation.call)
    must = sum(1 << place for place, operation in enumerate(history) if operation.ret != inf)
    seen: set[tuple[int, S]] = set()
    stack = [(0, begin)]
    while stack:
        done, state = stack.pop()
        if done & must == must:
            return True
        for place in _next(history, done):
            allowed, after = step(state, history[place])
            tried = (done | 1 << place, after)
            if allowed and tried not in seen:
                seen.add(tried)
                stack.append(tried)
    return False


def _next(history: list[Operation], done: int) -> list[int]:
    """Which operations can be the next: those that were called before any other one that is left was answered."""
    left = [place for place in range(len(history)) if not done >> place & 1]
    horizon = min((history[place].ret for place in left), default=0.0)
    return [place for place in left if history[place].call <= horizon]


def broken_key(begin: S, step: Step[S], operations: Iterable[Operation]) -> str | None:
    """The first key whose history is not linearizable; None if all are. A history has 300 operations at most."""
    by_key: dict[str, list[Operation]] = {}
    for operation in operations:
        by_key.setdefault(operation.key, []).append(operation)
    for key, history in sorted(by_key.items()):
        assert len(history) <= OPERATIONS_MAX, (
            f"{key}: {len(history)} operations, at most {OPERATIONS_MAX} are checked: use more keys"
        )
        if not linearizable(begin, step, history):
            return key
    return None


def register_step(state: Any, operation: Operation) -> tuple[bool, Any]:
    """A register: the argument is ("put", value) or ("get",). What nobody was answered fits."""
    if operation.argument[0] == "put":
        return True, operation.argument[1]
    return operation.ret == inf or operation.answer == state, state


def cas_step(state: Any, operation: Operation) -> tuple[bool, Any]:
    """A register with compare-and-set beside: ("cas", expected, value), answered by whether it was set."""
    if operation.argument[0] != "cas":
        return register_step(state, operation)
    _, expected, value = operation.argument
    succeeds = state == expected
    fits = operation.ret == inf or operation.answer == succeeds
    return fits, value if succeeds else state
