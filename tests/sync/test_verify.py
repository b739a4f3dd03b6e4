"""The chain finds any change of what was written: a bit, an order, a gap, another stream."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.commit import Row
from sync.verify import ChainBroken, ChainCheck
from tests.sync.chained import HARBOUR, PEER, Scribe


def test_sound_streams_are_followed_to_their_ends() -> None:
    """Streams may be mixed; each has a chain of its own."""
    scribe, check = Scribe(), ChainCheck()
    rows = scribe.rows(3) + scribe.rows(2, PEER) + scribe.rows(1)
    check.follow(rows[:4])
    check.follow(rows[4:])
    assert (scribe.heads, 6) == (check.heads, check.events)


@given(
    st.integers(0, 5),
    st.sampled_from(["seq", "epoch", "kind", "run", "time", "payload", "hash", "stream"]),
)
def test_a_changed_field_is_found_where_it_is(at: int, name: str) -> None:
    """Whatever field of whichever event is changed, the check stops at that event."""
    rows = Scribe().rows(6)
    broken = [*rows[:at], spoiled(rows[at], name), *rows[at + 1 :]]
    check = ChainCheck()
    with pytest.raises(ChainBroken) as caught:
        check.follow(broken)
    assert (at, at + 1) == (check.events, caught.value.pos)


def spoiled(row: Row, name: str) -> Row:
    changes: dict[type, Callable[[Any], Any]] = {
        int: lambda old: old + 1,
        str: lambda old: old + "x",
        bytes: lambda old: bytes([old[0] ^ 1]) + old[1:],
    }
    fields = row._asdict()
    fields[name] = changes[type(fields[name])](fields[name])
    return Row(**fields)


@pytest.mark.parametrize("broken", [lambda rows: rows[:2] + rows[3:], lambda rows: [rows[0], rows[2], rows[1]]])
def test_a_gap_and_a_wrong_order_are_found(broken: Callable[[list[Row]], list[Row]]) -> None:
    """Sequence numbers are dense."""
    with pytest.raises(ChainBroken, match="stream harbour@1 breaks at seq"):
        ChainCheck().follow(broken(Scribe().rows(5)))


def test_following_may_begin_at_any_known_head() -> None:
    """A start verifies from the heads that were kept with its snapshots."""
    scribe = Scribe()
    scribe.rows(4)
    head = scribe.heads[HARBOUR]
    check = ChainCheck({HARBOUR: head})
    check.follow(scribe.rows(2))
    assert scribe.heads == check.heads
