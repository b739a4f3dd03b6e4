"""What is wrong with a document, said so that its author can mend it: the place, what was found, and what is allowed.

Everything that reads what a person wrote collects a list of problems instead of stopping at the first one.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import islice

Place = tuple[str | int, ...]

PROBLEMS_MAX = 100
CHOICES_SHOWN_MAX = 12
CHOICES_COMPARED_MAX = 500  # Comparing spellings is slow; beyond this no spelling is suggested.
FOUND_CHARACTERS_MAX = 60

_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to mend. `line` counts from 1 and is 0 where no text is known; `path` is like `tasks.pick.needs[0]`."""

    file: str
    line: int
    path: str
    message: str
    allowed: str = ""
    place: Place = ()  # The path, step by step.

    def __str__(self) -> str:
        place = f"{self.file or '<input>'}:{self.line}: " if self.line else f"{self.file}: " if self.file else ""
        path = f"{self.path}: " if self.path else ""
        return f"{place}{path}{self.message}" + (f"; allowed: {self.allowed}" if self.allowed else "")


@dataclass(slots=True)
class Problems:
    """Collects problems: the first PROBLEMS_MAX are kept and the rest is counted, so that a flood of them costs little."""

    found: list[Problem] = field(default_factory=list)
    left_out: int = 0

    def __len__(self) -> int:
        return len(self.found) + self.left_out

    def add(self, place: Place, message: str, allowed: str = "") -> None:
        if len(self.found) < PROBLEMS_MAX:
            self.found.append(Problem("", 0, show_path(place), message, allowed, place))
        else:
            self.left_out += 1

    def add_unknown(self, place: Place, what: str, name: str, known: Collection[str]) -> None:
        """A name that nobody knows: the message suggests the nearest spelling, if one is near."""
        if len(self.found) < PROBLEMS_MAX:
            near = get_close_matches(name, known, 1) if len(known) <= CHOICES_COMPARED_MAX else []
            hint = f"; did you mean {near[0]!r}?" if near else ""
            self.add(place, f"unknown {what} {shown(name)}{hint}", choices(known))
        else:
            self.left_out += 1


class DefinitionError(ValueError):
    """A workflow definition is refused. `problems` are those that were kept, `left_out` is how many more there are."""

    def __init__(self, problems: Sequence[Problem], left_out: int = 0) -> None:
        assert problems, "a refusal needs a reason"
        self.problems = list(problems)
        self.left_out = left_out
        super().__init__("\n".join([*map(str, problems), *([f"and {left_out} more problems"] if left_out else [])]))


def show_path(place: Place) -> str:
    """`("tasks", "pick", "needs", 0)` as `tasks.pick.needs[0]`; keys that are no plain words are quoted in brackets."""
    path = ""
    for step in place:
        if isinstance(step, int):
            path += f"[{step}]"
        elif _PLAIN_KEY.fullmatch(step):
            path += f".{step}" if path else step
        else:
            path += f"[{shown(step)}]"
    return path


def choices(known: Collection[str]) -> str:
    """The names to choose from, cut when there are many."""
    more = [f"... ({len(known)} in all)"] if len(known) > CHOICES_SHOWN_MAX else []
    return ", ".join([*islice(known, CHOICES_SHOWN_MAX), *more]) or "none"


def shown(found: object) -> str:
    """What stands in the document, short enough for a message."""
    if isinstance(found, dict):
        return "a mapping"
    if isinstance(found, list | tuple):
        return "a list"
    if found is None:
        return "nothing"
    text = repr(found) if isinstance(found, str) else str(found).lower() if isinstance(found, bool) else str(found)
    return text if len(text) <= FOUND_CHARACTERS_MAX else text[: FOUND_CHARACTERS_MAX - 4] + "...'"
