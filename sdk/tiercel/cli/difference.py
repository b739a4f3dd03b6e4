"""What differs between two definitions: canonical documents, compared field by field."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

SHOWN_MAX = 100


class Difference(NamedTuple):
    """One place where two documents differ. What is not there is None, and `sign` says so: + added, - removed, ~ changed."""

    sign: str
    path: str
    before: Any
    after: Any

    def __str__(self) -> str:
        if self.sign == "~":
            return f"~ {self.path}: {_shown(self.before)} -> {_shown(self.after)}"
        return f"{self.sign} {self.path}: {_shown(self.after if self.sign == '+' else self.before)}"


def differences(before: Any, after: Any, path: str = "") -> Iterator[Difference]:
    """All places where the documents differ, in the order of the first and then of the second. Lists are compared as wholes."""
    if not (isinstance(before, dict) and isinstance(after, dict)):
        if before != after:
            yield Difference("~", path or "all", before, after)
        return
    for name in [*before, *(name for name in after if name not in before)]:
        place = f"{path}.{name}" if path else name
        if name not in after:
            yield Difference("-", place, before[name], None)
        elif name not in before:
            yield Difference("+", place, None, after[name])
        else:
            yield from differences(before[name], after[name], place)


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN_MAX else text[: SHOWN_MAX - 3] + "..."
