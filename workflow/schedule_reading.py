"""From a parsed document to a Schedule: every fault with its place, what was found, and what is allowed."""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, get_args

import msgspec
from cronsim import CronSim, CronSimError

from workflow.definition import ID_RULE, parse_duration
from workflow.problems import DefinitionError, Problems, choices, shown
from workflow.schedule import CATCH_UP_WINDOW_MS_MAX, CatchUp, Overlap, Schedule, zone

MOMENT_RULE = "ISO 8601 with an offset, as in 2026-03-01T06:00:00+01:00 or 2026-03-01T05:00:00Z"
CRON_RULE = "five fields: minute hour day-of-month month day-of-week, as in 30 2 * * MON-FRI"
EVERY_MS_MIN = 1_000
SPAN_MS_MAX = 366 * 86_400_000
DOCUMENT_BYTES_MAX = 1 << 20
_ID = re.compile(r"[a-z][a-z0-9_-]{0,127}")
_REF = re.compile(r"[a-z][a-z0-9_-]{0,127}(@[0-9A-Za-z][0-9A-Za-z.+_-]{0,63})?")
_YEARS = range(1970, 2200)


class ScheduleError(DefinitionError):
    """A schedule is refused; `problems` say what to mend."""


def read_schedule(document: object) -> Schedule:
    """The schedule in a parsed document. Raises ScheduleError with all problems at once."""
    problems = Problems()
    if not isinstance(document, Mapping):
        problems.add((), f"a schedule is a mapping, not {shown(document)}", choices(_FIELDS))
        raise ScheduleError(problems.found)
    fields: dict[str, Any] = {}
    for name, found in document.items():
        if name not in _FIELDS:
            problems.add_unknown((str(name),), "field", str(name), _FIELDS)
        elif found is not None:
            field, read = _FIELDS[name]
            fields[field] = read(found, name, problems)
    _check_whole(fields, problems)
    if problems:
        raise ScheduleError(problems.found, problems.left_out)
    return Schedule(**fields)


