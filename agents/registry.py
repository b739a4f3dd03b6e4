"""The functions that local agents may offer, by name: those of Tiercel, and those that the host's configuration names.

A workflow names a capability and never a function: what Python code may run here is decided by who configures the host.
"""

import asyncio
import importlib
import importlib.util
import logging
import sys
from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

from agents import actions, transform
from agents.config import HostConfig, HostConfigError
from agents.file_operation import FileOperation
from agents.files import Files
from agents.http import Http
from agents.parameters import checked

Function = Callable[..., Any]

_SCHEME = "python:"

log = logging.getLogger("tiercel.agents")


class Registry:
    """Name -> function, for one host."""

    def __init__(self, config: HostConfig) -> None:
        """Imports what the configuration names. Raises HostConfigError if that fails, or if a name is given twice."""
        self._functions: dict[str, Function] = {}
        self._http = Http(config.http)
        self._closers: list[Callable[[], None]] = []
        self._add_all("the built-in capabilities", {name: checked(f) for name, f in self._built_in(config).items()})
        for name in config.modules:
            self._add_all(f"module {name}", _of_module(name, config.settings))
        self._add_all("functions", {name: _of_reference(name, text) for name, text in config.functions.items()})
        self.broken = self._add_discovered()

    @property
    def names(self) -> list[str]:
        """All that can be offered here."""
        return sorted(self._functions)

    def choose(self, agent: str, names: Iterable[str]) -> dict[str, Function]:
        """The functions for an agent that offers `names`; an action whose package is broken is left out. Raises
        HostConfigError naming those that nothing here provides."""
        chosen = {name: self._functions[name] for name in names if name in self._functions}
        if unknown := [name for name in names if name not in chosen and name not in self.broken]:
            raise HostConfigError([f"agent {agent!r}: nothing provides {', '.join(unknown)}; there is: {', '.join(self.names)}"])
        return chosen

    async def close(self) -> None:
        """Let go of what functions hold open; call it in the loop that they ran in."""
        await self._http.close()
        for close in self._closers:
            await asyncio.to_thread(close)

    def _built_in(self, config: HostConfig) -> dict[str, Function]:
        functions = {**transform.capabilities(), **self._http.capabilities()}
        if config.databases or config.secrets is not None:
            # SQLAlchemy takes 0.2 s to import, which a host without databases does not pay.
            from agents.database import Databases  # noqa: PLC0415

            databases = Databases(config.databases, config.secrets)
            self._closers.append(databases.close)
            functions |= databases.capabilities()
        if config.root is not None:
            try:
                functions |= Files(config.root).capabilities() | FileOperation(config.root).capabilities()
            except OSError as error:
                raise HostConfigError([f"the allowed root {config.root} cannot be used: {error.strerror}"]) from error
        return functions

    def _add_discovered(self) -> dict[str, str]:
        """Add what installed packages bring; why the others cannot be used, by name. They end no host."""
        found = actions.discover()
        broken = dict(found.broken)
        for name, (action, origin) in found.actions.items():
            if name in self._functions:
                broken[f"{name} ({origin})"] = f"{name} is provided already"
            else:
                self._functions[name] = actions.function_of(action)
        for name, problem in broken.items():
            log.warning("the action %s cannot be used: %s", name, problem)
        return broken

    def _add_all(self, source: str, functions: Mapping[str, Function]) -> None:
        if twice := sorted(self._functions.keys() & functions.keys()):
            raise HostConfigError([f"{source}: {', '.join(twice)} is provided already; choose other names"])
        self._functions.update(functions)


def _of_module(name: str, settings: Mapping[str, str]) -> dict[str, Function]:
    module = _import(name)
    provide = getattr(module, "capabilities", None)
    if not callable(provide):
        raise HostConfigError([f"module {name} has no function capabilities(settings) that gives {{name: function}}"])
    try:
        return dict(provide(settings))
    except (KeyError, ValueError, OSError) as error:
        raise HostConfigError([f"module {name} does not accept its settings: {type(error).__name__}: {error}"]) from error


def _of_reference(name: str, reference: str) -> Function:
    module, dot, function = reference.removeprefix(_SCHEME).rpartition(".")
    if not reference.startswith(_SCHEME) or not dot:
        raise HostConfigError([f"function {name!r}: {reference!r} is not of the form {_SCHEME}module.function"])
    found = getattr(_import(module), function, None)
    if not callable(found):
        raise HostConfigError([f"function {name!r}: module {module} has no function {function}"])
    return found  # type: ignore[no-any-return] # What a module holds has no type here.


def _import(name: str) -> ModuleType:
    try:
        return _import_file(Path(name)) if name.endswith(".py") else importlib.import_module(name)
    except Exception as error:
        raise HostConfigError([f"module {name} cannot be imported: {type(error).__name__}: {error}"]) from error


def _import_file(path: Path) -> ModuleType:
    """A module from its file, under a name of its own, so that it shadows no installed one."""
    path = path.resolve(strict=True)
    name = f"tiercel_host_{path.stem}_{sha256(str(path).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
