"""Outputs that are kept as blobs: what tasks after them may do with them."""

from tests.edge.site import Site
from tests.workflow.plans import plan_of
from workflow.commands import Complete
from workflow.events import Blob, TaskFailed

BLOB = Blob(b"\x07" * 32, 200_000)


def made(reads: str) -> Site:
    """A site where task `a` has ended with a blob, and `b` reads it so."""
    site = Site()
    anna = site.join()
    site.release(plan_of({"a": {}, "b": {"needs": ["a"], "with": {"x": reads}}}))
    key = anna.key()
    del anna.hands[key]
    anna.journal[key] = Complete(key.task, key.attempt, anna.name, b"", BLOB)
    site.report(anna, key)
    return site


def test_a_large_output_is_handed_on_as_a_reference() -> None:
    """Whole, it is a parameter that the agent fetches."""
    site = made("${{ tasks.a.output }}")
    anna = site.robots["anna"]
    assert anna.hands[anna.key(task=1)].parameters == b'{"x":{"$blob":{"sha256":"%s","size":200000}}}' % (b"07" * 32)


def test_what_looks_into_a_large_output_fails_with_what_helps() -> None:
    """In an expression, or as part of a text: the task fails for good, and its message names the other task and what to do."""
    for reads in ("${{ tasks.a.output.lines }}", "${{ tasks.a.output.lines[0] + 1 }}", "it says: ${{ tasks.a.output }}"):
        site = made(reads)
        (failed,) = site.events(TaskFailed)
        assert (failed.code, failed.retryable) == ("expression", False)
        assert "tasks.a.output is kept as a blob (200,000 bytes)" in failed.message
        assert "hand the whole output over as a parameter, or let the task return less" in failed.message
        assert "$blob" not in failed.message
