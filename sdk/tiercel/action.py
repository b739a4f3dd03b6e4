"""An action: a capability that an installed package brings along, for the agents that Tiercel itself runs.

A package names it in its metadata, and every agent host on that machine can then offer it:

    [project.entry-points."tiercel.actions"]
    print_label = "labels:print_label"

    # labels.py
    from tiercel.action import Action

    def print_one(order: str, copies: int = 1) -> dict: ...

    print_label = Action("print_label", print_one, effect="physical", description="Print the label of an order.")
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

GROUP = "tiercel.actions"
EFFECTS = ("repeatable", "once", "physical")
_NAME = re.compile(r"[^\s\x00-\x1f@]{1,128}")


@dataclass(frozen=True, slots=True)
class Action:
    """`function` is a capability like any other (see `Agent.capability`). `effect` is what a task that uses it should declare;
    `parameters` is a JSON Schema that the task's parameters must satisfy before the function is called."""

    name: str
    function: Callable[..., Any]
    effect: str = "once"
    parameters: Mapping[str, Any] | None = None
    description: str = ""

    def __post_init__(self) -> None:
        """Raises ValueError or TypeError when it could not be offered."""
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"an action cannot be called {self.name!r}: 1 to 128 characters, without spaces and @")
        if self.effect not in EFFECTS:
            raise ValueError(f"action {self.name}: effect {self.effect!r} is unknown; allowed: {', '.join(EFFECTS)}")
        if not callable(self.function):
            raise TypeError(f"action {self.name}: {self.function!r} cannot be called")
