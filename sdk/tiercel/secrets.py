"""Secrets are references on the wire (`secret://name`) and values only here, for as long as one task needs them.

They come from the site's secrets file (readable by its owner only; a JSON object, or lines `name=value`) or from the
environment (`secret://erp-token` is TIERCEL_SECRET_ERP_TOKEN). A value that turns up in an output, a progress note or
an error message is put back into its reference before it leaves.
"""

import os
import re
import stat
from pathlib import Path
from typing import Any

from tiercel.encoding import decode
from tiercel.errors import SecretUnavailable

PREFIX = "secret://"


class Secrets:
    """What this agent may resolve. The file is read again when it changed, so a rotated secret needs no restart."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._read: tuple[int, int, int] | None = None
        self._values: dict[str, str] = {}

    def resolve(self, parameters: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
        """The parameters with every reference replaced, and what was used: value -> reference, for `redact`.

        Raises SecretUnavailable when a name is unknown or the file may be read by others.
        """
        used: dict[str, str] = {}

        def replace(text: str) -> str:
            if not text.startswith(PREFIX):
                return text
            value = self._lookup(text.removeprefix(PREFIX))
            used[value] = text
            return value

        return {name: _map_strings(value, replace) for name, value in parameters.items()}, used

    def _lookup(self, name: str) -> str:
        self._refresh()
        if name in self._values:
            return self._values[name]
        variable = "TIERCEL_SECRET_" + re.sub(r"[^A-Z0-9]", "_", name.upper())
        value = os.environ.get(variable)
        if value is None:
            where = f"not in {self._path} and " if self._path else ""
            raise SecretUnavailable(f"secret {name!r} is {where}not in the environment as {variable}")
        return value

    def _refresh(self) -> None:
        if self._path is None:
            return
        try:
            with self._path.open("rb") as file:
                status = os.fstat(file.fileno())
                if stat.S_IMODE(status.st_mode) & 0o077:
                    raise SecretUnavailable(f"{self._path} may be read by others: chmod 600 {self._path}")
                read = (status.st_ino, status.st_mtime_ns, status.st_size)
                if read != self._read:
                    self._values = _parse(file.read(), self._path)
                    self._read = read
        except OSError as error:
            raise SecretUnavailable(f"the secrets file {self._path} cannot be read: {error.strerror}") from error


def redact(value: Any, used: dict[str, str]) -> Any:
    """The value with every secret that was used put back into its reference, in strings at any depth."""
    # The longest first, or a secret that is part of another would leave the rest of it behind.
    ordered = sorted((item for item in used.items() if item[0]), key=lambda item: -len(item[0]))

    def replace(text: str) -> str:
        for secret, reference in ordered:
            text = text.replace(secret, reference)
        return text

    return _map_strings(value, replace)


def _map_strings(value: Any, replace: Any) -> Any:
    match value:
        case str():
            return replace(value)
        case dict():
            return {_map_strings(key, replace): _map_strings(item, replace) for key, item in value.items()}
        case list() | tuple():
            return [_map_strings(item, replace) for item in value]
        case _:
            return value


def _parse(data: bytes, path: Path) -> dict[str, str]:
    """Both forms of the file. Messages name lines, never their content."""
    try:
        text = data.decode()
        if text.lstrip().startswith("{"):
            return {str(name): str(value) for name, value in decode(data).items()}
    except ValueError:
        raise SecretUnavailable(f"the secrets file {path} is neither UTF-8 JSON nor lines name=value") from None
    values: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals:
            raise SecretUnavailable(f"{path}:{number}: expected name=value")
        values[name.strip()] = value.strip()
    return values
