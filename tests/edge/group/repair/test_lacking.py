"""What is lacking follows from what was told last, whatever came before."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from edge.group.repair.lacking import NOBODYS_MAX, UNKNOWN, Held, Lacking

DIGESTS = [bytes([number]) * 32 for number in range(5)]
digests, names, sizes = st.sampled_from(DIGESTS), st.sampled_from("abc"), st.integers(0, 9)
told = st.tuples(
    st.just("tell"),
    st.dictionaries(digests, st.one_of(st.just(UNKNOWN), sizes)),
    st.dictionaries(names, st.dictionaries(digests, sizes)),
    st.booleans(),
)
steps = st.one_of(told, st.tuples(st.just("arrived"), digests), st.tuples(st.sampled_from(["failed", "refute"]), digests, names))


class Twin:
    """The same, by looking at all that was said: of each digest what the log says, who claims it, whether all had answered."""

    def __init__(self) -> None:
        self.said: dict[bytes, int] = {}
        self.claims: dict[bytes, dict[str, int]] = {}
        self.doubted: set[bytes] = set()
        self.liars: set[tuple[bytes, str]] = set()

    def tell(self, named: dict[bytes, int], answers: dict[str, dict[bytes, int]], all_answered: bool) -> None:
        for digest, said in named.items():
            self.said[digest] = said
            believed = {name: held for name, held in answers.items() if (digest, name) not in self.liars}
            self.claims[digest] = {name: held[digest] for name, held in believed.items() if digest in held}
            (self.doubted.discard if all_answered else self.doubted.add)(digest)

    def arrived(self, digest: bytes) -> None:
        self.said.pop(digest, None)

    def failed(self, digest: bytes, name: str) -> None:
        if digest in self.said and (size := self.claims[digest].pop(name, None)) is not None:
            self.said[digest] = size if self.is_nobodys(digest) and self.said[digest] == UNKNOWN else self.said[digest]

    def refute(self, digest: bytes, name: str) -> None:
        self.liars.add((digest, name))
        self.failed(digest, name)

    def is_nobodys(self, digest: bytes) -> bool:
        return not self.claims[digest]


@given(st.lists(steps, max_size=30))
def test_what_lacks_is_what_was_told_last(script: list[tuple[Any, ...]]) -> None:
    """A value is held by others, lost, open, or none of them; and the bytes that are missing are those of the first sources."""
    lacking, twin = Lacking(), Twin()
    for what, *words in script:
        if what == "tell":
            lacking.tell(words[0], words[1], all_answered=words[2])
        else:
            getattr(lacking, what)(*words)
        getattr(twin, what)(*words)
    nobodys = {digest: said for digest, said in twin.said.items() if twin.is_nobodys(digest)}
    assert {digest: held.by for digest, held in lacking.held.items()} == {d: twin.claims[d] for d in twin.said.keys() - nobodys}
    assert lacking.lost == {digest: said for digest, said in nobodys.items() if said != UNKNOWN}
    assert set(lacking.open) == {digest for digest, said in nobodys.items() if said == UNKNOWN and digest in twin.doubted}
    assert lacking.missing_bytes == sum(held.size for held in lacking.held.values())


def test_who_says_what_the_log_says_is_asked_first() -> None:
    """A file that was cut short is found out only when it has been fetched."""
    held = Held(7, {"a": 3, "b": 7, "c": 7})
    assert (held.sources, held.size) == (["b", "c", "a"], 7)
    assert Held(UNKNOWN, {"b": 3, "a": 7}).sources == ["a", "b"]


def test_what_nobody_holds_is_kept_within_bounds() -> None:
    """More is left out; if somebody who has not answered may hold it, that is noted, for it has to be asked again."""
    lacking = Lacking()
    named = {number.to_bytes(32): 1 for number in range(NOBODYS_MAX + 1)}
    lacking.tell(named, {}, all_answered=True)
    assert (len(lacking.lost), lacking.is_cut) == (NOBODYS_MAX, False)
    lacking.tell({bytes([255]) * 32: UNKNOWN}, {}, all_answered=False)
    assert (len(lacking.open), lacking.is_cut) == (0, True)
