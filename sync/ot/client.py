"""Whoever edits a document away from its home: what the home has said, and on top of it what it has not answered yet. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from sync.ot.compose import composed
from sync.ot.document import Document
from sync.ot.operations import BYTES_MAX, OPERATIONS_MAX, Any_, Change, Malformed, check_operation
from sync.ot.sequencer import Accepted, Answer, Refused
from sync.ot.transform import Lost, transformed_all
from sync.ot.undo import inverse

ANEW = ("too_old", "forgotten")
"""Refusals of what the home holds too little for."""


@dataclass(slots=True)
class Client:
    """One editor. `view` is what its people see: `synced` (revision `revision` of the home) with `flying` (sent) and `pending`
    (not sent) on top. A site that is cut off is one with a long `pending`."""

    site: str
    synced: Document = field(default_factory=Document)
    revision: int = 0
    number: int = 0
    flying: Change | None = None
    pending: list[Any_] = field(default_factory=list)
    view: Document = field(init=False)
    lost: list[Lost] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    # What the flying change has become behind what was heard since it was sent; kept with the rest over a restart.
    ahead: tuple[Any_, ...] = ()
    needs_anew: bool = False  # The home no longer holds what it would take to go on: take the document anew (`reset`).
    dropped: list[Any_] = field(default_factory=list)  # What could not be done to the document that was taken anew.

    def __post_init__(self) -> None:
        self.view = self.synced.copy()
        self.view.apply((*self.ahead, *self.pending))

    def edit(self, operations: Iterable[Any_]) -> None:
        """Edit what one sees; what an operation replaces is looked up here. Raises Malformed, and then nothing has changed."""
        self.pending += self.view.transact(list(operations), each=check_operation)

    def to_send(self) -> Change | None:
        """What the home is to be told now: the change that is not answered yet, the same again, or the next one."""
        if self.flying is None and self.pending:
            short = composed(self.pending)
            if not short:
                self.pending.clear()  # It takes itself back.
                return None
            count = _that_fit(short)
            self.number += 1
            self.flying = Change(self.site, self.number, self.revision, short[:count])
            self.ahead, self.pending = short[:count], list(short[count:])
        return None if self.needs_anew else self.flying

    def hear(self, answer: Answer) -> None:
        """What the home says, in its order. Heard twice is harmless."""
        own = self.flying is not None and (answer.change.site, answer.change.number) == (self.site, self.flying.number)
        if isinstance(answer, Refused):
            if own and answer.code in ANEW:
                self.needs_anew = True
            elif own:
                self._take_back(answer)
            return
        if answer.revision <= self.revision:
            return
        assert answer.revision == self.revision + 1, f"revision {answer.revision} behind {self.revision}: something was not heard"
        self.revision = answer.revision
        self.synced.apply(answer.operations)
        if own:
            assert answer.operations == self.ahead, "the home has made of this change what it became here"
            self.flying, self.ahead = None, ()
        else:
            self._take_in(answer)
        self.lost += answer.lost

    def reset(self, document: Document, revision: int, *, counted: bool) -> None:
        """Go on from the document as its home has it now; `counted`: the flying change is in it. What of the rest cannot be done
        to it any more is in `dropped`."""
        waiting = self.pending if counted else [*self.ahead, *self.pending]
        self.synced, self.view, self.revision = document.copy(), document.copy(), revision
        self.flying, self.ahead, self.pending, self.needs_anew = None, (), [], False
        for operation in waiting:
            try:
                self.edit((operation,))
            except Malformed:
                self.dropped.append(operation)

    def _take_in(self, answer: Accepted) -> None:
        mine = [*self.ahead, *self.pending]
        ahead, behind, _ = transformed_all(self.ahead, answer.operations, is_first=False)
        pending, theirs, _ = transformed_all(self.pending, behind, is_first=False)
        if mine:
            self.ahead, self.pending = tuple(ahead), pending
        self.view.apply(theirs)

    def _take_back(self, refused: Refused) -> None:
        """What was built on it goes with it, as far as it cannot stand alone."""
        self.refused.append(refused)
        undo = inverse(self.ahead)
        self.pending, behind, lost = transformed_all(self.pending, undo, is_first=False)
        self.view.apply(behind)
        self.lost += [each for each in lost if each.loser not in undo]
        self.flying, self.ahead = None, ()


def _that_fit(operations: tuple[Any_, ...]) -> int:
    """How many of them one change can carry."""
    size = 0
    for count, operation in enumerate(operations[:OPERATIONS_MAX]):
        size += len(msgspec.json.encode(operation)) + 1
        if count and size > BYTES_MAX // 2:
            return count
    return min(len(operations), OPERATIONS_MAX)
