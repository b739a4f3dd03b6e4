"""Which place of the group's log a copy of a member's file stands for. Pure."""

from pathlib import Path
from typing import NamedTuple

from coordination.group.storing import Execute, load
from coordination.raft.membership import changed, decode_change
from coordination.raft.values import EntryKind, Snapshot
from sync.log_errors import LogCorrupt


class Copied(NamedTuple):
    """A copy: everything up to `base`, in so many bytes."""

    base: Snapshot
    size: int
    sha256: bytes


def copied_from(path: Path, execute: Execute) -> Snapshot:
    """The place up to which the copied log is applied, with the group as it was then. Raises LogCorrupt."""
    stored = load(path, execute).stored
    base, applied = stored.snapshot, max(stored.applied, stored.snapshot.index)
    if applied == base.index:
        return base
    entries = [entry for entry in stored.entries if entry.index <= applied]
    if not entries or entries[-1].index != applied:
        raise LogCorrupt(path, f"it is applied to {applied}, and its group's log does not reach there")
    group = base.group
    for entry in entries:
        if entry.kind is EntryKind.CHANGE:
            group = changed(group, decode_change(entry))
    return Snapshot(applied, entries[-1].term, group)
