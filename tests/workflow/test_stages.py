"""Stages that a definition declares: entered, refused as data, and checked with their places."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow.problems import DefinitionError, Problems
from workflow.stages import Stages, StageStep, check_stages

ANALYSIS = {"CREATED": ["ANALYZING"], "ANALYZING": ["ANALYZED", "FAILED"], "ANALYZED": [], "FAILED": ["ANALYZING"]}


def problems_of(stages: dict[str, list[str]]) -> list[str]:
    problems = Problems()
    check_stages(stages, problems, ("stages",))
    return [str(problem) for problem in problems.found]


def test_a_stage_is_entered_from_those_that_name_it() -> None:
    """A run begins in the first stage, said or not."""
    stages = Stages.of(ANALYSIS)
    assert stages.start == "CREATED"
    assert stages.enter("", "ANALYZING") == stages.enter("CREATED", "ANALYZING") == StageStep("CREATED", "ANALYZING")
    assert stages.enter("FAILED", "ANALYZING").changes


def test_being_there_already_is_no_change() -> None:
    """Two tasks may both enter ANALYZING; the second changes nothing."""
    step = Stages.of(ANALYSIS).enter("ANALYZING", "ANALYZING")
    assert (step.changes, step.refusal) == (False, "")


def test_a_refused_change_is_a_value() -> None:
    """It says where the run stays and what is allowed from there."""
    step = Stages.of(ANALYSIS).enter("CREATED", "ANALYZED")
    assert (step.source, step.target, step.changes) == ("CREATED", "ANALYZED", False)
    assert step.refusal == "the stage is CREATED and cannot become ANALYZED; allowed from here: ANALYZING"
    assert Stages.of(ANALYSIS).enter("ANALYZED", "CREATED").refusal.endswith("allowed from here: none")


@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        (ANALYSIS, []),
        ({}, []),
        ({"A": ["B"], "BB": []}, ["stages.A[0]: unknown stage 'B'", "stages.BB: cannot be reached from the first stage, A"]),
        ({"A": ["B", "B"], "B": []}, ["stages.A[1]: stage 'B' is named twice"]),
        ({"A": [], "B": ["A"]}, ["stages.B: cannot be reached from the first stage, A"]),
        ({"A.B": []}, ["stages['A.B']: is no name of a stage"]),
    ],
)
def test_mistakes_are_found_with_their_places(stages: dict[str, list[str]], expected: list[str]) -> None:
    """Unknown, doubled, unreachable and unnamable stages."""
    found = problems_of(stages)
    assert len(found) == len(expected)
    for line, begin in zip(found, expected, strict=True):
        assert line.startswith(begin)


names = st.sampled_from(["A", "B", "C", "D", "x.y"])


@given(st.dictionaries(names, st.lists(names, max_size=3), min_size=1))
def test_what_is_checked_can_be_built(stages: dict[str, list[str]]) -> None:
    """Stages without problems make a machine, and stages with problems do not."""
    if problems_of(stages):
        with pytest.raises(DefinitionError):
            Stages.of(stages)
    else:
        assert Stages.of(stages).start in stages
