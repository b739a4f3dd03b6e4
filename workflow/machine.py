"""Hierarchical state machines as data: which states there are, which lie inside which, and what may follow what.

After Harel, "Statecharts: a visual formalism for complex systems" (1987), with the order of exits and entries of SCXML (W3C 2015,
section 3.13): from the leaf outward, then from outside inward. A state inside others is written with dots
(`active.executing.step_validation`); a machine is always in one leaf. There are no parallel regions.

A transition may be allowed from any state around the leaf: `active -> paused` holds wherever inside `active` the machine is.
Every transition leaves and enters all that lies between the two leaves and the innermost state around source *and* target; a
state that is left for itself is left and entered anew. The target `active.*` is the history of `active` (Harel's H*): the very
leaf that was left last, or the initial one. What was left is no part of the machine but a `Memory` that the caller keeps.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from workflow.problems import DefinitionError, Place, Problems, choices

HISTORY = "*"
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")

Memory = Mapping[str, str]
NOTHING: Memory = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Composite:
    """A state with states inside. `initial` is the one entered with it; with `history` it is known which one was left."""

    states: "Tree"
    initial: str = ""
    history: bool = False


Tree = Mapping[str, Composite | None]


class InvalidTransition(ValueError):
    """The machine may not go there from here. `allowed` are the targets that it may go to."""

    def __init__(self, machine: str, source: str, target: str, allowed: tuple[str, ...], known: bool) -> None:
        self.source, self.target, self.allowed = source, target, allowed
        what = f"cannot become {target}" if known else f"has no state {target}"
        super().__init__(f"{machine} is {source} and {what}; allowed from here: {choices(allowed)}")


@dataclass(frozen=True, slots=True)
class Transition:
    """From leaf to leaf. `exited` are the states left, innermost first; `entered` those entered, outermost first."""

    source: str
    target: str
    exited: tuple[str, ...]
    entered: tuple[str, ...]
    memory: Memory = field(compare=False)


@dataclass(frozen=True, slots=True, eq=False)
class Machine:
    """States and transitions, checked once by `build`. `start` is the leaf that it begins in."""

    name: str
    start: str
    parents: Mapping[str, str]  # Of every state; "" is around the outermost.
    initials: Mapping[str, str]  # Of every composite.
    leaves: tuple[str, ...]
    final: frozenset[str]
    history: frozenset[str]
    targets: Mapping[str, tuple[str, ...]]  # As declared, by the source's path.

    @classmethod
    def build(
        cls,
        name: str,
        states: Tree,
        transitions: Mapping[str, Sequence[str]],
        *,
        initial: str,
        final: Collection[str] = (),
    ) -> "Machine":
        """Check and make a machine. Raises DefinitionError with every mistake and its place."""
        problems = Problems()
        machine = _draw(name, states, transitions, initial, final, problems)
        if problems:
            raise DefinitionError(problems.found, problems.left_out)
        return machine

    def __contains__(self, path: str) -> bool:
        return path in self.parents

    def around(self, path: str) -> Iterator[str]:
        """The state itself, then those around it, innermost first."""
        while path:
            yield path
            path = self.parents[path]

    def enter(self, path: str) -> str:
        """The leaf that one is in after entering the state."""
        while path in self.initials:
            path = self.initials[path]
        return path

    def allowed(self, path: str) -> tuple[str, ...]:
        """Where it may go from this leaf: what the leaf itself allows, then what the states around it allow."""
        return tuple(dict.fromkeys(target for state in self.around(path) for target in self.targets.get(state, ())))

    def transition(self, path: str, target: str, memory: Memory = NOTHING) -> Transition:
        """What is left and entered on the way from the leaf `path` to `target`. Raises InvalidTransition."""
        allowed = self.allowed(path)
        if target not in allowed:
            raise InvalidTransition(self.name, path, target, allowed, _state(target) in self)
        state = _state(target)
        leaf = self.enter(state) if state == target else memory.get(state) or self.enter(state)
        return self._path(path, leaf, self.parents[state], memory)

    def resume(self, path: str, memory: Memory) -> Transition:
        """Back to the leaf that was left. Raises InvalidTransition if from here no history can be entered."""
        for target in self.allowed(path):
            if target.endswith(HISTORY):
                return self.transition(path, target, memory)
        raise InvalidTransition(self.name, path, HISTORY, self.allowed(path), known=False)

    def is_final(self, path: str) -> bool:
        """May it rest there for ever?"""
        return path in self.final

    def _path(self, source: str, leaf: str, outer: str, memory: Memory) -> Transition:
        kept = {"", *self.around(outer)}
        exited = []
        for state in self.around(source):
            if state in kept:
                break
            exited.append(state)
        inside = set(self.around(source)) - set(exited)
        entered = [state for state in self.around(leaf) if state not in inside][::-1]
        left = {state: source for state in exited if state in self.history}
        return Transition(source, leaf, tuple(exited), tuple(entered), MappingProxyType({**memory, **left}) if left else memory)


# Building -------------------------------------------------------------------------------------------------------------


def _draw(
    name: str, states: Tree, transitions: Mapping[str, Sequence[str]], initial: str, final: Collection[str], problems: Problems
) -> Machine:
    parents, initials, history = dict[str, str](), dict[str, str](), set[str]()
    _walk(states, "", ("states",), parents, initials, history, problems)
    if initial not in states:
        problems.add_unknown(("initial",), "state", initial, states)
    composites = set(parents.values())
    machine = Machine(
        name=name,
        start="",
        parents=MappingProxyType(parents),
        initials=MappingProxyType(initials),
        leaves=tuple(path for path in parents if path not in composites),
        final=frozenset(final),
        history=frozenset(history),
        targets=MappingProxyType({source: tuple(targets) for source, targets in transitions.items()}),
    )
    _check_transitions(machine, composites, problems)
    _check_final(machine, problems)
    if not problems:
        machine = replace(machine, start=machine.enter(initial))
        _check_reach(machine, problems)
    return machine


def _walk(
    states: Tree,
    outer: str,
    place: Place,
    parents: dict[str, str],
    initials: dict[str, str],
    history: set[str],
    problems: Problems,
) -> None:
    for name, inner in states.items():
        path, here = f"{outer}.{name}" if outer else name, (*place, name)
        if not NAME.fullmatch(name):
            problems.add(here, "is no name of a state", "letters, digits, _ and -, not beginning with a digit")
        parents[path] = outer
        if inner is None:
            continue
        if not inner.states:
            problems.add(here, "has no states inside", "at least one, or None for a leaf")
        if inner.initial in inner.states:
            initials[path] = f"{path}.{inner.initial}"
        elif inner.initial:
            problems.add_unknown((*here, "initial"), "state", inner.initial, inner.states)
        if inner.history:
            history.add(path)
        _walk(inner.states, path, (*here, "states"), parents, initials, history, problems)


def _check_transitions(machine: Machine, composites: set[str], problems: Problems) -> None:
    for source, targets in machine.targets.items():
        if source not in machine:
            problems.add_unknown(("transitions",), "state", source, machine.parents)
        for number, target in enumerate(targets):
            place, state = ("transitions", source, number), _state(target)
            if state not in machine:
                problems.add_unknown(place, "state", target, machine.parents)
            elif target in targets[:number]:
                problems.add(place, f"{target} is named twice", "each target once")
            elif state != target and state not in machine.history:
                problems.add(place, f"{state} keeps no history", choices(sorted(machine.history)))
            elif machine.enter(state) in composites:
                problems.add(place, f"{machine.enter(state)} has no initial state to enter", "a state inside it, or an initial")


def _check_final(machine: Machine, problems: Problems) -> None:
    for state in sorted(machine.final):
        if state not in machine.leaves:
            problems.add_unknown(("final",), "leaf", state, machine.leaves)
    for leaf in machine.leaves:
        if not machine.allowed(leaf) and leaf not in machine.final:
            problems.add(("states", *leaf.split(".")), "nothing leads out of it, and it is not final", "a transition, or final")


def _check_reach(machine: Machine, problems: Problems) -> None:
    """Every leaf can be come to, and from every leaf an end."""
    into = {leaf: {machine.enter(_state(target)) for target in machine.allowed(leaf)} for leaf in machine.leaves}
    reached = reach([machine.start], into)
    backward: dict[str, set[str]] = {leaf: set() for leaf in machine.leaves}
    for leaf, leaves in into.items():
        for target in leaves:
            backward[target].add(leaf)
    ending = reach(machine.final, backward)
    for leaf in machine.leaves:
        place = ("states", *leaf.split("."))
        if leaf not in reached:
            problems.add(place, f"cannot be reached from {machine.start}", "a transition into it")
        elif machine.final and leaf not in ending:
            problems.add(place, "no final state can be reached from it", f"a way to {choices(sorted(machine.final))}")


def _state(target: str) -> str:
    """The state of a target, which may be that state's history."""
    return target.removesuffix(f".{HISTORY}")


def reach(begin: Iterable[str], into: Mapping[str, Collection[str]]) -> set[str]:
    """All that can be come to from `begin`, which is reached itself."""
    found, left = set[str](), list(begin)
    while left:
        leaf = left.pop()
        if leaf not in found:
            found.add(leaf)
            left += sorted(into[leaf])
    return found
