"""Lengths of time as authors write them: a number of seconds, or a number with a unit."""

import re
from functools import lru_cache
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema
from pydantic_core import PydanticCustomError

DURATION_MS_MAX = 3_650 * 86_400_000  # Ten years.
DURATION_RULE = 'a number of seconds, or "500ms", "30s", "5m", "2h", "1d"; ten years at most'
_DURATION = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)(ms|s|m|h|d)", re.ASCII)
_UNIT_MS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}


@lru_cache(maxsize=1024)
def parse_duration(text: str) -> int:
    """`"1.5s"` as 1500 (ms, rounded). Raises ValueError for all but a number and a unit (ms, s, m, h, d)."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no duration; allowed: {DURATION_RULE}")
    return _in_range(float(match[1]) * _UNIT_MS[match[2]], text)


def show_duration(duration_ms: int) -> str:
    """The shortest text that `parse_duration` reads back: 90000 as `90s`, 60000 as `1m`."""
    unit = next((unit for unit, length in _UNIT_MS.items() if duration_ms and duration_ms % length == 0), "s")
    return f"{duration_ms // _UNIT_MS[unit]}{unit}"


def _in_range(duration_ms: float, found: object) -> int:
    whole = round(duration_ms) if 0 <= duration_ms <= DURATION_MS_MAX else -1
    if whole < 0 or (whole == 0 and duration_ms > 0):
        raise ValueError(f"{found!r} is out of range; allowed: {DURATION_RULE}, 1ms at least")
    return whole


def _duration_ms(found: object) -> int:
    try:
        if isinstance(found, str):
            return parse_duration(found)
        if isinstance(found, int | float) and not isinstance(found, bool):
            return _in_range(found * 1_000, found)
    except ValueError:
        pass
    raise PydanticCustomError("duration", "is no duration")


def _timeout_ms(found: object) -> int:
    duration_ms = _duration_ms(found)
    if duration_ms == 0:
        raise PydanticCustomError("timeout", "is no time at all")
    return duration_ms


_DURATION_SCHEMA = {
    "anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": r"^\d{1,12}(\.\d{1,6})?(ms|s|m|h|d)$"}],
    "description": DURATION_RULE,
}
_AS_TEXT = (PlainSerializer(show_duration), WithJsonSchema(_DURATION_SCHEMA))
Duration = Annotated[int, BeforeValidator(_duration_ms), *_AS_TEXT]
Timeout = Annotated[int, BeforeValidator(_timeout_ms), *_AS_TEXT]
