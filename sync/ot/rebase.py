"""Operations that others go past: a queue of groups, each of which keeps its name however it changes. Pure.

What touches different things is not compared, so the cost of going past goes by what both have in common. The home keeps such a
queue of what a site has not heard yet (`sync.ot.sequencer`), and a site one of its edits that the home has not answered
(`sync.ot.view`); the two are the two sides of one square, and TP1 keeps them equal (Jupiter's two-dimensional state space).
"""

from bisect import insort
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from sync.ot.operations import AddNode, Any_, DelNode, Move, Put, Rem
from sync.ot.transform import IN_FIELD, Operations, does, same, touches, transformed

STALE_MAX = 1_000


class Label(NamedTuple):
    """Whose a group is: the edit `ref` of `author` at `site`; it stands at `revision` of the home, with so many of the edits of
    whose queue it is `refused`."""

    revision: int = 0
    refused: int = 0
    ref: str = ""
    site: str = ""
    author: str = ""
    at_ms: int = 0


@dataclass(frozen=True, slots=True)
class Lost:
    """Of two operations made without knowing of each other one left nothing behind: `loser`, because of `winner`. `is_first`: it
    came first in the document's order, and lost all the same (deleting beats editing). `other`: whose the one is that was in the
    queue."""

    loser: Any_
    winner: Any_
    is_first: bool
    other: Label = field(default=Label(), compare=False)

    @property
    def rule(self) -> str:
        """By which rule, as conflicts say it."""
        return "ot"

    @property
    def reason(self) -> str:
        """Why, for a person."""
        match self.loser, self.winner:
            case _, DelNode():
                return "deleting beats editing"
            case Move(), Rem():
                return "removing an item beats moving it"
            case Put(), Put():
                return "of two values the earlier in the home's order stands"
            case Put(), AddNode():
                return "an object stands against a plain value in its place"
            case _, Put():
                return "what was put in its place stands, and there is nothing left to edit"
            case _:
                return "of two of one name the earlier in the home's order stands"


class Group(NamedTuple):
    """The operations in the slots from `first` to before `end`."""

    label: Label
    first: int
    end: int


