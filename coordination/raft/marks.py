"""What nodes remember of each other, so that one whose disk is set back to an old copy is noticed. Pure.

Raft's safety rests on disks that forget nothing: what is committed is on a majority, any two majorities share a node, and that
one votes for nobody who lacks it, nor twice in a term. A disk that is set back breaks this where it is all that two majorities
share: with the one it acknowledged an entry, or voted, and with the other it does not know of it. (Where they share another node,
too, that one has the entry, and has voted.) So whoever makes a majority with it must know what it has forgotten.

A `Mark` is what a node has surely had on its disk: up to which term it gives no vote any more, and how far its log reached. All
that a node does moves it forward: a log that gives way to another leader's keeps how far it had reached (`Entries.reach`). The
leader knows marks from votes and acknowledgements, and its own from its own disk, and tells all of them to everybody with its
heartbeats. So they are remembered wherever the leader was heard, and not only by whom the node acknowledged or voted for. They
are kept on disks, but for the last second.

Nothing that a node says counts before it has compared itself with what whoever it speaks with remembers of it: by the greeting
of their connection, by requests for votes, by what a leader first says to it in its term, and by heartbeats. Who finds itself
short stops for good (`SetBack`). A candidate counts a vote only if its giver is not short of what any of those remember who have
voted with it.

So a node that was set back is part of a majority only if none of the others there has heard anything of it since the copy was
made. All others of its last majority are away then, and whoever is there was away for all of that time: of three nodes, each has
had a fault of its own. To close that, too, a node that starts would have to wait for all others of three (three others of five),
and a group that has lost one box for good would not survive that another one is merely started again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec


class Mark(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """`closed`: in terms up to this one it gives no vote any more; its log reached to (`term`, `index`). Both only grow."""

    closed: int = 0
    term: int = 0
    index: int = 0

    @property
    def place(self) -> tuple[int, int]:
        """How far the log reached."""
        return self.term, self.index

    def covers(self, other: "Mark") -> bool:
        """Has a node of this mark all that it had at the other one?"""
        return self.closed >= other.closed and self.place >= other.place

    def joined(self, other: "Mark") -> "Mark":
        """Both were seen of one node."""
        if self.covers(other):
            return self
        return Mark(max(self.closed, other.closed), *max(self.place, other.place))

    def __str__(self) -> str:
        return f"entry {self.index} of term {self.term}, votes to term {self.closed}"


class SetBack(Exception):
    """This node holds less than it has had: it must not go on, or what it has acknowledged is lost, and its votes count twice."""

    def __init__(self, node: str, witness: str, remembered: Mark, has: Mark) -> None:
        super().__init__(f"{node} has ({has}), and {witness} remembers that it had ({remembered})")
        self.remembered, self.has = remembered, has


@dataclass(slots=True)
class Marks:
    """What one node remembers of the others. `changes` counts, for whoever keeps them."""

    node: str
    known: dict[str, Mark] = field(default_factory=dict)
    changes: int = 0

    def learn(self, node: str, mark: Mark) -> None:
        """The node surely had this."""
        before = self.known.get(node, _NOTHING)
        after = before.joined(mark)
        if after is not before and node != self.node:
            self.known[node] = after
            self.changes += 1

    def compare(self, witness: str, told: Mapping[str, Mark], ours: Mark) -> None:
        """Somebody says what it remembers of us. Raises SetBack."""
        remembered = told.get(self.node)
        if remembered is not None and not ours.covers(remembered):
            raise SetBack(self.node, witness, remembered, ours)

    def trusts(self, node: str, says: Mark | None) -> bool:
        """Does the node have all that it is known to have had? One that does not say so (an older program) is believed."""
        return says is None or says.covers(self.known.get(node, _NOTHING))

    def hear(self, told: Mapping[str, Mark], *, but: str = "") -> None:
        """Remember what somebody says, without what it says of `but`."""
        for node, mark in told.items():
            if node != but:
                self.learn(node, mark)

    def forget(self, node: str) -> None:
        """It has left, and its name is never used again."""
        if self.known.pop(node, None) is not None:
            self.changes += 1


_NOTHING = Mark()
