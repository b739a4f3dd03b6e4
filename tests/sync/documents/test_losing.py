"""What loses when a home decides is on record with both sides, and nothing else is."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from sync.conflicts.events import ConflictRecorded
from sync.documents.book import ANY_VERSION, Decision, DocumentBook
from sync.documents.events import EditProposed, EditRefused
from sync.documents.losing import conflict_of, with_base
from sync.documents.merge_patch import merged, undone

DOCUMENT = "shared/x"
ENCODE, DECODE = msgspec.json.Encoder(order="sorted").encode, msgspec.json.decode

scalars = st.integers(0, 3) | st.text("ab", max_size=2)
values = st.recursive(scalars, lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3), max_leaves=6)
objects = st.dictionaries(st.sampled_from("abc"), values, max_size=3)
patches = st.dictionaries(st.sampled_from("abc"), values | st.none(), min_size=1, max_size=2)


def decide(book: DocumentBook, edit: EditProposed, at: str = "harbour") -> tuple[Decision | EditRefused, ConflictRecorded | None]:
    """The home's word, folded, and what loses by it."""
    decided = book.decide(edit, 9)
    lost = conflict_of(book, edit, decided, at, 9)
    for event in [decided] if isinstance(decided, EditRefused) else decided.events:
        book.fold(event)
    return decided, lost


def edit_of(name: str, operation: str, value: Any, expected: int = ANY_VERSION, base: int = -1) -> EditProposed:
    body = b"" if operation == "delete" else ENCODE(value)
    return EditProposed(DOCUMENT, name, operation, body, expected, "ben", 5, None, base)


def begun(value: Any = 1) -> DocumentBook:
    book = DocumentBook("cloud")
    decide(book, edit_of("e1", "put", value))
    return book


def test_a_pending_edit_that_is_refused_is_on_record_with_both_values() -> None:
    """Its value would be in no version else; the latest version stands."""
    book = begun()
    late = edit_of("s1", "put", 2, expected=0)
    book.fold(late)
    refused, lost = decide(book, late)
    assert isinstance(refused, EditRefused)
    assert lost is not None
    assert (lost.family, lost.subject, lost.rule, lost.outcome) == ("data", DOCUMENT, "first_at_home", "version_conflict")
    assert (lost.stands.at, lost.stands.ref, lost.stands.value) == ("cloud", "e1", b"1")
    assert (lost.loses.at, lost.loses.by, lost.loses.ref, lost.loses.what, lost.loses.value) == (
        "harbour",
        "ben",
        "s1",
        "put",
        b"2",
    )


def test_who_is_told_at_once_is_in_no_conflict() -> None:
    """A loop that compares and sets would fill the feed."""
    refused, lost = decide(begun(), edit_of("e2", "put", 2, expected=7), "cloud")
    assert isinstance(refused, EditRefused)
    assert lost is None


def test_a_refusal_that_nothing_stands_against_is_on_record_too() -> None:
    """The value is too large for the document, and its maker may be far away by now."""
    book = begun()
    large = edit_of("s1", "put", "x" * (300 << 10))
    book.fold(large)
    _, lost = decide(book, large)
    assert lost is not None
    assert (lost.rule, lost.outcome, len(lost.loses.value)) == ("refused_at_home", "document_too_large", (300 << 10) + 2)


def test_what_an_edit_overwrites_unseen_has_lost() -> None:
    """Seen it, or the same again: nothing has."""
    book = begun()
    assert decide(book, edit_of("e2", "put", 2, base=1))[1] is None
    _, lost = decide(book, edit_of("e3", "put", 3, base=1))
    assert lost is not None
    assert (lost.rule, lost.outcome, lost.stands.ref, lost.loses.ref) == ("last_at_home", "overwritten", "e3", "e2")
    assert (lost.stands.value, lost.loses.what, lost.loses.value) == (b"3", "put", b"2")
    assert decide(book, edit_of("e4", "put", 3, base=1))[1] is None
    _, deleted = decide(book, edit_of("e5", "delete", None, base=1))
    assert deleted is not None
    assert (deleted.stands.what, deleted.loses.value) == ("delete", b"3")
    _, again = decide(book, edit_of("e6", "put", 4, base=4))
    assert again is not None
    assert (again.loses.what, again.loses.value) == ("delete", b"")


@given(objects, patches)
def test_an_undone_patch_brings_everything_back(target: dict[str, Any], patch: dict[str, Any]) -> None:
    """Of values without null members, which no merge patch can name."""
    assert merged(merged(target, patch), undone(target, patch)) == target


