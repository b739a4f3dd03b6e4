"""Documents of a cloud and two sites: who decides, what replicas hold, what is pending, and what a restart finds."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.documents.inputs import Edited, LeaseAsked
from cloud.port import Problem
from sync.documents.book import ANY_VERSION, DOCUMENTS_MAX, HISTORY_KEPT, VALUE_BYTES_MAX, DocumentBook
from sync.documents.events import EVENTS, DocumentChanged, EditProposed, EditRefused
from sync.documents.ids import home_of, id_problem
from sync.documents.inputs import EditDocument
from sync.documents.terms import Terms
from sync.inputs import Replicated
from sync.levels import Level
from tests.ports import head, rows_after
from tests.two_tiers import Tiers
from tests.workflow.plans import plan_of
from workflow.events import decode, encode

PLAN = plan_of({"a": {"capability": "pick"}}, name="one")
OWN, SHARED = "site/harbour/dock", "shared/prices"


@pytest.fixture
def tiers() -> Tiers:
    return Tiers([PLAN])


def put(tiers: Tiers, document: str, value: bytes, expected: int = ANY_VERSION, edit: str = "") -> object:
    """An edit at the cloud."""
    return tiers.cloud.ask(lambda token: EditDocument(token, document, edit, "put", value, expected, "ada"))


def put_at(tiers: Tiers, site: str, document: str, value: bytes, expected: int = ANY_VERSION, edit: str = "s1") -> object:
    """An edit at a site."""
    outpost = tiers.wires[site].site
    core = outpost.core.documents
    outpost.turn(EditDocument(7, document, edit, "put", value, expected, "ben"))
    return core.book.answer(document, edit) or core.book.pending.get(edit)


def value(tiers: Tiers, where: str, document: str) -> tuple[int, bytes]:
    core = tiers.cloud.planner if where == "cloud" else tiers.wires[where].site.core
    known = core.documents.book.get(document)
    return known.version, known.value


def test_a_shared_document_is_decided_at_the_cloud_and_told_to_every_site(tiers: Tiers) -> None:
    """Also to one that was cut off meanwhile: the latest version, once it is back."""
    tiers.wires["airport"].cut()
    assert isinstance(put(tiers, SHARED, b"1"), Edited)
    put(tiers, SHARED, b"2")
    tiers.drain()
    assert value(tiers, "harbour", SHARED) == (2, b"2")
    assert value(tiers, "airport", SHARED) == (0, b"")
    tiers.wires["airport"].link()
    tiers.drain()
    assert value(tiers, "airport", SHARED) == (2, b"2")


def test_a_document_of_a_site_goes_on_without_the_cloud(tiers: Tiers) -> None:
    """The site decides at once, and the cloud's replica follows."""
    tiers.wires["harbour"].cut()
    assert put_at(tiers, "harbour", OWN, b"1") == 1
    assert value(tiers, "cloud", OWN) == (0, b"")
    tiers.wires["harbour"].link()
    tiers.drain()
    assert value(tiers, "cloud", OWN) == (1, b"1")


def test_an_edit_elsewhere_is_pending_until_the_home_answers(tiers: Tiers) -> None:
    """A refusal is an answer, too; nothing is left pending."""
    put_at(tiers, "harbour", OWN, b"1")
    tiers.drain()
    tiers.wires["harbour"].cut()
    first, second = put(tiers, OWN, b"2", 1), put(tiers, OWN, b"3", 1)
    assert isinstance(first, Edited)
    assert isinstance(second, Edited)
    book = tiers.cloud.planner.documents.book
    assert [edit.value for edit in book.waiting(OWN)] == [b"2", b"3"]
    assert value(tiers, "cloud", OWN) == (1, b"1")
    tiers.wires["harbour"].link()
    tiers.drain()
    assert book.answer(OWN, first.edit) == 2
    refused = book.answer(OWN, second.edit)
    assert isinstance(refused, EditRefused)
    assert refused.code == "version_conflict"
    assert not book.pending
    assert value(tiers, "cloud", OWN) == value(tiers, "harbour", OWN) == (2, b"2")


