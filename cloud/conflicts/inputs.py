"""What the API asks of the feed of conflicts."""

from typing import Literal, NamedTuple


class ResolveConflict(NamedTuple):
    """A person has seen to it: the loser was restored by the edit or order `ref`, or it is accepted that it lost."""

    token: int
    conflict: str
    how: Literal["restored", "accepted"]
    by: str
    ref: str = ""
    note: str = ""
