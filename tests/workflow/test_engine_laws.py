"""The laws of the engine: random definitions, random stories, and what must hold whatever agents, time and people do."""

import pytest
from hypothesis import HealthCheck, given, settings

from tests.workflow.definitions import definitions
from tests.workflow.engine_story import KINDS, Happening, Story, happenings
from workflow.plan import read_plan

LAWS = settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def story_of(document: dict[str, object], happened: list[Happening]) -> Story:
    plan = read_plan(document)[1]
    story = Story(plan)
    for what, number, variant in happened:
        story.live(what, number, variant)
    return story


@given(definitions(8, KINDS), happenings)
@LAWS
def test_every_story_comes_to_an_end(document: dict[str, object], happened: list[Happening]) -> None:
    """Once agents answer, time passes and people settle what waits for them, the run ends."""
    story_of(document, happened).finish()


def whole_story(document: dict[str, object], happened: list[Happening]) -> Story:
    story = story_of(document, happened)
    story.finish()
    story.check_returned()
    return story


@given(definitions(8, KINDS, rich=True), happenings)
@settings(LAWS, max_examples=60, derandomize=True)
def test_every_rich_story_comes_to_an_end(document: dict[str, object], happened: list[Happening]) -> None:
    """So does one that holds resources, grows, enters stages, reconciles and follows rules, with tasks added on the way."""
    whole_story(document, happened)


@pytest.mark.nightly
@given(definitions(8, KINDS, rich=True), happenings)
@settings(LAWS, max_examples=3_000)
def test_every_rich_story_comes_to_an_end_for_long(document: dict[str, object], happened: list[Happening]) -> None:
    """The same, in many more stories."""
    whole_story(document, happened)