def read_moment(text: str) -> int:
    """The moment (UTC ms) that a text names. Raises ValueError that says what is allowed."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{shown(text)} is no moment; allowed: {MOMENT_RULE}") from None
    if moment.tzinfo is None:
        raise ValueError(f"{shown(text)} does not say in which zone; allowed: {MOMENT_RULE}")
    if moment.year not in _YEARS:
        raise ValueError(f"{shown(text)} is too far away; allowed: the years {_YEARS[0]} to {_YEARS[-1]}")
    return round(moment.timestamp() * 1000)


def _check_whole(fields: dict[str, Any], problems: Problems) -> None:
    """What no field shows alone."""
    for name in ("id", "definition"):
        if name not in fields:
            problems.add((name,), "is missing", ID_RULE if name == "id" else "a definition's name or name@version")
    given = [name for name in ("cron", "every_ms") if fields.get(name)]
    if len(given) != 1 and not any(problem.path in ("cron", "every") for problem in problems.found):
        found = "both cron and every" if given else "neither cron nor every"
        problems.add((), f"names {found}", "exactly one of them")
    if fields.get("valid_until_ms") and fields["valid_until_ms"] <= fields.get("valid_from_ms", 0):
        problems.add(("valid_until",), "is not after valid_from", "a later moment")
    if fields.get("catch_up", "skip") == "skip" and "catch_up_window_ms" in fields:
        problems.add(("catch_up_window",), "says nothing, for what was missed is skipped", "catch_up: all or latest beside it")


# Fields ---------------------------------------------------------------------------------------------------------------


def _text(pattern: re.Pattern[str], rule: str) -> "_Reader":
    def read(found: object, name: str, problems: Problems) -> str:
        if not isinstance(found, str) or not pattern.fullmatch(found):
            problems.add((name,), f"{shown(found)} is not allowed", rule)
            return "?"
        return found

    return read


def _choice(known: tuple[str, ...]) -> "_Reader":
    def read(found: object, name: str, problems: Problems) -> str:
        if not isinstance(found, str) or found not in known:
            problems.add_unknown((name,), name, found if isinstance(found, str) else shown(found), known)
            return known[0]
        return found

    return read


def _span(least_ms: int, most_ms: int, rule: str) -> "_Reader":
    def read(found: object, name: str, problems: Problems) -> int:
        is_number = isinstance(found, int | float) and not isinstance(found, bool)
        try:
            span = parse_duration(f"{found:f}s" if is_number else found if isinstance(found, str) else "")
        except ValueError:
            span = -1
        if not least_ms <= span <= most_ms:
            problems.add((name,), f"{shown(found)} is no such span", rule)
        return span

    return read


def _moment(found: object, name: str, problems: Problems) -> int:
    try:
        return read_moment(found if isinstance(found, str) else shown(found))
    except ValueError as error:
        message, _, allowed = str(error).partition("; allowed: ")
        problems.add((name,), message, allowed)
        return 0


def _cron(found: object, name: str, problems: Problems) -> str:
    fields = found.split() if isinstance(found, str) else []
    if len(fields) != 5:
        problems.add((name,), f"{shown(found)} has {len(fields)} fields" if fields else f"{shown(found)} is no text", CRON_RULE)
        return "?"
    text = " ".join(fields)
    try:
        # The 50 years that it looks ahead hold every combination of day, month and weekday.
        if next(CronSim(text, datetime(2026, 1, 1, tzinfo=zone("UTC"))), None) is None:
            problems.add((name,), f"{shown(text)} never comes", CRON_RULE)
    except (CronSimError, ValueError) as error:
        problems.add((name,), f"{shown(text)} is not understood: {error}", CRON_RULE)
    return text


def _zone(found: object, name: str, problems: Problems) -> str:
    try:
        return zone(found if isinstance(found, str) else "").key
    except (KeyError, ValueError, OSError):
        problems.add((name,), f"unknown time zone {shown(found)}", "an IANA name, as Europe/Berlin or UTC")
        return "UTC"


def _flag(found: object, name: str, problems: Problems) -> bool:
    if not isinstance(found, bool):
        problems.add((name,), f"{shown(found)} is no truth value", "true or false")
    return found is True


def _inputs(found: object, name: str, problems: Problems) -> dict[str, object]:
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        problems.add((name,), f"{shown(found)} is no mapping of inputs", "input names with their values")
        return {}
    try:
        encoded = msgspec.json.encode(found)
    except (TypeError, ValueError, OverflowError) as error:
        problems.add((name,), f"cannot be written as JSON: {error}", "values of JSON")
        return {}
    if len(encoded) > DOCUMENT_BYTES_MAX:
        problems.add((name,), f"have {len(encoded):,} bytes", f"{DOCUMENT_BYTES_MAX:,} bytes")
    return found


def _labels(found: object, name: str, problems: Problems) -> dict[str, str]:
    if not isinstance(found, dict) or not all(isinstance(text, str) for pair in found.items() for text in pair):
        problems.add((name,), f"{shown(found)} is no mapping of labels", "texts by name")
        return {}
    return found


_Reader = Callable[[object, str, Problems], object]
_WINDOW = "a span from 1m to 31d, as 6h"
_FIELDS: dict[str, tuple[str, _Reader]] = {
    "id": ("id", _text(_ID, ID_RULE)),
    "definition": ("definition", _text(_REF, "a definition's name or name@version")),
    "inputs": ("inputs", _inputs),
    "labels": ("labels", _labels),
    "cron": ("cron", _cron),
    "every": ("every_ms", _span(EVERY_MS_MIN, SPAN_MS_MAX, "a span from 1s to 366d, as 15m")),
    "timezone": ("timezone", _zone),
    "overlap": ("overlap", _choice(get_args(Overlap))),
    "catch_up": ("catch_up", _choice(get_args(CatchUp))),
    "catch_up_window": ("catch_up_window_ms", _span(60_000, CATCH_UP_WINDOW_MS_MAX, _WINDOW)),
    "valid_from": ("valid_from_ms", _moment),
    "valid_until": ("valid_until_ms", _moment),
    "jitter": ("jitter_ms", _span(0, 86_400_000, "a span of at most 1d, as 30s")),
    "paused": ("paused", _flag),
    "site": ("site", _text(re.compile(r"[^\s@]{1,64}"), "the name of a site")),
}
