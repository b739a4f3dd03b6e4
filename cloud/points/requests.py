"""What clients send to sync points, decoded from bytes."""

from typing import Annotated, TypeVar

import msgspec

from cloud.port import Problem
from cloud.problems import of_shape
from cloud.requests import WAIT_S_MAX

NAME_MAX = 255


class ArriveBody(msgspec.Struct, forbid_unknown_fields=True):
    """All of it may be left out. `wait_s`: how long the answer may wait for the others. `generation`: the one that is meant; the
    present one without. `arrival`: its name, by which it is no second arrival when it is sent again."""

    wait_s: Annotated[float, msgspec.Meta(ge=0, le=WAIT_S_MAX)] = 0.0
    generation: Annotated[int, msgspec.Meta(ge=0)] = 0
    arrival: Annotated[str, msgspec.Meta(max_length=NAME_MAX)] = ""


class ResetBody(msgspec.Struct, forbid_unknown_fields=True):
    """Why the point is to begin anew."""

    reason: Annotated[str, msgspec.Meta(max_length=1_000)] = ""


def arrive_body(body: bytes) -> ArriveBody:
    """Raises Problem: 400 no JSON, 422 wrong shape."""
    return _decode(_ARRIVE, body)


def reset_body(body: bytes) -> ResetBody:
    """Raises Problem: 400 no JSON, 422 wrong shape."""
    return _decode(_RESET, body)


_Body = TypeVar("_Body", ArriveBody, ResetBody)


def _decode(decoder: msgspec.json.Decoder[_Body], body: bytes) -> _Body:
    try:
        return decoder.decode(body or b"{}")
    except msgspec.ValidationError as error:
        raise of_shape(error, {"": decoder.type.__struct_fields__}) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem(400, "malformed", f"the body is not JSON: {error}") from error


_ARRIVE = msgspec.json.Decoder(ArriveBody)
_RESET = msgspec.json.Decoder(ResetBody)
