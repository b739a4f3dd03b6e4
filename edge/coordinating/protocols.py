"""Which protocols a site knows besides handing out directly."""

from edge.coordinating.auctions import Auctions
from edge.coordinating.consensus import Consensus
from edge.coordinating.leader import Leader
from edge.coordinating.seeker import Giving, Seeker
from edge.home import Home
from edge.leading.groups import Leading


def make_seekers(home: Home, giving: Giving, leading: Leading) -> tuple[Seeker, ...]:
    """One of each, in the order in which they award."""
    return Auctions(home, giving), Consensus(home, giving), Leader(home, giving, leading)
