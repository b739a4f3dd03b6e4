"""Nodes that write one document and hear of each other in any order, for the laws of merging."""

from collections.abc import Sequence

import msgspec
from hypothesis import strategies as st

from sync.documents.events import EditProposed, EditRefused
from sync.documents.ids import CLOUD
from sync.documents.terms import Terms
from sync.levels import EVENTUAL
from sync.merging.book import MergeBook
from sync.merging.dots import Dot
from sync.merging.escrow import Share, accounts_of, share_of
from sync.merging.events import DocumentWritten, MergingBegun, WriteQuarantined
from sync.merging.merged import Merged
from sync.merging.writing import Short, Wish, lending

DOCUMENT = "shared/plan"
NODES = (CLOUD, "airport", "harbour")
RULES = (
    ("done", "union"),
    ("fact", "physical"),
    ("low", "min"),
    ("progress", "monotonic"),
    ("speed", "safety,run,slow,stop"),
    ("state", "cancel_complete"),
    ("stock", "sum,min=0,max=10"),
)
TERMS = Terms(EVENTUAL, "semantic", True, (), RULES)


class Replicas:
    """A few nodes with clocks of their own. `told` has all that was ever written or judged, in the order in which it was."""

    def __init__(self, terms: Terms = TERMS, nodes: tuple[str, ...] = NODES) -> None:
        self.books = {node: MergeBook(node) for node in nodes}
        self.told: list[DocumentWritten | WriteQuarantined] = []
        self.edits = 0
        for book in self.books.values():
            book.fold(MergingBegun(DOCUMENT, terms, "ada", "begin", 1))

    def at(self, node: str) -> Merged:
        """What the node knows of the document."""
        return self.books[node].documents[DOCUMENT]

    def value(self, node: str) -> object:
        """What it shows there; None if there is none."""
        body = self.books[node].value(DOCUMENT)
        return msgspec.json.decode(body) if body else None

    def edit(self, node: str, operation: str, value: object = None, at_ms: int = 1_000) -> DocumentWritten | EditRefused:
        """An edit at the node, which has it at once."""
        self.edits += 1
        body = b"" if operation == "delete" else msgspec.json.encode(value, order="sorted")
        edit = EditProposed(DOCUMENT, f"e{self.edits}", operation, body, -1, "ada", at_ms)
        decided = self.books[node].decide(edit, at_ms)
        if isinstance(decided, Short):
            return EditRefused(DOCUMENT, edit.edit, decided.code, str(decided), 0)
        assert isinstance(decided, DocumentWritten | EditRefused)
        if isinstance(decided, DocumentWritten):
            self.books[node].fold(decided)
            self.told.append(decided)
        return decided

    def put(self, node: str, value: object, at_ms: int = 1_000) -> DocumentWritten:
        """An edit that is not refused."""
        decided = self.edit(node, "put" if self.value(node) is None else "merge", value, at_ms)
        assert isinstance(decided, DocumentWritten), decided
        return decided

    def lend(self, node: str, to: str, amount: int) -> None:
        """So much of what the node may still take away, and of what it may still add, or what is left of it."""
        known, book = self.at(node), self.books[node]
        own = share_of(known.rule("stock"), accounts_of(known.parts("stock")), node)
        share = Share(min(amount, own.up or 0), min(amount, own.down or 0))
        wish = Wish(DOCUMENT, "merge", b"", "ada", f"lend{len(self.told)}")
        self.told.append(lending(known, wish, book.desk, "stock", to, share, 1_000))
        book.fold(self.told[-1])

    def quarantine(self, dot: Dot, ahead_ms: int = 90_000) -> None:
        """The cloud's judgement; whoever hears of the write hears of it."""
        self.told.append(WriteQuarantined(DOCUMENT, dot, ahead_ms))
        self.books[CLOUD].fold(self.told[-1])

    def tell(self, source: str, target: str, writes_max: int = 1_000) -> None:
        """What matters at one node is told to another, until the link is cut after so many writes."""
        for write in self.at(source).known()[:writes_max]:
            self.books[target].fold(write)
        for dot, ahead_ms in self.at(source).judged():
            self.books[target].fold(WriteQuarantined(DOCUMENT, dot, ahead_ms))

    def heal(self) -> None:
        """All hear of all."""
        for node in self.books:
            for other in self.books:
                self.tell(node, other)


def fresh(told: Sequence[DocumentWritten | WriteQuarantined], terms: Terms = TERMS) -> Merged:
    """A node that hears of all this in this order."""
    known = Merged()
    known.begin(terms)
    for event in told:
        if isinstance(event, DocumentWritten):
            known.apply(event)
        else:
            known.quarantine(event)
    return known


EDITS = st.one_of(
    st.fixed_dictionaries({"note": st.integers(0, 3)}),
    st.fixed_dictionaries({"note": st.none()}),
    st.fixed_dictionaries({"done": st.lists(st.sampled_from("abc"), unique=True)}),
    st.fixed_dictionaries({"fact": st.sampled_from([1, {"value": 2, "physical": True}, {"value": 3, "physical": True}])}),
    st.fixed_dictionaries({"progress": st.integers(0, 9), "low": st.integers(0, 9)}),
    st.fixed_dictionaries({"speed": st.sampled_from(["run", "slow", "stop"])}),
    st.fixed_dictionaries({"state": st.sampled_from(["running", "cancelled", "completed"])}),
    st.fixed_dictionaries({"stock": st.builds(lambda by: {"add": by}, st.integers(-5, 5))}),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("merge"), st.sampled_from(NODES), EDITS, st.integers(0, 100)),
        st.tuples(
            st.just("put"), st.sampled_from(NODES), EDITS.filter(lambda edit: None not in edit.values()), st.integers(0, 100)
        ),
        st.tuples(st.just("delete"), st.sampled_from(NODES), st.none(), st.integers(0, 100)),
        st.tuples(st.just("tell"), st.sampled_from(NODES), st.sampled_from(NODES), st.sampled_from([1, 2, 1_000])),
        st.tuples(st.just("judge"), st.just(CLOUD), st.none(), st.integers(0, 100)),
    ),
    max_size=25,
)


def play(steps: list[tuple[str, str, object, int]]) -> Replicas:
    """What comes of a story."""
    replicas = Replicas()
    for what, node, value, number in steps:
        if what == "tell":
            replicas.tell(node, str(value), number)
        elif what == "lend":
            replicas.lend(node, str(value), number)
        elif what == "judge":
            known = replicas.at(CLOUD).known()
            if known:
                replicas.quarantine(known[number % len(known)].dot)
        else:
            replicas.edit(node, what, value, number * 1_000)
    return replicas
