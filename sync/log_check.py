"""What is looked at before a log is trusted: its small tables, then the chains, from the last snapshots or all."""

from pathlib import Path
from typing import Any, NamedTuple

from sync import tables
from sync.chain import Head
from sync.commit import Row
from sync.cut import load_cuts
from sync.log_errors import LogCorrupt, LogError
from sync.log_reader import Execute, Extent, LogReader
from sync.values import StreamId
from sync.verify import ChainCheck

STRAY_PREV = """
SELECT pos FROM events AS event WHERE pos > ?1 AND prev > ?1 AND NOT EXISTS (
    SELECT 1 FROM events AS earlier WHERE earlier.pos = event.prev AND earlier.pos < event.pos AND earlier.run = event.run
) LIMIT 1
"""


class Owner(NamedTuple):
    """Whose log it is, in which incarnation, and how often it was opened; of a group, which member's (None: it is no group's)."""

    node: str
    incarnation: int
    boot: int
    member: str | None = None


def is_empty(path: Path, execute: Execute) -> bool:
    """Whether the database has no tables yet. Raises LogError if it has, but not those of a log of this version."""
    (count,) = next(execute("SELECT count(*) FROM sqlite_schema", ()))
    (application,) = next(execute("PRAGMA application_id", ()))
    (version,) = next(execute("PRAGMA user_version", ()))
    if count and application != tables.APPLICATION_ID:
        raise LogError(f"{path} is a database, but not a log: its application id is {application}")
    if count and not tables.SCHEMA_VERSION <= version <= tables.GROUP_SCHEMA_VERSION:
        known = f"{tables.SCHEMA_VERSION} to {tables.GROUP_SCHEMA_VERSION}"
        raise LogError(f"{path} has log schema {version}, this program knows {known}: use a fitting one")
    return not count


def check_tables(path: Path, execute: Execute, extent: Extent) -> Owner:
    """Check the small tables, and fill `extent` with the heads that were kept with the last snapshots."""
    (version,) = next(execute("PRAGMA user_version", ()))
    cut_tables = tables.CUT_TABLES if version >= tables.CUT_SCHEMA_VERSION else ()
    group_tables = tables.GROUP_TABLES if version == tables.GROUP_SCHEMA_VERSION else ()
    for table in (*tables.SMALL_TABLES, *cut_tables, *group_tables):
        (problem,) = next(execute(f"PRAGMA quick_check('{table}')", ()))
        if problem != "ok":
            raise LogCorrupt(path, f"table {table}: {problem}")
    meta: dict[str, Any] = dict(execute("SELECT key, value FROM meta", ()))
    extent.pos = extent.floor = meta["floor"]
    floors = list(execute("SELECT id, name, floor_seq, floor_hash FROM streams", ()))
    extent.ids = {StreamId(name): number for number, name, _seq, _digest in floors}
    load_cuts(path, execute, extent, meta.get("cut", 0))
    _check_floor(path, execute, extent, floors)
    return Owner(meta["node"], meta["incarnation"], meta["boot"], _member(execute) if group_tables else None)


def _member(execute: Execute) -> str:
    found = next(execute("SELECT value FROM raft_state WHERE key = ?", (tables.RAFT_MEMBER,)), (b"",))
    return bytes(found[0]).decode()


def owner_problem(path: Path, owner: Owner, node: str, member: str) -> str:
    """Why this log is not one for `node`, as which `member` of its group (empty: it is no group); empty if it is."""
    if owner.node != node:
        return f"{path} is the log of {owner.node}, not of {node}: check the data directory"
    if owner.member is not None and owner.member != member:
        whose = f"{path} is the log of member {owner.member} of the group {node}"
        return f"{whose}, not of {member}: check the data directory" if member else f"{whose}: start it with --node and --peers"
    return ""


def _check_floor(path: Path, execute: Execute, extent: Extent, floors: list[tuple[Any, ...]]) -> None:
    """Each stream must have its event at the floor, or be cut right there."""
    for number, name, seq, digest in floors:
        if not seq:
            continue
        extent.heads[StreamId(name)] = Head(seq, digest)
        cut = extent.cut_heads.get(StreamId(name))
        if cut is not None and cut.seq == seq:
            found: tuple[Any, ...] | None = (cut.hash,)
        else:
            found = next(execute("SELECT hash FROM events WHERE stream = ? AND seq = ?", (number, seq)), None)
        if found != (digest,):
            raise LogCorrupt(path, f"stream {name} lacks its event {seq}, which the snapshots end in")
    if extent.cut > extent.floor:
        raise LogCorrupt(path, f"it was cut up to position {extent.cut}, behind {extent.floor}, which the snapshots end in")
    if extent.floor > extent.cut and not next(execute("SELECT count(*) FROM events WHERE pos = ?", (extent.floor,)))[0]:
        raise LogCorrupt(path, f"the event at position {extent.floor}, which the snapshots end in, is missing")


def check_tail(reader: LogReader, extent: Extent) -> list[Row]:
    """Follow the chains from the heads in `extent`, which then tells where they end; returns the events."""
    check = ChainCheck(extent.heads)
    tail: list[Row] = []
    for rows in reader.pages(extent.floor):
        check.follow(rows)
        tail += rows
    extent.pos += len(tail)
    return tail


def check_all(path: Path, execute: Execute, extent: Extent) -> ChainCheck:
    """Check SQLite's structures and every chain from its first event, or its cut, on, through the heads in `extent`."""
    (problem,) = next(execute("PRAGMA integrity_check(1)", ()))
    if problem != "ok":
        raise LogCorrupt(path, problem)
    if stray := next(execute(STRAY_PREV, (extent.cut,)), None):
        raise LogCorrupt(path, f"the event at position {stray[0]} does not point back to an event of its run")
    check = ChainCheck({stream: Head(cut.seq, cut.hash) for stream, cut in extent.cut_heads.items()})
    for rows in LogReader(path, execute, extent).pages(extent.cut):
        check.follow(rows)
    for stream, head in extent.heads.items():
        if check.heads.get(stream) != head:
            raise LogCorrupt(path, f"stream {stream} does not end in the head that opening the log found")
    return check
