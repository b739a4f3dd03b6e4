"""`csv.parse`, `csv.render`, `json.parse`, `json.render` and `json.select`: data from one shape into another. All pure.

What cannot be transformed never can, so every failure is terminal, with the code `validation`, and names line and
column.
"""

import csv
import io
import json
from collections.abc import Callable, Sequence
from typing import Any, Literal

from tiercel.errors import TerminalError

ColumnType = Literal["string", "integer", "number", "boolean"]
Delimiter = Literal[",", ";", "\t", "|"]


def capabilities() -> dict[str, Callable[..., Any]]:
    """By name, as an agent offers them."""
    return {
        "csv.parse": csv_parse,
        "csv.render": csv_render,
        "json.parse": json_parse,
        "json.render": json_render,
        "json.select": json_select,
    }


def csv_parse(text: str, types: dict[str, ColumnType] | None = None, delimiter: Delimiter = ",") -> dict[str, Any]:
    """{rows: [{column: value}]} of a table whose first line names the columns.

    `types` says what columns hold; the others are strings. An empty cell of a typed column is null; other columns
    keep "".
    """
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), delimiter=delimiter, strict=True)
    try:
        columns = [name.strip() for name in next(reader, [])]
        _check_columns(columns, types or {})
        rows = []
        for cells in reader:
            if not cells:
                continue  # An empty line, which editors like to leave at the end.
            if len(cells) != len(columns):
                raise _invalid(f"line {reader.line_num} has {len(cells)} cells, the header has {len(columns)}")
            rows.append(_typed(dict(zip(columns, cells, strict=True)), types or {}, reader.line_num))
    except csv.Error as error:
        raise _invalid(f"line {reader.line_num}: {error}") from error
    return {"rows": rows}


def csv_render(rows: list[dict[str, Any]], columns: list[str] | None = None, delimiter: Delimiter = ",") -> dict[str, Any]:
    """{text}: the table with a header line; lines end with CR LF (RFC 4180). `columns` orders and chooses them; by
    default all, in the order of appearance.

    null becomes an empty cell, true and false their JSON words, an object or list its JSON.
    """
    chosen = columns if columns is not None else list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\r\n")
    writer.writerow(chosen)
    writer.writerows([_cell(row.get(name)) for name in chosen] for row in rows)
    return {"text": out.getvalue()}


def json_parse(text: str) -> dict[str, Any]:
    """{value} of a JSON document. NaN and Infinity are no JSON."""
    try:
        return {"value": json.loads(text, parse_constant=_refuse_constant)}
    except (ValueError, RecursionError) as error:
        raise _invalid(f"not JSON: {error}") from error


def json_render(value: Any, indent: int = 0) -> dict[str, Any]:
    """{text}: the value as JSON, with sorted keys, so that equal values give equal text."""
    separators = (",", ": ") if indent else (",", ":")
    return {"text": json.dumps(value, indent=indent or None, ensure_ascii=False, sort_keys=True, separators=separators)}


def json_select(value: Any, fields: dict[str, str], default: Any = None, required: bool = True) -> dict[str, Any]:
    """{name: what its JSON Pointer finds in `value`} for each name in `fields`, e.g. {"city": "/order/address/0/city"}.

    A pointer that finds nothing fails if `required`, and gives `default` otherwise. (RFC 6901.)
    """
    return {name: _follow(value, pointer, default, required) for name, pointer in fields.items()}


def _check_columns(columns: Sequence[str], types: dict[str, Any]) -> None:
    if not columns:
        raise _invalid("the table is empty: its first line must name the columns")
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice or "" in columns:
        raise _invalid(f"the header must name every column once; wrong: {', '.join(twice) or 'an empty name'}")
    if unknown := [name for name in types if name not in columns]:
        raise _invalid(f"no column {', '.join(unknown)}; the header has: {', '.join(columns)}")


def _typed(row: dict[str, str], types: dict[str, Any], line: int) -> dict[str, Any]:
    typed: dict[str, Any] = dict(row)
    for name, wanted in types.items():
        text = row[name].strip()
        try:
            typed[name] = None if not text and wanted != "string" else _READ[wanted](text if text else row[name])
        except (ValueError, KeyError) as error:
            raise _invalid(f"line {line}, column {name}: {row[name]!r} is not of type {wanted}") from error
    return typed


def _read_number(text: str) -> float:
    number = float(text)
    if number - number != 0:  # Infinite or not a number: neither can be written as JSON.
        raise ValueError(text)
    return number


_READ: dict[str, Callable[[str], Any]] = {
    "string": str,
    "integer": int,
    "number": _read_number,
    "boolean": {"true": True, "false": False, "yes": True, "no": False, "1": True, "0": False}.__getitem__,
}


def _cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case str():
            return value
        case _:
            return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _follow(value: Any, pointer: str, default: Any, required: bool) -> Any:
    if pointer and not pointer.startswith("/"):
        raise _invalid(f"{pointer!r} is not a JSON Pointer: it is empty or begins with /")
    found = value
    for step in pointer.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        match found:
            case dict() if name in found:
                found = found[name]
            case list() if name.isdecimal() and name.isascii() and int(name) < len(found):
                found = found[int(name)]
            case _ if required:
                raise _invalid(f"{pointer} finds nothing: there is no {name!r}")
            case _:
                return default
    return found


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON value")


def _invalid(message: str) -> TerminalError:
    return TerminalError(message, code="validation")
