"""What clients send to steer runs, decoded from bytes. A refusal names the field and what is allowed."""

from typing import Annotated, Literal, TypeVar, get_args

import msgspec

from cloud.looking.requests import moment_field
from cloud.port import Problem
from cloud.problems import of_shape
from workflow.fair import PRIORITY_MAX
from workflow.orders import (
    Anew,
    ArriveAt,
    ChangeContext,
    ChangeCoordination,
    EditPlan,
    EndChild,
    OpenIncident,
    Order,
    Prioritise,
    ResetPoint,
    RollBack,
    Settle,
    TellParty,
    WithdrawFrom,
    Wound,
    decode_order,
)

BULK_MAX = 1_000
"""Runs that one bulk order reaches."""

ALIASES = {"priority": "prioritise"}
OUTCOMES = ("completed", "failed", "retry")
# What runs tell each other is not for people.
# What has a door of its own: plans, documents, coordination, sync points.
_ELSEWHERE = (EditPlan, ChangeContext, ChangeCoordination, ArriveAt, WithdrawFrom, ResetPoint)
_OTHERS = (EndChild, Anew, Wound, OpenIncident, TellParty, *_ELSEWHERE)
ORDERS: dict[str, type[Order]] = {str(o.__struct_config__.tag): o for o in get_args(Order) if o not in _OTHERS}
VERBS = ("cancel", *ORDERS)


class CancelBody(msgspec.Struct, forbid_unknown_fields=True):
    """Why the run is cancelled."""

    reason: Annotated[str, msgspec.Meta(max_length=1_000)] = ""


class Filter(msgspec.Struct, forbid_unknown_fields=True):
    """Runs for which all that is given holds. `labels` must all be there with these values."""

    state: Literal["", "pending", "active", "paused"] = ""
    definition: str = ""
    site: str = ""
    labels: dict[str, str] = {}
    ids: Annotated[list[str], msgspec.Meta(max_length=BULK_MAX)] = []


class BulkRequest(msgspec.Struct, forbid_unknown_fields=True):
    """One order for many runs."""

    verb: str
    filter: Filter
    arguments: dict[str, object] = {}


class ForkRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A new run like an old one: `inputs` replace those of the same name; what comes before `from_task` is taken over."""

    from_task: str = ""
    inputs: dict[str, object] = {}
    labels: dict[str, str] | None = None


_Body = TypeVar("_Body", BulkRequest, CancelBody, ForkRequest)


def known_verb(verb: str) -> str:
    """The verb by its own name. Raises Problem (404)."""
    verb = ALIASES.get(verb, verb)
    if verb not in VERBS:
        # A fork is asked for at a path of its own, and in bulk like an order.
        raise Problem(404, "no_such_verb", f"there is no {verb} for runs; allowed: {', '.join((*VERBS, 'fork'))}")
    return verb


def order_of(verb: str, body: bytes) -> Order:
    """The order of which `body` (empty, or a JSON object) gives the fields. Raises Problem: 400 no JSON, 422 wrong shape."""
    fields = _object(body)
    if "verb" in fields:
        raise _wrong("verb: it is in the path", verb)
    return order_with(verb, fields)


def order_with(verb: str, fields: dict[str, object]) -> Order:
    """The order with these fields. Raises Problem (422)."""
    if verb == "rollback" and "at" in fields:
        fields = {**fields, "at": moment_field(fields["at"])}
    try:
        order = decode_order(msgspec.json.encode({**fields, "verb": verb}))
    except msgspec.ValidationError as error:
        raise of_shape(error, {"": ORDERS[verb].__struct_fields__}) from error
    if wrong := _misfit(order):
        raise _wrong(wrong, verb)
    return order


def _misfit(order: Order) -> str:
    """What the shape alone does not tell."""
    match order:
        case Prioritise(priority) if not 0 <= priority <= PRIORITY_MAX:
            return f"priority: {priority}; allowed: 0 (least) to {PRIORITY_MAX}"
        case Settle(_, outcome) if outcome not in OUTCOMES:
            return f"outcome: {outcome!r}; allowed: {', '.join(OUTCOMES)}"
        case RollBack(versions=versions) if versions:
            return "versions: the cloud finds these; allowed: at"
        case RollBack(steps, checkpoint, version, task) if (steps > 0) + bool(checkpoint) + (version >= 0) + bool(task) + (
            order.at > 0
        ) != 1:
            return "back to where? allowed: one of steps (1 and more), checkpoint, version (0 and more), task, at (a moment)"
        case _:
            return ""


def _wrong(line: str, verb: str) -> Problem:
    return Problem(422, "invalid_request", f"the request to {verb} is not of the expected shape", [line])


def cancel_body(body: bytes) -> CancelBody:
    """The body of a cancel, which may be empty."""
    return _decode(_CANCEL, body or b"{}", {"": CancelBody.__struct_fields__})


def bulk_request(body: bytes) -> BulkRequest:
    """The body of `POST /api/v1/workflows:bulk`."""
    return _decode(_BULK, body, {"": BulkRequest.__struct_fields__, "filter": Filter.__struct_fields__})


def fork_request(body: bytes) -> ForkRequest:
    """The body of a fork, which may be empty."""
    return _decode(_FORK, body or b"{}", {"": ForkRequest.__struct_fields__})


def _object(body: bytes) -> dict[str, object]:
    try:
        found = msgspec.json.decode(body or b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem(400, "malformed", f"the body is not JSON: {error}") from error
    except RecursionError as error:
        raise Problem(422, "invalid_request", "the body is nested too deeply") from error
    if not isinstance(found, dict):
        raise Problem(422, "invalid_request", "the request is not of the expected shape", ["the body: an object is expected"])
    return found


def _decode(decoder: msgspec.json.Decoder[_Body], body: bytes, allowed: dict[str, tuple[str, ...]]) -> _Body:
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise of_shape(error, allowed) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem(400, "malformed", f"the body is not JSON: {error}") from error
    except RecursionError as error:
        raise Problem(422, "invalid_request", "the body is nested too deeply") from error


_CANCEL = msgspec.json.Decoder(CancelBody)
_BULK = msgspec.json.Decoder(BulkRequest)
_FORK = msgspec.json.Decoder(ForkRequest)