class Rebase:
    """Groups of operations, `theirs`, in their order, that others go past, one after the other."""

    def __init__(self, theirs: Sequence[Any_] = (), label: Label = Label()) -> None:  # noqa: B008 - immutable
        self.groups: deque[Group] = deque()
        self.lost: list[Lost] = []
        self._slots: dict[int, Operations] = {}
        self._labels: dict[int, Label] = {}
        self._at: dict[object, list[int]] = {}
        self._next = self._stale = 0
        self._kept: dict[int, Operations] | None = None
        if theirs:
            self.append(theirs, label)

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def theirs(self) -> list[Any_]:
        """What they have become behind all that went past them."""
        return [operation for slot in self._slots.values() for operation in slot]

    def of(self, group: Group) -> Operations:
        """What the group has become."""
        return tuple(operation for number in range(group.first, group.end) for operation in self._slots[number])

    def append(self, operations: Iterable[Any_], label: Label = Label()) -> None:  # noqa: B008 - immutable
        """A group behind the others. One without operations keeps its name, too."""
        first = self._next
        for operation in operations:
            self._slots[self._next], self._labels[self._next] = (operation,), label
            self._note(self._next, operation)
            self._next += 1
        self.groups.append(Group(label, first, self._next))

    def drop(self) -> Operations:
        """The first group is there no more; gives what it had become."""
        group = self.groups.popleft()
        gone = self.of(group)
        for number in range(group.first, group.end):
            del self._slots[number], self._labels[number]
        self._stale += group.end - group.first
        if self._stale > STALE_MAX + len(self._slots):
            self._at, self._stale = {}, 0
            for number, slot in self._slots.items():
                for operation in slot:
                    self._note(number, operation)
        return gone

    def past(self, operations: Iterable[Any_], *, is_first: bool) -> list[Any_]:
        """Operations, one after the other, behind all of them; they, from now on, are behind those."""
        return [each for operation in operations for each in self.through(operation, is_first=is_first)]

    def trial(self, operations: Iterable[Any_], *, is_first: bool) -> tuple[list[Any_], list[Lost]]:
        """What would come of going past, and what would be lost; all stays as it is."""
        before, self.lost, self._kept = self.lost, [], {}
        try:
            return self.past(operations, is_first=is_first), self.lost
        finally:
            self._slots.update(self._kept)
            self.lost, self._kept = before, None

    def through(self, operation: Any_, *, is_first: bool) -> Operations:
        """As `past`, of one."""
        mine: Operations = (operation,)
        for number in sorted({number for key in _asks(operation) for number in self._at.get(key, ())}):
            slot = self._slots.get(number)
            if not slot or not mine:
                continue
            mine, behind = self._square(mine, slot, self._labels[number], is_first=is_first)
            if self._kept is not None:
                self._kept.setdefault(number, slot)
            self._slots[number] = behind
            for changed in behind:
                if changed not in slot:
                    self._note_late(number, changed)
        return mine

    def _note(self, number: int, operation: Any_) -> None:
        for key in _about(operation):
            places = self._at.setdefault(key, [])
            if not places or places[-1] != number:
                places.append(number)

    def _note_late(self, number: int, operation: Any_) -> None:
        for key in _about(operation):
            places = self._at.setdefault(key, [])
            if number not in places:
                insort(places, number)

    def _square(self, mine: Operations, theirs: Operations, label: Label, *, is_first: bool) -> tuple[Operations, Operations]:
        """TP1's square, filled in step by step."""
        if not mine or not theirs:
            return mine, theirs
        if len(mine) == len(theirs) == 1:
            a, b = mine[0], theirs[0]
            behind, ahead = transformed(a, b, is_first=is_first), transformed(b, a, is_first=not is_first)
            if not (behind and ahead) and not same(a, b):
                if not behind and does(a):
                    self.lost.append(Lost(a, b, is_first, label))
                elif not ahead and does(b):
                    self.lost.append(Lost(b, a, not is_first, label))
            return behind, ahead
        if len(mine) > 1:
            head, theirs = self._square(mine[:1], theirs, label, is_first=is_first)
            rest, theirs = self._square(mine[1:], theirs, label, is_first=is_first)
            return (*head, *rest), theirs
        mine, head = self._square(mine, theirs[:1], label, is_first=is_first)
        mine, rest = self._square(mine, theirs[1:], label, is_first=is_first)
        return mine, (*head, *rest)


def transformed_all(mine: Sequence[Any_], theirs: Sequence[Any_], *, is_first: bool) -> tuple[list[Any_], list[Any_], list[Lost]]:
    """Two sequences, each behind the other, and what was lost. `is_first`: `mine` come first in the document's order."""
    rebase = Rebase(theirs)
    done = rebase.past(mine, is_first=is_first)
    return done, rebase.theirs, rebase.lost


def _about(operation: Any_) -> tuple[object, ...]:
    """By what others find it: what it touches, and the nodes at which it does something."""
    if isinstance(operation, IN_FIELD):
        return (operation.node, operation.field), ("at", operation.node)
    if isinstance(operation, DelNode):
        ends = {end for edge in operation.edges for end in edge[:2]}
        return ("gone", operation.id), ("node", operation.id), *(("end", end) for end in sorted(ends))
    if isinstance(operation, AddNode):
        return (("node", operation.id),)
    return touches(operation), ("at", operation.source), ("at", operation.target)


def _asks(operation: Any_) -> tuple[object, ...]:
    """Among which it looks for those that it cannot leave alone."""
    if isinstance(operation, IN_FIELD):
        return (operation.node, operation.field), ("gone", operation.node)
    if isinstance(operation, DelNode):
        return ("at", operation.id), ("node", operation.id), ("end", operation.id)
    if isinstance(operation, AddNode):
        # Fields of both may take each other's place, and then it is about these.
        return ("node", operation.id), ("at", operation.id)
    return touches(operation), ("gone", operation.source), ("gone", operation.target)
