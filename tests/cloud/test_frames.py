"""What a watching client is told, however slowly it reads."""

from collections.abc import Iterable

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.frames import FRAME_BYTES_MAX, ITEM_BYTES_MAX, Frame, Unseen, frames
from cloud.views import RunSummary

RUNS_MAX = 5
changes = st.lists(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 99)), max_size=4), max_size=30)


def summary(run: int, completed: int) -> RunSummary:
    return RunSummary(f"r{run}", "a@1", "active", 0, 100, completed)


def read_all(encoded: Iterable[bytes]) -> list[Frame]:
    return [msgspec.json.decode(frame, type=Frame) for frame in encoded]


@settings(deadline=None)
@given(changes, st.lists(st.booleans(), max_size=30))
def test_a_client_ends_with_the_latest_state_of_each_run(told: list[list[tuple[int, int]]], reads: list[bool]) -> None:
    """Whenever the client happens to read, its frames fold to what is true, and never more is kept than allowed."""
    unseen, truth, client = Unseen(RUNS_MAX), dict[str, RunSummary](), dict[str, RunSummary]()

    def read() -> None:
        if unseen.lost:
            unseen.forget()
            client.clear()
            client.update(truth)
        elif unseen:
            client.update((run.id, run) for frame in read_all(unseen.update(1)) for run in frame.runs)

    for index, batch in enumerate(told):
        runs = [summary(*change) for change in batch]
        truth.update((run.id, run) for run in runs)
        unseen.add(runs, [])
        assert len(unseen._runs) <= RUNS_MAX
        if index < len(reads) and reads[index]:
            read()
    read()
    assert client == truth
    assert not unseen


def test_too_many_changes_are_told_by_a_snapshot() -> None:
    """One change more than is kept, and only a snapshot can tell them all."""
    unseen = Unseen(RUNS_MAX)
    unseen.add([summary(n, 0) for n in range(RUNS_MAX)], [])
    assert len(next(iter(read_all(unseen.update(1)))).runs) == RUNS_MAX
    unseen.add([summary(n, 0) for n in range(RUNS_MAX + 1)], [])
    assert unseen.lost
    unseen.forget()
    unseen.add([summary(1, 1)], [])
    assert len(next(iter(read_all(unseen.update(1)))).runs) == 1


@settings(deadline=None, max_examples=25)
@given(st.sampled_from(("snapshot", "update")), st.lists(st.integers(0, 3 * ITEM_BYTES_MAX), max_size=40))
def test_what_is_too_much_for_one_frame_comes_in_several(kind: str, sizes: list[int]) -> None:
    """Each stays small, only the first may be a snapshot, all but the last say that more follows, and none tells a run twice."""
    runs = [RunSummary(f"r{n}", "a@1", "active", 0, 1, 0, labels={"note": "x" * size}) for n, size in enumerate(sizes)]
    encoded = list(frames(kind, runs, [], 1))
    assert max(map(len, encoded)) < FRAME_BYTES_MAX + 1_000
    told = read_all(encoded)
    assert [frame.type for frame in told] == [kind] + ["update"] * (len(told) - 1)
    assert [frame.more for frame in told] == [True] * (len(told) - 1) + [False]
    seen = [run for frame in told for run in frame.runs]
    assert [run.id for run in seen] == [run.id for run in runs]
    assert all(run.labels for run, size in zip(seen, sizes, strict=True) if 0 < size < ITEM_BYTES_MAX - 200)
