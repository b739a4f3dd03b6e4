"""Documents whose edits are transformed: a home and two places that edit, cut off or not, over streams that keep their order."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.conflicts.events import ConflictRecorded
from sync.documents.book import ANY_VERSION, Decision, DocumentBook
from sync.documents.events import DocumentChanged, DocumentDeleted, EditProposed, EditRefused, begun
from sync.documents.ids import CLOUD
from sync.documents.overtaken import conflicts_of
from sync.documents.terms import PLAIN, Terms
from sync.event import Event
from sync.ot.document import Document
from sync.ot.json_form import document_of
from sync.ot.operations import AddEdge, AddNode, Any_, DelEdge, DelNode, Put, decode_all

NAME = "shared/plan"
TERMS = Terms(resolver="ot", acyclic=True)


def encoded(value: object) -> bytes:
    """Canonical."""
    return msgspec.json.encode(value, order="sorted")


@dataclass
class Made:
    """An edit as its maker made it."""

    edit: EditProposed
    site: str
    number: int


@dataclass
class Story:
    """The cloud is the home. What stands in a stream for a place comes there in its order, once it is there."""

    terms: Terms = TERMS
    names: tuple[str, ...] = ("harbour", "airport")
    books: dict[str, DocumentBook] = field(default_factory=dict)
    to_cloud: dict[str, list[Event]] = field(default_factory=dict)
    to_site: dict[str, list[Event]] = field(default_factory=dict)
    versions: list[DocumentChanged | DocumentDeleted] = field(default_factory=list)
    refused: list[EditRefused] = field(default_factory=list)
    conflicts: list[ConflictRecorded] = field(default_factory=list)
    made: dict[str, Made] = field(default_factory=dict)
    told: dict[str, int] = field(default_factory=dict)
    away: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.books = {name: DocumentBook(name) for name in (CLOUD, *self.names)}
        self.to_cloud, self.to_site = {name: [] for name in self.names}, {name: [] for name in self.names}

    @property
    def home(self) -> DocumentBook:
        return self.books[CLOUD]

    def seen(self, place: str) -> Any:
        value = self.books[place].seen(NAME).value
        return msgspec.json.decode(value) if value else None

    def edit(self, place: str, operation: str, value: Any = None, base: int = -1, terms: Terms | None = None) -> object:
        number = len(self.made) + 1
        body = b"" if operation == "delete" else encoded(value)
        edit = EditProposed(NAME, f"e{number}", operation, body, ANY_VERSION, place, number, terms, base)
        if place == CLOUD:
            decided = self.home.decide(edit, number)
            self.made[edit.edit] = Made(edit, CLOUD, number)
            return self._record(edit, decided, CLOUD)
        proposed = self.books[place].proposed(edit)
        if isinstance(proposed, EditProposed):
            self.made[edit.edit] = Made(proposed, place, number)
            self.books[place].fold(proposed)
            self.to_cloud[place].append(proposed)
        return proposed

    def send(self, place: str) -> None:
        """The home hears of the next edit, and decides."""
        if self.to_cloud[place]:
            edit = self.to_cloud[place].pop(0)
            assert isinstance(edit, EditProposed)
            self.home.fold(edit, place)
            self._record(edit, self.home.decide(edit, edit.at_ms), place)

    def hear(self, place: str) -> None:
        if self.to_site[place]:
            self.books[place].fold(self.to_site[place].pop(0), CLOUD)

    def restart(self, place: str) -> None:
        saved = self.books[place].save()
        self.books[place] = DocumentBook(place)
        if saved:
            self.books[place].restore(saved)
            assert self.books[place].save() == saved

    def settle(self) -> None:
        self.away.clear()
        self.tell()
        while any(self.to_cloud.values()) or any(self.to_site.values()):
            for place in self.names:
                self.send(place)
                while self.to_site[place]:
                    self.hear(place)
            self.tell()

    def _record(self, edit: EditProposed, decided: Decision | EditRefused, at: str) -> object:
        self.conflicts += conflicts_of(self.home, edit, decided, at, edit.at_ms)
        if isinstance(decided, EditRefused):
            if at != CLOUD:
                self.home.fold(decided)
                self.to_site[at].append(decided)
            self.refused.append(decided)
            return decided
        for event in decided.events:
            self.home.fold(event)
        self.versions.append(decided.changed)
        self.tell(at)
        return decided.changed

    def tell(self, at: str = "") -> None:
        """Of a place that is away the latest is told later, alone; an answer is told at once."""
        known = self.home.get(NAME)
        for place in self.names:
            told = self.told.get(place, 0)
            if (place in self.away and place != at) or told == known.version:
                continue
            last = known.history[-1]
            who = last.author, last.edit, last.at_ms
            self.to_site[place].append(begun(NAME, CLOUD, known.terms, who, known.version - 1, known.epoch))
            if known.value:
                operations = self.home.transforming.since(NAME, told)
                changed = DocumentChanged(NAME, known.version, known.epoch, known.value, *who, operations, told)
                self.to_site[place].append(changed)
            else:
                self.to_site[place].append(DocumentDeleted(NAME, known.version, known.epoch, *who))
            self.told[place] = known.version


def check_equal(story: Story) -> None:
    """All see what the home has, and nothing waits."""
    for place in story.names:
        book = story.books[place]
        assert book.get(NAME).value == story.home.get(NAME).value, place
        assert book.seen(NAME).value == story.home.get(NAME).value, place
        assert not book.pending, place
        assert not book.transforming.views, place
    assert not story.home.pending
    assert not story.home.transforming.origins


def check_nothing_lost(story: Story) -> None:
    """What an edit put is there when it counts, or on record as lost; and later it is overwritten by who knew of it, or on
    record."""
    losers = {conflict.loses.ref for conflict in story.conflicts}
    assert {refused.edit for refused in story.refused if story.made[refused.edit].site != CLOUD} <= losers
    document, standing = Document(), dict[tuple[str, str], tuple[str, int, Any]]()
    done = set[bytes]()  # Who wants what another has done already has it done.
    for event in story.versions:
        made = story.made[event.edit]
        if isinstance(event, DocumentDeleted):
            for (node, name), (ref, version, new) in standing.items():
                assert _knew(story, made, ref, version, (node, name, new)) or ref in losers, (event.edit, ref)
            document, standing = Document(), {}
            continue
        operations = decode_all(event.operations)
        document.apply(operations)
        assert encoded(msgspec.json.decode(event.value)) == event.value
        for (node, name), (ref, version, new) in list(standing.items()):
            if document.nodes.get(node, {}).get(name) != new:
                assert _knew(story, made, ref, version, (node, name, new)) or ref in losers, (event.edit, ref)
                del standing[node, name]
        done |= {encoded(put) for put in _puts(operations)}
        meant = decode_all(made.edit.value) if made.site != CLOUD else operations
        gone = {each.id for each in meant if isinstance(each, DelNode)}
        last = {(node, name): new for node, name, new in _puts(meant)}
        for (node, name), new in last.items():
            if (node, name, new) in _puts(operations) and document.nodes.get(node, {}).get(name) == new:
                standing[node, name] = event.edit, event.version, new
            else:
                assert event.edit in losers or node in gone or encoded([node, name, new]) in done, (event.edit, node, name)


def _puts(operations: Iterable[Any_]) -> list[tuple[str, str, Any]]:
    found = [(each.node, each.field, each.new) for each in operations if isinstance(each, Put) and each.new is not None]
    added = [each for each in operations if isinstance(each, AddNode)]
    return [*found, *((each.id, name, value) for each in added for name, value in each.fields.items())]


def _knew(story: Story, made: Made, ref: str, version: int, put: tuple[str, str, Any]) -> bool:
    """Had the maker seen what another edit put, or put the same there itself?"""
    if made.site == CLOUD or made.edit.base >= version:
        return True
    own = [each for each in story.made.values() if each.site == made.site and each.number < made.number]
    return any(each.edit.edit == ref or put in _puts(decode_all(each.edit.value)) for each in own)


KEYS = ("a", "b", "c")


def some_value(chance: Random, depth: int = 0) -> dict[str, Any]:
    """An object of a few members, some of them objects."""
    value: dict[str, Any] = {}
    for name in KEYS:
        roll = chance.randrange(5)
        if roll == 0 and depth < 2:
            value[name] = some_value(chance, depth + 1)
        elif roll == 1:
            value[name] = chance.choice([1, 2, "x", None, [1, {"y": 2}], {"$items": {"i": ["2", 1]}}])
    return value


def some_edit(story: Story, place: str, chance: Random) -> None:
    """A put, a patch or operations, of what the place sees."""
    roll = chance.randrange(15)
    if story.seen(place) is None:
        story.edit(place, "put", some_value(chance), terms=TERMS)
    elif roll < 5:
        patch: dict[str, Any] = {chance.choice(KEYS): chance.choice([1, 2, "y", None, {"a": 3}, {"b": {"c": 4}}])}
        story.edit(place, "merge", patch)
    elif roll < 7:
        story.edit(place, "put", some_value(chance))
    elif roll < 11:
        document = document_of(story.seen(place))
        node = chance.choice(sorted(document.nodes))
        story.edit(place, "operations", msgspec.to_builtins([Put(node, chance.choice(KEYS), chance.randrange(9))]))
    elif roll < 14:
        document = document_of(story.seen(place))
        source, target = chance.choice(sorted(document.nodes)), chance.choice(sorted(document.nodes))
        kind = DelEdge if (source, target, "") in document.edges else AddEdge
        story.edit(place, "operations", msgspec.to_builtins([kind(source, target), Put(source, "e", chance.randrange(9))]))
    else:
        story.edit(place, "delete")


def play(seed: int, steps: int) -> Story:
    """Edits, answers, outages and restarts in some order, and then all is answered."""
    chance, story = Random(seed), Story()
    for _ in range(steps):
        place = chance.choice((*story.names, CLOUD))
        what = chance.choice(("edit", "edit", "edit", "send", "hear", "hear", "restart", "cut", "heal", "forget"))
        if what == "edit":
            some_edit(story, place, chance)
        elif what == "restart":
            story.restart(place)
        elif what == "forget" and NAME in story.home.transforming.sequencers:
            story.home.transforming.sequencers[NAME].forget()
        elif place != CLOUD and what == "cut":
            story.away.add(place)
        elif place != CLOUD and what == "heal":
            story.away.discard(place)
            story.tell()
        elif place != CLOUD:
            story.send(place) if what == "send" and place not in story.away else story.hear(place)
    story.settle()
    return story


@given(st.integers(0, 1 << 32), st.integers(5, 60))
def test_all_see_the_same_in_the_end_and_nothing_is_lost(seed: int, steps: int) -> None:
    """Whoever edits what where, cut off or not, restarted or not: when all is answered there is one value, and every edit counts
    in it, is overwritten by one that knew of it, or is on record."""
    story = play(seed, steps)
    check_equal(story)
    check_nothing_lost(story)


def test_a_put_means_what_it_changes() -> None:
    """Two places put whole values, cut off from each other: each changed another member, and both changes count."""
    story = Story()
    story.edit(CLOUD, "put", {"speed": 1, "depth": {"max": 5}}, terms=TERMS)
    story.settle()
    story.edit("harbour", "put", {"speed": 2, "depth": {"max": 5}})
    story.edit("airport", "put", {"speed": 1, "depth": {"max": 7, "min": 1}})
    assert story.seen("harbour") == {"speed": 2, "depth": {"max": 5}}
    story.settle()
    check_equal(story)
    assert story.seen("harbour") == {"speed": 2, "depth": {"max": 7, "min": 1}}
    assert story.conflicts == []


def test_what_waits_is_seen_on_top_of_what_the_home_says() -> None:
    """And goes behind it as it comes; it is pending until the home has answered."""
    story = Story()
    story.edit(CLOUD, "put", {"n": 1}, terms=TERMS)
    story.settle()
    story.edit("harbour", "operations", [{"op": "inc", "node": "", "field": "n", "by": 10}])
    story.edit("harbour", "merge", {"m": 1})
    story.edit(CLOUD, "operations", [{"op": "inc", "node": "", "field": "n", "by": 100}])
    assert story.seen("harbour") == {"n": 11, "m": 1}
    story.hear("harbour")
    story.hear("harbour")
    assert story.seen("harbour") == {"n": 111, "m": 1}
    assert len(list(story.books["harbour"].waiting(NAME))) == 2
    story.settle()
    check_equal(story)
    assert story.seen("airport") == {"n": 111, "m": 1}


def test_an_edit_in_an_object_that_went_is_on_record_and_one_below_brings_it_back() -> None:
    """Deleting beats editing; what is added below is no edit of it, and a person can have the other back."""
    story = Story()
    story.edit(CLOUD, "put", {"dock": {"n": 1, "crane": {"t": 5}}}, terms=TERMS)
    story.settle()
    story.edit("harbour", "merge", {"dock": {"n": 2, "ramp": {"t": 1}}})
    story.edit(CLOUD, "merge", {"dock": None})
    story.settle()
    check_equal(story)
    assert story.seen("airport") == {"dock": {"ramp": {"t": 1}}}
    (conflict,) = story.conflicts
    assert (conflict.rule, conflict.reason, conflict.field) == ("ot", "deleting beats editing", "/dock/n")
    assert (conflict.loses.at, conflict.loses.ref, conflict.stands.at) == ("harbour", "e2", CLOUD)
    losers = {"losers": msgspec.json.decode(conflict.loses.value), "winners": msgspec.json.decode(conflict.stands.value)}
    story.edit("airport", "restore", losers)
    story.settle()
    assert story.seen("harbour") == {"dock": {"n": 2, "ramp": {"t": 1}}}


def test_an_object_that_went_comes_back_whole_with_the_edit_that_was_lost() -> None:
    """With its other fields."""
    story = Story()
    story.edit(CLOUD, "put", {"dock": {"n": 1, "t": "x"}}, terms=TERMS)
    story.settle()
    story.edit("harbour", "merge", {"dock": {"n": 2}})
    story.edit(CLOUD, "merge", {"dock": None})
    story.settle()
    (conflict,) = story.conflicts
    losers = {"losers": msgspec.json.decode(conflict.loses.value), "winners": msgspec.json.decode(conflict.stands.value)}
    story.edit("airport", "restore", losers)
    story.settle()
    check_equal(story)
    assert story.seen("harbour") == {"dock": {"n": 2, "t": "x"}}


def test_an_edge_that_closes_a_circle_with_one_from_elsewhere_is_refused() -> None:
    """Each is fine where it is made; the later one is on record with its operations, and what it built on goes on."""
    story = Story()
    story.edit(CLOUD, "put", {"a": {}, "b": {}}, terms=Terms(resolver="ot", acyclic=True))
    story.settle()
    story.edit("harbour", "operations", [{"op": "add_edge", "source": "/a", "target": "/b"}])
    story.edit("airport", "operations", [{"op": "add_edge", "source": "/b", "target": "/a"}])
    story.edit("airport", "merge", {"a": {"n": 1}})
    story.settle()
    check_equal(story)
    assert story.seen("airport") == {"a": {"n": 1}, "b": {}, "$edges": [["/a", "/b", ""]]}
    (refused,) = story.refused
    assert "closes a circle" in refused.reason
    (conflict,) = story.conflicts
    assert (conflict.loses.ref, conflict.outcome) == ("e3", "refused")
    assert msgspec.json.decode(conflict.loses.value) == [{"op": "add_edge", "source": "/b", "target": "/a"}]


def test_an_edit_that_breaks_a_rule_is_refused_at_the_home() -> None:
    """Not merged, with the rule; two that are fine each alone may break it together."""

    def holds(rule: str, value: object) -> bool | str:
        assert rule == "value.a + value.b <= 10"
        assert isinstance(value, dict)
        return bool(value["a"] + value["b"] <= 10)

    story = Story()
    story.books = {name: DocumentBook(name, holds) for name in story.books}
    story.edit(CLOUD, "put", {"a": 1, "b": 1}, terms=Terms(resolver="ot", checks=("value.a + value.b <= 10",)))
    story.settle()
    story.edit("harbour", "merge", {"a": 8})
    story.edit("airport", "merge", {"b": 8})
    story.settle()
    check_equal(story)
    assert story.seen("airport") == {"a": 8, "b": 1}
    assert [refused.reason for refused in story.refused] == ["it would break the rule value.a + value.b <= 10"]


def test_an_edit_on_top_of_what_is_not_kept_is_too_old_and_on_record() -> None:
    """The site goes on once it has heard."""
    story = Story()
    story.edit(CLOUD, "put", {"n": 1}, terms=TERMS)
    story.settle()
    story.edit("harbour", "merge", {"n": 2})
    story.edit(CLOUD, "merge", {"m": 1})
    story.home.transforming.sequencers[NAME].forget()
    story.settle()
    check_equal(story)
    assert [refused.code for refused in story.refused] == ["too_old"]
    assert [conflict.loses.ref for conflict in story.conflicts] == ["e2"]
    story.edit("harbour", "merge", {"n": 2})
    story.settle()
    assert story.seen("airport") == {"n": 2, "m": 1}


def test_a_base_says_on_top_of_which_version_an_edit_is_made_at_the_home() -> None:
    """What came since is kept; where both touch the same, the earlier stands and the other is on record."""
    story = Story()
    story.edit(CLOUD, "put", {"n": 1, "m": 1}, terms=TERMS)
    story.edit(CLOUD, "merge", {"n": 2})
    story.edit(CLOUD, "put", {"n": 5, "m": 6}, base=1)
    assert story.seen(CLOUD) == {"n": 2, "m": 6}
    assert [(conflict.field, conflict.loses.ref) for conflict in story.conflicts] == [("/n", "e3")]


def test_away_from_the_home_an_edit_is_made_on_top_of_what_is_shown_there() -> None:
    """A place keeps no former versions: who has seen another one is told to look again."""
    story = Story()
    story.edit(CLOUD, "put", {"n": 1}, terms=TERMS)
    story.edit(CLOUD, "merge", {"n": 2})
    story.settle()
    refused = story.edit("harbour", "put", {"n": 1, "m": 1}, base=1)
    assert isinstance(refused, EditRefused)
    assert (refused.code, "shows version 2" in refused.reason) == ("too_old", True)
    assert isinstance(story.edit("harbour", "put", {"n": 2, "m": 1}, base=2), EditProposed)


def test_operations_are_for_documents_that_begin_so() -> None:
    """Others say what helps; what has no form is refused where it is made."""
    story = Story()
    story.edit(CLOUD, "put", {"n": 1}, terms=PLAIN)
    story.settle()
    operations = [{"op": "put", "node": "", "field": "n", "new": 2}]
    for place in (CLOUD, "harbour"):
        refused = story.edit(place, "operations", operations)
        assert isinstance(refused, EditRefused)
        assert refused.code == "not_transformed"
    other = Story()
    other.edit(CLOUD, "put", {"n": 1}, terms=TERMS)
    other.settle()
    for value in ([3], [{"op": "put", "node": "nowhere", "field": "n"}], [{"op": "del_node", "id": ""}]):
        refused = other.edit("harbour", "operations", value)
        assert isinstance(refused, EditRefused)
        assert refused.code == "malformed"


@pytest.mark.parametrize("seed", range(20))
def test_a_home_that_folds_its_log_anew_is_what_it_was(seed: int) -> None:
    """The sequencer is rebuilt from the events, to the byte."""
    chance, story = Random(seed), Story()
    log: list[tuple[Event, str]] = []
    fold = story.home.fold

    def note(event: Event, by: str = "") -> None:
        log.append((event, by))
        fold(event, by)

    story.home.fold = note  # type: ignore[method-assign]
    for _ in range(40):
        place = chance.choice((*story.names, CLOUD))
        some_edit(story, place, chance)
        if place != CLOUD and chance.randrange(2):
            story.send(place)
        if place != CLOUD and chance.randrange(2):
            story.hear(place)
    again = DocumentBook(CLOUD)
    for event, by in log:
        again.fold(event, by)
    assert again.save() == story.home.save()
