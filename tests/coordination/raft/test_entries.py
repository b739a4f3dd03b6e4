"""The log of one node, by itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordination.raft.entries import Entries
from coordination.raft.values import Entry, Stored, founded


def log_of(*terms: int) -> Entries:
    """A log behind its founding snapshot, all of it durable."""
    entries = tuple(Entry(term, index) for index, term in enumerate(terms, 2))
    return Entries.load(Stored(entries=entries, snapshot=founded(("a", "b", "c"))))


def test_a_word_of_an_earlier_term_is_not_believed() -> None:
    """Entry 2 of term 2 is written, overwritten by term 3, and brought back under term 4 (the append ABA race): that the first
    write is done says nothing of the third, which is still on its way."""
    log = log_of()
    log.append([Entry(2, 2)])
    first = log.attest(2)
    log.offered = 2
    log.append([Entry(3, 2)])
    log.offered = 2
    log.append([Entry(2, 2)])
    log.offered = 2
    third = log.attest(4)
    assert not log.settled(first, 4)
    assert log.stable == 1
    assert log.settled(third, 4)
    assert log.stable == 2


def test_equal_entries_stay_and_different_ones_take_the_rest_along() -> None:
    """What a leader sends again changes nothing; what differs replaces all that lay behind it (section 5.3)."""
    log = log_of(1, 1, 2)
    log.append([Entry(1, 2), Entry(1, 3)])
    assert (log.last, log.stable) == (4, 4)
    log.append([Entry(1, 2), Entry(3, 3)])
    assert (log.last, log.last_term, log.stable) == (3, 3, 2)


def test_whole_terms_are_skipped_when_logs_differ() -> None:
    """The place from which two logs may agree is before all entries of a later term (section 5.3, last part)."""
    log = log_of(1, 1, 2, 2, 2, 3, 3)
    assert log.find_conflict(8, 1) == (3, 1)
    assert log.find_conflict(8, 2) == (6, 2)
    assert log.find_conflict(100, 9) == (8, 3)


def test_only_what_is_durable_and_committed_is_applied() -> None:
    """A committed entry waits for this node's own disk."""
    log = log_of(1)
    log.append([Entry(1, 3)])
    log.commit_to(3)
    assert [entry.index for entry in log.applicable(1, 1_000)] == [2]


def test_what_is_committed_is_never_overwritten() -> None:
    """A message that would do so is a broken belief, and stops the node."""
    log = log_of(1, 1)
    log.commit_to(3)
    with pytest.raises(AssertionError, match="committed to 3"):
        log.append([Entry(2, 3)])


def test_the_bytes_asked_for_bound_what_is_taken_but_one_entry_comes() -> None:
    """As many entries as the bytes allow; one that is larger alone, or it would never be sent."""
    log = log_of()
    log.append([Entry(1, 2, data=b"1234"), Entry(1, 3, data=b"56"), Entry(1, 4, data=b"7")])
    assert [entry.index for entry in log.after(1, 6)] == [2, 3]
    assert [entry.index for entry in log.after(1, 1)] == [2]
    assert log.after(4, 6) == ()


@given(
    steps=st.lists(st.integers(0, 2), max_size=12),
    asked=st.tuples(st.integers(1, 15), st.integers(0, 12)),
)
def test_the_place_of_a_conflict_is_what_a_walk_back_finds(steps: list[int], asked: tuple[int, int]) -> None:
    """The search by halves finds what going back entry by entry does."""
    log, (index, term) = log_of(*(1 + sum(steps[: place + 1]) for place in range(len(steps)))), asked
    walked = min(index, log.last)
    while walked > 1 and (here := log.term(walked)) is not None and here > term:
        walked -= 1
    assert log.find_conflict(index, term) == (walked, log.term(walked))
