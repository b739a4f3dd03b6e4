"""Runs at rest are bytes, and nobody who names one notices."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from workflow.shelf import Shelf


@dataclass
class Jar:
    """A value that can be changed."""

    run: str
    count: int = 0
    is_busy: bool = False


def shelf(whole_max: int = 2) -> Shelf[Jar]:
    jars = Shelf[Jar](lambda jar: b"%d" % jar.count, lambda run, body: Jar(run, int(body)), lambda jar: not jar.is_busy)
    jars.whole_max = whole_max
    return jars


def filled(count: int = 5) -> Shelf[Jar]:
    jars = shelf()
    for number in range(count):
        jars[f"r{number}"] = Jar(f"r{number}", number)
        jars.rest(f"r{number}")
    return jars


def packed(jars: Shelf[Jar]) -> list[str]:
    return [run for run in jars if jars.is_packed(run)]


def test_those_that_rest_longest_are_packed_and_a_few_stay_whole() -> None:
    """Only `tidy` packs, so whoever took a value keeps it until then."""
    jars = filled()
    assert packed(jars) == []
    jars.tidy()
    assert packed(jars) == ["r0", "r1", "r2"]


def test_what_is_named_is_whole_again_and_may_be_changed() -> None:
    """A change after it was packed is kept, and the order is that in which the runs came."""
    jars = filled()
    jars.tidy()
    jars["r1"].count = 10
    assert not jars.is_packed("r1")
    jars.tidy()
    assert [(run, jar.count) for run, jar in jars.looks()] == [("r0", 0), ("r1", 10), ("r2", 2), ("r3", 3), ("r4", 4)]


def test_a_busy_one_is_never_packed() -> None:
    """It was said to rest, and something has happened since."""
    jars = filled()
    jars["r0"].is_busy = True
    jars.tidy()
    assert packed(jars) == ["r1", "r2"]


def test_looking_makes_nothing_whole() -> None:
    """All may be looked at without a place in memory for each."""
    jars = filled()
    jars.tidy()
    assert jars.look("r0") == Jar("r0", 0)
    assert jars.look("strange") is None
    assert (len(list(jars.looks())), jars.packed("r2"), packed(jars)) == (5, b"2", ["r0", "r1", "r2"])


def test_after_a_start_only_those_that_do_not_rest_are_whole() -> None:
    """What became of a value while it was looked at decides."""
    jars = shelf(whole_max=0)
    for number in range(4):
        jars.put(f"r{number}", b"%d" % number)
    for run, jar in jars.revive():
        jar.is_busy = run == "r2"
    assert [run for run, _ in jars.whole()] == ["r2"]


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(["add", "busy", "idle", "drop", "tidy", "look"]))))
def test_it_holds_what_a_dict_would(steps: list[tuple[str, str]]) -> None:
    """Whatever is packed in between."""
    jars, plain = shelf(whole_max=1), dict[str, int]()
    for run, step in steps:
        if step == "tidy":
            jars.tidy()
        elif step == "look":
            assert (jar.count if (jar := jars.look(run)) else None) == plain.get(run)
        elif step == "drop":
            assert (jars.pop(run, None) is None) == (plain.pop(run, None) is None)
        else:
            jar = jars.get(run)
            if jar is None:
                jar = jars[run] = Jar(run)
            jar.count, jar.is_busy = jar.count + 1, step == "busy"
            plain[run] = plain.get(run, 0) + 1
            jars.rest(run)
        assert list(jars) == list(plain)
    assert {run: jar.count for run, jar in jars.items()} == plain
