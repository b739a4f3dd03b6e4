"""Editors and the home of a document, over links that lose, repeat and wait."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.ot.compose import composed
from sync.ot.document import ITEMS, Document
from sync.ot.operations import (
    AddEdge,
    AddNode,
    Any_,
    Change,
    DelEdge,
    DelNode,
    Inc,
    Ins,
    Malformed,
    Move,
    Put,
    Rem,
    Text,
    decode,
    encode,
)
from sync.ot.rebase import Lost
from sync.ot.sequencer import Accepted, Answer, Refused, Sequencer, no_circles, restoring
from sync.ot.undo import inverse
from sync.ot.view import View
from tests.sync.ot.test_transform import after, documents, edits, equal, operations_on


@dataclass
class Editor:
    """Somebody away from the home: edits on top of edits, and may have sent many before the first is answered."""

    name: str
    view: View
    number: int = 0
    sent: int = 0
    heard: int = 0
    changes: list[Change] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)

    def edit(self, operations: Sequence[Any_]) -> None:
        """What is made is never made again: the change stays what it was."""
        ref = f"{self.name}/{self.number + 1}"
        done = self.view.edit(operations, ref)
        self.number += 1
        change = Change(self.name, self.number, self.view.revision, done, refused=len(self.refused), ref=ref)
        self.changes.append(change)

    def next_change(self) -> Change | None:
        """The next that was not sent."""
        if self.sent == len(self.changes):
            return None
        self.sent += 1
        return self.changes[self.sent - 1]

    def hear(self, answer: Answer) -> None:
        """What the edit became here is what it became at the home."""
        if isinstance(answer, Refused):
            self.refused.append(answer)
            self.view.take_back(answer.change.ref)
            return
        if answer.change.site == self.name and answer.revision > self.view.revision:
            ref, became = self.view.waiting[0]
            assert ref == answer.change.ref
            assert became == answer.operations
        self.view.hear(answer.revision, answer.operations, answer.change.ref)
        self.lost += answer.lost


@dataclass
class Story:
    """One home, some editors, and what each of them has not heard yet."""

    start: Document
    names: tuple[str, ...] = ("harbour", "airport", "cloud")
    sequencer: Sequencer = field(init=False)
    clients: dict[str, Editor] = field(init=False)
    unheard: dict[str, list[Answer]] = field(init=False)

    def __post_init__(self) -> None:
        self.sequencer = Sequencer(self.start.copy(), checks=(no_circles,))
        self.clients = {name: Editor(name, View(self.start.copy(), 0)) for name in self.names}
        self.unheard = {name: [] for name in self.names}

    def edit(self, name: str, chance: Random) -> None:
        client = self.clients[name]
        client.edit([chance.choice(operations_on(client.view.shown))])

    def send(self, name: str, *, times: int = 1) -> None:
        change = self.clients[name].next_change()
        for number in range(times if change is not None else 0):
            assert change is not None
            answer = self.sequencer.submit(decode(encode(change)))
            if number:
                continue  # Sent twice, it is answered as it was.
            for told in self.unheard.values() if isinstance(answer, Accepted) else [self.unheard[name]]:
                told.append(answer)

    def hear(self, name: str, most: int = 1) -> None:
        for _ in range(min(most, len(self.unheard[name]))):
            self.clients[name].hear(self.unheard[name].pop(0))

    def settle(self) -> None:
        while any(client.sent < len(client.changes) for client in self.clients.values()) or any(self.unheard.values()):
            for name in self.names:
                self.hear(name, 1_000)
                self.send(name)


def check_equal(story: Story) -> None:
    """All see the same, and it is what the home has."""
    for name, client in story.clients.items():
        assert equal(client.view.shown, story.sequencer.document), name
        assert equal(client.view.synced, story.sequencer.document), name
        assert client.view.waiting == [], name


@given(st.integers(0, 1 << 32), st.integers(5, 40))
def test_all_editors_see_the_same_in_the_end(seed: int, steps: int) -> None:
    """However edits, sendings and hearings are interleaved, and however often a change is sent."""
    chance = Random(seed)
    story = Story(chance.choice(documents()))
    for _ in range(steps):
        name = chance.choice(story.names)
        what = chance.choice(("edit", "edit", "send", "hear"))
        if what == "edit":
            story.edit(name, chance)
        elif what == "send":
            story.send(name, times=chance.randrange(1, 3))
        else:
            story.hear(name, chance.randrange(1, 4))
    story.settle()
    check_equal(story)


def test_the_earlier_of_two_values_stands_and_the_other_can_be_restored() -> None:
    """Both sides of what was lost are kept, and a person can make the loser's edit again."""
    start = Document({"a": {"n": 1}})
    story = Story(start)
    story.clients["harbour"].edit([Put("a", "n", 2, 1)])
    story.clients["airport"].edit([Put("a", "n", 3, 1)])
    story.send("harbour")
    story.send("airport")
    story.settle()
    check_equal(story)
    assert story.sequencer.document.nodes == {"a": {"n": 2}}
    (lost,) = story.clients["cloud"].lost
    assert lost == Lost(Put("a", "n", 3, 1), Put("a", "n", 2, 1), is_first=False)
    story.clients["cloud"].edit(restoring(lost, story.clients["cloud"].view.shown))
    story.settle()
    assert story.sequencer.document.nodes == {"a": {"n": 3}}


