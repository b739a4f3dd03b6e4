"""The home of a document: it alone puts edits into an order. Pure.

A site makes edit on top of edit, whether the home has answered or not. So the home keeps for each such site a queue of what the
site had not heard when it made its latest (`Rebase`), moved past the site's own edits: what comes next from there goes past that
queue, and is then an edit of the document as the home has it. A refused edit is in the queue as what undoes it, for the site
builds on it until it hears of the refusal.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from sync.ot.document import Document, named
from sync.ot.json_form import below, difference
from sync.ot.operations import AddEdge, AddNode, Any_, Change, DelEdge, DelNode, Malformed, Put, check
from sync.ot.rebase import Label, Lost, Rebase
from sync.ot.transform import IN_FIELD, same
from sync.ot.undo import inverse

WINDOW = 10_000
"""Revisions that are kept, so that edits made on top of them can still go behind what came since; and operations in a queue."""
WINDOW_BYTES_MAX = 1 << 20

Check = Callable[[Document, Sequence[Any_]], str]
"""Why the document, after these operations, cannot be; empty if it can."""
Mend = Callable[[Document, Sequence[Any_]], Sequence[Any_]]
"""What makes the document whole again after these operations."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The change is the document's `revision`. `operations` are what it became behind what it did not know of, and what made the
    document whole after it; `lost` is what nothing is left of, on either side."""

    revision: int
    change: Change
    operations: tuple[Any_, ...]
    lost: tuple[Lost, ...] = ()
    size: int = 0  # Of the operations in the log, in bytes.


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
    """A document at its home. Each site's changes count once and in their order, however often they are sent.

    `heads`: the revision of the latest change of each site; `refusals`: how many of its changes were refused; `queues`: what it
    had not heard when it made its latest. Changes of no site are made at the home, and build on nothing of their own."""

    document: Document = field(default_factory=Document)
    revision: int = 0
    checks: tuple[Check, ...] = ()
    mend: Mend = lambda document, done: ()
    window: deque[Accepted] = field(default_factory=deque)
    answered: dict[str, int] = field(default_factory=dict)
    heads: dict[str, int] = field(default_factory=dict)
    refusals: dict[str, int] = field(default_factory=dict)
    queues: dict[str, Rebase] = field(default_factory=dict)
    held: int = 0  # Bytes in the window.
    _refused: dict[str, Refused] = field(default_factory=dict)

    def submit(self, change: Change) -> Answer:
        """Take a change, behind all that came since its base; ask again, and the answer is the same."""
        before = self.answered.get(change.site, 0)
        if change.number <= before:
            return self._again(change)
        if change.number != before + 1:
            return Refused(change, "gap", f"{change.site} has not sent its change {before + 1} yet")
        answer = self.decide(change)
        self.answered[change.site] = change.number
        if isinstance(answer, Refused):
            self._refused[change.site] = answer
        self.fold(answer)
        return answer

    def _again(self, change: Change) -> Answer:
        for accepted in reversed(self.window):
            if (accepted.change.site, accepted.change.number) == (change.site, change.number):
                return accepted
        refused = self._refused.get(change.site)
        if refused is not None and refused.change.number == change.number:
            return refused
        return Refused(change, "forgotten", f"change {change.number} of {change.site} was answered before, and that is not kept")

    # Deciding ---------------------------------------------------------------------------------------------------------

    def decide(self, change: Change) -> Answer:
        """What becomes of it; nothing is changed before that is folded."""
        try:
            check(change)
        except Malformed as wrong:
            return Refused(change, "malformed", str(wrong))
        if change.base > self.revision:
            return Refused(change, "ahead", f"made on top of revision {change.base}, and there are {self.revision}")
        if (queue := self._queue(change)) is None:
            reason = f"made on top of revision {change.base}, of which too little is kept: take the document anew"
            return Refused(change, "too_old", reason)
        return self._decide(change, queue)

    def decide_end(self, change: Change) -> Answer:
        """As `decide`, of a change that deletes the document: all of it goes, what was added meanwhile, too."""
        if (queue := self._queue(change)) is None:
            return Refused(change, "too_old", f"made on top of revision {change.base}, of which too little is kept")
        pure, lost = queue.trial(change.operations, is_first=False)
        end = tuple(difference(self.document, Document()))
        lost += _unseen(queue, set(self.document.nodes) - {each.id for each in pure if isinstance(each, DelNode)})
        return Accepted(self.revision + 1, change, end, tuple(lost))

    def at(self, revision: int) -> Document | None:
        """The document as it was then, not to be changed; None if nobody knows any more."""
        if not self.revision - len(self.window) <= revision <= self.revision:
            return None
        if revision == self.revision:
            return self.document
        document = self.document.copy()
        for accepted in reversed(self.window):
            if accepted.revision <= revision:
                break
            document.apply(inverse(accepted.operations))
        return document

    def forget(self) -> None:
        """Keep nothing of what was: edits on top of anything but the document as it is are too old from now on."""
        self.window.clear()
        self.queues.clear()
        self.held = 0

    def _decide(self, change: Change, queue: Rebase) -> Answer:
        try:
            operations, lost = queue.trial(change.operations, is_first=False)
            done = self._tried(operations)
            lost += self._hidden(operations, done[len(operations) :])
        except Malformed as wrong:  # It cannot be done, or what it says that it replaces was never there.
            return Refused(change, wrong.code, str(wrong))
        except _Wrong as wrong:
            return Refused(change, "refused", str(wrong))
        return Accepted(self.revision + 1, change, done, tuple(lost))

    def _tried(self, operations: Sequence[Any_]) -> tuple[Any_, ...]:
        """What would be done. Raises Malformed and _Wrong."""
        found: list[Any_] = []

        def judge() -> None:
            mending = list(self.mend(self.document, operations))
            found.extend(self.document.tried(mending, lambda: self._judge([*operations, *mending])))

        return (*self.document.tried(operations, judge), *found)

    def _hidden(self, operations: Sequence[Any_], mending: Sequence[Any_]) -> Iterator[Lost]:
        """Plain values that went because an object is in their place."""
        for put in mending:
            if isinstance(put, Put):
                loser, winner = Put(put.node, put.field, put.old), AddNode(below(put.node, put.field))
                is_mine = any(_writes(operation, loser) for operation in operations)
                sought = winner if is_mine else loser
                by = (each for each in reversed(self.window) if any(_writes(done, sought) for done in each.operations))
                other = next((_label(each.revision, 0, each.change) for each in by), Label())
                yield Lost(loser, winner, is_first=not is_mine, other=other)

    def _judge(self, operations: Sequence[Any_]) -> None:
        """Raises _Wrong if a check has something against the document as it is after them."""
        for check_document in self.checks:
            if why := check_document(self.document, operations):
                raise _Wrong(why)

    def _queue(self, change: Change) -> Rebase | None:
        """What the site had not heard when it made this; None if nobody knows any more."""
        site, queue = change.site, self.queues.get(change.site) if change.site else None
        if queue is None:
            knows_its_own = change.base >= self.heads.get(site, 0) and change.refused >= self.refusals.get(site, 0)
            if change.base < self.revision - len(self.window) or (site and not knows_its_own):
                return None
            queue = Rebase()
            for accepted in self.window:
                if accepted.revision > change.base:
                    queue.append(accepted.operations, _label(accepted.revision, self.refusals.get(site, 0), accepted.change))
        while queue.groups and _has_heard(change, queue.groups[0].label):
            queue.drop()
        if site:
            self.queues[site] = queue
        return queue

    # Folding ----------------------------------------------------------------------------------------------------------

    def fold(self, answer: Answer) -> None:
        """It is so."""
        site = answer.change.site
        queue = self._queue(answer.change) if site and answer.change.base <= self.revision else None
        if isinstance(answer, Refused):
            self.refusals[site] = self.refusals.get(site, 0) + 1
            if queue is not None:
                self._take_back(answer, queue)
            return
        if queue is not None:
            pure = queue.past(answer.change.operations, is_first=False)
            label = _label(answer.revision, self.refusals.get(site, 0), answer.change)
            if more := beyond(self.document, pure, answer.operations):
                queue.append(more, label)
        self.document.apply(answer.operations)
        self.revision = answer.revision
        self._keep(answer)
        if site:
            self.heads[site] = answer.revision
        for other, unheard in list(self.queues.items()):
            if other != site:
                unheard.append(answer.operations, _label(answer.revision, self.refusals.get(other, 0), answer.change))
            first = unheard.groups[0].label.revision if unheard.groups else self.revision
            if len(unheard) > WINDOW or first < self.revision - len(self.window):
                del self.queues[other]  # It would hold more than the window may.

    def _keep(self, accepted: Accepted) -> None:
        """In the window, as far as that goes."""
        self.window.append(accepted)
        self.held += accepted.size
        while len(self.window) > WINDOW or (self.held > WINDOW_BYTES_MAX and self.window):
            self.held -= self.window.popleft().size

    def _take_back(self, refused: Refused, queue: Rebase) -> None:
        site = refused.change.site
        try:
            check(refused.change)
            pure = queue.past(refused.change.operations, is_first=False)
        except Malformed:
            return  # Its site could not have done it either.
        queue.append(inverse(pure), _label(self.revision, self.refusals[site], refused.change))


def _unseen(queue: Rebase, nodes: set[str]) -> list[Lost]:
    """What was done at these nodes meanwhile."""
    lost: dict[str, list[Lost]] = {}
    for group in queue.groups:
        for done in queue.of(group):
            if isinstance(done, DelNode):
                lost.pop(done.id, None)
            elif not isinstance(done, DelEdge) and (gone := [node for node in named(done) if node in nodes]):
                lost.setdefault(gone[0], []).append(Lost(done, DelNode(gone[0]), is_first=True, other=group.label))
    return [each for found in lost.values() for each in found]


def _label(revision: int, refused: int, change: Change) -> Label:
    ref = change.ref or f"{change.site}/{change.number}"
    return Label(revision, refused, ref, change.site, change.author, change.at_ms)


def _writes(operation: Any_, sought: Put | AddNode) -> bool:
    if isinstance(sought, AddNode):
        return isinstance(operation, AddNode) and operation.id == sought.id
    if isinstance(operation, AddNode):
        return operation.id == sought.node and sought.field in operation.fields
    return isinstance(operation, IN_FIELD) and (operation.node, operation.field) == (sought.node, sought.field)


def _has_heard(change: Change, label: Label) -> bool:
    return label.revision <= change.base and label.refused <= change.refused


def beyond(before: Document, pure: Sequence[Any_], actual: Sequence[Any_]) -> list[Any_]:
    """What the home has done beyond what an edit had become by itself: mostly nothing. Home and site find the same."""
    count = len(pure)
    if len(actual) >= count and all(a == b and same(a, b) for a, b in zip(pure, actual, strict=False)):
        return list(actual[count:])
    mine, theirs = before.copy(), before.copy()
    mine.apply_possible(pure)
    theirs.apply_possible(actual)
    return difference(mine, theirs)


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
