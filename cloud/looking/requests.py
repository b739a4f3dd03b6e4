"""What is asked of runs in the query of a URL. A refusal names the parameter, what was given, and what is allowed."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

from cloud.looking.wanted import LIVING, OVER, Wanted
from cloud.port import Problem, Then
from cloud.problems import of_parameters

PAGE_MAX = 1_000
LABELS_MAX = 64
MOMENTS = ("created_after", "created_before", "ended_after", "ended_before")
ALLOWED = ("state", "definition", "site", "label", "parent", *MOMENTS, "limit", "cursor")
MOMENT = "a moment as 2026-11-25T20:15:00Z (RFC 3339, with an offset) or in ms since 1970 (UTC)"


class Query(Protocol):
    """The parameters of a URL: a name may come several times."""

    def multi_items(self) -> Iterable[tuple[str, str]]: ...


class Listing(NamedTuple):
    """Which runs, how many at most, and behind which one."""

    wanted: Wanted
    limit: int
    cursor: str


def moment(text: str) -> int:
    """A moment as UTC ms. Raises ValueError."""
    if text.isascii() and text.isdigit():
        return int(text)
    # A plus sign that was not encoded comes as a space.
    found = datetime.fromisoformat(text.strip().replace(" ", "+") if "T" in text else text)
    if found.tzinfo is None:
        raise ValueError("it has no offset")
    return int(found.astimezone(UTC).timestamp() * 1000)


def said(ms: int) -> str:
    """A moment as people write it, and as programs do."""
    try:
        return f"{datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec='milliseconds').replace('+00:00', 'Z')} ({ms})"
    except (OverflowError, ValueError, OSError):
        return str(ms)


def listing(query: Query) -> Listing:
    """What `GET /api/v1/workflows` is asked for. Raises Problem (422) with a line for each mistake."""
    given, labels, wrong = _once(query, several="label")
    found: dict[str, int] = {}
    for name in given:
        if name not in ALLOWED:
            wrong.append((name, f"there is no such parameter; allowed: {', '.join(ALLOWED)}"))
    for name in MOMENTS:
        if name in given:
            found[name] = _number(name, given[name], wrong)
    if given.get("state", "") not in ("", *LIVING, *OVER):
        wrong.append(("state", f"{given['state']!r} is none; allowed: {', '.join((*LIVING, *OVER))}"))
    limit = given.get("limit", "100")
    if not (limit.isascii() and limit.isdigit() and 1 <= int(limit[:9]) <= PAGE_MAX):
        wrong.append(("limit", f"{limit!r} is none; allowed: 1 to {PAGE_MAX:,}"))
    if wrong:
        raise of_parameters(wrong)
    state, definition, site, parent = (given.get(name, "") for name in ("state", "definition", "site", "parent"))
    spans = (found.get(name, 0) for name in MOMENTS)
    return Listing(Wanted(state, definition, site, labels, parent, *spans), int(limit), given.get("cursor", ""))


def then(query: Query) -> Then | None:
    """At which moment, or version, a run is to be shown; None as it is now. Raises Problem (422)."""
    given = _once(query, several="")[0]
    if "at" not in given and "version" not in given:
        return None
    wrong: list[tuple[str, str]] = []
    if "at" in given and "version" in given:
        wrong.append(("at", "one of at and version is allowed, not both"))
    at_ms = _number("at", given["at"], wrong) if "at" in given else 0
    version = given.get("version", "-1")
    if "version" in given and not (version.isascii() and version.isdigit()):
        wrong.append(("version", f"{version!r} is none; allowed: a number from 0 on, as the run's fragment shows it"))
    if wrong:
        raise of_parameters(wrong)
    return Then(at_ms, int(version))


def moment_field(value: object) -> int:
    """The field `at` of an order. Raises Problem (422)."""
    try:
        return moment(str(value)) if isinstance(value, str | int) and not isinstance(value, bool) else _nothing()
    except (ValueError, OverflowError):
        line = f"at: {value!r} is no moment; allowed: {MOMENT}"
        raise Problem(422, "invalid_request", "the request to rollback is not of the expected shape", [line]) from None


def _nothing() -> int:
    raise ValueError


def _once(query: Query, *, several: str) -> tuple[dict[str, str], dict[str, str], list[tuple[str, str]]]:
    """Parameters by name, the pairs of the one that may come several times, and what was wrong with either."""
    given: dict[str, str] = {}
    pairs: dict[str, str] = {}
    wrong: list[tuple[str, str]] = []
    for name, text in query.multi_items():
        if name != several:
            if name in given:
                wrong.append((name, "it is given twice; allowed: once"))
            given[name] = text
            continue
        key, equals, value = text.partition("=")
        if not key or not equals or pairs.get(key, value) != value:
            wrong.append((name, f"{text!r} is none; allowed: NAME=TEXT, each name once"))
        elif len(pairs) >= LABELS_MAX:
            wrong.append((name, f"there are more than {LABELS_MAX}; allowed: {LABELS_MAX}"))
            break
        pairs[key] = value
    return given, pairs, wrong


def _number(name: str, text: str, wrong: list[tuple[str, str]]) -> int:
    try:
        return moment(text)
    except (ValueError, OverflowError):
        wrong.append((name, f"{text!r} is no moment; allowed: {MOMENT}"))
        return 0
