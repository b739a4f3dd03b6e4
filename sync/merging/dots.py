"""Who wrote what after having seen what: dots name single writes, version vectors all that a node has seen of a document.

Dotted version vectors (Preguica et al., "Dotted Version Vectors", 2010): a write carries its own dot and the vector of what its
writer had seen, so two writes of one node that did not know of each other are told apart, and what was seen is never kept beside
what has replaced it.
"""

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import NamedTuple

from sync.documents.ids import CLOUD

Vector = Mapping[str, int]
"""Of each writer the counter of the latest write that was seen; all before it were, too."""
COUNT_BITS = 21
_COUNT = (1 << COUNT_BITS) - 1


class Dot(NamedTuple):
    """One write of a document: the node that wrote, and which of its writes it is. Counters of a node grow. Those of the cloud
    leap: in the upper bits is the second of its start, for a cloud that came back on an old copy goes on to write while sites may
    hold what it has lost, and no two writes may ever have one dot."""

    writer: str
    counter: int

    def __str__(self) -> str:
        return f"{self.writer}:{self.counter}"


def after(counter: int, era: int) -> int:
    """The counter of a node's next write, in its start of that era (0: of one that waits to be whole before it writes)."""
    return (max(era, counter >> COUNT_BITS) << COUNT_BITS) + (counter & _COUNT) + 1


def count_of(vector: Vector) -> int:
    """How many writes were seen in all."""
    return sum(counter & _COUNT if writer == CLOUD else counter for writer, counter in vector.items())


def covers(vector: Vector, dot: Dot) -> bool:
    """Had who knew the vector seen this write?"""
    return vector.get(dot.writer, 0) >= dot.counter


def join(into: dict[str, int], vector: Vector) -> None:
    """Let `into` cover all that `vector` does."""
    for writer, counter in vector.items():
        if counter > into.get(writer, 0):
            into[writer] = counter


def joined(vectors: Iterable[Vector]) -> dict[str, int]:
    """The least vector that covers them all, by writer."""
    result: dict[str, int] = {}
    for vector in vectors:
        join(result, vector)
    return dict(sorted(result.items()))


def tag_of(vector: Vector) -> str:
    """A short name of a vector: equal tags, equal vectors."""
    said = "\0".join(f"{writer}:{counter}" for writer, counter in sorted(vector.items()))
    return blake2b(said.encode(), digest_size=8).hexdigest()