def test_deleting_beats_an_edit_that_came_first() -> None:
    """The edit is lost though it was earlier, and it is on record; restoring brings the node back with it."""
    story = Story(Document({"a": {"n": 1}}))
    story.clients["harbour"].edit([Put("a", "n", 2, 1)])
    story.clients["airport"].edit([DelNode("a", {"n": 1})])
    story.send("harbour")
    story.send("airport")
    story.settle()
    check_equal(story)
    (lost,) = story.clients["cloud"].lost
    assert lost.is_first
    assert lost.loser == Put("a", "n", 2, 1)
    assert after(story.sequencer.document, *restoring(lost, story.sequencer.document)).nodes == {"a": {"n": 2}}


def test_two_edges_that_close_a_circle_together_are_not_merged() -> None:
    """Each is fine where it is made; the later one is refused at the home, as a whole and with the circle, and its editor's view
    goes back, but for what stands alone."""
    story = Story(Document({"a": {}, "b": {}}))
    story.clients["harbour"].edit([AddEdge("a", "b")])
    story.clients["airport"].edit([AddEdge("b", "a"), AddNode("c")])
    story.clients["airport"].edit([AddNode("d"), Put("c", "n", 1)])
    story.send("harbour")
    story.send("airport")
    story.settle()
    check_equal(story)
    (refused,) = story.clients["airport"].refused
    assert "b -> a -> b" in refused.reason
    assert sorted(story.sequencer.document.nodes) == ["a", "b", "d"]


def test_a_change_counts_once_however_often_it_is_sent() -> None:
    """And the answer is the same each time."""
    sequencer = Sequencer(Document({"a": {"n": 1}}))
    change = Change("harbour", 1, 0, (Put("a", "n", 2, 1),))
    first = sequencer.submit(change)
    assert isinstance(first, Accepted)
    assert sequencer.submit(change) is first
    assert sequencer.revision == 1


def test_refusals_say_what_helps() -> None:
    """A gap, a base that is not kept, one that is ahead, and what cannot be done."""
    sequencer = Sequencer(Document({"a": {"n": 1}}))
    codes = [
        sequencer.submit(Change("harbour", 2, 0, ())),
        sequencer.submit(Change("harbour", 1, 5, ())),
        sequencer.submit(Change("airport", 1, 0, (Put("q", "n", 1),))),
    ]
    assert [answer.code for answer in codes if isinstance(answer, Refused)] == ["gap", "ahead", "malformed"]
    with pytest.raises(Malformed, match="no change"):
        decode(b'{"site": 3}')


def test_what_an_edit_says_it_replaces_is_not_believed() -> None:
    """The home records what was really there, so that it can always be undone; what makes no sense is refused."""
    sequencer = Sequencer(Document({"a": {"n": 1, "t": "abc"}}))
    lies = (Put("a", "n", 2, "a lie"), Text("a", "t", (1, -1), ("x",)))
    answer = sequencer.submit(Change("harbour", 1, 0, lies))
    assert isinstance(answer, Accepted)
    assert answer.operations == (Put("a", "n", 2, 1), Text("a", "t", (1, -1), ("b",)))
    sequencer.submit(Change("airport", 1, 1, (Text("a", "t", (2, "long"), ()),)))
    wrong = sequencer.submit(Change("harbour", 2, 1, (DelNode("a", {"t": "z"}),)))
    assert isinstance(wrong, Refused)
    assert wrong.code == "malformed"


