"""The tables of a node's log, and the statements that fill and page through them. SQL text only: sync.log runs it.

Python takes its interpreter lock back after every step of SQLite, which costs a switch interval each time while the
main thread computes. So rows go in many to a statement, and a page of events comes out as one row: envelopes as JSON,
payloads and hashes joined end to end.
"""

from collections.abc import Iterator
from functools import cache
from itertools import accumulate, pairwise
from typing import NamedTuple

import msgspec

from sync.commit import Row
from sync.values import StreamId

APPLICATION_ID = 0x54696572  # "Tier"
SCHEMA_VERSION = 1
CUT_SCHEMA_VERSION = 2  # Of a log of which something was cut.
GROUP_SCHEMA_VERSION = 3  # Of the log of a member of a group, which has the tables of cuts, too.
SMALL_TABLES = ("meta", "streams", "timers", "persisted", "positions")
CUT_TABLES = ("cuts", "segments")
GROUP_TABLES = ("raft", "raft_state")
HASH_BYTES = 32

SCHEMA = f"""
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE streams (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, floor_seq INTEGER NOT NULL, floor_hash BLOB NOT NULL
);
CREATE TABLE events (
    pos INTEGER PRIMARY KEY, stream INTEGER NOT NULL, seq INTEGER NOT NULL, epoch INTEGER NOT NULL, kind TEXT NOT NULL,
    run TEXT NOT NULL, time INTEGER NOT NULL, payload BLOB NOT NULL, hash BLOB NOT NULL, prev INTEGER NOT NULL
);
CREATE UNIQUE INDEX events_by_stream ON events (stream, seq);
CREATE TABLE snapshots (
    run TEXT PRIMARY KEY, pos INTEGER NOT NULL, last INTEGER NOT NULL, ended INTEGER NOT NULL, state TEXT NOT NULL,
    body BLOB NOT NULL, crc INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX snapshots_live ON snapshots (run) WHERE ended = 0;
CREATE TABLE timers (
    run TEXT NOT NULL, key TEXT NOT NULL, due_ms INTEGER NOT NULL, PRIMARY KEY (run, key)
) WITHOUT ROWID;
CREATE TABLE answers (
    key TEXT PRIMARY KEY, body_sha256 BLOB NOT NULL, answer BLOB NOT NULL, created_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX answers_by_age ON answers (created_ms);
CREATE TABLE persisted (key TEXT PRIMARY KEY, value BLOB NOT NULL, crc INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE positions (
    peer TEXT NOT NULL, stream TEXT NOT NULL, value INTEGER NOT NULL, PRIMARY KEY (peer, stream)
) WITHOUT ROWID;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
"""

