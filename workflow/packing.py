"""The document of a definition as it is kept and sent: as it is, or compressed where it is large.

It travels to the sites as one event, and a message of a link has 4 MiB at most. Canonical JSON begins with `{` and what zlib
writes never does, so the first byte says which of both it is.
"""

import zlib

PLAIN_BYTES_MAX = 256 << 10
"""A document up to this is kept as it is: people read logs, too."""

PACKED_BYTES_MAX = 3 << 20
DOCUMENT_BYTES_MAX = 64 << 20

_LEVELS = (1, 9)  # Quick, and, where that is not enough, thorough.


class DocumentRefused(ValueError):
    """It is too large, or is not what `pack` wrote. The text says how large, and what is allowed."""


def pack(document: bytes) -> bytes:
    """The document as an event and the log hold it. Raises DocumentRefused."""
    if len(document) <= PLAIN_BYTES_MAX:
        return document
    if len(document) > DOCUMENT_BYTES_MAX:
        raise DocumentRefused(f"{len(document):,} bytes; allowed: {DOCUMENT_BYTES_MAX:,} bytes")
    packed = b""
    for level in _LEVELS:
        packed = zlib.compress(document, level)
        if len(packed) <= PACKED_BYTES_MAX:
            return packed
    raise DocumentRefused(
        f"{len(packed):,} bytes, compressed; allowed: {PACKED_BYTES_MAX:,} bytes, as sites are sent it as one message"
    )


def is_packed(kept: bytes) -> bool:
    """Is it compressed?"""
    return kept[:1] != b"{"


def unpack(kept: bytes) -> bytes:
    """The document, never more than is allowed of it, whatever the bytes promise. Raises DocumentRefused."""
    if not is_packed(kept):
        return kept
    stream = zlib.decompressobj()
    try:
        document = stream.decompress(kept, DOCUMENT_BYTES_MAX)
        if not stream.eof:  # The end may follow the last byte of the document.
            document += stream.decompress(stream.unconsumed_tail, 1)
    except zlib.error as error:
        raise DocumentRefused(f"it is neither JSON nor compressed JSON: {error}") from None
    if len(document) > DOCUMENT_BYTES_MAX:
        raise DocumentRefused(f"it has more than {DOCUMENT_BYTES_MAX:,} bytes, which is what is allowed")
    if not stream.eof or stream.unused_data:
        raise DocumentRefused("its compressed bytes end too soon, or go on behind their end")
    return document