def test_no_change_of_a_peer_breaks_the_home() -> None:
    """A list that is none, a value that is nested too deep: refused as a whole, and the document is what it was."""
    sequencer = Sequencer(Document({"a": {}}))
    broken = sequencer.submit(Change("harbour", 1, 0, (Put("a", "l", {ITEMS: 3}), Ins("a", "l", "x", "1"))))
    deep: object = 1
    for _ in range(200):
        deep = [deep]
    nested = sequencer.submit(Change("harbour", 2, 0, (Put("a", "n", deep),)))
    assert [answer.code for answer in (broken, nested) if isinstance(answer, Refused)] == ["malformed", "malformed"]
    assert sequencer.document == Document({"a": {}})
    with pytest.raises(Malformed, match="no change"):
        decode(b"[" * 100_000)


def test_a_refused_change_leaves_the_document_as_it_was() -> None:
    """Exactly: a list that came and went is no field, and a span that does nothing is no edit."""
    sequencer = Sequencer(Document({"a": {"t": "abc"}}))
    came = sequencer.submit(Change("harbour", 1, 0, (Ins("a", "l", "x", "1"), DelNode("zz"))))
    idle = sequencer.submit(Change("harbour", 2, 0, (Text("a", "t", (1, 0)), DelNode("zz"))))
    assert [answer.code for answer in (came, idle) if isinstance(answer, Refused)] == ["malformed", "malformed"]
    assert sequencer.document == Document({"a": {"t": "abc"}})


def test_a_check_that_breaks_leaves_no_half_of_a_change() -> None:
    """What it raises is raised, and nothing was done."""

    def broken(document: Document, operations: object) -> str:
        raise ValueError("a rule that nobody can read")

    sequencer = Sequencer(Document({"a": {"n": 1}}), checks=(broken,))
    with pytest.raises(ValueError, match="nobody can read"):
        sequencer.submit(Change("harbour", 1, 0, (Put("a", "n", 2), AddNode("b"))))
    assert (sequencer.document, sequencer.revision) == (Document({"a": {"n": 1}}), 0)


ODD: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.integers(-2, 3), st.text("abc", max_size=2), st.just({ITEMS: 3}), st.just({ITEMS: {}})
)
NODE = st.sampled_from(["a", "b", "zz", ""])
FIELD = st.sampled_from(["n", "t", "l"])
WILD = st.one_of(
    st.builds(Put, NODE, FIELD, ODD, ODD),
    st.builds(AddNode, NODE, st.dictionaries(FIELD, ODD, max_size=2)),
    st.builds(DelNode, NODE, st.dictionaries(FIELD, ODD, max_size=2)),
    st.builds(AddEdge, NODE, NODE),
    st.builds(DelEdge, NODE, NODE),
    st.builds(Ins, NODE, FIELD, FIELD, FIELD, ODD),
    st.builds(Rem, NODE, FIELD, FIELD, FIELD, ODD),
    st.builds(Move, NODE, FIELD, FIELD, FIELD, FIELD),
    st.builds(Inc, NODE, FIELD, st.integers(-2, 2)),
    st.builds(Text, NODE, FIELD, st.lists(st.one_of(st.integers(-2, 3), st.just("q"), st.just("")), max_size=3).map(tuple)),
)


@given(st.lists(st.lists(WILD, max_size=4), max_size=6), st.data())
def test_whatever_peers_say_the_home_answers(changes: list[list[Any]], data: st.DataObject) -> None:
    """Each change is taken or refused; a refused one changes nothing, and one that was taken can be undone."""
    sequencer = Sequencer(Document({"a": {"n": 1, "t": "abc"}, "b": {}}, {("a", "b", ""): None}), checks=(no_circles,))
    for number, operations in enumerate(changes):
        before, site = sequencer.document.copy(), f"s{number}"
        answer = sequencer.submit(Change(site, 1, data.draw(st.integers(0, sequencer.revision)), tuple(operations)))
        if isinstance(answer, Accepted):
            assert equal(after(sequencer.document, *inverse(answer.operations)), before)
        else:
            assert equal(sequencer.document, before)


def test_a_node_that_went_comes_back_whole_with_the_edit_that_was_lost() -> None:
    """With its other fields and its edges, whatever the edit was."""
    start = Document({"a": {"n": 1, "t": "x"}, "b": {}}, {("a", "b", ""): None})
    gone = DelNode("a", {"n": 1, "t": "x"}, (("a", "b", ""),))
    left = after(start, gone)
    for loser in (Put("a", "n", 5, 1), Inc("a", "n", 2), Text("a", "t", (1, "!")), AddEdge("a", "b", "k")):
        assert equal(after(left, *restoring(Lost(loser, gone, is_first=True), left)), after(start, loser)), loser


