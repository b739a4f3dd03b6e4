"""The ring of newest rows: it gives what the log would give, or says that it cannot."""

from hypothesis import given
from hypothesis import strategies as st

from sync.commit import Row
from sync.ring import Ring
from sync.values import StreamId
from tests.sync.chained import Scribe

STREAMS = (StreamId("harbour@1"), StreamId("cloud>harbour@1"))
steps = st.tuples(
    st.sampled_from(["extend", "extend", "after", "forget"]), st.integers(0, 1), st.integers(0, 30), st.integers(1, 9)
)


@given(st.lists(steps, max_size=80), st.integers(1, 12))
def test_it_gives_what_the_log_holds_or_nothing(happenings: list[tuple[str, int, int, int]], rows_max: int) -> None:
    """`after` is a stretch of the log behind `seq`, within count and bytes, or None; and `durable` is where the stream ends."""
    ring, scribe, held = Ring(rows_max), Scribe(), {stream: list[Row]() for stream in STREAMS}
    for what, which, number, count in happenings:
        stream = STREAMS[which]
        match what:
            case "extend":
                rows = scribe.rows(count, stream, payload=b"x" * number)
                held[stream] += rows
                ring.extend(rows)
            case "after":
                check(
                    ring.after(stream, number, count, 200), held[stream][number : number + count], number, held[stream], rows_max
                )
            case "forget":
                ring.forget(stream, number)
        assert ring.durable.get(stream, 0) == len(held[stream])


def check(found: list[Row] | None, wanted: list[Row], seq: int, stream: list[Row], rows_max: int) -> None:
    if not found:
        assert found is None or not wanted
        return
    assert found == wanted[: len(found)]
    assert seq >= len(stream) - rows_max, "it gave rows that it cannot hold"
    size = sum(len(row.payload) + 64 for row in found)
    assert size <= 200 or len(found) == 1
    if len(found) < len(wanted):
        assert size + len(wanted[len(found)].payload) + 64 > 200, "it stopped early"


def test_a_ring_that_begins_anew_holds_nothing() -> None:
    """After a fold the durable heads are those of the log, and rows are read from there."""
    ring, scribe = Ring(), Scribe()
    ring.extend(scribe.rows(3))
    ring.begin(scribe.heads)
    assert ring.durable == {STREAMS[0]: 3}
    assert ring.after(STREAMS[0], 0, 10, 10_000) is None