@given(objects, patches, patches)
def test_merges_conflict_only_where_they_touch(first: dict[str, Any], ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """A merge made away from the home, while the document was merged there: what it takes back of the other's is the loser, and
    merging that again gives what the other had made; where they touch nothing of each other there is no conflict."""
    book = begun(first)
    away = with_base(edit_of("s1", "merge", ours), book.get(DOCUMENT), ())
    decide(book, edit_of("e2", "merge", theirs))
    between = DECODE(book.get(DOCUMENT).value)
    book.fold(away)
    _, lost = decide(book, away)
    now = DECODE(book.get(DOCUMENT).value)
    touched = undone(first, ours) != undone(between, ours)
    assert (lost is not None) == (touched and now != between)
    if lost is not None:
        assert merged(now, DECODE(lost.loses.value)) == between


edits = st.tuples(st.sampled_from(("put", "merge", "delete")), objects)


@given(objects, st.lists(edits, min_size=1, max_size=6))
def test_a_site_is_in_no_conflict_with_itself(first: dict[str, Any], mine: list[tuple[str, Any]]) -> None:
    """A site that was cut off made several edits one upon the other, and nobody else changed the document meanwhile."""
    home, site = begun(first), begun(first)
    for number, (operation, value) in enumerate(mine):
        edit = edit_of(f"s{number}", operation, value)
        site.fold(with_base(edit, site.get(DOCUMENT), site.waiting(DOCUMENT)))
    for edit in site.pending.values():
        home.fold(edit)
        decided, lost = decide(home, edit)
        assert lost is None or isinstance(decided, EditRefused)


@given(objects, st.lists(edits, min_size=2, max_size=5), st.integers(0, 4), objects)
def test_what_comes_between_them_is(
    first: dict[str, Any], mine: list[tuple[str, Any]], place: int, theirs: dict[str, Any]
) -> None:
    """Somebody else put a value between two of them: as long as it is there, whoever overwrites it puts it on record."""
    home, site, conflicts = begun(first), begun(first), list[ConflictRecorded]()
    for number, (_, value) in enumerate(mine):
        edit = edit_of(f"s{number}", "put", {**value, "n": number})
        site.fold(with_base(edit, site.get(DOCUMENT), site.waiting(DOCUMENT)))
    place %= len(mine)
    for number, edit in enumerate(site.pending.values()):
        if number == place:
            decide(home, edit_of("x", "put", {**theirs, "x": "x"}))
        home.fold(edit)
        _, lost = decide(home, edit)
        conflicts += [lost] if lost is not None else []
    assert [(lost.stands.ref, lost.loses.ref) for lost in conflicts] == [(f"s{place}", "x")]


stories = st.lists(
    st.tuples(
        st.sampled_from(("put", "put", "merge", "delete")),
        objects,
        st.booleans(),  # Made away from the home?
        st.integers(-1, 4),  # The version expected, counted back from the latest; -1: any.
        st.integers(-1, 4),  # The version seen, the same.
    ),
    max_size=12,
)


def test_a_merge_without_a_digest_conflicts_if_it_replaces_anything() -> None:
    """Its maker says which version they saw, and nobody knows whether its members changed since."""
    book = begun({"a": 1, "b": 1})
    decide(book, edit_of("e2", "merge", {"b": 2}))
    assert decide(book, edit_of("e3", "merge", {"c": 1}, base=1))[1] is None
    _, lost = decide(book, edit_of("e4", "merge", {"a": 2}, base=1))
    assert lost is not None
    assert (lost.loses.what, lost.loses.value) == ("merge", b'{"a":1}')
    assert "may have touched" in lost.reason


@given(stories)
def test_no_losing_value_is_lost(story: list[tuple[str, dict[str, Any], bool, int, int]]) -> None:
    """Every value that anybody far away has put is in a version or the loser of a conflict; every version that was overwritten by
    somebody who had seen an older one only, is the loser of one, too; and no two conflicts have one id."""
    book, versions, conflicts = DocumentBook("cloud"), dict[int, bytes](), list[ConflictRecorded]()
    away, unseen = list[EditProposed](), list[bytes]()
    for number, (operation, value, is_away, expected, seen) in enumerate(story):
        latest = book.get(DOCUMENT).version
        edit = edit_of(
            f"e{number}",
            operation,
            value,
            ANY_VERSION if expected < 0 else max(0, latest - expected),
            -1 if seen < 0 else max(0, latest - seen),
        )
        if is_away:
            book.fold(edit)
            away.append(edit)
        before = book.get(DOCUMENT).value
        decided, lost = decide(book, edit)
        conflicts += [lost] if lost is not None else []
        if not isinstance(decided, EditRefused):
            versions[decided.changed.version] = decided.changed.value
            if operation == "put" and 0 <= edit.base < latest and decided.changed.value != before:
                unseen.append(before)
    losers = {(lost.loses.ref, lost.loses.value) for lost in conflicts}
    for edit in away:
        assert isinstance(book.answer(DOCUMENT, edit.edit), int) or (edit.edit, edit.value) in losers
    for overwritten in unseen:
        assert overwritten in {lost.loses.value for lost in conflicts if lost.rule == "last_at_home"}
    assert len({lost.conflict for lost in conflicts}) == len(conflicts)
