"""Bodies of requests about dependencies between runs. A refusal names the place and what is allowed there."""

from collections.abc import Sequence
from typing import Annotated

import msgspec

from cloud.dependencies.asked import AFTER_MAX, DependencyRequest, OnRequest
from cloud.dependencies.inputs import Wait
from cloud.port import Problem
from cloud.problems import of_shape
from workflow.problems import Problems

_FIELDS = DependencyRequest.__struct_fields__
_ALLOWED = {"": _FIELDS, "on": OnRequest.__struct_fields__, "[]": _FIELDS, "[].on": OnRequest.__struct_fields__}

_Several = Annotated[list[DependencyRequest], msgspec.Meta(min_length=1, max_length=AFTER_MAX)]
_ONE = msgspec.json.Decoder(DependencyRequest)
_SEVERAL: "msgspec.json.Decoder[list[DependencyRequest]]" = msgspec.json.Decoder(_Several)


def dependency_requests(body: bytes) -> tuple[list[DependencyRequest], bool]:
    """What is asked for, and whether it came as a list. Raises Problem: 400 no JSON, 422 wrong shape."""
    several = body.lstrip().startswith(b"[")
    try:
        return (_SEVERAL.decode(body), True) if several else ([_ONE.decode(body)], False)
    except msgspec.ValidationError as error:
        raise of_shape(error, _ALLOWED) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem(400, "malformed", f"the body is not JSON: {error}") from error
    except RecursionError as error:
        raise Problem(422, "invalid_request", "the body is nested too deeply") from error


def waits_of(asked: Sequence[DependencyRequest], *place: str) -> tuple[Wait, ...]:
    """As the planner takes them; `place` is where the list stands in the request. Raises Problem (422): terms that are wrong."""
    problems = Problems()
    waits = tuple(each.wait((*place, position), problems) for position, each in enumerate(asked))
    if problems:
        said = [str(problem) for problem in problems.found]
        raise Problem(422, "invalid_request", "; ".join(said), said)
    return waits