# What the first cut adds, in its own transaction.
CUT_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS cuts (
        stream INTEGER PRIMARY KEY, seq INTEGER NOT NULL, hash BLOB NOT NULL, time INTEGER NOT NULL, crc INTEGER NOT NULL
    )""",
    """CREATE TABLE IF NOT EXISTS segments (
        first INTEGER NOT NULL, last INTEGER PRIMARY KEY, events INTEGER NOT NULL, bytes INTEGER NOT NULL,
        oldest_ms INTEGER NOT NULL, newest_ms INTEGER NOT NULL, cut_ms INTEGER NOT NULL, file TEXT NOT NULL
    )""",
    f"PRAGMA user_version = {CUT_SCHEMA_VERSION}",
)

# What the log of a member of a group has beside (`coordination.group`): the log of the group, whose uncommitted end may be
# overwritten, and what is to be known of it. A program that knows nothing of groups must not write to such a log.
GROUP_SCHEMA = (
    *CUT_SCHEMA,
    """CREATE TABLE raft (
        idx INTEGER PRIMARY KEY, term INTEGER NOT NULL, kind TEXT NOT NULL, data BLOB NOT NULL, crc INTEGER NOT NULL
    )""",
    "CREATE TABLE raft_state (key TEXT PRIMARY KEY, value BLOB NOT NULL, crc INTEGER NOT NULL) WITHOUT ROWID",
    f"PRAGMA user_version = {GROUP_SCHEMA_VERSION}",
)
RAFT_MEMBER = "member"
PUT_RAFT_STATE = "INSERT OR REPLACE INTO raft_state VALUES "
PUT_RAFT = "INSERT OR REPLACE INTO raft VALUES "

# How many rows one statement may carry. Each count is a prepared statement; up to 16 rows always fit one.
CHUNKS = (256, 128, 64, 32, *range(16, 0, -1))

INSERT_EVENTS = "INSERT INTO events VALUES "
PUT_SNAPSHOTS = "INSERT OR REPLACE INTO snapshots VALUES "
KEEP_SNAPSHOTS = "INSERT OR IGNORE INTO snapshots VALUES "
PUT_TIMERS = "INSERT OR REPLACE INTO timers VALUES "
PUT_ANSWERS = "INSERT OR REPLACE INTO answers VALUES "
PUT_PERSISTED = "INSERT OR REPLACE INTO persisted VALUES "
PUT_POSITIONS = "INSERT OR REPLACE INTO positions VALUES "
CLEAR_TIMERS = "DELETE FROM timers WHERE (run, key) IN (VALUES "
EXPIRE_ANSWERS = """
DELETE FROM answers WHERE key IN (SELECT key FROM answers WHERE created_ms < ? ORDER BY created_ms LIMIT ?)
"""


class Selection(NamedTuple):
    """Which events make a page, and in what order."""

    where: str
    order: str


BY_STREAM = Selection("stream = ? AND seq > ?", "seq")
BY_POS = Selection("pos > ?", "pos")
BY_RUN = Selection(
    """pos IN (
        WITH RECURSIVE walk(pos, depth) AS (
            VALUES (?, 1)
            UNION ALL
            SELECT events.prev, depth + 1 FROM walk JOIN events ON events.pos = walk.pos
            WHERE events.prev > ? AND depth < ?
        )
        SELECT pos FROM walk
    )""",
    "pos DESC",
)

_PAGE = """
SELECT json_group_array(json_array(pos, stream, seq, epoch, kind, run, time, octet_length(payload), prev)),
       CAST(group_concat(payload, '') AS BLOB), CAST(group_concat(hash, '') AS BLOB)
FROM (SELECT * FROM events WHERE {where} ORDER BY {order} LIMIT ?)
"""
_SIZES = """
SELECT json_group_array(octet_length(payload))
FROM (SELECT payload FROM events WHERE {where} ORDER BY {order} LIMIT ?)
"""

_Envelope = tuple[int, int, int, int, str, str, int, int, int]
_envelopes = msgspec.json.Decoder(list[_Envelope])
_sizes = msgspec.json.Decoder(list[int])


def chunks(count: int) -> Iterator[tuple[int, int]]:
    """Cut `count` rows into (begin, end) pieces whose sizes are in CHUNKS."""
    begin = 0
    for size in CHUNKS:
        while count - begin >= size:
            yield begin, begin + size
            begin += size


@cache
def many(statement: str, width: int, rows: int) -> str:
    """`statement` with `rows` groups of `width` parameters; a parenthesis it opened is closed."""
    group = "(" + ",".join("?" * width) + ")"
    return statement + ",".join([group] * rows) + (")" if statement.count("(") > statement.count(")") else "")


@cache
def page(selection: Selection) -> str:
    """The statement that reads a page of events as one row, to be given to `decode_page`."""
    return _PAGE.format(where=selection.where, order=selection.order)


@cache
def sizes(selection: Selection) -> str:
    """The statement that reads the payload sizes of a page of events, to be given to `rows_within`."""
    return _SIZES.format(where=selection.where, order=selection.order)


def rows_within(found: str, bytes_max: int) -> int:
    """How many events from the front, at least one, have payloads of at most `bytes_max` together."""
    totals = accumulate(_sizes.decode(found))
    return max(1, sum(1 for total in totals if total <= bytes_max))


def decode_page(found: tuple[str, bytes | None, bytes | None], names: dict[int, StreamId]) -> list[Row]:
    """The rows of a page in the order they were selected; `names` tells stream ids from numbers."""
    envelopes = _envelopes.decode(found[0])
    payloads, hashes = found[1] or b"", found[2] or b""
    bounds = pairwise(accumulate((envelope[7] for envelope in envelopes), initial=0))
    digests = range(0, len(hashes), HASH_BYTES)
    return [
        Row(pos, names[stream], seq, epoch, kind, run, time, payloads[begin:end], hashes[at : at + HASH_BYTES], prev)
        for (pos, stream, seq, epoch, kind, run, time, _size, prev), (begin, end), at in zip(
            envelopes, bounds, digests, strict=True
        )
    ]
