"""The laws of cloud and sites together: whatever is cut, restarted, lost and asked, both know the same when the links heal."""

from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.two_tiers import Happening, Tiers, happenings
from tests.workflow.definitions import definitions
from workflow.plan import read_plan

LAWS = settings(
    deadline=None, max_examples=25, derandomize=True, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@st.composite
def documents(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Two definitions, some of whose tasks are the airport's."""
    written = [draw(definitions(6, rich=True, name=name)) for name in ("one", "two")]
    for document in written:
        for task in document["tasks"].values():
            if "capability" in task and draw(st.booleans()):
                task["site"] = "airport"
    return written


def told(written: list[dict[str, Any]], happened: list[Happening]) -> Tiers:
    tiers = Tiers([read_plan(document)[1] for document in written])
    for happening in happened:
        tiers.live(*happening)
    tiers.finish()
    return tiers


def unlike(tiers: Tiers) -> list[str]:
    """Runs that have not ended, or whose replica at the cloud is not what their home has."""
    return [run for run in tiers.runs if not tiers.cloud.outcome(run)] + tiers.different()


@given(documents(), happenings)
@LAWS
def test_both_tiers_know_the_same_in_the_end(written: list[dict[str, Any]], happened: list[Happening]) -> None:
    """Replicas equal their homes byte for byte, what was acknowledged exists and ends, and nothing is done blindly again."""
    assert unlike(told(written, happened)) == []


LEVELS: list[dict[str, Any]] = [
    {"consistency": "strong"},
    {"consistency": {"level": "strong", "when_cut": "fail"}, "autonomy": "compensate"},
    {"consistency": {"level": "strong", "wait": "1m"}},
    {"consistency": {"level": "bounded", "versions": 2}, "autonomy": "continue"},
    {"consistency": {"level": "bounded", "time": "3s"}},
    {"autonomy": "hold"},
    {"autonomy": {"when_cut": "continue", "horizon": "10s", "budget": 2, "then": "compensate"}},
    {"autonomy": "compensate"},
]


def added_at_the_moment_of_the_cut() -> tuple[list[dict[str, Any]], list[Happening], tuple[dict[str, Any], dict[str, Any]]]:
    """Tasks are added in the same millisecond in which the link is cut, before it is, and the site starts again."""
    one = {"name": "one", "version": "1", "tasks": {"t0": {"wait": {"for": 1}}}}
    two = {"name": "two", "version": "1", "tasks": {"t0": {"capability": "pick", "effect": "repeatable"}}}
    told = ("add", "send", "restart_cloud", "restart_site")
    return [one, two], [(what, "airport", int(what == "restart_site"), 0) for what in told], (LEVELS[2], LEVELS[2])


@given(documents(), happenings, st.tuples(st.sampled_from(LEVELS), st.sampled_from(LEVELS)))
@example(*added_at_the_moment_of_the_cut())
@LAWS
def test_whatever_runs_are_promised_both_tiers_know_the_same_and_all_end(
    written: list[dict[str, Any]], happened: list[Happening], levels: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    """And nothing of a strong run reaches an agent before the cloud holds it."""
    assert unlike(told([{**document, **level} for document, level in zip(written, levels, strict=True)], happened)) == []


@pytest.mark.nightly
@given(documents(), happenings)
@settings(LAWS, max_examples=2_000, derandomize=False)
def test_both_tiers_know_the_same_in_the_end_for_long(written: list[dict[str, Any]], happened: list[Happening]) -> None:
    """The same, in many more stories."""
    assert unlike(told(written, happened)) == []


@pytest.mark.nightly
@given(documents(), happenings, st.tuples(st.sampled_from(LEVELS), st.sampled_from(LEVELS)))
@settings(LAWS, max_examples=2_000, derandomize=False)
def test_whatever_runs_are_promised_both_tiers_know_the_same_for_long(
    written: list[dict[str, Any]], happened: list[Happening], levels: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    """The same, in many more stories."""
    assert unlike(told([{**document, **level} for document, level in zip(written, levels, strict=True)], happened)) == []
