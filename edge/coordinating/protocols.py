"""Which protocols a site knows besides handing out directly."""

from edge.coordinating.alone import Alone
from edge.coordinating.auctions import Auctions
from edge.coordinating.between import Levels
from edge.coordinating.consensus import Consensus
from edge.coordinating.hierarchical import Hierarchical
from edge.coordinating.leader import Leader
from edge.coordinating.mandates import Mandates
from edge.coordinating.seeker import Giving, Seeker
from edge.home import Home
from edge.leading.groups import Leading


def make_seekers(home: Home, giving: Giving, leading: Leading, mandates: Mandates, alone: Alone) -> tuple[Seeker, ...]:
    """One of each, in the order in which they award. The first hands tasks on to the others."""
    levels = Levels(giving)
    below: tuple[Seeker, ...] = Auctions(home, levels, alone), Consensus(home, levels), Leader(home, levels, leading)
    levels.above = Hierarchical(home, giving, mandates, {seeker.protocol: seeker for seeker in below})
    return levels.above, *below
