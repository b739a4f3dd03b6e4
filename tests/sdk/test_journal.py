"""The journal: what is in it after a crash at any byte, and that it stays small."""

import logging
import resource
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiercel.encoding import Key, key_of
from tiercel.errors import JournalInUse, JournalUnusable
from tiercel.journal import MAGIC, Journal
from tiercel.parcel import Parcel, packed
from tiercel.v1 import agent_pb2

KEYS = st.builds(lambda run, task, attempt: (f"r{run}", task, attempt), *[st.integers(0, 3)] * 3)
BATCHES = st.dictionaries(KEYS, st.binary(max_size=40), min_size=1, max_size=4)


def results_of(batch: dict[Key, bytes]) -> dict[Key, agent_pb2.TaskResult]:
    return {
        key: agent_pb2.TaskResult(key=agent_pb2.AttemptKey(run=key[0], task=key[1], attempt=key[2], epoch=7), output=output)
        for key, output in batch.items()
    }


def append(journal: Journal, batch: dict[Key, bytes]) -> Parcel:
    (parcel,) = packed(results_of(batch), journal.draw_number)
    journal.append([parcel])
    return parcel


def forget(journal: Journal, *keys: Key) -> None:
    journal.forget({key: journal.held[key] for key in keys if key in journal.held})


def held(journal: Journal) -> dict[Key, bytes]:
    assert all(key == key_of(result.key) for key, result in journal.held.items())
    return {key: result.output for key, result in journal.held.items()}


@contextmanager
def opened(path: Path, **how: int) -> Iterator[Journal]:
    journal = Journal(path, **how)
    try:
        yield journal
    finally:
        journal.close()


@settings(max_examples=10, deadline=None)
@given(st.lists(BATCHES, min_size=1, max_size=3))
def test_a_tail_torn_at_any_byte_costs_only_the_torn_batch(batches: list[dict[Key, bytes]]) -> None:
    """Cut anywhere, the file holds exactly the batches that were whole, and goes on from there."""
    with TemporaryDirectory() as directory:
        path = Path(directory) / "journal"
        ends = [len(MAGIC)]
        states: list[dict[Key, bytes]] = [{}]
        with opened(path) as journal:
            for batch in batches:
                append(journal, batch)
                ends.append(path.stat().st_size)
                states.append({**states[-1], **batch})
        data = path.read_bytes()
        for cut in range(len(data) + 1):
            path.write_bytes(data[:cut])
            whole = max([index for index, end in enumerate(ends) if end <= cut], default=0)
            with opened(path) as journal:
                assert held(journal) == states[whole]
                append(journal, {("next", 0, 1): b"1"})
            with opened(path) as journal:
                assert held(journal) == {**states[whole], ("next", 0, 1): b"1"}


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), BATCHES),
        st.tuples(st.just("forget"), st.lists(KEYS, max_size=4)),
        st.tuples(st.just("forget a parcel"), st.integers(0, 5)),
        st.tuples(st.just("fence"), st.dictionaries(st.sampled_from(["r0", "r1"]), st.integers(3, 9), min_size=1)),
        st.tuples(st.sampled_from(["compact", "trim", "open again", "sync"]), st.none()),
    ),
    max_size=20,
)


@settings(max_examples=100, deadline=None)
@given(STEPS)
def test_it_holds_what_a_dictionary_would(steps: list[tuple[str, object]]) -> None:
    """Appending, forgetting, compaction, trimming and opening again, in any order, against a plain dictionary."""
    with TemporaryDirectory() as directory:
        path = Path(directory) / "journal"
        journal, model = Journal(path, dead_bytes_max=50), dict[Key, bytes]()
        parcels: list[Parcel] = []
        fences: dict[str, int] = {}
        for step, argument in steps:
            match step, argument:
                case "append", dict(batch):
                    parcels.append(append(journal, batch))
                    model |= batch
                case "forget a parcel", int(back) if back < len(parcels):
                    parcel = parcels[-1 - back]
                    for key, result in parcel.results.items():
                        if journal.held.get(key) is result:
                            del model[key]
                    journal.forget(parcel.results, parcel.number)
                case "forget", list(keys):
                    forget(journal, *keys)
                    model = {key: output for key, output in model.items() if key not in keys}
                case "fence", dict(homes):
                    journal.fence(homes)
                    fences = {run: max(homes.get(run, 0), fences.get(run, 0)) for run in {**fences, **homes}}
                case "compact", _:
                    journal.compact(list(journal.held.values()))
                case "trim", _:
                    journal.trim()
                case "sync", _:
                    journal.sync()
                case "open again", _:
                    journal.close()
                    journal = Journal(path, dead_bytes_max=50)
                    parcels.clear()
            assert held(journal) == model
            assert journal.fences.highest == fences
        journal.close()
        with opened(path) as journal:
            assert held(journal) == model
            assert journal.fences.highest == fences


@settings(max_examples=50, deadline=None)
@given(st.lists(BATCHES, min_size=2, max_size=4), st.data())
def test_a_flipped_bit_costs_only_its_batch(batches: list[dict[Key, bytes]], data: st.DataObject) -> None:
    """Damage in the middle is noticed; what is readable beyond it is kept, and the damaged file is set aside."""
    with TemporaryDirectory() as directory:
        path = Path(directory) / "journal"
        ends = [len(MAGIC)]
        with opened(path) as journal:
            for number, batch in enumerate(batches):
                append(journal, {(f"b{number}", *key[1:]): output for key, output in batch.items()})
                ends.append(path.stat().st_size)
        hit = data.draw(st.integers(0, len(batches) - 2))
        # Not in the length: without it there is no telling where the next record begins.
        position = data.draw(st.integers(ends[hit] + 4, ends[hit + 1] - 1))
        whole = bytearray(path.read_bytes())
        whole[position] ^= 1 << data.draw(st.integers(0, 7))
        path.write_bytes(whole)
        expected = {
            (f"b{number}", *key[1:]): output
            for number, batch in enumerate(batches)
            for key, output in batch.items()
            if number != hit
        }
        with opened(path) as journal:
            assert held(journal) == expected
        assert path.with_name("journal.damaged").read_bytes() == bytes(whole)


