"""What an agent takes from the machine that it runs on: clocks, a disk, chance. A simulator gives it its own."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tiercel.backoff import Backoff
from tiercel.journal_file import JournalFile
from tiercel.lease import now_s
from tiercel.peer_lines import Answer, PeerLines
from tiercel.threads import Threads
from tiercel.tls import Tls

disk = Threads(1, "tiercel-disk")
"""One thread for the journals of all agents of this process: it mostly waits for the disk, which is one as well."""


def draw_boot() -> str:
    """Tells the gateway a reconnect from a restart. Not drawn at import, for then forked processes would share it: what one of
    them had in its hands when it died would pass for never delivered when the next registers."""
    return secrets.token_hex(8)


@dataclass(frozen=True, slots=True)
class Machine:
    """`on_disk` runs a call, which must not raise, where waiting for the disk holds nobody up; calls run in order."""

    clock: Callable[[], float] = now_s
    open_file: Callable[[Path], JournalFile] = JournalFile
    on_disk: Callable[[Callable[[], None]], None] = disk.submit
    draw_boot: Callable[[], str] = draw_boot
    backoff: Callable[[], Backoff] = Backoff
    journal_dead_bytes_max: int = 1024 * 1024
    make_lines: Callable[[Tls | None, Answer], PeerLines] = PeerLines
