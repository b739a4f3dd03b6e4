"""Documents of several writers at a cloud and two sites: who writes what while links are cut, and what all of them hold then."""

import msgspec
import pytest

from cloud.documents.inputs import Edited
from cloud.port import Problem
from sync.clock import AHEAD_MS_MAX
from sync.conflicts.events import ConflictRecorded
from sync.documents.book import ANY_VERSION
from sync.documents.inputs import EditDocument
from sync.documents.terms import Terms
from sync.levels import EVENTUAL, Level
from sync.merging.book import Made
from sync.merging.events import DocumentWritten, MergingBegun
from sync.ports.core import Clock
from sync.values import Now
from tests.cloud.merging.stories import LWW, PLAN, PLANS, begun, book, everywhere, put, put_at, value
from tests.ports import rows_after
from tests.two_tiers import Tiers, kept, remembered
from workflow.events import decode


@pytest.fixture
def tiers() -> Tiers:
    return begun({"a": 0, "b": 0})


def conflicts(tiers: Tiers) -> list[ConflictRecorded]:
    return [known.conflict for known in tiers.cloud.planner.conflicts.known.values()]


def test_sites_that_are_cut_off_write_at_once_and_all_come_to_the_same(tiers: Tiers) -> None:
    """Different fields are both kept; of one field the later stands, and the earlier is on record, once."""
    for wire in tiers.wires.values():
        wire.cut()
    assert put_at(tiers, "harbour", {"a": 1, "c": 1}, "h1")
    tiers.pass_ms(10)
    assert put_at(tiers, "airport", {"a": 2}, "a1")
    assert value(tiers, "harbour") == {"a": 1, "b": 0, "c": 1}
    put(tiers, {"b": 3})
    for wire in tiers.wires.values():
        wire.link()
    tiers.drain()
    assert everywhere(tiers) == [{"a": 2, "b": 3, "c": 1}] * 3
    (conflict,) = conflicts(tiers)
    assert (conflict.field, conflict.stands.value, conflict.loses.value, conflict.rule) == ("a", b"2", b"1", "lww")
    assert (conflict.stands.at, conflict.loses.ref, conflict.loses.by) == ("airport", "harbour:1", "ben")


def test_an_edit_is_done_once_and_answered_alike(tiers: Tiers) -> None:
    """At a site and at the cloud, also after a restart."""
    first, again = put_at(tiers, "harbour", {"a": 1}, "h1"), put_at(tiers, "harbour", {"a": 5}, "h1")
    assert first == again
    assert put(tiers, {"b": 1}, "c1") == put(tiers, {"b": 2}, "c1")
    tiers.wires["harbour"].site.restart_quietly()
    assert put_at(tiers, "harbour", {"a": 7}, "h1") == first
    tiers.drain()
    assert value(tiers, "cloud") == {"a": 1, "b": 1}


@pytest.mark.parametrize("is_saved", [False, True])
def test_a_restart_finds_what_there_was(tiers: Tiers, is_saved: bool) -> None:
    """From the log or a snapshot, at both tiers, with what the streams for sites hold."""
    tiers.wires["airport"].cut()
    put_at(tiers, "harbour", {"a": 1}, "h1")
    put(tiers, {"a": 2})
    put_at(tiers, "airport", {"a": 3}, "a1")
    tiers.drain()
    tiers._restart_cloud(is_saved=is_saved)
    for wire in tiers.wires.values():
        tiers._forget(wire)
        tiers._restart_site(wire.site, is_saved=is_saved)
        wire.link()
    tiers.drain()
    states = {book(tiers, where).documents[PLANS].state() for where in ("cloud", "harbour", "airport")}
    assert len(states) == 1
    assert remembered(tiers.cloud)
    assert kept(tiers.wires["airport"].site.core)


