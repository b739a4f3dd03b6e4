"""How long the home of a document takes to put a long-away site's edits behind what has happened since."""

import time
from random import Random

from sync.ot.document import Document
from sync.ot.operations import AddEdge, AddNode, Any_, Change, DelNode, Inc, Put, Text
from sync.ot.sequencer import Accepted, Sequencer, no_circles

NODES = 500


def measure(pending: int = 10_000, concurrent: int = 1_000, seed: int = 1) -> float:
    """Seconds for `pending` operations of one site behind `concurrent` ones of others, half of all in the same fields."""
    chance = Random(seed)
    start = Document({f"n{number}": {"n": 0, "t": "some text"} for number in range(NODES)})
    sequencer = Sequencer(start.copy(), checks=(no_circles,))
    mine = _edits(start.copy(), pending, chance, "m")
    for number, operation in enumerate(_edits(start.copy(), concurrent, chance, "o"), 1):
        answer = sequencer.submit(Change("cloud", number, number - 1, (operation,)))
        assert isinstance(answer, Accepted), answer
    began = time.perf_counter()
    answer = sequencer.submit(Change("harbour", 1, 0, tuple(mine)))
    seconds = time.perf_counter() - began
    assert isinstance(answer, Accepted), answer
    return seconds


def _edits(document: Document, count: int, chance: Random, name: str) -> list[Any_]:
    made: list[Any_] = []
    gone = 0
    while len(made) < count:
        node = f"n{chance.randrange(NODES)}"
        fields = document.nodes.get(node)
        if fields is None:
            continue
        what = chance.randrange(20)
        operation: Any_ = Put(node, "p", chance.randrange(9), fields.get("p"))
        if what < 6:
            operation = Inc(node, "n", 1)
        elif what < 10:
            at = chance.randrange(len(fields["t"]) + 1)
            operation = Text(node, "t", (at, name) if at else (name,))
        elif what < 12:
            operation = AddNode(f"{name}{len(made)}", {"n": 0, "t": ""})
        elif what == 12 and gone < NODES // 3:
            gone += 1
            edges = tuple(sorted(edge for edge in document.edges if node in edge[:2]))
            operation = DelNode(node, dict(fields), edges)
        elif what == 13:
            low, high = sorted(chance.sample(sorted(document.nodes), 2))
            if (low, high, "") in document.edges:
                continue
            operation = AddEdge(low, high)
        document.apply((operation,))
        made.append(operation)
    return made
