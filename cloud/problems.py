"""Refusals as documents: problem+json (RFC 9457) with a stable `code` for programs and one line per single mistake."""

import re
from http import HTTPStatus

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


def of_router(status: int, method: str, path: str) -> Problem:
    """What the router refuses before any endpoint has seen it."""
    if status == HTTPStatus.NOT_FOUND:
        return Problem(status, "no_such_path", f"there is nothing at {path}; the API lives under /api/v1")
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        return Problem(status, "method_not_allowed", f"{path} does not take {method}; the header Allow says what it takes")
    return Problem(status, "http_error", HTTPStatus(status).phrase)