def test_who_was_away_is_told_only_what_matters_still(tiers: Tiers) -> None:
    """Of fifty writes over each other the last; and what is known is not told again at the next greeting."""
    wire = tiers.wires["airport"]
    wire.cut()
    before = len(written_for(tiers, "airport"))
    for number in range(50):
        put(tiers, {"a": number})
    wire.link()
    tiers.drain()
    assert len(written_for(tiers, "airport")) - before == 1
    wire.cut()
    wire.link()
    tiers.drain()
    assert len(written_for(tiers, "airport")) - before == 1


def written_for(tiers: Tiers, site: str) -> list[DocumentWritten]:
    stream = tiers.wires[site].streams[1]
    rows = rows_after(tiers.cloud.log.disk, stream, 0)
    return [decode(row.kind, row.payload) for row in rows if row.kind == DocumentWritten.kind]  # type: ignore[misc]


def test_a_site_whose_clock_is_far_ahead_loses_and_is_told_so(tiers: Tiers) -> None:
    """Judged once, at the cloud, as an event that all fold; a person brings the value back by a write that has seen both."""
    outpost = tiers.wires["harbour"].site
    for wire in tiers.wires.values():
        wire.cut()
    clock, outpost.driver.clock = outpost.driver.clock, Ahead(outpost.driver.clock, 10 * AHEAD_MS_MAX)
    put_at(tiers, "harbour", {"a": "wild"}, "h1")
    outpost.driver.clock = clock
    put_at(tiers, "airport", {"a": "sober"}, "a1")
    assert value(tiers, "harbour") == {"a": "wild", "b": 0}
    for wire in tiers.wires.values():
        wire.link()
    tiers.drain()
    assert everywhere(tiers) == [{"a": "sober", "b": 0}] * 3
    judged = [book(tiers, where).documents[PLANS].judged() for where in ("cloud", "harbour", "airport")]
    assert judged[0] == judged[1] == judged[2] != []
    (conflict,) = conflicts(tiers)
    assert "too far ahead" in conflict.reason


class Ahead:
    """A clock that is wrong by so much."""

    def __init__(self, clock: Clock, ahead_ms: int) -> None:
        self._clock, self._ahead_ms = clock, ahead_ms

    def now(self) -> Now:
        now = self._clock.now()
        return msgspec.structs.replace(now, wall_ms=now.wall_ms + self._ahead_ms)


def test_a_site_that_has_lost_what_it_wrote_has_it_back(tiers: Tiers) -> None:
    """It goes on with its next dot, and all hold the same."""
    wire = tiers.wires["harbour"]
    tiers.live("copy", "harbour", 0, 0)
    put_at(tiers, "harbour", {"a": 1}, "h1")
    tiers.live("lose", "harbour", 0, 0)
    tiers.drain()
    assert value(tiers, "harbour") == {"a": 1, "b": 0}
    made = put_at(tiers, "harbour", {"a": 2}, "h2")
    tiers.drain()
    assert isinstance(made, Made)
    assert made.dot.counter == 2
    assert value(tiers, "airport") == {"a": 2, "b": 0}
    assert wire.ends


def test_only_sites_that_it_reaches_hold_and_write_it() -> None:
    """An edit from another one is refused by the cloud, and what it says it wrote nobody believes."""
    tiers = Tiers([PLAN])
    put(tiers, {"a": 0}, "begin", Terms(EVENTUAL, "lww", True, ("harbour",)))
    tiers.drain()
    assert (value(tiers, "harbour"), value(tiers, "airport")) == ({"a": 0}, None)
    outpost = tiers.wires["airport"].site
    outpost.turn(EditDocument(7, PLANS, "a1", "merge", b'{"a":1}', ANY_VERSION, "ben"))
    tiers.drain()
    assert outpost.core.documents.book.refused["a1"].code == "no_replica"
    forged = written_for(tiers, "harbour")[-1]
    outpost.turn(MergingBegun(PLANS, LWW, "", "", 0))
    outpost.core.home.note(msgspec.structs.replace(forged, dot=forged.dot._replace(writer="airport", counter=9)), [])
    tiers.drain()
    assert value(tiers, "cloud") == {"a": 0}


