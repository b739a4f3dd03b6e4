"""Documents keep what their level promises whatever breaks, and each safeguard is needed for it."""

from unittest.mock import patch

import pytest

from cloud.documents.leases import Leases
from edge.documents import SiteDocuments
from edge.reading.service import SiteReads
from sync.documents.events import EditProposed
from sync.documents.reading import Shown
from sync.outputs import Confirmed, Reply
from sync.values import Now
from sync.watching.unseen import TellWatchers
from tests.sim.documents import DocumentWorld
from tests.sim.plan import Plan, Step, draw_plan
from tests.sim.world import run_plan, run_seed

SEEDS = (1, 17)
"""Found once: a full disk in the middle of a greeting, and of a lease."""


class WithoutLeases(Leases):
    """Bars nothing."""

    def bars(self, document: str, version: int, bound: int, now_ms: int) -> str:
        return ""


def at_once(effect: object) -> object:
    """Withholds no answer."""
    return effect if isinstance(effect, Reply) else Confirmed(effect)


async def from_the_replica(reads: SiteReads, document: str) -> Shown:
    """Asks nobody."""
    return reads._shown(document)


def no_bar(documents: SiteDocuments, edit: EditProposed, now: Now) -> None:
    """Decides whatever the cloud lacks."""


def told_at_once(documents: SiteDocuments, now: Now, out: list[object]) -> None:
    """Tells watchers of what is durable at the site, whether it counts or not."""
    out += [TellWatchers(change) for change in documents.book.take_news()]


LEASES, STRONG = "bounded reads are inside their bounds", "strong documents are linearizable"
WATCHED = "who watches is shown what counts"
SEEDS_TRIED = 6
"""A story changes with whatever happens in it: the first seed that notices is not the same for ever."""
ABLATIONS: dict[str, tuple[str, object, int, str]] = {
    "bound_of_a_site": ("edge.documents.SiteDocuments._bar", no_bar, 4, LEASES),
    "withheld_news": ("edge.documents.SiteDocuments.settle", told_at_once, 1, WATCHED),
    "read_lease": ("cloud.documents.core.Leases", WithoutLeases, 4, LEASES),
    "strong_read_position": ("edge.documents.Confirmed", at_once, 1, STRONG),
    "strong_reads_ask_the_cloud": ("edge.reading.service.SiteReads._strong", from_the_replica, 1, STRONG),
}


def many_cuts(seed: int) -> Plan:
    """Few runs, and a site that is cut off every half a minute."""
    calm = [step for step in draw_plan(seed, commands=10).steps if not step.is_fault]
    cuts = [Step(at_s, "cut", number, 0.9, 15.0) for number, at_s in enumerate(range(20, 560, 30))]
    return Plan(seed, tuple(sorted([*calm, *cuts])))


@pytest.mark.parametrize("seed", SEEDS)
def test_documents_keep_their_promises(seed: int) -> None:
    """Strong ones are linearizable, bounded reads inside their bounds, and in the end all replicas are what their homes are."""
    outcome = run_seed(seed, DocumentWorld)
    assert not outcome.broken
    assert min(outcome.seen[f"document_{what}"] for what in ("put", "read")) > 0


@pytest.mark.parametrize("name", sorted(ABLATIONS))
def test_ablation(name: str) -> None:
    """Without the safeguard one of a few seeds breaks a guarantee; the message names it."""
    place, other, first, guarantee = ABLATIONS[name]
    with patch(place, other):
        outcomes = (run_plan(many_cuts(seed), DocumentWorld).broken for seed in range(first, first + SEEDS_TRIED))
        broken = next(filter(None, outcomes), "")
    assert broken.startswith(guarantee), broken or f"{SEEDS_TRIED} seeds from {first} on noticed nothing"
