"""Hierarchical machines: what is left and entered, histories, refusals, and what no machine can be built of."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workflow.player import PLAYER
from workflow.machine import NOTHING, Composite, InvalidTransition, Machine, Memory, Tree
from workflow.problems import DefinitionError


def test_entering_a_composite_goes_to_its_first_leaf() -> None:
    """However deep it lies; a leaf is its own."""
    assert PLAYER.start == "off"
    assert PLAYER.enter("on") == "on.stopped"
    assert PLAYER.enter("on.playing") == "on.playing.slow"
    assert PLAYER.enter("on.playing.fast") == "on.playing.fast"


def test_a_step_leaves_and_enters_what_lies_between() -> None:
    """Innermost first on the way out, outermost first on the way in, and what is around both stays."""
    step = PLAYER.transition("on.stopped", "on.playing")
    assert (step.target, step.exited, step.entered) == ("on.playing.slow", ("on.stopped",), ("on.playing", "on.playing.slow"))
    step = PLAYER.transition("on.playing.fast", "off")
    assert (step.exited, step.entered) == (("on.playing.fast", "on.playing", "on"), ("off",))


def test_a_step_to_the_state_around_begins_it_anew() -> None:
    """It is left and entered, and its history knows what was left."""
    step = PLAYER.transition("on.playing.fast", "on")
    assert step.exited == ("on.playing.fast", "on.playing", "on")
    assert step.entered == ("on", "on.stopped")
    assert step.memory == {"on": "on.playing.fast"}


def test_what_holds_around_holds_inside() -> None:
    """`on -> held` is allowed in every leaf of `on`; the leaf's own come first."""
    assert PLAYER.allowed("on.playing.slow") == ("on.stopped", "on.playing.fast", "off", "held", "on")
    assert PLAYER.transition("on.playing.slow", "held").target == "held"


def test_history_returns_to_the_exact_leaf() -> None:
    """Not to the initial one, unless nothing was left before."""
    held = PLAYER.transition("on.playing.fast", "held")
    back = PLAYER.resume("held", held.memory)
    assert back.target == "on.playing.fast"
    assert back.entered == ("on", "on.playing", "on.playing.fast")
    assert PLAYER.resume("held", NOTHING).target == "on.stopped"


def test_a_refusal_lists_what_is_allowed() -> None:
    """With the machine, the state and the target, and whether there is such a state at all."""
    with pytest.raises(InvalidTransition) as refused:
        PLAYER.transition("off", "on.playing")
    assert str(refused.value) == "the player is off and cannot become on.playing; allowed from here: on"
    assert refused.value.allowed == ("on",)
    with pytest.raises(InvalidTransition, match=r"^the player is held and has no state gone; allowed from here: on\.\*, off$"):
        PLAYER.transition("held", "gone")
    with pytest.raises(InvalidTransition):
        PLAYER.resume("off", NOTHING)


@pytest.mark.parametrize(
    ("states", "transitions", "initial", "final", "expected"),
    [
        ({"a": None}, {}, "b", ["a"], "initial: unknown state 'b'"),
        ({"a": None}, {"a": ["bb"]}, "a", (), "transitions.a[0]: unknown state 'bb'"),
        ({"a": None}, {"b": ["a"]}, "a", ["a"], "transitions: unknown state 'b'"),
        ({"a": None, "b": None}, {"b": ["a"]}, "a", ["a", "b"], "states.b: cannot be reached from a"),
        ({"a": None, "b": None}, {"a": ["b"]}, "a", (), "states.b: nothing leads out of it, and it is not final"),
        ({"a": None, "b": Composite({"c": None})}, {"a": ["b"]}, "a", ["a", "b.c"], "transitions.a[0]: b has no initial state"),
        ({"a": None, "b": Composite({"c": None}, "d")}, {"a": ["b.c"]}, "a", ["b.c"], "states.b.initial: unknown state 'd'"),
        ({"a": None, "b": Composite({"c": None}, "c")}, {"a": ["b.*"]}, "a", ["b.c"], "transitions.a[0]: b keeps no history"),
        ({"a": None, "b": Composite({})}, {"a": ["a"]}, "a", (), "states.b: has no states inside"),
        ({"a": None, "b": None}, {"a": ["b", "b"]}, "a", ["b"], "transitions.a[1]: b is named twice"),
        ({"a b": None}, {}, "a b", ["a b"], "is no name of a state"),
        ({"a": None}, {"a": ["a"]}, "a", ["x"], "final: unknown leaf 'x'"),
        ({"a": None, "b": None, "c": None}, {"a": ["b", "c"], "b": ["b"]}, "a", ["c"], "no final state can be reached"),
    ],
)
def test_a_machine_that_cannot_be_is_refused(
    states: Tree, transitions: dict[str, list[str]], initial: str, final: list[str], expected: str
) -> None:
    """With the place of each mistake."""
    with pytest.raises(DefinitionError) as refused:
        Machine.build("m", states, transitions, initial=initial, final=final)
    assert expected in str(refused.value)


