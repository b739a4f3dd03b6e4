"""What can go wrong with a node's log, and what then holds.

LogError
├── LogLocked         another process owns the file; nothing was touched
├── LogCorrupt        the files do not hold what was written; the place is named, the files are left as they are
├── LogFull           no room: the transaction was rolled back; the log works again once there is space
├── LogFailed         the disk refused for another reason; what the file holds is known only after a new start
├── LogCut            what was asked for has been cut from the log, and may be in its archive
├── LogClosed         the log was closed before it came to this
└── CommitSuperseded  an earlier commit failed, so this one, decided on top of it, was not tried
"""

from pathlib import Path


class LogError(Exception):
    """Any failure of the log. A commit that ended in one is not durable and must not be acknowledged."""


class LogLocked(LogError):
    """The file belongs to another process (`pid`, 0 if the system does not say), or to another EventLog of this one."""

    def __init__(self, path: Path, pid: int) -> None:
        owner = f"process {pid}" if pid else "another process"
        super().__init__(f"the log {path} is in use by {owner}: one log has one owner; stop that one first")
        self.path, self.pid = path, pid


class LogCorrupt(LogError):
    """The log is damaged at `place`. Nothing was repaired or cut off: restore a copy, or fetch it back from a peer."""

    def __init__(self, path: Path | str, place: str) -> None:
        super().__init__(f"the log {path} is damaged: {place}; its files were left as they are")
        self.path, self.place = path, place


class LogFull(LogError):
    """There is no room for a commit. It was rolled back whole; after EventLog.reset() the log takes commits again."""


class LogFailed(LogError):
    """The disk failed a write or a sync. Only a new start can tell what was kept, so every later commit is refused."""


class LogCut(LogError):
    """Event `seq` + 1 of the stream has been cut: the log begins behind event `cut_seq` of it."""

    def __init__(self, stream: str, seq: int, cut_seq: int) -> None:
        super().__init__(f"stream {stream}: event {seq + 1} has left this log, which keeps what comes after event {cut_seq}")
        self.stream, self.seq, self.cut_seq = stream, seq, cut_seq


class LogClosed(LogError):
    """The log is closed."""


class CommitSuperseded(LogError):
    """A commit before this one failed; refold from the log, call EventLog.reset() and decide again."""