@pytest.mark.parametrize(
    ("terms", "code"),
    [
        (Terms(Level("strong"), "lww", True), "invalid_terms"),
        (Terms(EVENTUAL, "home", True), "invalid_terms"),
        (Terms(EVENTUAL, "lww", True, (), (("a", "max"),)), "invalid_terms"),
        (Terms(EVENTUAL, "semantic", True, (), (("a", "first"),)), "invalid_terms"),
        (Terms(EVENTUAL, "semantic", True), "terms_fixed"),
    ],
)
def test_terms_that_cannot_be_kept_are_refused(tiers: Tiers, terms: Terms, code: str) -> None:
    """Level, resolver and rules are said when it begins, and stay."""
    known = code == "terms_fixed"
    document = PLANS if known else "shared/other"
    answer = tiers.cloud.ask(lambda token: EditDocument(token, document, "t", "put", b"{}", ANY_VERSION, "ada", terms))
    assert isinstance(answer, Problem)
    assert answer.code == code


def test_a_version_is_expected_of_no_such_document(tiers: Tiers) -> None:
    """Nor is one a base, for no version is the only one; that there is none yet may be expected."""
    refused = put(tiers, {"a": 1}, expected=1)
    assert isinstance(refused, Problem)
    assert (refused.code, refused.status) == ("expected_refused", 422)
    said = PLANS, "b1", "merge", b'{"a":1}', ANY_VERSION, "ada", None, 1
    based = tiers.cloud.ask(lambda token: EditDocument(token, *said))
    assert isinstance(based, Problem)
    assert "context" in based.detail
    other = put(tiers, {"a": 1}, "other", Terms(EVENTUAL, "semantic", True), expected=0)
    assert isinstance(other, Problem)
    assert other.code == "terms_fixed"
    exists = put(tiers, {"a": 1}, "again", LWW, expected=0)
    assert isinstance(exists, Problem)
    assert exists.code == "version_conflict"


def test_what_is_refused_begins_nothing() -> None:
    """A document of several writers is an object; after a refusal its id is as free as it was."""
    tiers = Tiers([PLAN])
    refused = put(tiers, 5, "begin", LWW)
    assert isinstance(refused, Problem)
    assert (refused.code, refused.status) == ("invalid_value", 422)
    assert not book(tiers, "cloud").documents
    assert isinstance(tiers.cloud.ask(lambda token: EditDocument(token, PLANS, "e", "put", b"5", 0, "ada")), Edited)


def test_a_document_with_one_home_keeps_it() -> None:
    """Also after it was deleted: its id stays with its home."""
    tiers = Tiers([PLAN])
    tiers.cloud.ask(lambda token: EditDocument(token, PLANS, "e1", "put", b"1", ANY_VERSION, "ada"))
    refused = put(tiers, {"a": 1}, "begin", LWW)
    assert isinstance(refused, Problem)
    assert refused.code == "terms_fixed"


def test_an_edit_of_a_site_that_had_not_heard_of_it_is_refused_with_what_helps() -> None:
    """It was cut off when the document began, and took it for one of the cloud's."""
    tiers = Tiers([PLAN])
    tiers.wires["harbour"].cut()
    put(tiers, {"a": 0}, "begin", LWW)
    outpost = tiers.wires["harbour"].site
    outpost.turn(EditDocument(7, PLANS, "h1", "merge", b'{"a":1}', ANY_VERSION, "ben"))
    tiers.wires["harbour"].link()
    tiers.drain()
    refused = outpost.core.documents.book.refused["h1"]
    assert (refused.code, "ask again" in refused.reason) == ("several_writers", True)
    assert put_at(tiers, "harbour", {"a": 2}, "h2")
    tiers.drain()
    assert value(tiers, "cloud") == {"a": 2}