# Laws


@st.composite
def trees(draw: st.DrawFn, depth: int = 3) -> dict[str, Composite | None]:
    names = draw(st.lists(st.sampled_from("abcd"), min_size=1, max_size=3, unique=True))
    inner = trees(depth - 1) if depth > 1 else st.nothing()
    states: dict[str, Composite | None] = {}
    for name in names:
        inside = draw(st.none() | inner)
        states[name] = Composite(inside, draw(st.sampled_from(sorted(inside))), draw(st.booleans())) if inside else None
    return states


def paths(states: Tree, outer: str = "") -> list[str]:
    found = []
    for name, inner in states.items():
        found += [outer + name, *(paths(inner.states, f"{outer}{name}.") if inner else [])]
    return found


def histories(states: Tree, outer: str = "") -> list[str]:
    found = []
    for name, inner in states.items():
        if inner is not None:
            found += [f"{outer}{name}.*"] * inner.history + histories(inner.states, f"{outer}{name}.")
    return found


@st.composite
def machines(draw: st.DrawFn) -> Machine:
    """Any tree, with transitions from any state to any other or to its history, and a root that leads everywhere."""
    states = draw(trees())
    known = paths(states)
    targets = [*known, *histories(states)]
    transitions = {source: draw(st.lists(st.sampled_from(targets), max_size=3, unique=True)) for source in known}
    transitions["root"] = known
    leaves = [path for path in known if not any(other.startswith(f"{path}.") for other in known)]
    return Machine.build("m", {"root": None, **states}, transitions, initial="root", final=["root", *leaves])


@dataclass
class Walk:
    """A machine that goes wherever it is sent, replayed state by state."""

    machine: Machine
    path: str = ""
    memory: Memory = field(default_factory=lambda: NOTHING)
    left: dict[str, str] = field(default_factory=dict)

    def go(self, target: str) -> None:
        before = self.path
        step = self.machine.transition(before, target, self.memory)
        configuration = [*self.machine.around(before)]
        for state in step.exited:
            assert configuration.pop(0) == state, "left in another order than it lies"
        for state in step.entered:
            assert self.machine.parents[state] == (configuration[0] if configuration else ""), "entered from elsewhere"
            configuration.insert(0, state)
            assert state == step.target or state in self.machine.initials
        assert configuration == [*self.machine.around(step.target)]
        assert step.target in self.machine.leaves
        self.expect(target, step.target)
        self.left |= {state: before for state in step.exited if state in self.machine.history}
        assert dict(step.memory) == self.left
        self.path, self.memory = step.target, step.memory

    def expect(self, target: str, leaf: str) -> None:
        """Where a step must have led, by its target alone."""
        if not target.endswith(".*"):
            assert leaf == self.machine.enter(target)
        elif (state := target[:-2]) in self.left:
            assert leaf == self.left[state], "not where it was left"
        else:
            assert leaf == self.machine.enter(state)


@given(machines(), st.lists(st.integers(0, 50), max_size=20))
def test_exits_and_entries_lead_to_the_target(machine: Machine, choices: list[int]) -> None:
    """Replayed from where the machine was they end in the target, a history ends in the leaf that was left, and what is not
    listed for the leaf or around it is refused."""
    walk = Walk(machine, machine.start)
    for choice in choices:
        allowed = machine.allowed(walk.path)
        assert set(allowed) == {to for state in machine.around(walk.path) for to in machine.targets.get(state, ())}
        for target in (*machine.parents, "nowhere"):
            if target not in allowed:
                with pytest.raises(InvalidTransition):
                    machine.transition(walk.path, target, walk.memory)
        if not allowed:
            return
        walk.go(allowed[choice % len(allowed)])
