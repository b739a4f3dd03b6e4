"""What `tiercel log` does with the files of nodes that are stopped. Each answer is plain data, for programs and tables."""

import time
from pathlib import Path
from typing import Any, NamedTuple

from sync.blobs import BlobStore
from sync.clock import wall_ms
from sync.cut import CutHead, Segment
from sync.log import EventLog, inspect
from sync.log_errors import LogError
from sync.log_reader import LogReader
from sync.retention.driver import Retention, sweeping
from sync.retention.policy import Limits, Policy, acknowledged, ended, lacking
from sync.retention.segment import run_events, verify_segment
from sync.values import NodeId

PAGE = 1_000
ARCHIVED_FIELDS = ("time", "run", "stream", "seq", "epoch", "kind", "payload")


class _Held(NamedTuple):
    node: str
    held: dict[str, int]
    cut: int
    cut_heads: dict[str, CutHead]
    floor: int
    segments: list[Segment]
    oldest_ms: int


def status(path: Path, keep_days: float = 0.0, reseed_after_days: float = 0.0) -> dict[str, Any]:
    """What a log holds, what has left it, and how many events may go if they are kept for `keep_days` (0: of any age) and wait
    `reseed_after_days` for sites that are away (0: for ever). `will_be_reseeded`: those that lack already what was cut."""
    found = inspect(path, _look)
    policy = Policy(keep_days, no_archive=True, reseed_after_days=reseed_after_days)
    may_go, held_by = inspect(path, lambda reader: _may_go(reader, found.node, policy))
    last = found.segments[-1] if found.segments else None
    return {
        "log": str(path),
        "node": found.node,
        "events": found.held["events"],
        "bytes": found.held["bytes"],
        "oldest": found.oldest_ms,
        "floor": found.floor,
        "cut": found.cut,
        "may_go": may_go,
        "held_by": held_by,
        "will_be_reseeded": inspect(path, lambda reader: lacking(reader, found.node)),
        "last_cut": last.cut_ms if last else 0,
        "last_archive": last.file if last else "",
    }


def prune(path: Path, keep_days: float, archive_dir: Path | None) -> dict[str, Any]:
    """Archive (unless `archive_dir` is None) and cut what is no longer kept, and sweep the blobs beside the log."""
    if keep_days <= 0:
        raise ValueError(f"--keep-ended-days {keep_days:g} keeps everything; allowed: more than 0")
    policy = Policy(keep_days, archive_dir, no_archive=archive_dir is None)
    log = _open(path)
    try:
        blobs = path.parent / "blobs"
        sweep = sweeping(log, BlobStore(blobs)) if blobs.is_dir() else None
        done = Retention(log, policy, lambda: time.time_ns() // 1_000_000, blobs=sweep, pause_s=0).run()
    finally:
        log.close()
    events = sum(segment.events for segment in done.segments)
    files = [segment.file for segment in done.segments if segment.file]
    swept = {"blobs": done.swept.blobs, "blob_bytes": done.swept.bytes}
    return {
        "log": str(path),
        "segments": len(done.segments),
        "events": events,
        "held_by": done.held_by,
        "archives": files,
        **swept,
    }


def _open(path: Path) -> EventLog:
    """As its owner does: what is cut or compacted is each file's own affair, in a group, too."""
    node, member = inspect(path, lambda reader: (reader.node(), reader.member()))
    return EventLog.open(path, NodeId(node), member=member)


def compact(path: Path) -> dict[str, Any]:
    """Give the room of what was deleted back to the disk; needs as much room again while it runs."""
    before = path.stat().st_size
    log = _open(path)
    try:
        log.alter(lambda execute, extent: [*execute("VACUUM", ())]).result()
    finally:
        log.close()
    return {"log": str(path), "bytes_before": before, "bytes": path.stat().st_size}


def verify_archives(path: Path, directory: Path) -> list[dict[str, Any]]:
    """Check each archive that the log knows of, that each begins where the one before ends, and the log where the last does."""
    found = inspect(path, _look)
    entries: list[dict[str, Any]] = []
    heads: dict[str, tuple[int, bytes]] | None = {} if not found.segments or found.segments[0].first == 1 else None
    for segment in found.segments:
        file, problem = directory / segment.file, ""
        try:
            if not segment.file:
                raise LogError("it was cut without an archive")
            header, trailer = verify_segment(file)
            if (header.node, header.first, trailer.last) != (found.node, segment.first, segment.last):
                problem = f"it is not that of positions {segment.first} to {segment.last} of {found.node}"
            elif heads is not None and header.before != heads:
                problem = "it does not begin where the archive before it ends"
            heads = header.before | {stream: head[:2] for stream, head in trailer.after.items()}
        except (LogError, OSError) as error:
            problem, heads = str(error), None
        entries.append(_entry(file.name or "no archive", segment, problem))
    kept = {stream: (head.seq, head.hash) for stream, head in found.cut_heads.items()}
    if heads is not None and heads != kept:
        entries[-1:] = [_entry(str(directory), found.segments[-1], "the log does not begin where the last archive ends")]
    return entries


def archived_events(file: Path, run: str = "") -> list[dict[str, Any]]:
    """The events of an archive, or of one run in it, with payloads as bytes. Raises LogError."""
    return [
        {
            "stream": r.stream,
            "seq": r.seq,
            "epoch": r.epoch,
            "kind": r.kind,
            "run": r.run,
            "time": wall_ms(r.time),
            "payload": r.payload,
        }
        for r in run_events(file, run)
    ]


def _entry(name: str, segment: Segment, problem: str) -> dict[str, Any]:
    return {"log": name, "stream": "(archive)", "events": segment.events, "ok": not problem, "problem": problem}


def _look(reader: LogReader) -> _Held:
    first = reader.all_events(0, 1)
    oldest_ms = wall_ms(first[0].time) if first else 0
    heads = {str(stream): head for stream, head in reader.cut_heads.items()}
    return _Held(reader.node(), reader.counts(), reader.cut, heads, reader.floor, reader.segments(), oldest_ms)


def _may_go(reader: LogReader, node: str, policy: Policy) -> tuple[int, str]:
    now_ms = time.time_ns() // 1_000_000
    held = acknowledged(reader.positions(), node)
    horizon_ms, unread_ms = policy.horizon_ms(now_ms), policy.unread_ms(now_ms)
    limits = Limits(node, horizon_ms, reader.floor, held, unread_ms, ended(reader.streams()))
    count, after, held_by = 0, reader.cut, ""
    while not held_by and (rows := reader.all_events(after, PAGE)):
        reach, held_by = limits.reach(rows)
        count, after = count + reach, rows[-1].pos
    return count, held_by
