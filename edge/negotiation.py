"""What is under way while a site finds out who does a task, or what agents think."""

import msgspec


class Negotiation(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is under way for a task: telemetry. `given` are bids or votes so far; times are UTC ms, 0: without an end."""

    run: str
    task: int
    protocol: str
    phase: str
    why: str
    round: int = 1
    since: int = 0
    until: int = 0
    invited: list[str] = []
    given: list[dict[str, object]] = []
