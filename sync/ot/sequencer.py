"""The home of a document: it alone puts edits into an order. Pure."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sync.ot.document import Document, truthful
from sync.ot.operations import AddEdge, AddNode, Any_, Change, Malformed, Put, check
from sync.ot.transform import Lost, Rebase
from sync.ot.undo import inverse

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
        except Malformed as wrong:  # What it says that it replaces was never there.
            return Refused(change, "malformed", str(wrong))
        done: list[Any_] = []
        if wrong_with := self._do(operations, done):
            return Refused(change, *wrong_with)
        self.revision += 1
        accepted = Accepted(self.revision, change, tuple(done), tuple(rebase.lost))
        self.window.append(accepted)
        return accepted

    def _do(self, operations: Sequence[Any_], done: list[Any_]) -> tuple[str, str] | None:
        """All or nothing; `done` is filled with what they truly replace, so that all can be undone whatever its author said."""
        code, reason = "refused", ""
        try:
            for operation in operations:
                true = truthful(self.document, operation)
                self.document.apply((true,))
                done.append(true)
            reason = next((why for check in self.checks if (why := check(self.document, operations))), "")
        except (Malformed, RecursionError) as wrong:
            code, reason = "malformed", str(wrong)
        if not reason:
            return None
        self.document.apply(inverse(done))
        return code, reason


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
    """What makes the loser's edit again, on top of the document as it is now; for a person to choose. Raises Malformed if it
    makes no sense any more."""
    loser = lost.loser
    node = getattr(loser, "node", "")
    before: tuple[Any_, ...] = ()
    fields = document.nodes.get(node)
    if node and fields is None:
        before, fields = (AddNode(node),), {}
    if isinstance(loser, Put):
        return (*before, Put(loser.node, loser.field, loser.new, (fields or {}).get(loser.field)))
    trial = document.copy()
    trial.apply((*before, loser))
    return (*before, loser)
