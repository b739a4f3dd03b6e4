"""Text for terminals. What agents and servers say is printed, never obeyed: control characters are made visible."""

import json
from datetime import UTC, datetime


def clean(value: object) -> str:
    """As one line that cannot move the cursor or change colours."""
    return "".join(c if c.isprintable() else " " if c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in str(value))


def short(value: object, length_max: int = 60) -> str:
    """A JSON value on one line, cut where it is long."""
    text = clean(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    return text if len(text) <= length_max else f"{text[: length_max - 1]}…"


def when(ms: int) -> str:
    """UTC ms as this machine's local time; empty for 0."""
    return f"{datetime.fromtimestamp(ms / 1000, UTC).astimezone():%Y-%m-%d %H:%M:%S}" if ms else ""


def age(ms: int) -> str:
    """A span of time, in the unit that fits it."""
    if ms < 0:
        return "not known yet"
    for unit, length in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000)):
        if ms >= length:
            return f"{ms / length:.3g} {unit}"
    return f"{ms} ms"
