"""The group's log on the disk: its uncommitted end is overwritten, what is applied is known with it, and damage has a name."""

import os
from collections.abc import Iterator
from pathlib import Path
from random import Random

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordination.group.storing import (
    Book,
    Identity,
    Kept,
    load,
    put_applied,
    put_base,
    put_book,
    put_entries,
    put_hard,
    put_identity,
)
from coordination.raft.values import Entry, EntryKind, HardState, Snapshot, Voters
from sync.commit import Commit
from sync.log import EventLog
from sync.log_errors import LogCorrupt, LogError
from sync.values import NodeId
from tests.sync.chained import Scribe, commit
from tests.sync.power import Disk

SEED = 20_261_126


def open_member(path: Path, member: str = "a") -> EventLog:
    log = EventLog.open(path, NodeId("harbour"), member=member)
    log.work(lambda database: database.join_group()).result(30)
    return log


def kept(log: EventLog) -> Kept:
    return log.alter(lambda execute, _extent: load(log.path, execute)).result(30)


def entry(term: int, index: int, data: bytes = b"x") -> Entry:
    return Entry(term, index, EntryKind.COMMAND, data)


def test_all_of_it_survives_a_restart(tmp_path: Path) -> None:
    """Term, vote, entries, the base, what is applied, who this is and what is known of the others."""
    path = tmp_path / "edge.db"
    log = open_member(path)
    base, book = Snapshot(4, 2, Voters(("a", "b"), ("c",))), Book({"a": "1"}, {"c": "10.0.0.3:1"}, {"a": "1", "c": "3"})
    entries = tuple(entry(2, index, b"%d" % index) for index in range(1, 9))
    commit(log, Commit(beside=[*put_entries(entries, 0), put_hard(HardState(3, "b", 6)), put_identity(Identity("1", "g"))]))
    commit(log, Commit(beside=[*put_base(base), put_applied(6), put_book(book)]))
    log.close()
    log = open_member(path)
    found = kept(log)
    log.close()
    assert (found.identity, found.book) == (Identity("1", "g"), book)
    assert (found.stored.hard_state, found.stored.snapshot, found.stored.applied) == (HardState(3, "b", 6), base, 6)
    assert found.stored.entries == entries[4:]


@given(st.lists(st.tuples(st.integers(1, 12), st.integers(1, 5)), max_size=12))
def test_an_entry_replaces_all_behind_it(writes: list[tuple[int, int]]) -> None:
    """Whatever is written wherever, the disk holds what a list holds that is cut and continued."""
    database = apsw.Connection("")
    database.execute("CREATE TABLE raft (idx INTEGER PRIMARY KEY, term, kind, data, crc)")
    database.execute("CREATE TABLE raft_state (key TEXT PRIMARY KEY, value, crc)")
    expected: list[Entry] = []
    for term, (place, count) in enumerate(writes, 1):
        first = min(place, len(expected) + 1)
        fresh = [entry(term, index, b"%d/%d" % (term, index)) for index in range(first, first + count)]
        for statement, parameters in put_entries(fresh, len(expected)):
            database.execute(statement, parameters)
        expected[first - 1 :] = fresh
    assert load("here", database.execute).stored.entries == tuple(expected)


@pytest.fixture
def disk() -> Iterator[Disk]:
    """While it lives, SQLite writes through it."""
    disk = Disk(f"power-of-groups-{os.getpid()}")
    yield disk
    disk.unregister()


def test_what_is_overwritten_and_applied_is_whole_after_a_power_cut(tmp_path: Path, disk: Disk) -> None:
    """Cut at seeded writes and syncs: the tail that was overwritten, what was applied, and how far, belong to one step each time,
    and no step is lost that was acknowledged."""
    chance, scribe = Random(SEED), Scribe()
    steps: list[tuple[int, list[bytes], int]] = [(0, [], 0)]  # What is applied, the log, and the position, after each.
    acknowledged = [0]
    cuts: list[tuple[int, dict[str, bytes]]] = []

    def perhaps_cut() -> None:
        if chance.random() < 0.03:
            cuts.append((acknowledged[-1], disk.cut(chance)))

    log = open_member(tmp_path / "edge.db")
    disk.before_write = perhaps_cut
    for number in range(1, 60):
        applied, held, _ = steps[-1]
        first = chance.randrange(applied + 1, len(held) + 2)
        fresh = [entry(number, index, b"%d/%d" % (number, index)) for index in range(first, first + chance.randrange(1, 30))]
        applied = chance.randrange(applied, first)
        commits = [
            Commit(beside=put_entries(fresh, len(held))),
            Commit(rows=scribe.rows(chance.randrange(1, 5), payload=b"x" * 900)),
        ]
        commits.append(Commit(beside=[put_applied(applied)]))
        steps.append((applied, [*held[: first - 1], *(each.data for each in fresh)], scribe.pos))
        log.submit_together(commits, lambda error, number=number: acknowledged.append(number) if error is None else None)  # type: ignore[misc]
        if chance.random() < 0.5:
            log.load()
    log.close()
    disk.before_write = lambda: None
    assert len(cuts) > 10
    for number, (known, files) in enumerate(cuts):
        after = tmp_path / f"cut-{number}"
        after.mkdir()
        for name, content in files.items():
            (after / name).write_bytes(content)
        again = open_member(after / "edge.db")
        found, pos = kept(again).stored, again.load().pos
        again.close()
        assert (found.applied, [each.data for each in found.entries], pos) in steps[known:], f"seed {SEED}, cut {number}"


def test_damage_is_named(tmp_path: Path) -> None:
    """An entry that is another one, or missing, is found at the start; the member does not go on with it."""
    for number, (damage, words) in enumerate(
        (
            ("UPDATE raft SET data = x'00' WHERE idx = 2", "entry 2 of its group's log fails its check sum"),
            ("UPDATE raft SET term = 7 WHERE idx = 3", "entry 3 of its group's log fails its check sum"),
            ("DELETE FROM raft WHERE idx = 2", "entry 2 of its group's log is missing"),
            ("UPDATE raft_state SET value = x'00' WHERE key = 'hard'", "the value 'hard' of its group fails its check sum"),
        )
    ):
        log = open_member(tmp_path / str(number) / "edge.db")
        entries = tuple(entry(1, index) for index in range(1, 4))
        commit(log, Commit(beside=[*put_entries(entries, 0), put_hard(HardState(1, "a", 2))]))
        log.work(lambda database, damage=damage: list(database.connection.execute(damage))).result(30)  # type: ignore[misc]
        with pytest.raises(LogCorrupt, match=words):
            kept(log)
        log.close()


def test_the_log_of_a_member_is_nobody_elses(tmp_path: Path) -> None:
    """It is refused to another member, and to a site of one node; other logs stay as they were."""
    path, alone = tmp_path / "edge.db", tmp_path / "alone.db"
    open_member(path).close()
    with pytest.raises(LogError, match="is the log of member a of the group harbour, not of b"):
        open_member(path, "b")
    with pytest.raises(LogError, match="start it with --node and --peers"):
        EventLog.open(path, NodeId("harbour"))
    EventLog.open(alone, NodeId("harbour")).close()
    assert next(apsw.Connection(str(alone)).execute("PRAGMA user_version"))[0] == 1
