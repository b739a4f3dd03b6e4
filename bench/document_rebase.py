"""How long a document's home takes for all that a site has edited while it was cut off: decisions, values and conflicts, too."""

import time
from random import Random

import msgspec

from sync.documents.book import DocumentBook
from sync.documents.events import EditProposed, EditRefused
from sync.documents.ids import CLOUD
from sync.documents.overtaken import conflicts_of
from sync.documents.terms import Terms
from sync.event import Event
from sync.ot.operations import Any_, Inc, Put, Text, encode_all

NAME, SITE = "shared/plan", "harbour"
NODES = 500
TOGETHER = 10
"""Operations in one edit of the site."""


def measure(pending: int = 10_000, concurrent: int = 1_000, seed: int = 1) -> float:
    """Seconds at the home for `pending` operations of a site, `TOGETHER` in an edit, made apart from `concurrent` edits."""
    chance, home, site = Random(seed), DocumentBook(CLOUD), DocumentBook(SITE)
    value = {f"n{number}": {"n": 0, "t": "some text"} for number in range(NODES)}
    first = EditProposed(NAME, "first", "put", msgspec.json.encode(value), -1, "bench", 0, Terms(resolver="ot"))
    for event in _decide(home, first, CLOUD):
        site.fold(event, CLOUD)
    waiting = [_proposed(site, _edit(f"s{number}", chance, TOGETHER)) for number in range(pending // TOGETHER)]
    for number in range(concurrent):
        _decide(home, _edit(f"c{number}", chance, 1), CLOUD)
    began = time.perf_counter()
    for edit in waiting:
        home.fold(edit, SITE)
        _decide(home, edit, SITE)
    return time.perf_counter() - began


def _edit(name: str, chance: Random, count: int) -> EditProposed:
    made: list[Any_] = []
    for _ in range(count):
        node = f"/n{chance.randrange(NODES)}"
        ways = Inc(node, "n", 1), Inc(node, "n", 2), Put(node, "p", chance.randrange(9)), Text(node, "t", (1, name[0]))
        made.append(chance.choice(ways))
    return EditProposed(NAME, name, "operations", encode_all(made), -1, "bench", 0)


def _proposed(site: DocumentBook, edit: EditProposed) -> EditProposed:
    proposed = site.proposed(edit)
    assert isinstance(proposed, EditProposed), proposed
    site.fold(proposed)
    return proposed


def _decide(home: DocumentBook, edit: EditProposed, at: str) -> list[Event]:
    decided = home.decide(edit, 0)
    assert not isinstance(decided, EditRefused), decided
    conflicts_of(home, edit, decided, at, 0)
    for event in decided.events:
        home.fold(event)
    return decided.events
