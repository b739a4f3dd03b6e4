"""Cutting rows into statements."""

from hypothesis import given
from hypothesis import strategies as st

from sync.tables import CHUNKS, CLEAR_TIMERS, PUT_TIMERS, chunks, many, rows_within


@given(st.integers(0, 5_000))
def test_chunks_cover_every_row_once(count: int) -> None:
    """The pieces are adjacent, begin at 0, end at `count`, and have sizes for which there is a statement."""
    pieces = list(chunks(count))
    assert [0, *(end for _begin, end in pieces)] == [*(begin for begin, _end in pieces), count]
    assert all(end - begin in CHUNKS for begin, end in pieces)


def test_up_to_sixteen_rows_go_in_one_statement() -> None:
    """A small commit is one step of SQLite."""
    assert [len(list(chunks(count))) for count in range(1, 17)] == [1] * 16


def test_statements_are_closed() -> None:
    """A statement that opened a parenthesis is closed behind its groups."""
    assert many(PUT_TIMERS, 3, 2) == "INSERT OR REPLACE INTO timers VALUES (?,?,?),(?,?,?)"
    assert many(CLEAR_TIMERS, 2, 2) == "DELETE FROM timers WHERE (run, key) IN (VALUES (?,?),(?,?))"


@given(st.lists(st.integers(0, 100), max_size=30), st.integers(0, 1_000))
def test_a_page_fits_or_has_one_row(sizes: list[int], bytes_max: int) -> None:
    """The longest beginning that fits, but at least one row."""
    count = rows_within(str(sizes), bytes_max)
    assert count == 1 or sum(sizes[:count]) <= bytes_max
    assert count >= len(sizes) or sum(sizes[: count + 1]) > bytes_max
