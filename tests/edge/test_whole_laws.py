"""The laws of a site with everything: whatever is defined, asked, killed or lost, and in any order."""

from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.edge.whole_story import Happening, World, happenings
from tests.workflow.definitions import definitions
from workflow.plan import read_plan

LAWS = settings(
    deadline=None, max_examples=40, derandomize=True, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
# What tasks and rules of the others start; once the site knows it, it begins such runs itself while it is cut off.
CHILD = {"name": "other", "version": "1", "tasks": {"a": {"capability": "pick", "effect": "repeatable"}}}
# What a growing task adds while the site is cut off is ready, and waits for the link.
GROWING = {"name": "growing", "version": "1", "tasks": {"t0": {"capability": "pack", "effect": "physical", "grows": True}}}
ADDED_ALONE = [("link", "anna", 0, 0), ("cut", "anna", 0, 0), ("finish", "ben", 0, 1), ("report", "ben", 11, 0)]
# The commit of a turn that has something to say fails: a run that is released, a result, an order, a tombstone.
FAILING = [("fail_commit", "anna", 0, 0), ("release", "anna", 1, 0), ("join", "anna", 3, 0), ("finish", "anna", 0, 0)]
FAILING += [("fail_commit", "ben", 0, 0), ("report", "anna", 0, 0), ("join", "anna", 3, 0), ("report", "anna", 0, 0)]
# The commit of an order for a run that has ended fails; it is said again with the link, while its tombstone is being read.
SKIPPED = {"name": "skipped", "version": "1", "tasks": {"t0": {"capability": "pick", "effect": "repeatable", "when": "false"}}}
ASKED_AGAIN = [("fail_commit", "anna", 0, 0), ("retry", "anna", 0, 0)]
documents: st.SearchStrategy[list[dict[str, Any]]] = st.tuples(
    definitions(7, rich=True, name="one"), definitions(5, rich=True, name="two"), st.just(CHILD)
).map(list)


def told(written: list[dict[str, Any]], happened: list[Happening]) -> World:
    world = World([read_plan(document)[1] for document in written])
    for happening in happened:
        world.live(*happening)
    world.check_refold()
    world.finish()
    return world


@given(documents, happenings)
@example([GROWING, CHILD], ADDED_ALONE)
@example([SKIPPED, CHILD], ASKED_AGAIN)
@LAWS
def test_a_whole_site_keeps_its_laws(written: list[dict[str, Any]], happened: list[Happening]) -> None:
    """Replicas are equal after every step, nothing begins before its time, resources suffice, every run waits for something that
    can come, and once everybody has done his part all runs have ended and hold nothing."""
    world = told(written, happened)
    assert not list(world.site.core.fragments), "all have ended"


def test_commits_fail_in_these_stories() -> None:
    """What a turn was to write is refused, a release and a result here: both are said again, and come to their end."""
    world = told([GROWING, CHILD], FAILING)
    assert (world.site.failed, world.site.refolds) == (2, 2)
    assert len(world.runs) == 2


@pytest.mark.nightly
@given(documents, happenings)
@settings(LAWS, max_examples=3_000, derandomize=False)
def test_a_whole_site_keeps_its_laws_for_long(written: list[dict[str, Any]], happened: list[Happening]) -> None:
    """The same, in many more stories."""
    world = told(written, happened)
    assert not list(world.site.core.fragments), "all have ended"
