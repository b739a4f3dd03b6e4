"""What a leader knows of a follower."""

from hypothesis import given
from hypothesis import strategies as st

from coordination.raft.progress import Pace, Progress


def replicating(match: int = 0) -> Progress:
    """A follower whose log agrees up to here."""
    progress = Progress(match=match, next=match + 1)
    progress.replicate()
    return progress


def test_the_window_counts_messages_and_bytes() -> None:
    """It is full by either; an answer frees all that it speaks for."""
    progress = replicating()
    progress.sent(3, 100)
    progress.sent(5, 50)
    assert (progress.is_full(2, 1_000), progress.is_full(3, 150), progress.is_full(3, 151)) == (True, True, False)
    assert progress.update(4)
    assert (list(progress.inflight), progress.inflight_bytes, progress.match, progress.next) == ([(5, 50)], 50, 4, 6)


def test_a_probe_is_one_message_at_a_time() -> None:
    """Nothing more is sent until it is answered, or heard otherwise."""
    progress = Progress(next=8)
    progress.sent(9, 10)
    assert (progress.is_paused(10, 1_000), progress.next) == (True, 8)
    assert progress.reject(7, 3)
    assert (progress.is_paused(10, 1_000), progress.next) == (False, 4)


def test_old_rejections_mean_nothing() -> None:
    """What was said of another place, or of one that the follower has confirmed since, moves nothing."""
    progress = Progress(match=5, next=8)
    assert not progress.reject(6, 2)
    assert progress.next == 8
    progress.replicate()
    assert not progress.reject(5, 2)
    assert (progress.next, progress.pace) == (6, Pace.REPLICATE)


def test_nothing_is_sent_while_a_snapshot_is_on_its_way() -> None:
    """Then the log goes on behind it, or behind what the follower has, whichever is further."""
    progress = Progress(match=2, next=3)
    progress.await_snapshot(9)
    assert progress.is_paused(10, 1_000)
    progress.probe()
    assert (progress.pace, progress.next, progress.snapshot) == (Pace.PROBE, 10, 0)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("sent"), st.integers(1, 3)),
            st.tuples(st.just("update"), st.integers(0, 30)),
            st.tuples(st.just("reject"), st.integers(0, 30)),
            st.tuples(st.just("probe"), st.just(0)),
            st.tuples(st.just("replicate"), st.just(0)),
            st.tuples(st.just("snapshot"), st.integers(0, 30)),
        ),
        max_size=30,
    )
)
def test_what_is_confirmed_never_shrinks_and_what_comes_next_lies_behind_it(steps: list[tuple[str, int]]) -> None:
    """match < next, match never falls, and the bytes of the window are those of its messages, whatever happens."""
    progress, confirmed = Progress(), 0
    for what, number in steps:
        match what:
            case "sent":
                progress.sent(progress.next - 1 + number, 10 * number)
            case "update":
                progress.update(min(number, progress.next - 1))
            case "reject":
                progress.reject(number, number // 2)
            case "probe":
                progress.probe()
            case "replicate":
                progress.replicate()
            case _:
                progress.await_snapshot(max(number, progress.match))
        assert progress.next > progress.match >= confirmed
        assert progress.inflight_bytes == sum(size for _, size in progress.inflight)
        confirmed = progress.match