def test_a_site_may_ask_for_a_change_of_what_is_shared(tiers: Tiers) -> None:
    """While it is cut off the edit is pending there; the answer, good or bad, reaches it."""
    tiers.wires["harbour"].cut()
    assert isinstance(put_at(tiers, "harbour", SHARED, b"1", 0, "s1"), EditProposed)
    put_at(tiers, "harbour", SHARED, b"2", 0, "s2")
    tiers.wires["harbour"].link()
    tiers.drain()
    book = tiers.wires["harbour"].site.core.documents.book
    assert book.answer(SHARED, "s1") == 1
    assert isinstance(book.answer(SHARED, "s2"), EditRefused)
    assert not book.pending
    assert value(tiers, "airport", SHARED) == (1, b"1")


def test_an_edit_counts_once_under_its_id(tiers: Tiers) -> None:
    """Asked again it has the answer it had; an expected version that is not there is refused."""
    assert put(tiers, SHARED, b"1", edit="e") == Edited("e", 1) == put(tiers, SHARED, b"1", edit="e")
    stale = put(tiers, SHARED, b"2", 7)
    assert isinstance(stale, Problem)
    assert (stale.status, stale.code) == (412, "version_conflict")


def test_a_restart_knows_all_documents_again(tiers: Tiers) -> None:
    """At the cloud and at a site: the same bytes."""
    put(tiers, SHARED, b"1")
    tiers.wires["harbour"].cut()
    put(tiers, OWN, b"2")
    put_at(tiers, "harbour", OWN, b"1")
    cloud, site = tiers.cloud, tiers.wires["harbour"].site
    before = cloud.planner.documents.save(), site.core.documents.save()
    cloud.driver.refold(RuntimeError("whole again"))
    site.driver.refold(RuntimeError("whole again"))
    assert (cloud.planner.documents.save(), site.core.documents.save()) == before


def test_a_document_begins_on_terms_that_stay(tiers: Tiers) -> None:
    """Its replicas know them, too; other terms later are refused, and a log of old that has none gives an eventual one."""
    strong = Terms(Level("strong"), sites=("harbour",))
    tiers.cloud.ask(lambda token: EditDocument(token, SHARED, "e1", "put", b"1", ANY_VERSION, "ada", strong))
    other = tiers.cloud.ask(lambda token: EditDocument(token, SHARED, "e2", "put", b"2", ANY_VERSION, "ada", Terms()))
    assert isinstance(other, Problem)
    assert other.code == "terms_fixed"
    tiers.drain()
    assert value(tiers, "harbour", SHARED) == (1, b"1")
    assert value(tiers, "airport", SHARED) == (0, b"")
    assert tiers.wires["harbour"].site.core.documents.book.get(SHARED).terms == strong
    old = DocumentBook("cloud")
    old.fold(DocumentChanged(SHARED, 1, 1, b"1", "ada", "e", 1))
    assert old.get(SHARED).terms == Terms()


def test_an_edit_id_is_never_done_anew_after_its_answer_is_forgotten() -> None:
    """It is refused by name."""
    book = DocumentBook("cloud")
    for number in range(1, HISTORY_KEPT + 2):
        book.fold(DocumentChanged(SHARED, number, 1, b"1", "a", f"e{number}", 1))
    refused = book.decide(EditProposed(SHARED, "e1", "put", b"2", ANY_VERSION, "a", 1), 1)
    assert isinstance(refused, EditRefused)
    assert refused.code == "edit_forgotten"


def test_what_others_have_at_home_uses_up_nothing_here() -> None:
    """A cloud full of replicas still takes documents of its own."""
    book = DocumentBook("cloud")
    for number in range(DOCUMENTS_MAX):
        book.fold(DocumentChanged(f"site/harbour/{number}", 1, 1, b"1", "a", f"e{number}", 1))
    assert not isinstance(book.decide(EditProposed(SHARED, "e", "put", b"1", ANY_VERSION, "a", 1), 1), EditRefused)


