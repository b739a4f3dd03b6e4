"""The nouns that every layer shares: identities, time as an argument, epochs and leases.

All ids are strings with a type of their own. A stream id says who writes it, for whom, and in which incarnation of the log:
`harbour@1` is what the edge node harbour writes, `cloud>harbour@1` what the cloud writes for harbour.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NewType

import msgspec

NodeId = NewType("NodeId", str)
SiteId = NewType("SiteId", str)
AgentId = NewType("AgentId", str)
RunId = NewType("RunId", str)
CommandId = NewType("CommandId", str)
StreamId = NewType("StreamId", str)
Epoch = NewType("Epoch", int)


class Now(msgspec.Struct, frozen=True, gc=False):
    """One reading of the clocks, taken by the Driver once per turn.

    `wall_ms` (UTC, ms since 1970) is for stamps and people's deadlines; `mono_ms` (monotonic, of this boot only) is for leases
    and staleness; `boot` counts the starts of the node and tells readings of different boots apart.
    """

    wall_ms: int
    mono_ms: int
    boot: int


_SITE_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


def site_name_problem(name: str) -> str | None:
    """Why a site cannot be called so; None if it can. Names are part of stream ids, file names and addresses."""
    if name == "cloud" or not _SITE_NAME.fullmatch(name):
        return f"{name!r} cannot be a site's name: 1 to 63 lower-case letters, digits and -, not at its ends, and not 'cloud'"
    return None


def stream_id(writer: str, incarnation: int, reader: str = "") -> StreamId:
    """The id of the stream that `writer` keeps (for `reader`, if one is named) in one incarnation of its log."""
    return StreamId(f"{writer}>{reader}@{incarnation}" if reader else f"{writer}@{incarnation}")


@lru_cache(maxsize=4096)
def stream_writer(stream: StreamId) -> NodeId:
    """Who alone may write the stream."""
    return NodeId(stream.partition("@")[0].partition(">")[0])


@lru_cache(maxsize=4096)
def stream_reader(stream: StreamId) -> NodeId:
    """For whom the stream is kept; empty if for everybody."""
    return NodeId(stream.partition("@")[0].partition(">")[2])


@lru_cache(maxsize=4096)
def stream_incarnation(stream: StreamId) -> int:
    """Which incarnation of its writer's stream it is; 0 of a name that does not say so."""
    number = stream.rpartition("@")[2]
    return int(number) if number.isascii() and number.isdigit() and len(number) < 10 else 0


def latest_incarnation(streams: Iterable[StreamId], writer: str, reader: str = "") -> StreamId | None:
    """The last incarnation among these of the stream that `writer` keeps (for `reader`); None if none of them is one."""
    name = f"{writer}>{reader}" if reader else writer
    found = (stream for stream in streams if stream.partition("@")[0] == name and stream_incarnation(stream))
    return max(found, key=stream_incarnation, default=None)
