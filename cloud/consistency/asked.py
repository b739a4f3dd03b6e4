"""How fresh an answer must be, as a value."""

from typing import NamedTuple


class Fresh(NamedTuple):
    """As asked: `strong`, or not older than `staleness_ms` (-1: any), and from version `version` on (-1: any)."""

    strong: bool = False
    staleness_ms: int = -1
    version: int = -1
