"""Without one of its safeguards, the laws of the transform notice."""

from collections.abc import Sequence
from itertools import product
from random import Random

import pytest

from sync.ot import rebase, transform
from sync.ot.document import Document
from sync.ot.operations import AddEdge, Any_, Change, DelNode, Put, Text
from sync.ot.rebase import Rebase
from sync.ot.sequencer import Accepted, Answer, Sequencer
from sync.ot.view import View
from tests.sync.ot.test_sequencer import Story, check_equal
from tests.sync.ot.test_transform import converges, documents, operations_on
from tests.sync.ot.test_transform import test_undoing_brings_back_what_was as undoing


def broken_pairs() -> int:
    """How many pairs of operations do not converge."""
    return sum(not converges(d, a, b) for d in documents() for a, b in product(operations_on(d), repeat=2))


def test_ablation_tie_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where only one of two can stand, both places must know which: else each keeps its own."""
    rule = transform.transformed

    def selfish(operation: Any_, other: Any_, *, is_first: bool) -> tuple[Any_, ...]:
        return rule(operation, other, is_first=True)

    monkeypatch.setattr("tests.sync.ot.test_transform.transformed", selfish)
    assert broken_pairs() > 0


def test_ablation_deleting_knows_what_it_takes() -> None:
    """A deletion that has not seen an edit would not bring it back when it is undone."""

    def forgetful(operation: DelNode, other: Any_) -> DelNode:
        return operation

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transform, "_deleting_more", forgetful)
        with pytest.raises(AssertionError):
            undoing(2)


class Twice(Sequencer):
    """Does a change again when it is sent again."""

    def _again(self, change: Change) -> Answer:
        answer = self.decide(change)
        self.fold(answer)
        return answer


class OneAxis(Sequencer):
    """Takes each change for the first that its site has made on top of its base."""

    def _queue(self, change: Change) -> Rebase | None:
        self.queues.pop(change.site, None)
        self.heads.pop(change.site, None)
        self.refusals.pop(change.site, None)
        return super()._queue(change)


def test_ablation_edits_on_top_of_own_edits() -> None:
    """A site edits on top of what it has made itself: a home that forgets that takes its second edit for one beside the first."""

    def play(make: type[Sequencer]) -> Document:
        sequencer, view = make(Document({"a": {"t": "b"}})), View(Document({"a": {"t": "b"}}), 0)
        for number, spans in enumerate([("x",), (1, "y")], 1):
            done = view.edit([Text("a", "t", spans)], f"e{number}")
            sequencer.submit(Change("harbour", number, 0, done))
        return sequencer.document

    assert play(Sequencer) == Document({"a": {"t": "xyb"}})
    assert play(OneAxis) != Document({"a": {"t": "xyb"}})


def test_ablation_counted_once() -> None:
    """A change that was sent twice, since its answer was lost, would be done twice."""

    def play(make: type[Sequencer]) -> int:
        sequencer = make(Document({"a": {"n": 1}}))
        change = Change("harbour", 1, 0, (Put("a", "n", 2, 1),))
        answers = [sequencer.submit(change), sequencer.submit(change)]
        assert all(isinstance(answer, Accepted) for answer in answers)
        return sequencer.revision

    assert play(Sequencer) == 1
    assert play(Twice) == 2


def test_ablation_circles_are_refused_at_the_home() -> None:
    """Two edges that are each fine where they are made close a circle where nobody looks at both."""

    def play(checks: tuple[object, ...]) -> Document:
        story = Story(Document({"a": {}, "b": {}}))
        story.sequencer.checks = checks  # type: ignore[assignment]
        story.clients["harbour"].edit([AddEdge("a", "b")])
        story.clients["airport"].edit([AddEdge("b", "a")])
        story.settle()
        check_equal(story)
        return story.sequencer.document

    assert len(play(Story(Document()).sequencer.checks).edges) == 1
    assert len(play(()).edges) == 2


def test_ablation_lost_is_on_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every edit is done, equal to one that was, or on record as lost: a story in which none is recorded is noticed."""

    def unaccounted() -> int:
        missing = 0
        for seed in range(40):
            chance = Random(seed)
            story = Story(documents()[2])
            for name in ("harbour", "airport"):
                story.edit(name, chance)
            changes = [change for name in ("harbour", "airport") if (change := story.clients[name].next_change()) is not None]
            answers = [story.sequencer.submit(change) for change in changes]
            for change, answer in zip(changes, answers, strict=True):
                if isinstance(answer, Accepted) and len(answer.operations) < len(change.operations):
                    known = {repr(lost.loser) for lost in answer.lost}
                    same = any(transform.same(a, b) for a in changes[0].operations for b in changes[1].operations)
                    missing += not known and not same
        return missing

    assert unaccounted() == 0
    monkeypatch.setattr(rebase, "does", lambda operation: False)
    assert unaccounted() > 0


def shuffled(operations: Sequence[Any_], chance: Random) -> list[Any_]:
    """The same in another order."""
    return sorted(operations, key=lambda _: chance.random())


@pytest.mark.nightly
def test_a_million_pairs() -> None:
    """TP1 for a million random pairs behind random stories."""
    chance, done = Random(20261126), 0
    while done < 1_000_000:
        document = chance.choice(documents())
        for _ in range(chance.randrange(12)):
            document.apply((chance.choice(operations_on(document)),))
        operations = operations_on(document)
        for a, b in zip(shuffled(operations, chance), shuffled(operations, chance), strict=True):
            assert converges(document, a, b), (document, a, b)
            done += 1
