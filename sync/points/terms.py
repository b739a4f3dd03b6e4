"""What a definition promises of a sync point."""

from typing import Literal

import msgspec

OnDeath = Literal["fail", "proceed", "replace"]
PARTIES_MAX = 256
POINTS_MAX = 64
"""Of one run, for its state travels as a whole when it moves."""


class PointTerms(msgspec.Struct, frozen=True):
    """`count` parties meet at the point: those of `parties`, or any if none is named (then only agents with `capability`, if that
    is given). Times are ms, 0: without an end.

    `on_death` says what follows when a party's lease ends, or it leaves: the others are told that the point is broken (`fail`),
    go on without it while at least `quorum` are left (`proceed`), or wait for another agent in its place (`replace`).
    A `cyclic` point begins anew each time it was released or broken; any other stays as it ended.
    """

    count: int
    parties: tuple[str, ...] = ()
    deadline_ms: int = 0
    on_death: OnDeath = "fail"
    quorum: int = 0
    cyclic: bool = False
    capability: str = ""
