"""The documents of a run, as part of its fragment's state."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.documents.events import EditProposed, EditRefused
from sync.documents.ids import run_document
from sync.values import Now, RunId
from tests.workflow.plans import plan_of
from workflow.commands import Steer
from workflow.context import ALL_BYTES_MAX, DOCUMENTS_MAX, VALUE_BYTES_MAX, judge, known_of, names_of
from workflow.context_events import ContextChanged
from workflow.context_state import EDITS_KEPT
from workflow.events import CommandAnswered, FragmentAdopted, FragmentEnded
from workflow.fragment import Fragment
from workflow.home_events import FragmentYielding
from workflow.moving import restore_moved, state_for
from workflow.orders import ChangeContext
from workflow.saved import load_saved

PLAN = plan_of({"a": {"capability": "pick"}})
RUN = RunId("r1")


def fragment() -> Fragment:
    return Fragment.adopt(RUN, PLAN, FragmentAdopted(PLAN.ref, b"{}", "harbour", ["harbour"], bytes(1), 2))


def asked(value: bytes = b"1", edit: str = "e1", operation: str = "put", expected: int = -1, name: str = "notes") -> EditProposed:
    return EditProposed(run_document(RUN, name), edit, operation, value, expected, "agent:r1", 0)


def write(run: Fragment, edit: EditProposed, name: str = "notes") -> int | str:
    """The version that it made, or why it is refused."""
    judged = judge(run, name, edit, 5)
    if isinstance(judged, ContextChanged):
        run.evolve(judged)
        return judged.version
    return judged.code if isinstance(judged, EditRefused) else judged


def test_versions_count_on_and_edits_count_once() -> None:
    """After a deletion, too; asked again, an edit is answered the version that it made."""
    run = fragment()
    assert write(run, asked(b'{"a":1}', "e1")) == 1
    assert write(run, asked(b'{"b":2}', "e2", "merge")) == 2
    assert known_of(run, "notes").value == b'{"a":1,"b":2}'
    assert write(run, asked(b"", "e3", "delete")) == 3
    assert write(run, asked(b"", "e4", "delete")) == "document_unknown"
    assert write(run, asked(b"5", "e5", expected=0)) == 4
    assert [write(run, asked(b"9", edit)) for edit in ("e1", "e3", "e5")] == [1, 3, 4]
    assert (known_of(run, "notes").value, names_of(run)) == (b"5", ["notes"])


def test_an_expected_version_is_compared() -> None:
    """And refused with the one that is there."""
    run = fragment()
    assert write(run, asked(edit="e1", expected=1)) == "version_conflict"
    assert write(run, asked(edit="e2", expected=0)) == 1
    refused = judge(run, "notes", asked(edit="e3", expected=4), 5)
    assert isinstance(refused, EditRefused)
    assert refused.version == 1
    assert "has version 1" in refused.reason


def test_a_run_has_so_much_and_no_more() -> None:
    """Its state travels as a whole."""
    run = fragment()
    assert write(run, asked(b"1" * (VALUE_BYTES_MAX + 1))) == "document_too_large"
    for number in range(ALL_BYTES_MAX // VALUE_BYTES_MAX):
        assert write(run, asked(b"1" * VALUE_BYTES_MAX, f"e{number}"), f"n{number}") == 1
    assert write(run, asked(b"1", "x1"), "more") == "document_too_large"
    assert write(run, asked(b"1", "x2"), "n0") == 2
    assert write(run, asked(b"1", "x3"), "more") == 1
    for number in range(DOCUMENTS_MAX - len(names_of(run))):
        assert write(run, asked(b"1", f"y{number}"), f"m{number}") == 1
    assert write(run, asked(b"1", "x4"), "one-too-many") == "document_too_large"


def test_only_so_many_edits_are_known_again() -> None:
    """What is older is done anew."""
    run = fragment()
    for number in range(EDITS_KEPT + 1):
        write(run, asked(edit=f"e{number}"))
    assert write(run, asked(edit="e1")) == 2
    assert write(run, asked(edit="e0")) == EDITS_KEPT + 2


def test_what_moves_goes_on_and_what_has_ended_changes_no_more() -> None:
    """Tasks that are in hand write until the home gives the run up: all that is before that in its stream goes with it."""
    run = fragment()
    write(run, asked())
    run.evolve(FragmentYielding("c1", True, "the site closes"))
    assert write(run, asked(edit="e2")) == 2
    moved = restore_moved(RUN, PLAN, state_for(run, "airport", 3))
    assert [write(moved, asked(edit=edit)) for edit in ("e1", "e2", "e3")] == [1, 2, 3], "edits are known again"
    moved.evolve(FragmentEnded("completed", ""))
    assert write(moved, asked(edit="e4")) == "run_ended"


def test_an_order_writes_and_is_answered() -> None:
    """Under its own id if it names none; refused with the code first, for programs."""
    run, now = fragment(), Now(7, 7, 1)
    order: dict[str, Any] = {"name": "notes", "what": "put", "value": {"b": 1, "a": 2}, "by": "ben"}
    first = run.decide(Steer("c1", ChangeContext(**order)), now)
    assert first == [ContextChanged("notes", 1, b'{"a":2,"b":1}', "ben", "c1", 7), CommandAnswered("c1", True)]
    for event in first:
        run.evolve(event)
    assert run.decide(Steer("c1", ChangeContext(**order)), now) == [CommandAnswered("c1", True)]
    (refused,) = run.decide(Steer("c2", ChangeContext(**order, expected=7)), now)
    assert isinstance(refused, CommandAnswered)
    assert (refused.accepted, refused.detail.partition(": ")[0]) == (False, "version_conflict")


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["put", "merge", "delete"]), st.integers(0, 5)), max_size=40))
def test_a_saved_fragment_is_the_same_fragment(edits: list[tuple[str, str, int]]) -> None:
    """And whoever folds its events has the same state, byte for byte."""
    run, replica = fragment(), fragment()
    for name, operation, number in edits:
        judged = judge(run, name, asked(b'{"n":%d}' % number, f"e{number}", operation), 5)
        if isinstance(judged, ContextChanged):
            run.evolve(judged)
            replica.evolve(judged)
    again = Fragment.restore(RUN, PLAN, load_saved(run.save()))
    assert run.save() == replica.save() == again.save()


@pytest.mark.parametrize("name", ["notes", "a/b"])
def test_ids_name_run_and_document(name: str) -> None:
    """As the id says."""
    assert run_document("r1", name) == f"run/r1/{name}"
