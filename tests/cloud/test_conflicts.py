"""The feed of conflicts at the cloud: what two sites and the cloud record, what people do about it, and its bounds."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.conflicts.core import Conflicts, Known
from cloud.conflicts.inputs import ResolveConflict
from cloud.conflicts.restoring import RESTORERS, Refusal, Restorers, Wanted, restore_edit
from cloud.conflicts.views import Filter, conflict_view, conflicts_view
from cloud.documents.inputs import Edited
from cloud.port import Problem
from sync.conflicts.events import ConflictRecorded, ConflictResolved, Side
from sync.documents.book import ANY_VERSION
from sync.documents.events import EditRefused
from sync.documents.inputs import EditDocument
from tests.cloud.test_documents import OWN, PLAN, SHARED, put, put_at, value
from tests.two_tiers import Tiers


@pytest.fixture
def tiers() -> Tiers:
    return Tiers([PLAN])


def only(tiers: Tiers) -> Known:
    """The one conflict that the cloud knows."""
    (known,) = tiers.cloud.planner.conflicts.known.values()
    return known


def resolve(tiers: Tiers, conflict: str, how: Any, by: str = "ann", ref: str = "") -> object:
    return tiers.cloud.ask(lambda token: ResolveConflict(token, conflict, how, by, ref))


def restored_by(tiers: Tiers, known: Known, expected: int = ANY_VERSION) -> EditDocument:
    edit = tiers.cloud.planner.conflicts.edit_id(known)
    wanted = RESTORERS.restore(Wanted(known.conflict, known.run, edit, "ann", expected))
    assert isinstance(wanted, EditDocument)
    return wanted


def of_two_sites(tiers: Tiers) -> None:
    """Both sites were cut off and changed a shared document; the harbour came back first."""
    put(tiers, SHARED, b"1")
    tiers.drain()
    for site in ("harbour", "airport"):
        tiers.wires[site].cut()
    put_at(tiers, "harbour", SHARED, b"2")
    put_at(tiers, "airport", SHARED, b"3", edit="s2")
    for site in ("harbour", "airport"):
        tiers.wires[site].link()
        tiers.drain()


def test_sites_that_overwrite_each_other_are_both_on_record(tiers: Tiers) -> None:
    """The later at home stands, by whatever its maker had seen; the cloud recorded it."""
    of_two_sites(tiers)
    known = only(tiers)
    said = known.conflict
    assert value(tiers, "cloud", SHARED) == (3, b"3")
    assert (known.at, said.rule, said.stands.at, said.stands.value) == ("cloud", "last_at_home", "airport", b"3")
    assert (said.loses.ref, said.loses.value) == ("s1", b"2")


def test_what_a_site_refuses_of_the_clouds_edits_is_in_the_feed(tiers: Tiers) -> None:
    """The site decides, records, and the feed follows once the link is back."""
    put_at(tiers, "harbour", OWN, b"1")
    tiers.drain()
    tiers.wires["harbour"].cut()
    late = put(tiers, OWN, b"7", 1)
    assert isinstance(late, Edited)
    put_at(tiers, "harbour", OWN, b"2", edit="s2")
    tiers.wires["harbour"].link()
    tiers.drain()
    known = only(tiers)
    said = known.conflict
    assert (known.at, said.rule, said.stands.value) == ("harbour", "first_at_home", b"2")
    assert (said.loses.at, said.loses.ref, said.loses.value) == ("cloud", late.edit, b"7")


def test_a_loser_comes_back_as_an_edit_of_its_own_once(tiers: Tiers) -> None:
    """Asked twice, it is one version; the feed says who restored it."""
    of_two_sites(tiers)
    known = only(tiers)
    wanted = restored_by(tiers, known)
    edited = tiers.cloud.ask(lambda token: wanted._replace(token=token))
    assert edited == Edited(f"{known.conflict.conflict}/1", 4)
    assert resolve(tiers, known.conflict.conflict, "restored", ref=wanted.edit) is None
    assert tiers.cloud.ask(lambda token: wanted._replace(token=token)) == edited
    assert resolve(tiers, known.conflict.conflict, "restored", "ben", wanted.edit) is None
    tiers.drain()
    assert value(tiers, "airport", SHARED) == (4, b"2")
    assert known.resolved is not None
    assert (known.resolved.how, known.resolved.by, known.resolved.ref) == ("restored", "ann", wanted.edit)
    too_late = resolve(tiers, known.conflict.conflict, "accepted")
    assert isinstance(too_late, Problem)
    assert too_late.code == "conflict_restored"


def test_a_loser_whose_home_is_cut_off_comes_back_when_it_is_reached(tiers: Tiers) -> None:
    """Until then it is pending, and shown so; if the home refuses it, the conflict is open again, and may be restored anew."""
    put_at(tiers, "harbour", OWN, b"1")
    tiers.drain()
    tiers.wires["harbour"].cut()
    put(tiers, OWN, b"7", 0)
    tiers.wires["harbour"].link()
    tiers.drain()
    tiers.wires["harbour"].cut()
    known, feed = only(tiers), tiers.cloud.planner.conflicts
    wanted = restored_by(tiers, known, expected=1)
    tiers.cloud.ask(lambda token: wanted._replace(token=token))
    resolve(tiers, known.conflict.conflict, "restored", ref=wanted.edit)
    view = conflict_view(feed, known)
    assert view.resolution is not None
    assert (view.state, view.resolution.pending) == ("resolved", True)
    put_at(tiers, "harbour", OWN, b"2", edit="s2")
    tiers.wires["harbour"].link()
    tiers.drain()
    assert (known.resolved, known.tries) == (None, 1)
    assert "version 1 was expected" in known.refused
    again = restored_by(tiers, known, expected=2)
    tiers.cloud.ask(lambda token: again._replace(token=token))
    resolve(tiers, known.conflict.conflict, "restored", ref=again.edit)
    tiers.drain()
    assert value(tiers, "harbour", OWN) == value(tiers, "cloud", OWN) == (3, b"7")
    assert known.resolved is not None
    assert not feed.is_pending(known)


def test_what_is_accepted_is_open_no_more(tiers: Tiers) -> None:
    """Said twice, it was said once; it may be restored all the same."""
    of_two_sites(tiers)
    known, feed = only(tiers), tiers.cloud.planner.conflicts
    assert resolve(tiers, known.conflict.conflict, "accepted") is None
    before = len(tiers.cloud.log.disk.rows)
    assert resolve(tiers, known.conflict.conflict, "accepted", "ben") is None
    assert len(tiers.cloud.log.disk.rows) == before
    assert conflicts_view(feed, Filter(state="open"), 10, 0).items == []
    assert resolve(tiers, known.conflict.conflict, "restored", ref="e") is None
    assert known.resolved is not None
    assert known.resolved.how == "restored"
    unknown = resolve(tiers, "k-none", "accepted")
    assert isinstance(unknown, Problem)
    assert unknown.code == "conflict_unknown"


def test_a_restart_knows_the_feed_again(tiers: Tiers) -> None:
    """From the log, and from a snapshot: the same bytes."""
    of_two_sites(tiers)
    resolve(tiers, only(tiers).conflict.conflict, "accepted")
    before = tiers.cloud.planner.conflicts.save()
    tiers.cloud.driver.refold(RuntimeError("whole again"))
    assert tiers.cloud.planner.conflicts.save() == before
    again = Conflicts(tiers.cloud.planner)
    again.restore(before)
    assert again.save() == before


def test_only_what_is_registered_is_restored() -> None:
    """A rule that nobody has taught the feed to restore is refused with what helps; two ways for one rule are a mistake."""
    restorers = Restorers()
    said = recorded(1, b"1")
    refused = restorers.restore(Wanted(said, "", "e", "ann"))
    assert isinstance(refused, Refusal)
    assert "by hand" in refused.detail
    restorers.register("last_at_home", restore_edit)
    assert restorers.restore(Wanted(said, "", "e", "ann", 3)) == EditDocument(0, SHARED, "e", "put", b"1", 3, "ann")
    with pytest.raises(AssertionError):
        restorers.register("last_at_home", restore_edit)


def recorded(number: int, value: bytes) -> ConflictRecorded:
    stands, loses = Side("cloud", "ann", f"e{number}", "put", b"", 1), Side("harbour", "ben", f"s{number}", "put", value, 2)
    return ConflictRecorded(f"k-{number}", "data", SHARED, "", stands, loses, "last_at_home", "overwritten", "why", number)


@given(st.lists(st.tuples(st.sampled_from(("record", "resolve", "refuse")), st.integers(0, 9), st.integers(0, 30)), max_size=60))
def test_the_feed_is_bounded_and_counts_what_it_drops(story: list[tuple[str, int, int]]) -> None:
    """Conflicts and bytes; what was seen to leaves first, and what is dropped and what is kept are all that there ever were."""
    feed = Conflicts(Tiers([PLAN]).cloud.planner, kept=4, bytes_max=64)
    heard, number = 0, 0
    for what, which, size in story:
        if what == "record":
            number += 1
            open_before = [name for name, each in feed.known.items() if each.resolved is None]
            feed.record("harbour", "", recorded(number, b"9" * size))
            heard += 1
            if len(open_before) < 4:
                assert all(name in feed.known for name in open_before)
        elif what == "resolve":
            feed.own_folds()[ConflictResolved]("", "", ConflictResolved(f"k-{number - which}", "accepted", "ann", 1), 1)
        else:
            feed.site_folds()[EditRefused]("harbour", "", EditRefused(SHARED, f"k-{number - which}/1", "c", "why", 1), 1)
    assert len(feed.known) + feed.dropped == heard
    assert len(feed.known) <= 4
    held = sum(each.value_bytes for each in feed.known.values())
    assert held <= 64
    assert held == feed._bytes
    pages, before = list[str](), 0
    while True:
        page = conflicts_view(feed, Filter(kind="data", subject=SHARED), 2, before)
        pages += [view.id for view in page.items]
        if not page.next:
            break
        before = int(page.next)
    assert pages == list(reversed(feed.known))
