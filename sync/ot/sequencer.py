"""The home of a document: it alone puts edits into an order. Pure."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sync.ot.document import Document
from sync.ot.operations import AddEdge, AddNode, Any_, Change, DelNode, Malformed, check
from sync.ot.transform import Lost, Rebase

WINDOW = 10_000
"""Revisions that are kept, so that edits made on top of them can still go behind what came since."""

Check = Callable[[Document, Sequence[Any_]], str]
"""Why the document, after these operations, cannot be; empty if it can."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The change is the document's `revision`. `operations` are what it became behind what it did not know of; `lost` is what
    nothing is left of, on either side."""

    revision: int
    change: Change
    operations: tuple[Any_, ...]
    lost: tuple[Lost, ...] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """The change was not taken, as a whole. `code`: `malformed`, `refused` (by a check), `too_old`, `forgotten`
    (it was answered before), `gap`, `ahead`."""

    change: Change
    code: str
    reason: str


Answer = Accepted | Refused


@dataclass(slots=True)
class Sequencer:
    """A document at its home. Each site's changes count once and in their order, however often they are sent."""

    document: Document = field(default_factory=Document)
    revision: int = 0
    checks: tuple[Check, ...] = ()
    window: deque[Accepted] = field(default_factory=lambda: deque(maxlen=WINDOW))
    answered: dict[str, int] = field(default_factory=dict)
    _refused: dict[str, Refused] = field(default_factory=dict)

    def submit(self, change: Change) -> Answer:
        """Take a change, behind all that came since its base; ask again, and the answer is the same."""
        before = self.answered.get(change.site, 0)
        if change.number <= before:
            return self._again(change)
        if change.number != before + 1:
            return Refused(change, "gap", f"{change.site} has not sent its change {before + 1} yet")
        answer = self._decide(change)
        self.answered[change.site] = change.number
        if isinstance(answer, Refused):
            self._refused[change.site] = answer
        return answer

    def _again(self, change: Change) -> Answer:
        for accepted in reversed(self.window):
            if (accepted.change.site, accepted.change.number) == (change.site, change.number):
                return accepted
        refused = self._refused.get(change.site)
        if refused is not None and refused.change.number == change.number:
            return refused
        return Refused(change, "forgotten", f"change {change.number} of {change.site} was answered before, and that is not kept")

    def _decide(self, change: Change) -> Answer:
        try:
            check(change)
        except Malformed as wrong:
            return Refused(change, "malformed", str(wrong))
        if change.base > self.revision:
            return Refused(change, "ahead", f"made on top of revision {change.base}, and there are {self.revision}")
        kept_from = self.revision - len(self.window)
        if change.base < kept_from:
            reason = f"made on top of revision {change.base}; those before {kept_from} are not kept: take the document anew"
            return Refused(change, "too_old", reason)
        since = [accepted for accepted in self.window if accepted.revision > change.base]
        rebase = Rebase([operation for accepted in since for operation in accepted.operations])
        try:
            operations = tuple(each for mine in change.operations for each in rebase.through(mine, is_first=False))
            done = self.document.transact(operations, lambda: self._judge(operations))
        except Malformed as wrong:  # It cannot be done, or what it says that it replaces was never there.
            return Refused(change, "malformed", str(wrong))
        except _Wrong as wrong:
            return Refused(change, "refused", str(wrong))
        self.revision += 1
        accepted = Accepted(self.revision, change, tuple(done), tuple(rebase.lost))
        self.window.append(accepted)
        return accepted

    def _judge(self, operations: Sequence[Any_]) -> None:
        """Raises _Wrong if a check has something against the document as it is after them."""
        for check_document in self.checks:
            if why := check_document(self.document, operations):
                raise _Wrong(why)


class _Wrong(Exception):
    """A check refuses the document."""


def no_circles(document: Document, operations: Sequence[Any_]) -> str:
    """A Check: no edge may close a circle. Two edges that are fine each by itself may close one together, so this can only be
    seen at the home."""
    following: dict[str, list[str]] = {}
    added = [operation for operation in operations if isinstance(operation, AddEdge)]
    if added:
        for source, target, _ in document.edges:
            following.setdefault(source, []).append(target)
    for operation in added:
        if (operation.source, operation.target, operation.kind) in document.edges:  # Not taken away again by the same change.
            path = _path(following, operation.target, operation.source)
            if path:
                circle = " -> ".join([operation.source, *path])
                return f"the edge from {operation.source} to {operation.target} closes a circle: {circle}"
    return ""


def _path(following: dict[str, list[str]], start: str, end: str) -> list[str]:
    came: dict[str, str] = {start: ""}
    todo = [start]
    while todo:
        node = todo.pop()
        if node == end:
            path = [node]
            while came[path[-1]]:
                path.append(came[path[-1]])
            return path[::-1]
        for next_node in sorted(following.get(node, ())):
            if next_node not in came:
                came[next_node] = node
                todo.append(next_node)
    return []


def restoring(lost: Lost, document: Document) -> tuple[Any_, ...]:
    """What makes the loser's edit again, on top of the document as it is now; for a person to choose. A node that went because of
    the winner comes back with it, as it was. Raises Malformed if the edit makes no sense any more."""
    trial = document.copy()
    done: list[Any_] = []
    gone = lost.winner
    if isinstance(gone, DelNode) and gone.id not in document.nodes:
        done += trial.transact([AddNode(gone.id, gone.fields)])
        ends = [edge for edge in gone.edges if edge[0] in trial.nodes and edge[1] in trial.nodes]
        done += trial.transact([AddEdge(*edge) for edge in ends])
    return (*done, *trial.transact([lost.loser]))
