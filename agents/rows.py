"""Between JSON and a database: parameters that are bound, and values that are shown."""

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from hashlib import sha256
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import TextClause, bindparam, exc, text

from tiercel.errors import TerminalError

WEATHER_SQLITE = {5, 6, 10, 13, 14}
"""SQLITE_BUSY, LOCKED, IOERR, FULL, CANTOPEN: what may pass."""
WEATHER_SQLSTATE = re.compile(r"08|40|53|55P03|57P|58")
"""Connections, serialization and deadlocks, resources, locks, an operator, the system (SQL:2016, PostgreSQL's appendix A)."""


@dataclass(frozen=True, slots=True)
class Bound:
    """A statement and what its names are bound to, once for each time that it is executed."""

    statement: TextClause
    parameters: list[dict[str, Any]]

    def digest(self) -> str:
        """What tells it from another."""
        return sha256(msgspec.json.encode([self.statement.text, self.parameters])).hexdigest()


def bound(sql: str, parameters: dict[str, Any] | list[dict[str, Any]] | None) -> Bound:
    """Raises TerminalError (code `validation`) if it is not one statement, or if its names are not those that are given."""
    _check_alone(sql)
    statement = text(sql)
    each = parameters if isinstance(parameters, list) else [parameters or {}]
    if not each:
        raise TerminalError("parameters is an empty list: there is nothing to execute", code="validation")
    names = set(statement.compile().params)
    for given in each:
        if parameters is not None or names:
            _check(names, set(given))
    lists = {name for name, value in each[0].items() if isinstance(value, list)}
    if lists and len(each) > 1:
        raise TerminalError("a list cannot be bound when the statement is executed many times", code="validation")
    return Bound(statement.bindparams(*(bindparam(name, expanding=True) for name in lists)), each)


def _check_alone(sql: str) -> None:
    """A second statement, or one that ends the transaction, would undo what the transaction is for."""
    bare = _QUOTED.sub(" ", sql).strip().removesuffix(";").strip()
    if ";" in bare:
        raise TerminalError("one statement a task: there is a ; in the middle", code="validation")
    if not bare or bare.split(None, 1)[0].upper() in _TRANSACTION:
        message = "the statement is empty, or begins or ends a transaction; each task is a transaction of its own"
        raise TerminalError(message, code="validation")


_TRANSACTION = {
    "BEGIN",
    "START",
    "COMMIT",
    "END",
    "ROLLBACK",
    "ABORT",
    "SAVEPOINT",
    "RELEASE",
    "PREPARE",
    "SET",
    "RESET",
    "DISCARD",
}
# Strings, names, comments and PostgreSQL's dollar quotes. Where databases differ, less is taken for quoted.
_QUOTED = re.compile(
    r"""(?<!\w)[eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | "(?:[^"]|"")*" | `[^`]*` | --[^\n]* | /\*.*?\*/
    | (?<![\w$])\$((?:[A-Za-z_]\w*)?)\$.*?\$\1\$""",
    re.DOTALL | re.VERBOSE,
)


def _check(names: set[str], given: set[str]) -> None:
    if names == given or (not given and not names):
        return
    missing, extra = ", ".join(sorted(names - given)), ", ".join(sorted(given - names))
    problems = [f"not given: {missing}" if missing else "", f"not in the statement: {extra}" if extra else ""]
    raise TerminalError(f"the parameters do not fit the statement; {'; '.join(filter(None, problems))}", code="validation")


def as_json(value: object) -> Any:
    """A value of a database as JSON.

    Dates and times are ISO 8601, decimals and UUIDs are strings (nothing is rounded), durations are seconds, bytes are
    {"base64": ...}; NaN and infinities, which JSON lacks, are null.
    """
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if value - value == 0 else None
        case dt.datetime() | dt.date() | dt.time():
            return value.isoformat()
        case dt.timedelta():
            return value.total_seconds()
        case Decimal() | UUID():
            return str(value)
        case bytes() | bytearray() | memoryview():
            return {"base64": msgspec.to_builtins(bytes(value))}
        case Mapping():
            return {str(name): as_json(item) for name, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [as_json(item) for item in value]
        case _:
            return str(value)


def is_weather(error: exc.DBAPIError) -> bool:
    """May the same statement succeed later?"""
    if error.connection_invalidated or isinstance(error, exc.InterfaceError):
        return True
    if (number := getattr(error.orig, "sqlite_errorcode", None)) is not None:
        return number & 0xFF in WEATHER_SQLITE
    state = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None)
    if state:
        return WEATHER_SQLSTATE.match(str(state)) is not None
    return isinstance(error, exc.OperationalError)
