"""Refusals as documents: problem+json (RFC 9457) with a stable `code` for programs and one line per single mistake."""

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from cloud.port import Problem

_PLACE = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<path>.*)`)?$", re.DOTALL)


class ProblemDocument(msgspec.Struct, omit_defaults=True):
    """What a client reads. `type` is a name, not a page; `instance` is the path that was asked for."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    instance: str = ""
    problems: list[str] = []


def document(problem: Problem, instance: str = "") -> ProblemDocument:
    """The problem as a client sees it."""
    return ProblemDocument(
        type=f"urn:tiercel:problem:{problem.code}",
        title=HTTPStatus(problem.status).phrase,
        status=problem.status,
        code=problem.code,
        detail=problem.detail,
        instance=instance,
        problems=problem.problems,
    )


def of_shape(error: msgspec.ValidationError, allowed: dict[str, tuple[str, ...]]) -> Problem:
    """A body of the wrong shape, as 422. `allowed` gives the fields of each object by its path, `[]` for any index."""
    place = _PLACE.match(str(error))
    assert place is not None
    path = place["path"] or ""
    line = f"{path or 'the body'}: {place['what']}"
    fields = allowed.get(re.sub(r"\[\d+\]", "[]", path))
    if fields is not None:
        line += f"; allowed: {', '.join(fields)}"
    return Problem(422, "invalid_request", "the request is not of the expected shape", [line])


def of_parameters(errors: list[tuple[str, str]]) -> Problem:
    """Query parameters that were refused, as 422; each is (name, what is expected)."""
    lines = [f"{name}: {what}" for name, what in errors]
    return Problem(422, "invalid_parameter", "a query parameter is not what it should be", lines)


def of_validation(errors: Sequence[Mapping[str, Any]]) -> Problem:
    """What the web framework refuses of query parameters, in our words: the name, what was found, what is allowed."""
    return of_parameters([(str(error["loc"][-1]), _expected(error)) for error in errors])


def _expected(error: Mapping[str, Any]) -> str:
    if error["type"] == "missing":
        return "it must be given"
    bounds = error.get("ctx") or {}
    if error["type"] == "literal_error":
        allowed = ", ".join(word for word in re.findall(r"'([^']*)'", str(bounds["expected"])) if word)
    elif error["type"] in _COMPARED:
        allowed = f"{_COMPARED[error['type']]} {next(iter(bounds.values()))}"
    else:
        allowed = _KINDS.get(error["type"], str(error["msg"]))
    return f"{error['input']!r} is none; allowed: {allowed}"


_COMPARED = {
    "greater_than_equal": "at least",
    "less_than_equal": "at most",
    "greater_than": "more than",
    "less_than": "less than",
}
_KINDS = {"int_parsing": "a whole number", "float_parsing": "a number", "bool_parsing": "true or false"}


def of_router(status: int, method: str, path: str) -> Problem:
    """What the router refuses before any endpoint has seen it."""
    if status == HTTPStatus.NOT_FOUND:
        return Problem(status, "no_such_path", f"there is nothing at {path}; the API lives under /api/v1")
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        return Problem(status, "method_not_allowed", f"{path} does not take {method}; the header Allow says what it takes")
    return Problem(status, "http_error", HTTPStatus(status).phrase)
