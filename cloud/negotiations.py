"""What sites tell of who does a task, while it is being found out: telemetry, of which the latest counts."""

from typing import Any

import msgspec

from tiercel.v1 import sync_pb2


class Negotiation(msgspec.Struct, frozen=True):
    """One task that a protocol is looking for an agent for, as its site has told."""

    run: str
    task: int
    protocol: str
    phase: str
    why: str
    round: int
    since_ms: int
    until_ms: int
    invited: list[str]
    given: list[dict[str, object]]


def negotiations_of(loads: sync_pb2.AgentLoads) -> list[Negotiation]:
    """What a site told. Bids that cannot be read are left out: they are there to be looked at, and decide nothing."""
    return [
        Negotiation(n.run, n.task, n.protocol, n.phase, n.why, n.round, n.since_ms, n.until_ms, list(n.invited), _given(n.given))
        for n in loads.negotiations
    ]


def _given(body: bytes) -> list[dict[str, object]]:
    try:
        found: Any = _GIVEN.decode(body or b"[]")
    except msgspec.MsgspecError:
        return []
    return list(found)


_GIVEN = msgspec.json.Decoder(list[dict[str, object]])
