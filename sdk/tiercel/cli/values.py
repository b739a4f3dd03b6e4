"""What people type and keep in files, as inputs of runs."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import typer

BATCH_RUNS_MAX = 1_000
BATCH_BYTES_MAX = 6 << 20
"""The API takes bodies of up to 8 MiB; some room is left for the labels."""

KINDS = ("success", "failure", "end")
"""What may have come of what a run waits for."""

Parse = Callable[[str, str], object]


def parser(document: dict[str, Any] | None) -> Parse:
    """How the text of an input becomes its value: JSON if it parses, else the text itself.

    An input that the definition declares as a string stays the text, so that order 0042 or 7 need no quotes.
    """
    declared = (document or {}).get("inputs") or {}
    strings = {name for name, schema in declared.items() if isinstance(schema, dict) and schema.get("type") == "string"}

    def parse(name: str, text: str) -> object:
        try:
            value: object = json.loads(text, parse_constant=_no_number)
        except (ValueError, RecursionError):
            return text
        return value if name not in strings or isinstance(value, str) else text

    return parse


def pairs(items: Sequence[str], option: str) -> dict[str, str]:
    """`name=text` items. Refuses what has no name, no `=`, or comes twice."""
    found: dict[str, str] = {}
    for item in items:
        name, equals, text = item.partition("=")
        if not name or not equals:
            raise typer.BadParameter(f"{item!r} is not NAME=VALUE", param_hint=option)
        if name in found:
            raise typer.BadParameter(f"{name!r} is given twice", param_hint=option)
        found[name] = text
    return found


def worded(text: str, first: str, option: str) -> str | dict[str, Any]:
    """WORD[,NAME=VALUE...], as `bounded,versions=50,time=30s`: a word, or a mapping that has it as `first`; or the whole of it as
    a JSON object."""
    if text.startswith("{"):
        return _object(text, option)
    word, *more = text.split(",")
    if not more:
        return word
    return {first: word} | {name: int(value) if value.isdecimal() else value for name, value in pairs(more, option).items()}


def awaited(text: str, option: str) -> dict[str, Any]:
    """RUN[/TASK][:KIND]: what to wait for, as the API takes it; or the whole of it as a JSON object, with conditions and values.

    Refuses an unknown kind, and what names no run.
    """
    if text.startswith("{"):
        return _whole(text, option)
    on, colon, kind = text.rpartition(":")
    if not colon or not kind.isalpha():
        on, colon, kind = text, "", ""  # Ids have colons too, as those of a schedule's runs.
    if colon and kind not in KINDS:
        raise typer.BadParameter(f"{text!r}: {kind!r} is no kind; allowed: {', '.join(KINDS)}", param_hint=option)
    run, _, task = on.partition("/")
    if not run:
        raise typer.BadParameter(f"{text!r} names no run; it is RUN, RUN/TASK or RUN/TASK:KIND", param_hint=option)
    return {"on": {"run": run, "task": task}, "kind": f"after_{kind or 'success'}"}


def _whole(text: str, option: str) -> dict[str, Any]:
    found = _object(text, option)
    if "on" not in found:
        raise typer.BadParameter(f"{text!r} says not `on` which run it waits", param_hint=option)
    return found


def _object(text: str, option: str) -> dict[str, Any]:
    try:
        found = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise typer.BadParameter(f"{text!r} is no JSON: {error}", param_hint=option) from None
    if not isinstance(found, dict):
        raise typer.BadParameter(f"{text!r} is no JSON object", param_hint=option)
    return found


def inputs_file(path: Path, parse: Parse) -> tuple[list[dict[str, object]], bool]:
    """The inputs of each run that the file asks for, and whether it asks for several.

    A JSON object is one run; a JSON array of objects, or CSV with a header, is one run per item or line.
    """
    try:
        if path.suffix.lower() == ".csv":
            return list(_csv_rows(path, parse)), True
        found = json.loads(path.read_text("utf-8-sig"), parse_constant=_no_number)
    except OSError as error:
        raise _unusable(path, error.strerror or str(error)) from error
    except (ValueError, RecursionError, csv.Error) as error:
        raise _unusable(path, str(error)) from error
    rows = found if isinstance(found, list) else [found]
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise _unusable(path, f"item {number} is no object of inputs")
    return rows, isinstance(found, list)


def _csv_rows(path: Path, parse: Parse) -> Iterator[dict[str, object]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        for row in reader:
            if None in row or None in row.values():
                raise _unusable(path, f"line {reader.line_num} has not as many fields as the header")
            yield {name: parse(name, text) for name, text in row.items()}


def _unusable(path: Path, reason: str) -> typer.BadParameter:
    return typer.BadParameter(f"{path}: {reason}", param_hint="--inputs-file")


def batches(rows: Iterable[dict[str, object]]) -> Iterator[list[dict[str, object]]]:
    """The rows in groups that the API takes as one request."""
    group, size = list[dict[str, object]](), 0
    for row in rows:
        length = len(json.dumps(row))
        if group and (len(group) == BATCH_RUNS_MAX or size + length > BATCH_BYTES_MAX):
            yield group
            group, size = [], 0
        group.append(row)
        size += length
    if group:
        yield group


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no JSON")
