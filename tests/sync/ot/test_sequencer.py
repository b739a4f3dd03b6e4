"""Editors and the home of a document, over links that lose, repeat and wait."""

from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.ot.client import Client
from sync.ot.compose import composed
from sync.ot.document import Document
from sync.ot.operations import AddEdge, AddNode, Change, DelNode, Malformed, Put, Text, decode, encode
from sync.ot.sequencer import Accepted, Answer, Refused, Sequencer, no_circles, restoring
from sync.ot.transform import Lost
from tests.sync.ot.test_transform import after, documents, edits, operations_on


@dataclass
class Story:
    """One home, some editors, and what each of them has not heard yet."""

    start: Document
    names: tuple[str, ...] = ("harbour", "airport", "cloud")
    sequencer: Sequencer = field(init=False)
    clients: dict[str, Client] = field(init=False)
    unheard: dict[str, list[Answer]] = field(init=False)
    edited: int = 0

    def __post_init__(self) -> None:
        self.sequencer = Sequencer(self.start.copy(), checks=(no_circles,))
        self.clients = {name: Client(name, self.start.copy()) for name in self.names}
        self.unheard = {name: [] for name in self.names}

    def edit(self, name: str, chance: Random) -> None:
        client = self.clients[name]
        client.edit([chance.choice(operations_on(client.view))])
        self.edited += 1

    def send(self, name: str, *, times: int = 1) -> None:
        change = self.clients[name].to_send()
        for _ in range(times if change is not None else 0):
            assert change is not None
            answer = self.sequencer.submit(decode(encode(change)))
            if isinstance(answer, Refused):
                self.unheard[name].append(answer)
            elif answer.revision == self.sequencer.revision and not any(answer in told for told in self.unheard.values()):
                for told in self.unheard.values():
                    told.append(answer)

    def hear(self, name: str, most: int = 1) -> None:
        for _ in range(min(most, len(self.unheard[name]))):
            self.clients[name].hear(self.unheard[name].pop(0))

    def settle(self) -> None:
        while any(client.pending or client.flying for client in self.clients.values()) or any(self.unheard.values()):
            for name in self.names:
                self.hear(name, 1_000)
                self.send(name)


def check_equal(story: Story) -> None:
    """All see the same, and it is what the home has."""
    for name, client in story.clients.items():
        assert client.view == story.sequencer.document, name
        assert client.synced == story.sequencer.document, name


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
    story.clients["cloud"].edit(restoring(lost, story.clients["cloud"].view))
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
    story.clients["airport"].to_send()
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


@given(st.data())
def test_composing_does_the_same(data: st.DataObject) -> None:
    """What is composed does what its parts did, however they are put together."""
    document = data.draw(st.sampled_from(documents()))
    one = data.draw(edits(document, 4))
    two = data.draw(edits(after(document, *one), 4))
    three = data.draw(edits(after(document, *one, *two), 4))
    whole = after(document, *one, *two, *three)
    assert after(document, *composed(one, two, three)) == whole
    assert after(document, *composed(composed(one, two), three)) == whole
    assert after(document, *composed(one, composed(two, three))) == whole
