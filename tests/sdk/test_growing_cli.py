"""`tiercel run add`: what is read from a file and typed as links."""

import pytest
import typer

from tiercel.cli.run_growing import added, linked
from tiercel.cli.yaml_text import read_yaml


def test_tasks_are_read_with_or_without_the_word_tasks() -> None:
    """A file may look like the part of a definition, or be the mapping itself; JSON is YAML."""
    weigh = {"weigh": {"capability": "weigh", "needs": ["pick"]}}
    assert added("tasks: {weigh: {capability: weigh, needs: [pick]}}", "f") == weigh
    assert added('{"weigh": {"capability": "weigh", "needs": ["pick"]}}', "f") == weigh


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tasks: [", "neither YAML nor JSON"),
        ("- a", "holds list"),
        ("tasks: {}", "an empty mapping"),
        ("1: {}", "holds 1"),
    ],
)
def test_what_is_no_mapping_of_tasks_is_refused(text: str, said: str) -> None:
    """The message names the file, what it holds and what is allowed."""
    with pytest.raises(typer.BadParameter, match=said) as refused:
        added(text, "more.yaml")
    assert "more.yaml" in str(refused.value)


def test_links_of_one_task_add_up() -> None:
    """Each says who waits, and for what."""
    assert linked(["ship=weigh,wrap", "ship=seal", "bill=weigh"]) == {"ship": ["weigh", "wrap", "seal"], "bill": ["weigh"]}


@pytest.mark.parametrize("text", ["ship", "=weigh", "ship=", "ship=,"])
def test_half_a_link_is_refused(text: str) -> None:
    """It names what was typed."""
    with pytest.raises(typer.BadParameter, match="is no link"):
        linked([text])


@pytest.mark.parametrize(
    ("text", "value"), [("no", "no"), ("on", "on"), ("true", True), ("2026-01-31", "2026-01-31"), ("7", 7), ("~", None)]
)
def test_short_words_are_what_definitions_take_them_for(text: str, value: object) -> None:
    """YAML 1.2: only true and false are truth values, and a date is text."""
    assert read_yaml(text) == value
