"""Reading the bytes of an SQLite -wal file: did a crash cut off its last transaction, or is its middle damaged?

SQLite recovers a -wal file up to the first frame whose checksum fails and says nothing of what lies behind it. A power
cut can only spoil the one transaction that was being written, for each was synced before the next began. Two commit
frames of the file's present salts behind the last frame that SQLite recognises therefore prove that acknowledged
transactions are lost. Format: https://www.sqlite.org/fileformat2.html#walformat
"""

from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct, unpack_from

HEADER_BYTES = 32
FRAME_HEADER_BYTES = 24
MAGIC_LITTLE, MAGIC_BIG = 0x377F0682, 0x377F0683
LOST_COMMITS_MIN = 2

_HEADER = Struct(">8I")
_FRAME = Struct(">6I")

Buffer = bytes | memoryview
Checksum = tuple[int, int]
Salts = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Frame:
    """The header of one frame; `number` counts from 1. `pages_after` is not 0 in the last frame of a transaction."""

    number: int
    offset: int
    pages_after: int
    salts: Salts
    checksum: Checksum


@dataclass(frozen=True, slots=True)
class Tail:
    """What lies behind the frames that SQLite recognises: nothing (`frames` is 0), a torn transaction, or damage.

    `bad_frame` and `bad_offset` name the first frame that does not fit, if any does not.
    """

    frames: int = 0
    bytes: int = 0
    commits: int = 0
    bad_frame: int = 0
    bad_offset: int = 0

    @property
    def damaged(self) -> bool:
        """Whether a transaction that was committed and synced is lost."""
        return self.commits >= LOST_COMMITS_MIN

    @property
    def place(self) -> str:
        """Where it begins, for a person to find."""
        return f"frame {self.bad_frame} at byte {self.bad_offset}" if self.bad_frame else "its header at byte 0"


def examine(data: Buffer, recognised: int, page_bytes: int) -> Tail:
    """Judge what follows the first `recognised` frames of a -wal file (its whole bytes) with pages of `page_bytes`."""
    salts = _salts(data, recognised)
    if salts is None:
        return _examine_headless(data, page_bytes)
    mine = [frame for frame in _frames(data, recognised + 1, page_bytes) if frame.salts == salts]
    if not mine:
        return Tail()
    number, offset = _first_bad(data, recognised, page_bytes, salts)
    begin = HEADER_BYTES + recognised * (page_bytes + FRAME_HEADER_BYTES)
    end = min(len(data), mine[-1].offset + FRAME_HEADER_BYTES + page_bytes)
    commits = sum(1 for frame in mine if frame.pages_after)
    return Tail(mine[-1].number - recognised, end - begin, commits, number, offset)


def _examine_headless(data: Buffer, page_bytes: int) -> Tail:
    """A header that does not verify hides every frame from SQLite; the first frame's salts stand in for its own."""
    frames = list(_frames(data, 1, page_bytes))
    mine = [frame for frame in frames if frame.salts == frames[0].salts and any(frame.salts)]
    commits = sum(1 for frame in mine if frame.pages_after)
    return Tail(len(mine), len(data), commits) if mine else Tail()


def _salts(data: Buffer, recognised: int) -> Salts | None:
    """The salts of the file's header, or None if the header is incomplete or fails its checksum."""
    if len(data) < HEADER_BYTES:
        return None
    magic, _version, _page, _sequence, salt_1, salt_2, sum_1, sum_2 = _HEADER.unpack_from(data, 0)
    good = magic in (MAGIC_LITTLE, MAGIC_BIG) and checksum(data[:24], (0, 0), magic) == (sum_1, sum_2)
    return (salt_1, salt_2) if good or recognised else None


def _frames(data: Buffer, first: int, page_bytes: int) -> Iterator[Frame]:
    """The frame headers from frame `first` on, also that of a last frame whose page is incomplete."""
    size = page_bytes + FRAME_HEADER_BYTES
    number = first
    offset = HEADER_BYTES + (first - 1) * size
    while offset + FRAME_HEADER_BYTES <= len(data):
        _page, pages_after, salt_1, salt_2, sum_1, sum_2 = _FRAME.unpack_from(data, offset)
        yield Frame(number, offset, pages_after, (salt_1, salt_2), (sum_1, sum_2))
        number, offset = number + 1, offset + size


def _first_bad(data: Buffer, recognised: int, page_bytes: int, salts: Salts) -> tuple[int, int]:
    """Number and offset of the first frame that breaks the chain of checksums; (0, 0) if only a commit is missing."""
    magic: int = _HEADER.unpack_from(data, 0)[0]
    last_good = HEADER_BYTES + (recognised - 1) * (page_bytes + FRAME_HEADER_BYTES)
    running: Checksum = unpack_from(">2I", data, last_good + 16 if recognised else 24)
    for frame in _frames(data, recognised + 1, page_bytes):
        page = frame.offset + FRAME_HEADER_BYTES
        if frame.salts != salts or page + page_bytes > len(data):
            return frame.number, frame.offset
        running = checksum(data[frame.offset : frame.offset + 8], running, magic)
        running = checksum(data[page : page + page_bytes], running, magic)
        if running != frame.checksum:
            return frame.number, frame.offset
    return 0, 0


def checksum(data: Buffer, start: Checksum, magic: int) -> Checksum:
    """SQLite's checksum of a WAL over `data` (a multiple of 8 bytes), continued from `start`.

    `magic`, the first word of the file, gives the byte order of the words.
    """
    order = ">" if magic == MAGIC_BIG else "<"
    words = unpack_from(f"{order}{len(data) // 4}I", data, 0)
    sum_1, sum_2 = start
    for first, second in zip(words[::2], words[1::2], strict=True):
        sum_1 = (sum_1 + first + sum_2) & 0xFFFFFFFF
        sum_2 = (sum_2 + second + sum_1) & 0xFFFFFFFF
    return sum_1, sum_2