def test_a_torn_tail_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is normal after a crash, and still said."""
    path = tmp_path / "journal"
    with opened(path) as journal:
        append(journal, {("r", 0, 1): b"1"})
    path.write_bytes(path.read_bytes()[:-1])
    with caplog.at_level(logging.WARNING, "tiercel.journal"), opened(path):
        pass
    assert "unfinished write" in caplog.text


def test_what_is_forgotten_stays_forgotten_after_a_clean_end(tmp_path: Path) -> None:
    """Acknowledgements reach the file with the next append, or when it is closed."""
    path = tmp_path / "journal"
    with opened(path) as journal:
        append(journal, {("r", 0, 1): b"1", ("r", 1, 1): b"2"})
        forget(journal, ("r", 0, 1))
    with opened(path) as journal:
        assert list(journal.held) == [("r", 1, 1)]


def test_a_parcel_is_forgotten_in_a_few_bytes(tmp_path: Path) -> None:
    """The file names its number and not its attempts; a result that was replaced since it was packed stays."""
    path = tmp_path / "journal"
    with opened(path) as journal:
        parcel = append(journal, {("r", number, 1): b"1" for number in range(1000)})
        append(journal, {("r", 0, 1): b"other"})
        before = path.stat().st_size
        journal.forget(parcel.results, parcel.number)
        assert held(journal) == {("r", 0, 1): b"other"}
    assert path.stat().st_size - before < 20
    with opened(path) as journal:
        assert held(journal) == {("r", 0, 1): b"other"}
        assert journal.draw_number() > parcel.number


def test_the_file_stays_small(tmp_path: Path) -> None:
    """When all is acknowledged it is emptied; when little is left it is worth compacting."""
    path = tmp_path / "journal"
    with opened(path, dead_bytes_max=1000) as journal:
        for number in range(1000):
            append(journal, {("r", number, 1): b"x" * 100})
            forget(journal, ("r", number, 1))
            journal.trim()
            assert path.stat().st_size < 2000
        append(journal, {("keep", 0, 1): b"1"})
        for number in range(100):
            append(journal, {("r", number, 1): b"x" * 100})
            forget(journal, ("r", number, 1))
            journal.trim()
        assert journal.mostly_forgotten()
        journal.compact(list(journal.held.values()))
        assert not journal.mostly_forgotten()
        assert path.stat().st_size < 200


@pytest.mark.parametrize("left_behind", [b"", b"tiercel", MAGIC, b"half a jour"])
def test_a_compaction_that_was_killed_changes_nothing(tmp_path: Path, left_behind: bytes) -> None:
    """What it left beside the journal is written over by the next one."""
    path = tmp_path / "journal"
    with opened(path) as journal:
        append(journal, {("r", 0, 1): b"1"})
    path.with_name("journal.new").write_bytes(left_behind)
    with opened(path) as journal:
        assert held(journal) == {("r", 0, 1): b"1"}
        journal.compact(list(journal.held.values()))
    with opened(path) as journal:
        assert held(journal) == {("r", 0, 1): b"1"}
    assert not path.with_name("journal.new").exists()


def test_another_process_is_refused(tmp_path: Path) -> None:
    """The lock holds against other processes, also after a compaction, and ends with its owner."""
    path = tmp_path / "journal"
    program = f"from pathlib import Path; from tiercel.journal import Journal; Journal(Path({str(path)!r}))"
    with opened(path) as journal:
        append(journal, {("r", 0, 1): b"1"})
        journal.compact(list(journal.held.values()))
        refused = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert JournalInUse.__name__ in refused.stderr
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    """Outputs are nobody else's business: 0600, also when the file came with other rights, also after compaction."""
    path = tmp_path / "journal"
    path.touch(mode=0o644)
    with opened(path) as journal:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        journal.compact([])
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_another_file_is_not_touched(tmp_path: Path) -> None:
    """A wrong path is an error that names it, and the file stays as it was."""
    path = tmp_path / "notes.txt"
    path.write_text("my notes, not a journal")
    with pytest.raises(JournalUnusable, match=r"notes\.txt is not a tiercel journal"):
        Journal(path)
    assert path.read_text() == "my notes, not a journal"


def is_broken(journal: Journal) -> bool:
    return journal.broken


@contextmanager
def disk_full_at(size: int) -> Iterator[None]:
    """Writes beyond this size of a file fail, as they do when the disk is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_an_error_until_it_was_written_anew(tmp_path: Path) -> None:
    """What was written before stays readable; after compaction everything that is held is on disk."""
    path = tmp_path / "journal"
    with opened(path) as journal:
        append(journal, {("r", 0, 1): b"1"})
        with disk_full_at(path.stat().st_size + 10):
            with pytest.raises(OSError, match="too large"):
                append(journal, {("r", 1, 1): b"2"})
            assert is_broken(journal)
            with pytest.raises(OSError, match="written anew"):
                append(journal, {("r", 2, 1): b"3"})
        journal.compact(list(journal.held.values()))
        assert not is_broken(journal)
    with opened(path) as journal:
        assert held(journal) == {("r", 0, 1): b"1", ("r", 1, 1): b"2", ("r", 2, 1): b"3"}
