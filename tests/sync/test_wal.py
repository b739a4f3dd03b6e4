"""Reading -wal files that SQLite itself wrote: torn tails are told from damage, and the first bad frame is named."""

from pathlib import Path

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sync.wal import FRAME_HEADER_BYTES, HEADER_BYTES, MAGIC_BIG, MAGIC_LITTLE, Tail, checksum, examine

PAGE_BYTES = 1_024
FRAME_BYTES = PAGE_BYTES + FRAME_HEADER_BYTES
TRANSACTIONS = 12


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A -wal file of one transaction that makes a table, and twelve of two frames each."""
    path = tmp_path_factory.mktemp("wal") / "some.db"
    database = apsw.Connection(str(path))
    database.execute(f"PRAGMA page_size = {PAGE_BYTES}; PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0")
    database.execute("CREATE TABLE t (a, b); CREATE INDEX i ON t (b)")
    for number in range(TRANSACTIONS):
        database.execute("INSERT INTO t VALUES (?, ?)", (number, number))
    data = Path(f"{path}-wal").read_bytes()
    database.close()
    return data


def frame_count(data: bytes) -> int:
    return (len(data) - HEADER_BYTES) // FRAME_BYTES


def commits(data: bytes) -> list[int]:
    """The numbers of the frames that end a transaction."""
    numbers = range(1, frame_count(data) + 1)
    return [number for number in numbers if any(data[offset_of(number) + 4 : offset_of(number) + 8])]


def offset_of(frame: int) -> int:
    return HEADER_BYTES + (frame - 1) * FRAME_BYTES


def naive_recognised(data: bytes) -> int:
    """What SQLite's recovery does, frame by frame from the start: the last commit frame before the first bad one."""
    magic = int.from_bytes(data[:4], "big")
    if len(data) < HEADER_BYTES or magic not in (MAGIC_LITTLE, MAGIC_BIG):
        return 0
    running = checksum(data[:24], (0, 0), magic)
    if running != (int.from_bytes(data[24:28], "big"), int.from_bytes(data[28:32], "big")):
        return 0
    last = 0
    for number in range(1, frame_count(data) + 1):
        frame = data[offset_of(number) : offset_of(number + 1)]
        running = checksum(frame[FRAME_HEADER_BYTES:], checksum(frame[:8], running, magic), magic)
        good = running == (int.from_bytes(frame[16:20], "big"), int.from_bytes(frame[20:24], "big"))
        if not good or frame[8:16] != data[16:24]:
            return last
        if any(frame[4:8]):
            last = number
    return last


def judge(data: bytes) -> Tail:
    return examine(data, naive_recognised(data), PAGE_BYTES)


def test_a_whole_file_has_no_tail(data: bytes) -> None:
    """Our checksum is SQLite's: every frame it wrote verifies, and nothing lies behind the last."""
    assert frame_count(data) == naive_recognised(data)
    assert Tail() == judge(data)
    assert Tail() == judge(data + bytes(9 * FRAME_BYTES))  # Laid out in advance.
    assert Tail() == judge(bytes(9 * FRAME_BYTES))
    assert Tail() == judge(b"")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_cut_file_is_torn_and_never_damaged(data: bytes, draw: st.DataObject) -> None:
    """Cut at any byte behind the header: what is left behind the last whole transaction ends no transaction."""
    cut = draw.draw(st.integers(HEADER_BYTES, len(data)))
    tail = judge(data[:cut])
    assert not tail.damaged
    assert 0 <= tail.bytes < 3 * FRAME_BYTES


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_flipped_bit_is_damage_unless_it_hits_the_last_transaction(data: bytes, draw: st.DataObject) -> None:
    """The frame that was hit is named; only in the last transaction can it not be told from a torn one."""
    offset = draw.draw(st.integers(HEADER_BYTES, len(data) - 1))
    flipped = bytearray(data)
    flipped[offset] ^= 1 << draw.draw(st.integers(0, 7))
    tail = judge(bytes(flipped))
    hit = (offset - HEADER_BYTES) // FRAME_BYTES + 1
    last_whole = commits(data)[-2]
    assert tail.damaged == (hit <= last_whole)
    if tail.damaged:
        assert (hit, offset_of(hit)) == (tail.bad_frame, tail.bad_offset)
        assert f"frame {hit} at byte {offset_of(hit)}" == tail.place


@pytest.mark.parametrize("offset", range(HEADER_BYTES))
def test_a_damaged_header_does_not_hide_the_frames(data: bytes, offset: int) -> None:
    """Wherever the header is hit, the transactions behind it are counted."""
    flipped = bytearray(data)
    flipped[offset] ^= 0xFF
    tail = judge(bytes(flipped))
    assert (tail.damaged, tail.commits - 2, tail.bad_frame) == (True, TRANSACTIONS, 0)
    assert tail.place == "its header at byte 0"


def test_frames_of_an_earlier_round_are_not_missed(data: bytes) -> None:
    """After a checkpoint the file is written anew from its start; what is left of the old round has other salts."""
    old = bytearray(data)
    for number in range(1, frame_count(data) + 1):
        old[offset_of(number) + 8] ^= 0xFF
    assert Tail() == examine(bytes(old), 0, PAGE_BYTES)
