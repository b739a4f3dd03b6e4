"""Reading a log between commits: pages of streams and histories, snapshots newest first, the chain by pages."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sync.chain import GENESIS
from sync.commit import Answer, Commit, Row, Snapshot
from sync.log import EventLog
from sync.log_reader import PAGE_ROWS_MAX
from sync.values import StreamId
from tests.sync.chained import HARBOUR, PEER, Scribe, commit, open_log, scribe_of


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    log = open_log(tmp_path / "harbour.db")
    yield log
    log.close()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.text(max_size=9), st.text(max_size=9), st.binary(max_size=300)), min_size=1, max_size=40))
def test_any_row_comes_back_as_it_was_written(log: EventLog, content: list[tuple[str, str, bytes]]) -> None:
    """Any kind, any run id, any payload: empty, with zero bytes, not UTF-8."""
    scribe = scribe_of(log)
    rows = [scribe.rows(1, run=run, kind=kind, payload=payload)[0] for kind, run, payload in content]
    commit(log, Commit(rows=rows))
    assert rows == log.read(lambda reader: reader.all_events(rows[0].pos - 1, len(rows))).result()


def test_a_stream_is_read_in_pages(log: EventLog) -> None:
    """ "Send me all after n": each stream by itself, at most 1,000 events at once, unknown streams empty."""
    scribe = Scribe()
    mine, theirs = [], []
    for _ in range(30):
        mine += scribe.rows(50)
        theirs += scribe.rows(7, PEER)
        commit(log, Commit(rows=mine[-50:] + theirs[-7:]))
    first = log.read(lambda reader: reader.events(HARBOUR, 0, 10**9)).result()
    rest = log.read(lambda reader: reader.events(HARBOUR, first[-1].seq, 10**9)).result()
    assert len(first) == PAGE_ROWS_MAX
    assert mine == first + rest
    assert theirs[10:15] == log.read(lambda reader: reader.events(PEER, 10, 5)).result()
    assert log.read(lambda reader: reader.events(HARBOUR, 1_500, 5)).result() == []
    assert log.read(lambda reader: reader.events(StreamId("nobody@1"), 0, 5)).result() == []
    assert log.read(lambda reader: reader.streams()).result() == [PEER, HARBOUR]
    assert log.read(lambda reader: (reader.head(HARBOUR).seq, reader.head(StreamId("nobody@1")))).result() == (1_500, GENESIS)


def test_a_page_is_bounded_in_bytes(log: EventLog) -> None:
    """A page ends before its payloads pass the bound, but holds at least one event."""
    scribe = Scribe()
    rows = scribe.rows(10, payload=b"x" * 1_000)
    commit(log, Commit(rows=rows))
    assert rows[2:5] == log.read(lambda reader: reader.events(HARBOUR, 2, 100, bytes_max=3_999)).result()
    assert rows[:1] == log.read(lambda reader: reader.events(HARBOUR, 0, 100, bytes_max=1)).result()


def test_a_history_is_walked_back_to_its_beginning(log: EventLog) -> None:
    """Pages of one run's events, oldest first within a page, among the events of other runs."""
    scribe = Scribe()
    rows = []
    for _ in range(25):
        rows += scribe.rows(1, run="run-a") + scribe.rows(2, run="run-b") + scribe.rows(1, PEER, run="run-a")
    commit(log, Commit(rows=rows))
    expected = [row for row in rows if row.run == "run-a"]
    found: list[Row] = []
    at = scribe.last["run-a"]
    while at:
        page, at = log.read(lambda reader, at=at: reader.history(at, 7)).result()  # type: ignore[misc]
        assert len(page) == min(7, 50 - len(found))
        found = page + found
    assert expected == found
    assert log.read(lambda reader: reader.history(0, 7)).result() == ([], 0)


def test_snapshots_are_listed_newest_first(log: EventLog) -> None:
    """By run id downwards, in pages, of one state if asked; the latest of each run counts; the node's own is none of them."""
    runs = [f"run-{number:03}" for number in range(50)]
    states = ["active", "completed"]
    first = [Snapshot(run, 1, 1, False, "pending", b"") for run in runs]
    latest = [Snapshot(run, 2, 2, number % 2 == 1, states[number % 2], b"body") for number, run in enumerate(runs)]
    commit(log, Commit(snapshots=[Snapshot("", 1, 1, False, "", b"node"), *first]), Commit(snapshots=latest))
    page = log.read(lambda reader: reader.snapshots("", 10)).result()
    assert latest[:-11:-1] == page
    assert latest[-11:-21:-1] == log.read(lambda reader: reader.snapshots(page[-1].run, 10)).result()
    ended = [snapshot for snapshot in reversed(latest) if snapshot.ended]
    assert ended == log.read(lambda reader: reader.snapshots("", 100, state="completed")).result()
    assert latest[7] == log.read(lambda reader: reader.snapshot("run-007")).result()
    assert None is log.read(lambda reader: reader.snapshot("run-999")).result()
    assert len(log.load().snapshots) == 26
    counts = log.read(lambda reader: reader.counts()).result()
    assert (counts["snapshots"], counts["snapshots_live"], counts["events"]) == (51, 26, 0)


def test_an_answer_is_found_by_its_key(log: EventLog) -> None:
    """What was answered under an idempotency key is there until it expires; the latest under a key counts."""
    commit(log, Commit(answers=[Answer("key-1", b"h" * 32, b"first", 5)]))
    commit(log, Commit(answers=[Answer("key-1", b"h" * 32, b"again", 6)]))
    assert log.read(lambda reader: reader.answer("key-1")).result() == Answer("key-1", b"h" * 32, b"again", 6)
    assert log.read(lambda reader: reader.answer("key-2")).result() is None


def test_the_chain_is_verified_page_by_page(log: EventLog) -> None:
    """The slow background pass: each page goes on where the last one ended."""
    commit(log, Commit(rows=Scribe().rows(250)))
    ends: list[int] = []
    at = 0
    while not ends or ends[-1] != at:
        at = ends[-1] if ends else 0
        ends.append(log.read(lambda reader, at=at: reader.verify_page(HARBOUR, at, 100)).result())  # type: ignore[misc]
    assert ends == [100, 200, 250, 250]


def test_what_a_query_raises_goes_to_the_one_who_asked(log: EventLog) -> None:
    """A query that fails neither stops the log nor is it mistaken for damage."""
    with pytest.raises(ZeroDivisionError):
        log.read(lambda _reader: 1 // 0).result()
    commit(log, Commit(rows=Scribe().rows(1)))
