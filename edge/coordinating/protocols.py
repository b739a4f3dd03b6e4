"""Which protocols a site knows besides handing out directly."""

from edge.coordinating.auctions import Auctions
from edge.coordinating.consensus import Consensus
from edge.coordinating.seeker import Giving, Seeker
from edge.home import Home


def make_seekers(home: Home, giving: Giving) -> tuple[Seeker, ...]:
    """One of each, in the order in which they award."""
    return Auctions(home, giving), Consensus(home, giving)
