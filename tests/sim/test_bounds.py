"""Every queue is bounded, and full means refused: the same stories with much shorter queues, in bursts, on disks that hang."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

import pytest

from sync.actors import Loop
from tests.sim.checkers.bounds import BOUNDED_QUEUES
from tests.sim.plan import Plan, storm
from tests.sim.world import run_plan

HANGING = ("disk_stall", "disk_slow", "deaf")


@contextmanager
def narrow() -> Iterator[None]:
    """Queues that are soon full."""
    with ExitStack() as stack:
        stack.enter_context(patch.dict(Loop.__init__.__kwdefaults__ or {}, inbox_max=8, batch_max=2))
        stack.enter_context(patch("edge.service.OUTGOING_MAX", 8))
        stack.enter_context(patch("sync.link.outbox.WAITING_MAX", 4))
        yield


def bursts(seed: int) -> Plan:
    """All that is asked comes in ten bursts, and every disk hangs often."""
    plan = storm(seed, HANGING, 60)
    steps = [step if step.is_fault else step._replace(at_s=60 * (step.at_s // 60) + step.b * 0.05 + 5) for step in plan.steps]
    return Plan(seed, tuple(sorted(steps)))


@pytest.mark.parametrize("seed", [1, 4])
def test_full_means_refused(seed: int) -> None:
    """No queue is ever above its bound; who is refused hears so and asks again, and every guarantee holds."""
    with narrow():
        outcome = run_plan(bursts(seed))
    assert not outcome.broken, "\n".join((*outcome.last, outcome.broken))
    assert outcome.seen["inbox_full"] > 0


def test_ablation_bounded_inbox() -> None:
    """An inbox that takes whatever comes is noticed."""
    with narrow(), patch.object(Loop, "post", Loop.tell):
        outcome = run_plan(bursts(1))
    assert outcome.broken.startswith(BOUNDED_QUEUES), outcome.broken or "noticed nothing"
