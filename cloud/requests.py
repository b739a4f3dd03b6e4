"""What clients send: bodies decoded straight from bytes. A refusal names the place and what is allowed there."""

import re
from typing import Annotated, TypeVar

import msgspec

from cloud.dependencies.asked import After, DependencyRequest, OnRequest
from cloud.port import FairnessKey, Priority, Problem, RunRequest
from cloud.problems import of_shape
from workflow.loading import TEXT_BYTES_MAX

BODY_BYTES_MAX = 8 << 20
"""A request above this is refused with 413: a batch of 1,000 runs has 8 KiB for each."""

DEFINITION_BYTES_MAX = TEXT_BYTES_MAX
"""The same of a definition that is registered or validated: 100,000 tasks have some 10 to 50 MiB."""

BATCH_RUNS_MAX = 1_000
"""Runs of one batch: what one answer of the planner carries."""

WAIT_S_MAX = 60.0
"""How long a request may wait for a run. Whoever wants to wait longer asks again."""

IDEMPOTENCY_KEY_MAX = 255
"""Characters of an Idempotency-Key."""

_KEY = re.compile(rf"[\x21-\x7e](?:[\x20-\x7e]{{0,{IDEMPOTENCY_KEY_MAX - 2}}}[\x21-\x7e])?")
_YAML = frozenset(("application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml", "text/plain"))
_JSON = frozenset(("application/json", "text/json"))


class StartRequest(msgspec.Struct, forbid_unknown_fields=True):
    """One run: of a registered definition (`name@version`, or `name` for the latest) or of a document given here."""

    definition: str | dict[str, object]
    inputs: dict[str, object] = {}
    labels: dict[str, str] = {}
    priority: Priority | None = None
    fairness_key: FairnessKey = ""
    after: After = []
    consistency: str | dict[str, object] | None = None
    autonomy: str | dict[str, object] | None = None


class BatchRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Up to 1,000 runs of one definition."""

    definition: str | dict[str, object]
    runs: Annotated[list[RunRequest], msgspec.Meta(min_length=1, max_length=BATCH_RUNS_MAX)]


_Body = TypeVar("_Body", StartRequest, BatchRequest)
_START = msgspec.json.Decoder(StartRequest)
_BATCH = msgspec.json.Decoder(BatchRequest)


def start_request(body: bytes) -> StartRequest:
    """The body of `POST /api/v1/workflows`. Raises Problem (400 no JSON, 422 wrong shape)."""
    return _decode(_START, body, {"": StartRequest.__struct_fields__, **_after("")})


def batch_request(body: bytes) -> BatchRequest:
    """The body of `POST /api/v1/workflows:batch`. Raises Problem (400 no JSON, 422 wrong shape)."""
    allowed = {"": BatchRequest.__struct_fields__, "runs[]": RunRequest.__struct_fields__, **_after("runs[].")}
    return _decode(_BATCH, body, allowed)


def _after(place: str) -> dict[str, tuple[str, ...]]:
    fields = DependencyRequest.__struct_fields__, OnRequest.__struct_fields__
    return {f"{place}after[]": fields[0], f"{place}after[].on": fields[1]}


def too_large(bytes_max: int) -> Problem:
    """A body that is longer than is allowed for its request."""
    helps = "send fewer runs at a time, or register their definition first" if bytes_max <= BODY_BYTES_MAX else "split it"
    return Problem(413, "body_too_large", f"a body has at most {bytes_max:,} bytes here: {helps}")


def definition_text(body: bytes, content_type: str) -> str:
    """The text of a definition. Raises Problem: 415 neither JSON nor YAML, 400 not UTF-8."""
    media = content_type.partition(";")[0].strip().lower()
    if media not in _YAML and media not in _JSON:
        named = f"Content-Type {media!r}" if media else "no Content-Type"
        raise Problem(415, "unsupported_media_type", f"a definition came with {named}; send application/yaml or application/json")
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise Problem(400, "malformed", f"the definition is not UTF-8 text: {error}") from error


def idempotency_key(value: str) -> str:
    """The key as the planner keeps it; empty if none was sent. Raises Problem if it is too long or not printable."""
    if value and not _KEY.fullmatch(value):
        detail = f"the header Idempotency-Key takes up to {IDEMPOTENCY_KEY_MAX} printable ASCII characters"
        raise Problem(422, "invalid_idempotency_key", detail)
    return value


def wait_s(value: str | None) -> float:
    """The query parameter `wait` in seconds; 0 if it was not given."""
    try:
        seconds = float(value or "0")
    except ValueError:
        seconds = -1.0
    if not 0.0 <= seconds <= WAIT_S_MAX:
        line = f"wait: a number of seconds from 0 to {WAIT_S_MAX:g}, not {value!r}"
        raise Problem(422, "invalid_parameter", "a query parameter is not what it should be", [line])
    return seconds


def _decode(decoder: msgspec.json.Decoder[_Body], body: bytes, allowed: dict[str, tuple[str, ...]]) -> _Body:
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise of_shape(error, allowed) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem(400, "malformed", f"the body is not JSON: {error}") from error
    except RecursionError as error:
        raise Problem(422, "invalid_request", "the body is nested too deeply") from error
