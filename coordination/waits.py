"""Who waits for whom: what can no longer go on by itself, the circle in it, and who gives way.

A node (a task, a run, an agent) goes on once each of its waits is met; a wait is met once enough of those that it is on have gone
on. So a wait for all members of a group, for one of two parties at a sync point, and for two of three forklifts are one thing:
weights that have to sum up to a need. What cannot go on is found by reduction: whoever waits for nothing goes on, and then those
whose waits are met by that; who is left waits in a circle (Holt, "Some deadlock properties of computer systems", 1972; the waits
are the AND-OR model of Knapp, "Deadlock detection in distributed databases", 1987, 3).

A wait that those who are known could not meet even together waits for somebody else, who may come: it is in no circle.

    left = stuck(roots, expand)
    for steps in circles(left):
        victim, rule = choose(candidates)

Who gives way is the one that an older or more urgent one would wound (Rosenkrantz, Stearns, Lewis, "System level concurrency
control", 1978): but only once there is a circle, for what is undone for a circle that never closes helps nobody.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

NODES_MAX = 100_000
"""So many nodes are looked at; those beyond count as if they went on, so what is found is there all the same."""


class Node(NamedTuple):
    """A task of a run; task -1 is the run as a whole."""

    run: str
    task: int


class Wait(NamedTuple):
    """A node waits for those in `on`, each with its weight, until they make up the `need`. `kind` is for programs (resource,
    line, members, needs, group, child, run, sync_point, barrier), `what` its name."""

    kind: str
    what: str
    on: tuple[tuple[Node, int], ...]
    need: int


class Step(NamedTuple):
    """One edge of a circle: `node` waits, by a wait of this kind, for `on`."""

    node: Node
    kind: str
    what: str
    on: Node


class Candidate(NamedTuple):
    """One that could give way. `run` tells the age: ids sort by time. `done` is the work that would be undone."""

    node: Node
    priority: int
    run: str
    done: int


Expand = Callable[[Node], Sequence[Wait]]
Stuck = Mapping[Node, tuple[Wait, ...]]


def stuck(roots: Iterable[Node], expand: Expand, nodes_max: int = NODES_MAX) -> dict[Node, tuple[Wait, ...]]:
    """Of all that the roots wait for, directly or not: those that cannot go on, with the waits that nothing will meet."""
    known = _explore(roots, expand, nodes_max)
    left = {node: [wait.need for wait in waits] for node, waits in known.items()}
    waiters: dict[Node, list[tuple[Node, int, int]]] = {}
    for node, waits in known.items():
        for number, wait in enumerate(waits):
            for on, weight in wait.on:
                waiters.setdefault(on, []).append((node, number, weight))
    going = [node for node, waits in known.items() if not waits]
    gone = set(going)
    while going:
        for node, number, weight in waiters.get(going.pop(), ()):
            needs = left[node]
            needs[number] -= weight
            if node not in gone and all(need <= 0 for need in needs):
                gone.add(node)
                going.append(node)
    return {
        node: tuple(wait for wait, need in zip(waits, left[node], strict=True) if need > 0)
        for node, waits in known.items()
        if node not in gone
    }


def _explore(roots: Iterable[Node], expand: Expand, nodes_max: int) -> dict[Node, tuple[Wait, ...]]:
    known: dict[Node, tuple[Wait, ...]] = {}
    stack = sorted(set(roots), reverse=True)
    while stack:
        node = stack.pop()
        if node in known:
            continue
        waits = tuple(filter(_can_be_met, expand(node))) if len(known) < nodes_max else ()
        known[node] = waits
        stack.extend(on for wait in waits for on, _ in wait.on if on not in known)
    return known


def _can_be_met(wait: Wait) -> bool:
    """Is there anything to wait for, and could those that it is on meet it?"""
    return 0 < wait.need <= sum(weight for _, weight in wait.on)


def circles(left: Stuck) -> list[list[Step]]:
    """Circles among those that are stuck, no two of which share a node: the same for the same `left`, whatever the order."""
    found: list[list[Step]] = []
    taken: set[Node] = set()
    for node in sorted(left):
        circle = circle_from(left, node)
        if not taken.intersection(step.node for step in circle):
            taken.update(step.node for step in circle)
            found.append(circle)
    return found


def circle_from(left: Stuck, node: Node) -> list[Step]:
    """The circle that one comes to from `node` by following who cannot go on; it begins at its least node."""
    path: dict[Node, Step] = {}
    while node not in path:
        path[node] = step = step_from(left, node)
        node = step.on
    circle, first = [path[node]], node
    while (node := circle[-1].on) != first:
        circle.append(path[node])
    least = min(range(len(circle)), key=lambda place: circle[place].node)
    return circle[least:] + circle[:least]


def step_from(left: Stuck, node: Node) -> Step:
    """Whom one that is stuck waits for in vain: the first of those that are stuck too."""
    for wait in left[node]:
        on = min((on for on, _ in wait.on if on in left), default=None)
        if on is not None:
            return Step(node, wait.kind, wait.what, on)
    raise AssertionError(f"{node} is stuck, and nobody that it waits for is")


def trail(node: Node, expand: Expand, steps_max: int) -> list[Step]:
    """From `node` to the first it waits for, from there on likewise, until somebody waits for nobody, or was there before."""
    steps: list[Step] = []
    seen = {node}
    while len(steps) < steps_max:
        wait = next(filter(_can_be_met, expand(node)), None)
        if wait is None:
            break
        steps.append(Step(node, wait.kind, wait.what, on := min(on for on, _ in wait.on)))
        if on in seen:
            break
        seen.add(node := on)
    return steps


ONLY = "the only one that could"
RULES = ("the lowest priority", "the youngest run", "the least work done", "the last by name")


def choose(candidates: Sequence[Candidate]) -> tuple[Candidate, str]:
    """Who gives way, and by which rule: the lowest priority, then the youngest, then who has done least, then by name."""
    assert candidates, "somebody has to give way"
    left, rule = list(dict.fromkeys(candidates)), ONLY
    keys: tuple[Callable[[Candidate], object], ...] = (
        lambda c: -c.priority,
        lambda c: c.run,
        lambda c: -c.done,
        lambda c: c.node,
    )
    for key, word in zip(keys, RULES, strict=True):
        best = max(map(key, left))  # type: ignore[type-var]
        kept = [candidate for candidate in left if key(candidate) == best]
        if len(left) == 1:
            break
        if len(kept) < len(left):
            rule = word
        left = kept
    return left[0], rule
