"""Bodies of requests. JSON has no NaN, no dates and no sets; what cannot be said is named."""

import json
from collections.abc import Iterator
from math import isfinite

_PLAIN = (str, bool, int, type(None))


def encoded(body: object) -> bytes:
    """As JSON. Raises ValueError, naming the field."""
    try:
        return json.dumps(body, allow_nan=False).encode()
    except (ValueError, TypeError) as error:
        raise ValueError(next(_faults(body, ""), str(error))) from None


def _faults(value: object, place: str) -> Iterator[str]:
    match value:
        case float() if isfinite(value):
            return
        case dict():
            for name, part in value.items():
                yield from _faults(part, f"{place}.{name}" if place else str(name))
        case list() | tuple():
            for number, part in enumerate(value):
                yield from _faults(part, f"{place}[{number}]")
        case _ if not isinstance(value, _PLAIN):
            what = f"a {type(value).__name__} ({value})" if not isinstance(value, float) else str(value)
            yield f"{place or 'the body'}: {what} is no JSON; allowed: text, finite numbers, true, false, null, lists, mappings"