def test_what_no_change_can_carry_is_refused_where_it_is_made() -> None:
    """It would hold up all that comes after it."""
    view = View(Document({"a": {}}), 0)
    with pytest.raises(Malformed, match="an operation of 600,"):
        view.edit([Put("a", "n", "x" * 600_000)], "e1")
    with pytest.raises(Malformed, match="at most 255 characters"):
        view.edit([AddNode("b", {"f" * 300: 1})], "e1")
    assert view.waiting == []


def test_an_answer_that_is_not_kept_is_said_to_be_forgotten() -> None:
    """It is no refusal: the change was answered before."""
    sequencer = Sequencer(Document({"a": {}}))
    change = Change("harbour", 1, 0, (Put("a", "n", 1),))
    sequencer.submit(change)
    sequencer.window.clear()
    again = sequencer.submit(change)
    assert isinstance(again, Refused)
    assert again.code == "forgotten"


def test_an_editor_need_not_say_what_is_replaced() -> None:
    """It is looked up where the edit is made; an edit that fails changes nothing."""
    story = Story(Document({"a": {"n": 1}, "b": {"n": 2}}))
    story.clients["harbour"].edit([Put("a", "n", 2), DelNode("b")])
    with pytest.raises(Malformed):
        story.clients["harbour"].edit([DelNode("a"), DelNode("b")])
    story.settle()
    check_equal(story)
    assert story.sequencer.document.nodes == {"a": {"n": 2}}


def test_a_view_is_kept_over_a_restart() -> None:
    """With what waits as it has become behind what was heard meanwhile."""
    story = Story(Document({"a": {"t": "abc"}}))
    story.clients["harbour"].edit([Text("a", "t", (3, "!"))])
    story.clients["airport"].edit([Text("a", "t", (-3,))])
    story.send("airport")
    story.hear("harbour")
    was = story.clients["harbour"].view
    again = View(was.synced.copy(), was.revision)
    for ref, operations in was.waiting:
        again.note(operations, ref)
    assert equal(again.shown, was.shown)
    story.clients["harbour"].view = again
    story.settle()
    check_equal(story)


def test_what_is_built_on_a_refused_edit_goes_past_what_undoes_it() -> None:
    """Made before the refusal was heard, it is understood at the home all the same, and after it, too."""
    story = Story(Document({"a": {}, "b": {}}, {("b", "a", ""): None}))
    harbour = story.clients["harbour"]
    harbour.edit([AddEdge("a", "b"), AddNode("c")])
    harbour.edit([Put("a", "n", 1)])
    harbour.edit([Put("c", "n", 1)])
    story.send("harbour")
    story.send("harbour")
    story.hear("harbour", 2)
    harbour.edit([Put("a", "m", 2)])
    story.settle()
    check_equal(story)
    assert story.sequencer.document.nodes == {"a": {"n": 1, "m": 2}, "b": {}}
    assert [lost.loser for lost in harbour.lost] == [Put("c", "n", 1)]


def test_a_site_whose_base_is_not_kept_is_too_old_until_it_has_heard() -> None:
    """And then it goes on."""
    sequencer = Sequencer(Document({"a": {}, "b": {}}))
    sequencer.submit(Change("cloud", 1, 0, (Put("a", "m", 2),)))
    sequencer.window.clear()
    old = sequencer.submit(Change("harbour", 1, 0, (Put("a", "n", 1),)))
    still = sequencer.submit(Change("harbour", 2, 1, (Put("a", "n", 1),)))
    assert [answer.code for answer in (old, still) if isinstance(answer, Refused)] == ["too_old", "too_old"]
    assert isinstance(sequencer.submit(Change("harbour", 3, 1, (Put("a", "n", 1),), refused=2)), Accepted)


def test_an_edge_that_goes_again_closes_no_circle() -> None:
    """The document is judged as it is after the whole change."""
    sequencer = Sequencer(Document({"a": {}, "b": {}}, {("b", "a", ""): None}), checks=(no_circles,))
    assert isinstance(sequencer.submit(Change("harbour", 1, 0, (AddEdge("a", "b"), DelEdge("a", "b")))), Accepted)


@given(st.data())
def test_composing_does_the_same(data: st.DataObject) -> None:
    """What is composed does what its parts did, however they are put together."""
    document = data.draw(st.sampled_from(documents()))
    one = data.draw(edits(document, 4))
    two = data.draw(edits(after(document, *one), 4))
    three = data.draw(edits(after(document, *one, *two), 4))
    whole = after(document, *one, *two, *three)
    for parts in (composed(one, two, three), composed(composed(one, two), three), composed(one, composed(two, three))):
        assert equal(after(document, *parts), whole)
