"""What reaches the planner from the API and the links, and what it tells those who watch."""

from typing import NamedTuple

from sync.commit import Answer


class NewRun(NamedTuple):
    """One run to start: its checked inputs (a JSON object) and labels."""

    inputs: bytes
    labels: dict[str, str]


class StartRuns(NamedTuple):
    """Start runs of one definition; `idempotency` is the client's key and the SHA-256 of its request, if it gave one."""

    token: int
    definition: str
    runs: list[NewRun]
    idempotency: tuple[str, bytes] | None


class RegisterDefinition(NamedTuple):
    """Register `name@version`; the same document again changes nothing, another one is refused."""

    token: int
    ref: str
    document: bytes


class CancelRun(NamedTuple):
    """Ask the homes of a run to cancel it."""

    token: int
    run: str
    reason: str


class SiteLoads(NamedTuple):
    """Telemetry of a site: how busy its agents are."""

    site: str
    agents: dict[str, int]
    ready: int
    running: int


class RunFinished(NamedTuple):
    """Effect: a run has ended; whoever waits for it may look."""

    run: str


class CommandSettled(NamedTuple):
    """Effect: a home has answered an intent."""

    command: str


__all__ = [
    "Answer",
    "CancelRun",
    "CommandSettled",
    "NewRun",
    "RegisterDefinition",
    "RunFinished",
    "SiteLoads",
    "StartRuns",
]
