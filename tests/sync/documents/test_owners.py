"""Who may write what is an agent's own."""

import pytest

from sync.documents.events import EditProposed
from sync.documents.ids import home_of, id_problem, owner_of
from sync.documents.owners import stranger_problem
from sync.documents.terms import Terms

STATE = "agent/harbour/r1/state"


def edit(author: str, operation: str = "put", document: str = STATE, terms: Terms | None = None) -> EditProposed:
    return EditProposed(document, "e1", operation, b"1", -1, author, 0, terms)


@pytest.mark.parametrize(
    ("author", "operation", "by_agent", "is_allowed"),
    [
        ("agent:r1", "put", True, True),
        ("agent:r1", "delete", True, True),
        ("agent:r2", "put", True, False),
        ("agent:r2", "delete", True, False),
        ("agent:r1", "put", False, False),
        ("ben", "merge", False, False),
        ("ben", "delete", False, True),
    ],
)
def test_an_agents_state_has_one_writer(author: str, operation: str, by_agent: bool, is_allowed: bool) -> None:
    """By its gateway, which knows who it is; a name that came from elsewhere counts for nothing."""
    assert (stranger_problem(edit(author, operation), by_agent=by_agent) == "") == is_allowed


def test_it_cannot_begin_as_one_that_many_write_to() -> None:
    """Whoever says so."""
    assert "one writer" in stranger_problem(edit("agent:r1", terms=Terms(resolver="lww", multi_writer=True)), by_agent=True)


def test_other_documents_belong_to_nobody() -> None:
    """Anybody may write to them."""
    for document in ("shared/a", "site/harbour/a"):
        assert (owner_of(document), stranger_problem(edit("ben", document=document), by_agent=False)) == ("", "")


def test_ids_of_agents_name_site_agent_and_document() -> None:
    """The home is the site."""
    assert (home_of(STATE), owner_of(STATE), id_problem(STATE)) == ("harbour", "r1", None)
    assert all(id_problem(wrong) for wrong in ("agent/harbour/r1", "agent/cloud/r1/a", "agent/harbour/r 1/a", "agent/a"))
