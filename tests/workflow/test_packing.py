"""Documents as they travel: plain, or compressed where they are large, and bounded however they come."""

import random
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflow import packing
from workflow.packing import (
    DOCUMENT_BYTES_MAX,
    PACKED_BYTES_MAX,
    PLAIN_BYTES_MAX,
    DocumentRefused,
    is_packed,
    pack,
    unpack,
)


def text_of(size: int) -> bytes:
    return b'{"a":"' + b"x" * (size - 8) + b'"}'


def noise(size: int) -> bytes:
    return b'{"a":"' + random.Random(7).randbytes((size - 8) // 2).hex().encode() + b'"}'


@settings(deadline=None)
@given(st.binary(max_size=2_000), st.integers(0, PLAIN_BYTES_MAX))
def test_what_is_packed_comes_back(inside: bytes, padding: int) -> None:
    """Small ones are kept as they are; none is mistaken for the other."""
    document = b"{" + inside + b" " * padding
    kept = pack(document)
    assert unpack(kept) == document
    assert is_packed(kept) == (len(document) > PLAIN_BYTES_MAX)


def test_the_largest_document_is_kept() -> None:
    """64 MiB to the byte, and not one more."""
    assert len(unpack(pack(text_of(DOCUMENT_BYTES_MAX)))) == DOCUMENT_BYTES_MAX
    with pytest.raises(DocumentRefused, match="67,108,865 bytes; allowed: 67,108,864 bytes"):
        pack(text_of(DOCUMENT_BYTES_MAX + 1))


def test_what_no_link_could_carry_is_refused() -> None:
    """Hexadecimal noise of 7 MiB compresses to half."""
    assert is_packed(pack(noise(5 << 20)))
    with pytest.raises(DocumentRefused, match=r"compressed; allowed: 3,145,728 bytes") as refused:
        pack(noise(7 << 20))
    assert int(str(refused.value).split(" ")[0].replace(",", "")) > PACKED_BYTES_MAX


def test_a_bomb_is_not_unpacked() -> None:
    """Some 80 MiB in 400 KB: no more is written out than a document may have."""
    stream = zlib.compressobj(1)
    bomb = b"".join([stream.compress(b" " * (1 << 20)) for _ in range(80)]) + stream.flush()
    assert len(bomb) < 1 << 20
    with pytest.raises(DocumentRefused, match="more than 67,108,864 bytes"):
        unpack(bomb)


@pytest.mark.parametrize("spoilt", [b"", b"no", pack(text_of(300_000))[:-3], pack(text_of(300_000)) + b"more"])
def test_what_is_no_document_is_refused(spoilt: bytes) -> None:
    """Nothing at all, no zlib, cut off, with something behind its end."""
    with pytest.raises(DocumentRefused):
        unpack(spoilt)


def test_levels_are_tried_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit when compressed quickly may fit when compressed well."""
    text = (b'{"a":' + b"".join(b'"%d":{"needs":["%d"]},' % (n, n // 2) for n in range(60_000))).ljust(2 << 20)
    quick, thorough = len(zlib.compress(text, 1)), len(zlib.compress(text, 9))
    assert thorough < quick
    monkeypatch.setattr(packing, "PACKED_BYTES_MAX", thorough)
    assert len(pack(text)) == thorough
