"""Results under one number: written, sent and forgotten together.

The number stands in the encoded message, so it is the same on the disk and on the wire, and an acknowledgement that
names it is all that either has to read. The numbers of one journal grow and are never used again while it is open.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

from tiercel.encoding import Key
from tiercel.v1 import agent_pb2

PARCEL_BYTES_MAX = 1024 * 1024 - 4096
"""A Results message stays below 1 MiB with its envelope."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """`encoded` is a Results message of at most PARCEL_BYTES_MAX with these results and this number."""

    number: int
    results: dict[Key, agent_pb2.TaskResult]
    encoded: bytes


def packed(results: dict[Key, agent_pb2.TaskResult], draw: Callable[[], int]) -> list[Parcel]:
    """The results as parcels, in their order; `draw` gives their numbers. No single result is too large for one."""
    if not results:
        return []
    number = draw()
    message = agent_pb2.Results(items=results.values(), numbers=(number,))
    if message.ByteSize() <= PARCEL_BYTES_MAX:
        return [Parcel(number, results, message.SerializeToString())]
    middle = len(results) // 2
    assert middle, f"one result of {message.ByteSize()} bytes should have been a blob"
    items = iter(results.items())
    return packed(dict(islice(items, middle)), draw) + packed(dict(items), draw)
