"""What reaches the planner of what people ask for, and what it tells those who wait for an answer."""

from typing import NamedTuple


class OrderRun(NamedTuple):
    """Ask the homes of a run for something: `order` as JSON with its verb (workflow.orders); `idempotency` as in StartRuns."""

    token: int
    run: str
    order: bytes
    idempotency: tuple[str, bytes] | None = None


class CommandSettled(NamedTuple):
    """Effect: a home has answered; whoever waits for it may look whether all have."""

    command: str
