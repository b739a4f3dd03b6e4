"""The actions that there are: those of Tiercel, and those that installed packages add (entry points `tiercel.actions`).

A package that is broken takes nothing with it: what is wrong is said, and all others are there.
"""

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import jsonschema_rs
import msgspec

from agents import transform
from agents.file_operation import FileOperation
from agents.files import Files
from agents.http import Http
from agents.parameters import schema_of
from tiercel import TaskContext
from tiercel.action import GROUP, Action
from tiercel.capability import capability_of
from tiercel.errors import TerminalError

PROBLEMS_MAX = 5


class ActionView(msgspec.Struct, omit_defaults=True):
    """An action as it is listed. `effect` is what a task that uses it should declare; `problem` says why it cannot be used."""

    name: str
    source: str
    effect: str = ""
    description: str = ""
    parameters: Mapping[str, Any] = {}
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Discovered:
    """What the installed packages add: actions by name with their origin, and what is wrong with the others, by name."""

    actions: dict[str, tuple[Action, str]] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)


def discover() -> Discovered:
    """Load what the packages installed here name under `tiercel.actions`."""
    found = Discovered()
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value)):
        origin = f"{entry.dist.name} {entry.dist.version}" if entry.dist is not None else entry.value
        if entry.name in found.actions:
            found.broken[f"{entry.name} ({origin})"] = f"{found.actions[entry.name][1]} provides {entry.name} already"
            continue
        try:
            found.actions[entry.name] = _load(entry), origin
        except Exception as error:  # noqa: BLE001 - The code of others may raise anything while it is imported.
            found.broken[entry.name] = f"{origin}: {type(error).__name__}: {error}"
    return found


def function_of(action: Action) -> Callable[..., Any]:
    """The action's function, which raises TerminalError (code `validation`) before it begins if its schema is not satisfied."""
    if action.parameters is None:
        return action.function
    validator, function = jsonschema_rs.validator_for(dict(action.parameters)), action.function

    def check(given: dict[str, Any]) -> None:
        values = {name: value for name, value in given.items() if not isinstance(value, TaskContext)}
        problems = [f"{_place(error)}{error.message}" for error in validator.iter_errors(values)]
        if problems:
            text = "; ".join(problems[:PROBLEMS_MAX])
            raise TerminalError(f"the parameters do not fit {action.name}: {text}", code="validation")

    if inspect.iscoroutinefunction(function):

        @wraps(function)
        async def call_async(**given: Any) -> Any:
            check(given)
            return await function(**given)

        return call_async

    @wraps(function)
    def call(**given: Any) -> Any:
        check(given)
        return function(**given)

    return call


def catalogue() -> list[ActionView]:
    """All actions, those that cannot be used too, by name."""
    from agents.database import Databases  # noqa: PLC0415 - See agents.registry: SQLAlchemy is slow to import.

    own: dict[str, tuple[Callable[..., Any], str]] = {name: (f, "repeatable") for name, f in transform.capabilities().items()}
    own |= {"file.read": (Files.read, "repeatable"), "file.write": (Files.write, "repeatable")}
    own |= {"file_operation": (FileOperation.perform, "once"), "database_query": (Databases.query, "once")}
    own |= dict.fromkeys(("http", "api_call", "http.request"), (Http.request, "once"))
    views = [ActionView(name, "tiercel", effect, _first_sentence(f), schema_of(f)) for name, (f, effect) in own.items()]
    found = discover()
    for name, (action, origin) in found.actions.items():
        taken = f"{name} is an action of Tiercel" if name in own else ""
        text, schema = action.description or _first_sentence(action.function), action.parameters or {}
        views.append(ActionView(name, origin, action.effect, text, schema, taken))
    views += [ActionView(name, GROUP, problem=problem) for name, problem in found.broken.items()]
    return sorted(views, key=lambda view: (view.name, view.source != "tiercel"))


def _load(entry: EntryPoint) -> Action:
    action = entry.load()
    if not isinstance(action, Action):
        raise TypeError(f"{entry.value} is {type(action).__name__}, not a tiercel.action.Action")
    if action.name != entry.name:
        raise ValueError(f"{entry.value} is called {action.name}, its entry point {entry.name}: the names must be one")
    capability_of(action.name, action.function, inline=False)  # Raises TypeError.
    if action.parameters is not None:
        jsonschema_rs.validator_for(dict(action.parameters))
    return action


def _place(error: jsonschema_rs.ValidationError) -> str:
    path = "/".join(map(str, error.instance_path))
    return f"{path}: " if path else ""


def _first_sentence(function: Callable[..., Any]) -> str:
    paragraph = " ".join((inspect.getdoc(function) or "").partition("\n\n")[0].split())
    return re.split(r"(?<=\.) ", paragraph, maxsplit=1)[0]
