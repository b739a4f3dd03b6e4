"""Checking what a workflow gives a capability against the capability's own signature.

Without it a wrong parameter would surface as a TypeError deep inside, which counts as weather and is retried in vain.
"""

import inspect
import re
import typing
from collections.abc import Callable
from functools import wraps
from typing import Any

import msgspec

from tiercel import TaskContext
from tiercel.errors import TerminalError


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which raises TerminalError (code `validation`) before it begins if a parameter is missing,
    unknown or of another type than its annotation says. A coroutine function stays one. Every parameter needs an
    annotation."""
    shape = _shape_of(function)

    def check(given: dict[str, Any]) -> None:
        try:
            msgspec.convert(given, shape)
        except msgspec.ValidationError as error:
            raise TerminalError(f"the parameters do not fit: {error}{_allowed(function, error)}", code="validation") from error

    if inspect.iscoroutinefunction(function):

        @wraps(function)
        async def call_async(*context: Any, **given: Any) -> Any:
            check({name: value for name, value in given.items() if not isinstance(value, TaskContext)})
            return await function(*context, **given)

        return call_async

    @wraps(function)
    def call(*context: Any, **given: Any) -> Any:
        check({name: value for name, value in given.items() if not isinstance(value, TaskContext)})
        return function(*context, **given)

    return call


def _allowed(function: Callable[..., Any], error: msgspec.ValidationError) -> str:
    """Of a parameter that is one of a few words: which."""
    match = _NO_SUCH_WORD.search(str(error))
    words = schema_of(function)["properties"].get(match[1], {}).get("enum") if match is not None else None
    return f"; allowed: {', '.join(map(str, words))}" if words else ""


_NO_SUCH_WORD = re.compile(r"^Invalid enum value .* - at `\$\.(\w+)`$")


def schema_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The JSON Schema of a function's parameters, as `checked` holds them."""
    shape = _shape_of(function)
    schema = msgspec.json.schema(shape)
    definition: dict[str, Any] = schema["$defs"].pop(shape.__name__)
    definition.pop("title", None)
    return {**definition, "$defs": schema["$defs"]} if schema["$defs"] else definition


def _shape_of(function: Callable[..., Any]) -> type[msgspec.Struct]:
    hints = typing.get_type_hints(function)
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    for name, parameter in inspect.signature(function).parameters.items():
        if name == "self" or hints[name] is TaskContext:
            continue
        if parameter.default is inspect.Parameter.empty:
            fields.append((name, hints[name]))
        else:
            fields.append((name, hints[name], parameter.default))
    return msgspec.defstruct(function.__name__, fields, kw_only=True, forbid_unknown_fields=True)
