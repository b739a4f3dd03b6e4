"""A disk that loses power, for tests: an SQLite VFS that knows which writes no sync has covered yet."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import apsw

SECTOR_BYTES = 512


@dataclass(slots=True)
class Image:
    """One file: what is certainly on the disk, and the writes behind the last sync (None: cut to that length)."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)

    def sync(self) -> None:
        for offset, data in self.pending:
            _apply(self.durable, offset, data)
        self.pending.clear()

    def after_power_cut(self, chance: Random) -> bytes:
        """Of the writes that no sync covered, each sector got to the disk or did not, in any order."""
        left = bytearray(self.durable)
        for offset, data in self.pending:
            if data is None:
                if chance.random() < 0.5:
                    _apply(left, offset, None)
                continue
            for begin in range(0, len(data), SECTOR_BYTES):
                if chance.random() < 0.5:
                    _apply(left, offset + begin, data[begin : begin + SECTOR_BYTES])
        return bytes(left)


def _apply(image: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del image[offset:]
        return
    image.extend(bytes(max(0, offset + len(data) - len(image))))
    image[offset : offset + len(data)] = data


class Disk(apsw.VFS):
    """The default VFS with a memory; `broken` makes every later sync fail, as a dying disk does."""

    def __init__(self, name: str) -> None:
        self.images: dict[str, Image] = {}
        self.broken = False
        self.before_write: Callable[[], None] = lambda: None
        self.before = apsw.vfs_names()[0]
        super().__init__(name, self.before, makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> "File":  # noqa: N802 - APSW's name.
        return File(self, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802 - APSW's name.
        self.images.pop(filename, None)
        super().xDelete(filename, syncdir)

    def cut(self, chance: Random) -> dict[str, bytes]:
        """The files as a power cut at this moment leaves them."""
        return {Path(name).name: image.after_power_cut(chance) for name, image in self.images.items()}


class File(apsw.VFSFile):
    def __init__(self, disk: Disk, name: Any, flags: list[int]) -> None:
        super().__init__(disk.before, name, flags)
        self.disk = disk
        path = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        self.image = disk.images.setdefault(path, Image())

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - APSW's name.
        self.disk.before_write()
        self.image.pending.append((offset, bytes(data)))
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 - APSW's name.
        self.image.pending.append((newsize, None))
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802 - APSW's name.
        if self.disk.broken:
            raise apsw.IOError("the disk does not answer")
        self.disk.before_write()
        super().xSync(flags)
        self.image.sync()
