"""A capability: a function that an agent offers under a name, and how parameters reach it."""

import enum
import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tiercel.context import TaskContext


class Runs(enum.Enum):
    """Where the function runs."""

    LOOP = enum.auto()  # async def: in the event loop
    INLINE = enum.auto()  # def, declared inline: in the event loop, which it must not block
    THREAD = enum.auto()  # def: in a thread


@dataclass(frozen=True, slots=True)
class Capability:
    """What a function's signature says: parameters go by keyword, the TaskContext to whoever asks for it."""

    name: str
    function: Callable[..., Any]
    runs: Runs
    allowed: frozenset[str]
    required: frozenset[str]
    takes_any: bool
    context: str
    """The name of the parameter that gets the TaskContext; empty when there is none."""
    takes: str
    """The parameters as a person would write them, for messages."""

    def problem(self, parameters: dict[str, Any]) -> str:
        """Why the function cannot be called with these; empty when it can."""
        given = parameters.keys()
        if self.required <= given and (self.takes_any or given <= self.allowed) and self.context not in given:
            return ""
        missing = ", ".join(repr(name) for name in sorted(self.required - given))
        extra = given & {self.context} if self.takes_any else given - self.allowed
        unknown = ", ".join(repr(name) for name in sorted(extra))
        problems = [f"missing {missing}" if missing else "", f"unknown {unknown}" if unknown else ""]
        return f"capability {self.name!r}: {'; '.join(filter(None, problems))}; it takes ({self.takes})"


def capability_of(name: str, function: Callable[..., Any], *, inline: bool) -> Capability:
    """Read the signature. Raises TypeError when parameters could not be passed by name."""
    if not name:
        raise TypeError("a capability needs a name")
    asynchronous = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)
    if inline and asynchronous:
        raise TypeError(f"capability {name!r}: inline is for def; an async def runs in the loop already")
    context, allowed, required, takes_any = "", set(), set(), False
    shown = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            takes_any = True
        elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
            raise TypeError(f"capability {name!r}: parameters are passed by name, {str(parameter)!r} takes none")
        elif _is_context(function, parameter):
            context = parameter.name
            continue
        else:
            allowed.add(parameter.name)
            if parameter.default is parameter.empty:
                required.add(parameter.name)
        shown.append(str(parameter))
    runs = Runs.LOOP if asynchronous else Runs.INLINE if inline else Runs.THREAD
    return Capability(name, function, runs, frozenset(allowed), frozenset(required), takes_any, context, ", ".join(shown))


def _is_context(function: Callable[..., Any], parameter: inspect.Parameter) -> bool:
    annotation = parameter.annotation
    if isinstance(annotation, str):
        try:
            annotation = typing.get_type_hints(function).get(parameter.name)
        except (NameError, TypeError, AttributeError):
            # Some other annotation names what is not there at run time; the class is known by its name then.
            return str(parameter.annotation).rpartition(".")[2] == TaskContext.__name__
    return annotation is TaskContext
