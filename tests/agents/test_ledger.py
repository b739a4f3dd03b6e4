"""The ledger: the first record of a key stands."""

import tempfile
import threading
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from agents.durable import TEMPORARY_PREFIX
from agents.ledger import Ledger, file_name


def test_the_first_record_stands(tmp_path: Path) -> None:
    """A second record under a key changes nothing and gives back the first."""
    ledger = Ledger(tmp_path / "picks")
    assert ledger.entry("r1/pick") is None
    assert ledger.record("r1/pick", {"attempt": 1}) == {"attempt": 1}
    assert ledger.record("r1/pick", {"attempt": 2}) == {"attempt": 1}
    assert Ledger(tmp_path / "picks").entry("r1/pick") == {"attempt": 1}


def test_all_callers_get_the_same(tmp_path: Path) -> None:
    """Of many attempts at once one is recorded, and all of them report that one."""
    ledger, seen, start = Ledger(tmp_path), list[int](), threading.Barrier(8)

    def record(number: int) -> None:
        start.wait()
        seen.append(ledger.record("r1/pick", {"by": number})["by"])

    threads = [threading.Thread(target=record, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 8
    assert len(set(seen)) == 1


def test_what_a_crash_left_is_no_entry(tmp_path: Path) -> None:
    """A temporary file counts for nothing."""
    ledger = Ledger(tmp_path)
    ledger.record("r1/pick", {})
    (tmp_path / f"{TEMPORARY_PREFIX}0123").write_bytes(b'{"key":')
    assert ledger.entries() == {"r1/pick": {}}


@settings(deadline=None, max_examples=40)
@given(st.lists(st.text(max_size=300), unique=True, max_size=8))
def test_any_key_has_a_file_of_its_own(keys: list[str]) -> None:
    """Whatever the keys are, each finds its own entry, and none leaves the directory."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder))
        for number, key in enumerate(keys):
            ledger.record(key, {"number": number})
        assert {key: entry["number"] for key, entry in ledger.entries().items()} == {k: n for n, k in enumerate(keys)}
        assert len(list(Path(folder).iterdir())) == len(keys)


def test_names_are_readable() -> None:
    """A usual key can be recognised in its file name, and an unusual one fits."""
    assert file_name("r1/pick") == "r1%2Fpick.json"
    assert file_name("../../etc") == "%2E.%2F..%2Fetc.json"
    assert len(file_name("x" * 1000)) < 255
