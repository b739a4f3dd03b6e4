"""docs/definitions.md: its examples load, and it names every field. Those of other pages load, too."""

import re
from pathlib import Path

import pytest

from workflow.definition import TaskDefinition, WorkflowDefinition
from workflow.loading import load

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "definitions.md").read_text("utf-8")
OTHERS = "".join((DOCS / name).read_text("utf-8") for name in ("dependencies.md", "coordination.md"))
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE + OTHERS, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda text: text.split("\n")[0].removeprefix("name: "))
def test_examples_load(example: str) -> None:
    """Each example is a definition of today's form."""
    assert not load(example, "example.yaml").migrations


def test_there_are_examples() -> None:
    """They are found where the page has them."""
    assert len(EXAMPLES) >= 5


@pytest.mark.parametrize("model", [WorkflowDefinition, TaskDefinition])
def test_every_field_is_named(model: type[WorkflowDefinition] | type[TaskDefinition]) -> None:
    """The page has every field of the whole and of a task."""
    words = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`\n]+)`", PAGE))))
    assert {field.alias or name for name, field in model.model_fields.items()} <= words
