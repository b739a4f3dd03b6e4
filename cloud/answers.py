"""The answer to a batch as it is remembered under its idempotency key: what started and what was refused, in their places."""

from collections.abc import Sequence

import msgspec

from cloud.inputs import Refusal
from cloud.port import Problem, Started


def encode_answer(started: Sequence[Started], refused: Sequence[Refusal]) -> bytes:
    """The answer as bytes."""
    return msgspec.json.encode((started, refused))


def decode_answer(answer: bytes) -> list[Started | Problem]:
    """The items in the order in which they were asked for."""
    started, refused = _ANSWER.decode(answer)
    items: list[Started | Problem] = list(started)
    for place, status, code, detail, problems in refused:
        items.insert(place, Problem(status, code, detail, list(problems)))
    return items


_ANSWER = msgspec.json.Decoder(tuple[list[Started], list[Refusal]])
