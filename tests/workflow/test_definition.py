"""The models of a definition: durations, what is required, and the published JSON Schema."""

import contextlib

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workflow.documents import document
from workflow.definition import DURATION_MS_MAX, RetryPolicy, WorkflowDefinition, json_schema, parse_duration, show_duration


@given(st.integers(0, DURATION_MS_MAX))
def test_a_duration_is_read_back(duration_ms: int) -> None:
    """What `show_duration` writes, `parse_duration` reads as the same number of ms."""
    assert duration_ms == parse_duration(show_duration(duration_ms))


@pytest.mark.parametrize(
    ("text", "duration_ms"),
    [("500ms", 500), ("30s", 30_000), ("1.5s", 1_500), ("5m", 300_000), ("2h", 7_200_000), ("1d", 86_400_000), ("0s", 0)],
)
def test_durations_have_five_units(text: str, duration_ms: int) -> None:
    """ms, s, m, h and d are understood, with decimals."""
    assert duration_ms == parse_duration(text)


@pytest.mark.parametrize(
    "text", ["", "30", "s", "-1s", "1 s", "1s ", "1w", "1e3s", "0.0001ms", "9999999d", "\uff11s", "1s\n", "nan"]
)
def test_other_texts_are_no_durations(text: str) -> None:
    """Everything else is refused, with what is allowed."""
    with pytest.raises(ValueError, match="allowed"):
        parse_duration(text)


@given(st.text())
def test_no_text_breaks_the_reading_of_durations(text: str) -> None:
    """A text is a duration within bounds or a ValueError, never anything else."""
    with contextlib.suppress(ValueError):
        assert 0 <= parse_duration(text) <= DURATION_MS_MAX


def test_numbers_are_seconds() -> None:
    """A duration without a unit counts seconds."""
    policy = RetryPolicy.model_validate({"delay": 1.5, "delay_max": 60})
    assert (policy.delay, policy.delay_max) == (1_500, 60_000)


def test_the_document_leaves_out_defaults() -> None:
    """The canonical document has the fields in the models' order, durations as text, and nothing that is default."""
    definition = WorkflowDefinition.model_validate(
        document({"a": {"effect": "once", "timeout": 90, "needs": [], "capability": "work"}}, description="")
    )
    expected = b'{"name":"flow","version":"1.0.0","tasks":{"a":{"capability":"work","timeout":"90s"}}}'
    assert expected == definition.document()


def test_the_published_schema_agrees_with_the_models() -> None:
    """The JSON Schema is valid itself, accepts what we accept and refuses unknown fields and bad durations."""
    validator = jsonschema_rs.validator_for(json_schema(), pattern_options=jsonschema_rs.RegexOptions())
    whole = document(
        {"a": {"timeout": "30s", "retry": {"delay": 1.5}, "with": {"x": 1}}, "b": {"wait": {"for": "1h"}, "needs": ["a"]}}
    )
    assert validator.is_valid(whole)
    assert not validator.is_valid(document({"a": {"timout": 3}}))
    assert not validator.is_valid(document({"a": {"timeout": "3 weeks"}}))
    assert not validator.is_valid(document({"A": {}}))
    assert not validator.is_valid(document({"a": {"capability": "x", "agent": "y"}}))
