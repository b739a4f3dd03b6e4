"""What an agent says to the site's questions, by the functions that its author gave."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tiercel.asking import Asking
from tiercel.concern import Concern
from tiercel.outbox import Outbox
from tiercel.voting import Voting


@dataclass(slots=True)
class Opinions:
    """By topic, who votes."""

    voters: dict[str, Callable[..., Any]] = field(default_factory=dict)

    def concerns(self, asking: Asking, outbox: Outbox) -> tuple[Concern, ...]:
        """What is talked about with the site."""
        return (Voting(self.voters, asking, outbox),)
