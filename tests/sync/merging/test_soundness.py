"""Whatever a peer says that it has written, who hears it goes on to show documents, and nobody spends more than there is."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from sync.merging.conflicts import conflicts_of
from sync.merging.dots import Dot
from sync.merging.escrow import Share
from sync.merging.events import DocumentWritten, FieldWritten, WriteQuarantined
from sync.merging.showing import merged_shown
from tests.sync.merging.replicas import DOCUMENT, NODES, RULES, Replicas

NUMBERS = st.one_of(st.integers(-3, 9), st.integers(-(1 << 63), (1 << 64) - 1))
NAMES = st.one_of(st.sampled_from([name for name, _ in RULES]), st.text(max_size=3))
VALUES = st.one_of(
    st.binary(max_size=6),
    st.sampled_from(
        [b"[1]", b'{"up":-9}', b'{"up":99,"lent_up":{"airport":5}}', b'{"down":1}', b'"completed"', b"nul", b'"\xff"']
    ),
)
PARTS = st.sampled_from(["", "airport", "harbour", "cloud", '"a"', "{", "1,2"])
WRITES = st.builds(
    DocumentWritten,
    st.just(DOCUMENT),
    st.builds(Dot, st.sampled_from(NODES), NUMBERS),
    st.dictionaries(st.sampled_from(NODES), NUMBERS, max_size=3),
    st.lists(st.builds(FieldWritten, NAMES, VALUES, PARTS), max_size=4).map(tuple),
    NUMBERS,
    NUMBERS,
    st.just("eve"),
    st.text(max_size=3),
    st.integers(0, 9),
    st.booleans(),
    st.booleans(),
)


@given(st.lists(WRITES, max_size=6))
def test_whatever_a_peer_says_documents_are_shown(writes: list[DocumentWritten]) -> None:
    """As JSON, with what stands beside, at all who heard of it alike; and people edit them as before."""
    replicas = Replicas()
    replicas.put("cloud", {"note": 1, "stock": 5})
    replicas.heal()
    for write in writes:
        for node in NODES:
            if node != write.dot.writer:
                replicas.books[node].fold(write)
        known = replicas.at("cloud")
        assert list(conflicts_of(DOCUMENT, known, write.dot, 1, None)) is not None
    for node in NODES:
        msgspec.json.decode(replicas.books[node].value(DOCUMENT) or b"null")
        msgspec.json.encode(merged_shown(replicas.books[node], DOCUMENT))
        assert type(replicas.books[node])(node).save() == b""
    assert isinstance(replicas.edit("cloud", "put", {"note": 2}), DocumentWritten)


@given(NUMBERS, NUMBERS)
def test_nobody_is_lent_more_than_there_is_or_less_than_nothing(up: int, down: int) -> None:
    """Whatever is asked for."""
    replicas = Replicas()
    replicas.put("cloud", {"stock": 4})
    book = replicas.books["cloud"]
    lent = book.lend(DOCUMENT, "stock", "harbour", Share(up, down), "e", 1)
    if lent is not None:
        book.fold(lent)
    share = book.share(DOCUMENT, "stock", "harbour")
    assert share == Share(min(max(up, 0), 6), min(max(down, 0), 4))


def test_what_nobody_wrote_may_be_judged() -> None:
    """A judgement that comes before its write, or without it, changes nothing that is shown."""
    replicas = Replicas()
    replicas.put("cloud", {"note": 1})
    for number in range(200):
        replicas.books["cloud"].fold(WriteQuarantined(DOCUMENT, Dot("harbour", number), 1))
    assert len(replicas.at("cloud").quarantined) == 64
    assert replicas.value("cloud") == {"note": 1}
