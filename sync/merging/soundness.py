"""Whether a write that a peer tells of is one at all: what is no JSON, or beyond all bounds, would break whoever shows it."""

import msgspec

from sync.merging.events import DocumentWritten
from sync.merging.writing import BYTES_MAX, KEYS_MAX, WRITERS_MAX

COUNTER_MAX = 1 << 53
VERSION_MAX = 1 << 60
STAMP_MAX = 1 << 63


def is_sound(write: DocumentWritten) -> bool:
    """The same wherever it is asked, so that either all nodes take the write or none does."""
    if not 0 < write.dot.counter < COUNTER_MAX or not 0 <= write.stamp < STAMP_MAX or not 0 <= write.version < VERSION_MAX:
        return False
    if len(write.fields) > KEYS_MAX or len(write.context) > 2 * WRITERS_MAX:
        return False
    if any(not 0 < counter < COUNTER_MAX for counter in write.context.values()):
        return False
    if sum(len(each.value) + len(each.part) for each in write.fields) > BYTES_MAX:
        return False
    return all(_is_json(each.value) and (each.part == write.dot.writer or _is_json(each.part.encode())) for each in write.fields)


def _is_json(text: bytes) -> bool:
    """Or nothing."""
    try:
        return not text or msgspec.json.decode(text) is not text
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
