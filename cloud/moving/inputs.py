"""What the API asks of moving runs and sites that are drained, and what it waits for."""

from typing import NamedTuple


class MoveRun(NamedTuple):
    """Let a run go on at another site; empty: at the one that suits it best. `force`: whatever its home is
    doing. The answer is the id of the order."""

    token: int
    run: str
    to: str
    reason: str
    force: bool = False


class DrainSite(NamedTuple):
    """Empty a site (`draining`), or let it be as others again. The answer is nothing."""

    token: int
    site: str
    draining: bool
    to: str
    reason: str


class MoveSettled(NamedTuple):
    """Effect: the run has come to its new home, or ended; or the site has one less. Whoever waits for `name` may look."""

    name: str
