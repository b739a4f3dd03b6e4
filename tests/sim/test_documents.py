"""Documents keep what their level promises whatever breaks, and each safeguard is needed for it."""

from unittest.mock import patch

import pytest

from cloud.documents.leases import Leases
from edge.reading.service import SiteReads
from sync.documents.reading import Shown
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
    """Withholds nothing."""
    return effect


async def from_the_replica(reads: SiteReads, document: str) -> Shown:
    """Asks nobody."""
    return reads._shown(document)


LEASES, STRONG = "bounded reads are inside their bounds", "strong documents are linearizable"
ABLATIONS: dict[str, tuple[str, object, int, str]] = {
    "read_lease": ("cloud.documents.core.Leases", WithoutLeases, 2, LEASES),
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
    """Without the safeguard a seed breaks a guarantee; the message names it."""
    place, other, seed, guarantee = ABLATIONS[name]
    with patch(place, other):
        outcome = run_plan(many_cuts(seed), DocumentWorld)
    assert outcome.broken.startswith(guarantee), outcome.broken or f"seed {seed} noticed nothing"
