"""`?id=shared/prices@3&prefix=site/harbour/`: which documents somebody wants to watch."""

from collections.abc import Sequence

from cloud.port import Problem
from cloud.problems import of_parameters
from cloud.requests import WAIT_S_MAX, wait_s
from sync.documents.ids import id_problem
from sync.watching.unseen import Watched
from workflow.durations import parse_duration

NAMED_MAX = 200
PREFIX_CHARACTERS_MAX = 200


def watched_asked(ids: Sequence[str], prefixes: Sequence[str]) -> Watched:
    """`id` may have a version with it: only what is beyond is told. Raises Problem (422)."""
    if not ids and not prefixes:
        raise of_parameters([("id", "nothing is named; allowed: id=DOCUMENT, id=DOCUMENT@VERSION and prefix=TEXT, each often")])
    if len(ids) + len(prefixes) > NAMED_MAX:
        raise of_parameters([("id", f"{len(ids) + len(prefixes):,} are named; allowed: {NAMED_MAX}, or one prefix for many")])
    named = dict[str, int | None]()
    for text in ids:
        document, at, version = text.partition("@")
        if problem := id_problem(document):
            raise Problem(422, "invalid_document_id", problem)
        named[document] = version_asked("id", version) if at else None
    if too_long := [prefix for prefix in prefixes if len(prefix) > PREFIX_CHARACTERS_MAX]:
        raise of_parameters([("prefix", f"{too_long[0][:40]!r}... is too long; allowed: {PREFIX_CHARACTERS_MAX} characters")])
    return Watched(named, tuple(prefixes))


def version_asked(name: str, text: str) -> int:
    """A version from 0 on. Raises Problem (422)."""
    if not text.isascii() or not text.isdecimal() or len(text) > 15:
        raise of_parameters([(name, f"{text[:40]!r} is no version; allowed: a whole number from 0")])
    return int(text)


def patience_s(text: str) -> float:
    """How long to wait for a change: seconds, or a duration such as 30s. Raises Problem (422)."""
    try:
        seconds = parse_duration(text) / 1000
    except ValueError:
        return wait_s(text)
    return wait_s(f"{seconds:g}") if seconds > WAIT_S_MAX else seconds
