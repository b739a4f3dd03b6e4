"""What an agent says to the site's questions, by the functions that its author gave."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tiercel.asking import Asking
from tiercel.concern import Concern
from tiercel.leading import Leading
from tiercel.lease import Lease
from tiercel.outbox import Outbox
from tiercel.voting import Voting


@dataclass(slots=True)
class Opinions:
    """By topic who votes, by group who plans; what is empty stands for all others."""

    voters: dict[str, Callable[..., Any]] = field(default_factory=dict)
    planners: dict[str, Callable[..., Any]] = field(default_factory=dict)
    leading: Leading | None = None

    def concerns(self, name: str, asking: Asking, outbox: Outbox, lease: Lease) -> tuple[Concern, ...]:
        """What the agent `name` talks about with the site."""
        self.leading = Leading(name, self.planners, asking, outbox, lease)
        return Voting(self.voters, asking, outbox), self.leading
