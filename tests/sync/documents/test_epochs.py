"""A document whose home was replaced, and whose former home did not hear of it: what replicas make of what both tell."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.documents.book import Document, DocumentBook
from sync.documents.events import Changed, DocumentChanged
from tests.sim.oracle import Broke

NAME = "site/harbour/dock"
GUARANTEE = "no change of an older epoch is folded over a newer one"


class WithoutEpochs(DocumentBook):
    """Takes the larger version for the newer."""

    def _is_newer(self, event: Changed, known: Document) -> bool:
        return event.version > known.version


class Gullible(DocumentBook):
    """Takes whatever comes last."""

    def _is_newer(self, event: Changed, known: Document) -> bool:
        return True


def homes(lengths: Sequence[tuple[int, int]]) -> list[list[DocumentChanged]]:
    """What each home has told, in order: `lengths` says how many versions it made, and how many of these the next one knew."""
    told, begun = list[list[DocumentChanged]](), 0
    for epoch, (made, known) in enumerate(lengths, 1):
        versions = range(begun + 1, begun + made + 1)
        told.append([DocumentChanged(NAME, v, epoch, b"%d" % (100 * epoch + v), "ben", f"e{epoch}-{v}", v) for v in versions])
        begun += min(known, made)
    return told


def check(book: DocumentBook, told: Sequence[DocumentChanged]) -> None:
    """Raises Broke unless the book shows the latest version of the latest home of which it has been told."""
    if not told:
        return
    latest, shown = max(told, key=lambda event: (event.epoch, event.version)), book.get(NAME)
    if (shown.epoch, shown.version, shown.value) != (latest.epoch, latest.version, latest.value):
        stands = f"version {latest.version} of epoch {latest.epoch}"
        raise Broke(GUARANTEE, f"{NAME}: version {shown.version} of epoch {shown.epoch} is shown, and {stands} was told")


def tell(book: DocumentBook, lengths: Sequence[tuple[int, int]], order: Sequence[int]) -> None:
    """Each home tells in its own order; `order` says whose turn it is. What is told twice counts once."""
    queues = homes(lengths)
    told = list[DocumentChanged]()
    for turn in [*order, *(home for home, queue in enumerate(queues) for _ in queue)]:
        queue = queues[turn % len(queues)]
        if queue:
            told.append(queue.pop(0))
            book.fold(told[-1])
            book.fold(told[len(told) // 2])
            check(book, told)


LENGTHS = st.lists(st.tuples(st.integers(1, 4), st.integers(0, 4)), min_size=1, max_size=4)


@given(LENGTHS, st.lists(st.integers(0, 3), max_size=16))
def test_the_latest_home_stands_whatever_comes_when(lengths: list[tuple[int, int]], order: list[int]) -> None:
    """Its versions, and never those of a home before it; a replica, and the home itself."""
    told = [event for queue in homes(lengths) for event in queue]
    latest = max(told, key=lambda event: (event.epoch, event.version), default=None)
    for name in ("cloud", "harbour"):
        book = DocumentBook(name)
        tell(book, lengths, order)
        shown = book.get(NAME)
        if latest is not None:
            assert (shown.epoch, shown.version, shown.value) == (latest.epoch, latest.version, latest.value)


@pytest.mark.parametrize("without", [WithoutEpochs, Gullible])
def test_ablation_document_epoch(without: type[DocumentBook]) -> None:
    """Without the check the former home, which went on to version 4, is folded over the next, which is at 3."""
    story = [(4, 2), (1, 0)]
    tell(DocumentBook("cloud"), story, [1, 0, 0, 0, 0])
    with pytest.raises(Broke, match=GUARANTEE):
        tell(without("cloud"), story, [1, 0, 0, 0, 0])
