"""What the API asks of sites, and what it waits for."""

from typing import NamedTuple


class OrderSitePause(NamedTuple):
    """Pause a site, or let it go on. The answer is the id of the order, empty if the site is active and is to be."""

    token: int
    site: str
    paused: bool
    reason: str


class SitePauseSettled(NamedTuple):
    """Effect: the site has done what was ordered; whoever waits for it may look."""

    command: str
