"""What else a dependency between runs asks: read with its limits, and judged when the awaited has ended."""

from typing import Any

import msgspec
import pytest

from workflow.event import Blob
from workflow.judging import Judged, judge, needs_output, read_terms
from workflow.problems import Problems
from workflow.terms import Terms


def terms(when: str = "", select: str = "", into: str = "", schema: dict[str, Any] | None = None) -> Terms:
    problems = Problems()
    found = read_terms(when, select, into, schema, (), problems)
    assert not problems.found
    assert found is not None
    return found


def refused(when: str = "", select: str = "", into: str = "", schema: dict[str, Any] | None = None) -> list[str]:
    problems = Problems()
    read_terms(when, select, into, schema, ("after", 0), problems)
    return [str(problem) for problem in problems.found]


def judged(asked: Terms, output: object = None, outcome: str = "completed") -> Judged:
    return judge(asked, "r1", outcome, msgspec.json.encode(output))


def test_a_condition_is_true_or_it_is_waited_in_vain() -> None:
    """What is neither true nor false, or has no value, is not true; the reason names the condition."""
    light = terms("outcome == 'completed' && output.kg < 20.0")
    assert judged(light, {"kg": 3.5}) == Judged(True)
    assert "`when` (outcome == 'completed' && output.kg < 20.0) is false of r1" in judged(light, {"kg": 30.5}).detail
    assert "output has no 'kg'" in judged(light, {}).detail
    assert "is neither true nor false" in judged(terms("output.kg"), {"kg": 1}).detail
    assert judge(terms("outcome != 'completed'"), "r1", "failed", None) == Judged(True)
    assert "output is not at hand" in judge(light, "r1", "completed", None).detail


def test_a_part_of_the_output_is_handed_over_if_it_fits() -> None:
    """All of it without `select`; nothing if no `into` wants it; a misfit says where."""
    box = terms(select="output.box", into="box", schema={"type": "object", "properties": {"id": {"type": "string"}}})
    assert judged(box, {"box": {"id": "b7"}}) == Judged(True, "", b'{"id":"b7"}')
    assert "does not fit `schema` at ['id']: 7 is not of type" in judged(box, {"box": {"id": 7}}).detail
    assert judged(terms(into="all"), [1, {"b": 2, "a": 1}]).value == b'[1,{"b":2,"a":1}]'
    assert judged(terms(schema={"type": "integer"}), 7) == Judged(True)


def test_what_no_dependency_may_hand_over_is_refused() -> None:
    """Blobs, whole or inside, references to secrets, and what is too large."""
    whole = terms(into="all")
    assert "kept as a blob" in judge(whole, "r1", "completed", Blob(b"a" * 32, 10**6)).detail
    assert "kept as blobs" in judged(whole, {"part": {"$blob": {"sha256": "a", "size": 1}}}).detail
    assert "secret://" in judged(whole, ["secret://key"]).detail
    large = judged(whole, "x" * 70_000)
    assert (large.is_met, "64 KiB" in large.detail) == (False, True)


def test_wrong_terms_are_refused_with_their_place() -> None:
    """Unknown words, no CEL, a selection for nothing, no JSON Schema, or one that is too large."""
    assert refused(when="tasks.a.output") == ["after[0].when: 'tasks' is not known here; allowed: outcome, output"]
    assert refused(when="inputs.a")[0].startswith("after[0].when: 'inputs' is not known here")
    assert refused(select="output.x")[0].startswith("after[0].select: selects what nothing is done with")
    assert refused(when="output +")[0].startswith("after[0].when: ")
    assert refused(schema={"type": "nix"})[0].startswith("after[0].schema.type: ")
    assert "at most" in refused(schema={"const": "x" * 20_000})[0]
    assert "too long" in refused(when="output == '" + "x" * 5_000 + "'")[0]


@pytest.mark.parametrize(
    ("asked", "needs"),
    [
        (None, False),
        (Terms(when="outcome == 'failed'"), False),
        (Terms(when="output.ok"), True),
        (Terms(when="outcome == 'failed' || output.ok"), True),
        (Terms(into="x"), True),
        (Terms(schema=b"{}"), True),
    ],
)
def test_the_output_is_needed_only_by_those_who_read_it(asked: Terms | None, needs: bool) -> None:
    """A condition on the outcome alone needs none, so it may be asked of what ended long ago."""
    assert needs_output(asked) is needs
