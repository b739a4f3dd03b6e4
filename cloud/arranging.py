"""What stands beside the runs at the cloud: all Parts of a planner, in the order in which they see what happens."""

from typing import TYPE_CHECKING

from cloud.caches.core import Clearing
from cloud.part import Part
from cloud.points.parties import FarParties
from cloud.run_documents.core import RunDocumentNews
from cloud.waiting.circles import FarCircles

if TYPE_CHECKING:
    from cloud.planner import Planner


def parts_of(planner: "Planner") -> tuple[Part, ...]:
    """Those that the planner knows by name, and those that nobody asks for anything."""
    first = (planner.dependencies, planner.notifications, Clearing(planner), planner.pauses, planner.rules)
    moves = (planner.overdue, planner.moving, planner.taking, planner.lifetimes)
    documents = (planner.documents, RunDocumentNews(planner), planner.conflicts, planner.merging)
    joining = (planner.agent_tokens, planner.site_tokens, planner.reseeding)
    waits = (planner.waiting, FarCircles(planner), FarParties(planner), planner.point_relay)
    escalating = planner.escalations.mandates, planner.escalations
    return (planner.groups, *escalating, *first, *moves, *documents, *joining, *waits)
