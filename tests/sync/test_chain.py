"""The hash chain: every field of a record counts, and so does everything before it."""

from hashlib import sha256
from struct import pack

from hypothesis import given
from hypothesis import strategies as st

from sync.chain import GENESIS, record_hash

Record = tuple[bytes, bytes, int, int, str, str, int, bytes]
numbers = st.integers(0, 2**64 - 1)
records = st.tuples(
    st.binary(min_size=32, max_size=32),
    st.binary(max_size=20),
    numbers,
    numbers,
    st.text(max_size=10),
    st.text(max_size=10),
    numbers,
    st.binary(max_size=50),
)


@given(records)
def test_the_hash_is_the_documented_one(record: Record) -> None:
    """SHA-256 over the previous hash, the envelope with the lengths of its strings, and the payload's own SHA-256."""
    previous, stream, seq, epoch, kind, run, time, payload = record
    envelope = pack("<QQQHHH", seq, epoch, time, len(stream), len(kind.encode()), len(run.encode()))
    names = stream + kind.encode() + run.encode()
    assert record_hash(*record) == sha256(previous + envelope + names + sha256(payload).digest()).digest()


@given(records, records)
def test_different_records_have_different_hashes(one: Record, other: Record) -> None:
    """Two records agree in their hash only if they agree in every field."""
    assert (record_hash(*one) == record_hash(*other)) is (one == other)


def test_text_cannot_slip_from_one_field_into_the_next() -> None:
    """Kind `ab` of run `c` is not kind `a` of run `bc`."""
    assert record_hash(GENESIS.hash, b"s", 1, 1, "ab", "c", 1, b"") != record_hash(GENESIS.hash, b"s", 1, 1, "a", "bc", 1, b"")