def test_a_bounded_home_is_ahead_of_the_cloud_by_no_more_than_its_bound(tiers: Tiers) -> None:
    """Cut off it refuses what would be more, and records nothing; an edit of the cloud's waits; with the link it goes on."""
    terms = Terms(Level("bounded", 2))
    site = tiers.wires["harbour"].site
    site.turn(EditDocument(1, OWN, "s0", "put", b"0", ANY_VERSION, "ben", terms))
    tiers.drain()
    tiers.wires["harbour"].cut()
    for number in range(1, 5):
        put_at(tiers, "harbour", OWN, b"%d" % number, edit=f"s{number}")
    assert value(tiers, "harbour", OWN) == (3, b"2")
    put(tiers, OWN, b"9")
    tiers.wires["harbour"].link()
    tiers.drain()
    assert value(tiers, "cloud", OWN) == value(tiers, "harbour", OWN) == (4, b"9")


def test_edits_that_a_lease_holds_back_go_on_in_their_order(tiers: Tiers) -> None:
    """What a site has made on top of its own edits counts after those, though the lease is gone when it comes."""
    terms, harbour = Terms(Level("bounded", 2), resolver="ot"), tiers.wires["harbour"].site
    tiers.cloud.ask(lambda token: EditDocument(token, SHARED, "c1", "put", b'{"t":""}', ANY_VERSION, "ada", terms))
    tiers.drain()
    tiers.cloud.ask(lambda token: LeaseAsked(token, "airport", 10_000, {SHARED: 1}))
    for number, letter in enumerate("abcde"):
        text = (
            b'[{"op":"text","node":"","field":"t","spans":[' + (b"%d," % number if number else b"") + b'"%s"]}]' % letter.encode()
        )
        harbour.turn(EditDocument(7, SHARED, f"s{number}", "operations", text, ANY_VERSION, "ben"))
        tiers.drain()
    assert value(tiers, "cloud", SHARED) == (3, b'{"t":"ab"}')
    assert harbour.core.documents.book.seen(SHARED).value == b'{"t":"abcde"}'
    tiers.cloud.ask(lambda token: LeaseAsked(token, "airport", 10_000, {SHARED: 3}))
    tiers.drain()
    assert value(tiers, "cloud", SHARED) == (5, b'{"t":"abcd"}')
    tiers.cloud.ask(lambda token: LeaseAsked(token, "airport", 10_000, {SHARED: 5}))
    tiers.drain()
    assert value(tiers, "cloud", SHARED) == value(tiers, "harbour", SHARED) == (6, b'{"t":"abcde"}')


def arrives_unheralded(tiers: Tiers, site: str) -> None:
    """The cloud's core was folded anew, and what the site had sent reaches it before the site has greeted again."""
    tiers.wires[site].cut()
    tiers.cloud.driver.refold(RuntimeError("whole again"))
    stream = tiers.wires[site].site.stream
    rows = rows_after(tiers.wires[site].site.log.disk, stream, head(tiers.cloud.log.disk, stream).seq)
    tiers.cloud.turn(Replicated(stream, rows))


def test_edits_that_come_before_the_greeting_are_each_answered(tiers: Tiers) -> None:
    """Nothing is decided that the site could not be told; decided at its greeting, the earlier one is answered as the later."""
    tiers.wires["harbour"].cut()
    put_at(tiers, "harbour", SHARED, b"1", edit="s2")
    put_at(tiers, "harbour", SHARED, b"2", edit="s10")
    arrives_unheralded(tiers, "harbour")
    assert list(tiers.cloud.planner.documents.book.pending) == ["s2", "s10"]
    tiers.wires["harbour"].link()
    tiers.drain()
    book = tiers.wires["harbour"].site.core.documents.book
    assert not book.pending
    assert (book.answer(SHARED, "s10"), value(tiers, "harbour", SHARED)) == (2, (2, b"2"))


