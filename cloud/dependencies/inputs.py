"""What reaches the planner of dependencies between runs."""

from typing import NamedTuple

from cloud.runs import Run
from workflow.between import Kind, Point
from workflow.terms import Terms


class Wait(NamedTuple):
    """A run (`task` empty: as a whole) is to wait for `awaited`."""

    task: str
    awaited: Point
    kind: Kind = "after_success"
    terms: Terms | None = None
    said: str = ""  # Where the definition says so, if it does.

    @property
    def into(self) -> str:
        """The parameter or input that it gives a value; empty: none."""
        return self.terms.into if self.terms is not None else ""


class AddDependencies(NamedTuple):
    """Let a run wait, all of it or nothing. Answered by the ids of the dependencies in the same order, or a Problem.

    `recalled` are runs that have ended and that were read from the log for it.
    """

    token: int
    run: str
    waits: tuple[Wait, ...]
    recalled: tuple[Run, ...] = ()


class RemoveDependency(NamedTuple):
    """A dependency is no longer wanted. Answered by its id, or a Problem."""

    token: int
    run: str
    dependency: str
    reason: str = ""
