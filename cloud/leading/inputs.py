"""What the API asks of groups of agents."""

from typing import NamedTuple


class TransferTerm(NamedTuple):
    """Let the member `to` of a site's group lead (empty: whoever is next); with an `epoch`, only while that is its latest. The
    answer is the id of the command. `idempotency`: key and SHA-256 of the request."""

    token: int
    site: str
    group: str
    to: str
    epoch: int
    idempotency: tuple[str, bytes] | None = None
