"""Whoever edits a document away from its home: what the home has said, and on top of it what it has not answered yet. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from sync.ot.compose import composed
from sync.ot.document import Document
from sync.ot.operations import OPERATIONS_MAX, Any_, Change
from sync.ot.sequencer import Accepted, Answer, Refused
from sync.ot.transform import Lost, transformed_all
from sync.ot.undo import inverse


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
    _ahead: tuple[Any_, ...] = ()  # What the flying change has become behind what was heard since it was sent.

    def __post_init__(self) -> None:
        self.view = self.synced.copy()
        self._ahead = self.flying.operations if self.flying is not None else ()
        self.view.apply((*self._ahead, *self.pending))

    def edit(self, operations: Iterable[Any_]) -> None:
        """Edit what one sees. Raises Malformed, and then nothing has changed."""
        done: list[Any_] = []
        try:
            for operation in operations:
                self.view.apply((operation,))
                done.append(operation)
        except Exception:
            self.view.apply(inverse(done))
            raise
        self.pending += done

    def to_send(self) -> Change | None:
        """What the home is to be told now: the change that is not answered yet, the same again, or the next one."""
        if self.flying is None and self.pending:
            short = composed(self.pending)
            if not short:
                self.pending.clear()  # It takes itself back.
                return None
            self.number += 1
            self.flying = Change(self.site, self.number, self.revision, short[:OPERATIONS_MAX])
            self._ahead, self.pending = short[:OPERATIONS_MAX], list(short[OPERATIONS_MAX:])
        return self.flying

    def hear(self, answer: Answer) -> None:
        """What the home says, in its order. Heard twice is harmless."""
        own = self.flying is not None and (answer.change.site, answer.change.number) == (self.site, self.flying.number)
        if isinstance(answer, Refused):
            if own:
                self._take_back(answer)
            return
        if answer.revision <= self.revision:
            return
        assert answer.revision == self.revision + 1, f"revision {answer.revision} behind {self.revision}: something was not heard"
        self.revision = answer.revision
        self.synced.apply(answer.operations)
        if own:
            assert answer.operations == self._ahead, "the home has made of this change what it became here"
            self.flying, self._ahead = None, ()
        else:
            self._take_in(answer)
        self.lost += answer.lost

    def _take_in(self, answer: Accepted) -> None:
        mine = [*self._ahead, *self.pending]
        ahead, behind, _ = transformed_all(self._ahead, answer.operations, is_first=False)
        pending, theirs, _ = transformed_all(self.pending, behind, is_first=False)
        if mine:
            self._ahead, self.pending = tuple(ahead), pending
        self.view.apply(theirs)

    def _take_back(self, refused: Refused) -> None:
        """What was built on it goes with it, as far as it cannot stand alone."""
        self.refused.append(refused)
        undo = inverse(self._ahead)
        self.pending, behind, lost = transformed_all(self.pending, undo, is_first=False)
        self.view.apply(behind)
        self.lost += [each for each in lost if each.loser not in undo]
        self.flying, self._ahead = None, ()
