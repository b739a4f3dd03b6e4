"""Who takes what, of several that each say what they take: looked up once, at the start of a core."""

from collections.abc import Iterable
from typing import TypeVar

K = TypeVar("K")
T = TypeVar("T")


def apart(each: Iterable[dict[K, T]]) -> dict[K, T]:
    """All of it as one, where two that take the same are a mistake. Raises AssertionError, which names it."""
    found: dict[K, T] = {}
    for taken in each:
        twice = found.keys() & taken.keys()
        assert not twice, f"two take {', '.join(sorted(map(str, twice)))}"
        found |= taken
    return found


def together(each: Iterable[dict[K, T]]) -> dict[K, list[T]]:
    """For each thing all that take it, in their order."""
    found: dict[K, list[T]] = {}
    for taken in each:
        for key, value in taken.items():
            found.setdefault(key, []).append(value)
    return found