def test_an_edit_asked_again_before_the_greeting_is_answered_at_it(tiers: Tiers) -> None:
    """It was decided under the same id meanwhile; until the greeting nothing is written into the stream for the site, and what
    is owed to it outlives another fold of the log."""
    tiers.wires["harbour"].cut()
    put(tiers, SHARED, b"1", edit="s1")
    put(tiers, SHARED, b"2")
    put_at(tiers, "harbour", SHARED, b"1", edit="s1")
    given = tiers.wires["harbour"].streams[1]
    arrives_unheralded(tiers, "harbour")
    before = head(tiers.cloud.log.disk, given)
    tiers.cloud.driver.refold(RuntimeError("whole again"))
    assert tiers.cloud.planner.documents.owed == {"s1": ("harbour", SHARED)}
    assert head(tiers.cloud.log.disk, given) == before
    tiers.wires["harbour"].link()
    tiers.drain()
    assert not tiers.wires["harbour"].site.core.documents.book.pending
    assert not tiers.cloud.planner.documents.owed
    assert value(tiers, "harbour", SHARED) == (2, b"2")


def test_a_strong_document_is_not_changed_while_its_site_is_cut_off(tiers: Tiers) -> None:
    """Nothing is recorded, and the same edit is taken when the link is back."""
    tiers.wires["harbour"].site.turn(EditDocument(1, OWN, "s0", "put", b"0", ANY_VERSION, "ben", Terms(Level("strong"))))
    tiers.drain()
    tiers.wires["harbour"].cut()
    assert put_at(tiers, "harbour", OWN, b"1") is None
    tiers.wires["harbour"].link()
    tiers.drain()
    assert put_at(tiers, "harbour", OWN, b"1") == 2


edits = st.lists(
    st.tuples(
        st.sampled_from(["put", "merge", "delete"]), st.sampled_from(['{"a":1}', '{"a":null,"b":2}', "3"]), st.integers(-1, 4)
    ),
    max_size=12,
)


@given(edits)
def test_versions_are_dense_and_a_replica_is_the_fold_of_its_home(asked: list[tuple[str, str, int]]) -> None:
    """Whatever is asked; a replica that hears everything twice is the same, and so is one that is restored."""
    home, replica = DocumentBook("cloud"), DocumentBook("harbour")
    versions = []
    for number, (operation, text, expected) in enumerate(asked):
        before = home.get(SHARED)
        exists = before.version if before.value else 0
        edit = EditProposed(SHARED, f"e{number}", operation, b"" if operation == "delete" else text.encode(), expected, "a", 1)
        decided = home.decide(edit, number)
        assert isinstance(decided, EditRefused) or expected in (ANY_VERSION, exists)
        events = [decided] if isinstance(decided, EditRefused) else decided.events
        for book in (home, replica, replica):
            for event in events:
                book.fold(decode(event.kind, encode(event)))
        if not isinstance(decided, EditRefused):
            versions.append(decided.changed.version)
    assert versions == list(range(1, len(versions) + 1))
    assert replica.save() == home.save()
    again = DocumentBook("cloud")
    if home.save():
        again.restore(home.save())
    assert again.save() == home.save()


def test_what_is_too_large_is_refused() -> None:
    """With the figures; and more documents than a home keeps, too."""
    book = DocumentBook("cloud")
    edit = EditProposed(SHARED, "e", "put", b"1" * (VALUE_BYTES_MAX + 1), -1, "a", 1)
    refused = book.decide(edit, 1)
    assert isinstance(refused, EditRefused)
    assert f"{VALUE_BYTES_MAX:,}" in refused.reason
    for number in range(DOCUMENTS_MAX):
        book.fold(DocumentChanged(f"shared/{number}", 1, 1, b"1", "a", f"e{number}", 1))
    assert isinstance(book.decide(msgspec.structs.replace(edit, value=b"1"), 1), EditRefused)


def test_an_id_says_where_its_document_is_at_home() -> None:
    """And what is no id is told why."""
    assert (home_of(SHARED), home_of(OWN)) == ("cloud", "harbour")
    assert not id_problem(SHARED)
    assert not id_problem(OWN)
    assert all(
        id_problem(wrong) for wrong in ("x/y", "shared/", "site/cloud/a", "site/Harbour/a", "shared/../a", "shared/" + "a" * 300)
    )
    assert all(event.kind for event in EVENTS)
