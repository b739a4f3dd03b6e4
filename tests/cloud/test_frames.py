"""What a watching client is told, however slowly it reads."""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.frames import Frame, Unseen
from cloud.views import RunSummary

RUNS_MAX = 5
changes = st.lists(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 99)), max_size=4), max_size=30)


def summary(run: int, completed: int) -> RunSummary:
    return RunSummary(f"r{run}", "a@1", "active", 0, 100, completed)


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
            frame = msgspec.json.decode(unseen.update(1), type=Frame)
            client.update((run.id, run) for run in frame.runs)

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
    assert len(msgspec.json.decode(unseen.update(1), type=Frame).runs) == RUNS_MAX
    unseen.add([summary(n, 0) for n in range(RUNS_MAX + 1)], [])
    assert unseen.lost
    unseen.forget()
    unseen.add([summary(1, 1)], [])
    assert len(msgspec.json.decode(unseen.update(1), type=Frame).runs) == 1
