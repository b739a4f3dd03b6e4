"""Who founds a group, who belongs to it, and who only bears the name of one that does."""

from collections.abc import Callable
from dataclasses import replace as changed
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordination.group.founding import Founding, Refusal, compare, group_id
from coordination.group.values import GroupConfig
from coordination.raft.marks import Mark, Marks

NAMES = ("a", "b", "c")


def founders(names: tuple[str, ...] = NAMES, mark: str = "") -> dict[str, Founding]:
    return {name: Founding("harbour", name, f"{name}{mark}", names) for name in names}


def founded(names: tuple[str, ...] = NAMES, mark: str = "") -> dict[str, Founding]:
    """A group whose members have all met."""
    members = founders(names, mark)
    for one in members.values():
        for other in members.values():
            if one is not other:
                one.hear(other.greeting)
    return members


@given(st.permutations([(one, other) for one in NAMES for other in NAMES if one != other]), st.integers(0, 6))
def test_all_who_found_a_group_found_the_same(meetings: list[tuple[str, str]], again: int) -> None:
    """In whatever order they meet, and however often: before all were heard there is none, then there is one, of all of them."""
    members = founders()
    for one, other in [*meetings[:again], *meetings]:
        members[one].hear(members[other].greeting)
        for member in members.values():
            assert bool(member.group) == (not member.lacking)
    assert {member.group for member in members.values()} == {group_id("harbour", {"a": "a", "b": "b", "c": "c"})}


def test_one_that_died_while_it_was_founded_is_taken_back() -> None:
    """It had been heard, so the others went on; it finds itself among the founders, and needs to meet only one of them."""
    members = founded()
    late = Founding("harbour", "c", "c", NAMES)
    assert members["a"].hear(late.greeting) is False
    assert late.hear(members["a"].greeting) is True
    assert late.group == members["a"].group


def test_a_lost_disk_is_refused_by_both_sides() -> None:
    """The same name with another instance would vote again where it has voted."""
    members = founded()
    wiped = Founding("harbour", "c", "another", NAMES)
    with pytest.raises(Refusal, match="has it lost its disk") as theirs:
        members["a"].hear(wiped.greeting)
    with pytest.raises(Refusal, match="under a name that was never used") as ours:
        wiped.hear(members["a"].greeting)
    assert (theirs.value.code, theirs.value.is_ours) == ("lost_disk", False)
    assert (ours.value.code, ours.value.is_ours) == ("lost_disk", True)
    joining = Founding("harbour", "c", "another", NAMES, joins=True)
    with pytest.raises(Refusal, match="has it lost its disk"):
        members["a"].hear(joining.greeting)


def test_who_has_less_than_is_remembered_of_it_is_refused_by_both_sides() -> None:
    """Each says what it remembers of the other: the one that was set back finds it so itself, however late it hears of it. Of
    others both learn; what somebody says of itself is not yet remembered."""
    greeting = founded()["c"].greeting
    ours, had = Mark(3, 3, 50), Mark(4, 4, 90)
    says = msgspec.structs.replace(greeting, marks={"a": had, "b": Mark(1, 1, 9), "c": Mark(4, 4, 95)})
    with pytest.raises(Refusal, match="member a of the group harbour holds less") as we:
        compare("harbour", says, Marks("a"), ours)
    assert (we.value.code, we.value.is_ours) == ("set_back", True)
    with pytest.raises(Refusal, match=r"member c of the group harbour holds less.*edge group remove c") as they:
        compare("harbour", says, Marks("a", {"c": Mark(4, 4, 96)}), had)
    assert (they.value.code, they.value.is_ours) == ("set_back", False)
    remembers = Marks("a", {"c": Mark(4, 4, 95)})
    compare("harbour", says, remembers, had)
    compare("harbour", greeting, remembers, had)
    assert remembers.known == {"b": Mark(1, 1, 9), "c": Mark(4, 4, 95)}


def test_a_new_box_joins_under_a_new_name() -> None:
    """It takes the group from whoever greets it first, and founds none."""
    members = founded()
    fresh = Founding("harbour", "d", "d", (*NAMES, "d"), joins=True)
    assert fresh.found() is False
    members["a"].hear(fresh.greeting)
    assert fresh.hear(members["a"].greeting) is True
    assert fresh.group == members["a"].group
    assert members["b"].hear(fresh.greeting) is False


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda greeting: msgspec.structs.replace(greeting, site="yard"), "another_group"),
        (lambda greeting: msgspec.structs.replace(greeting, group="0" * 32), "another_group"),
        (lambda greeting: msgspec.structs.replace(greeting, member="a"), "name"),
        (lambda greeting: msgspec.structs.replace(greeting, member=""), "name"),
        (lambda greeting: msgspec.structs.replace(greeting, instance=""), "name"),
        (lambda greeting: msgspec.structs.replace(greeting, protocol=0), "protocol"),
        (lambda greeting: msgspec.structs.replace(greeting, member="z", group=""), "not_a_member"),
    ],
)
def test_strangers_are_refused(change: Callable[[Any], Any], code: str) -> None:
    """Another site, another group of the same name, the own name, no name, an unknown one: each by its reason."""
    members = founded()
    with pytest.raises(Refusal) as refused:
        members["a"].hear(change(members["b"].greeting))
    assert refused.value.code == code


def test_founders_name_the_same_peers() -> None:
    """Else each would take another majority for one."""
    one, other = Founding("harbour", "a", "a", NAMES), Founding("harbour", "b", "b", ("a", "b", "d"))
    with pytest.raises(Refusal, match=r"b would found a group of a, b, d, a one of a, b, c"):
        one.hear(other.greeting)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"member": "z"}, "member z is none of the peers"),
        ({"peers": {"a": "h:1", "b": "h:1", "c": "h:3"}}, "the same address"),
        ({"peers": {"a": "h:1", "b/": "h:2", "c": "h:3"}}, "member 'b/'"),
        ({"tick_ms": 0}, "positive"),
    ],
)
def test_settings_that_cannot_be_are_named(settings: dict[str, Any], words: str) -> None:
    """At the border, before anything is opened."""
    config = GroupConfig("harbour", "a", {"a": "h:1", "b": "h:2", "c": "h:3"})
    with pytest.raises(ValueError, match=words):
        changed(config, **settings)


def test_a_group_is_founded_by_an_odd_number() -> None:
    """Two or four bear no more losses than one or three; of a group that is founded, as many are named as there are."""
    peers = {name: f"h:{number}" for number, name in enumerate("abcd")}
    assert "by 1, 3 or 5 members, not by 4 (a, b, c, d)" in GroupConfig("harbour", "a", peers).founding_problem()
    assert GroupConfig("harbour", "a", peers, joins=True).founding_problem() == ""
    assert GroupConfig("harbour", "a", {"a": "h:1"}).founding_problem() == ""
