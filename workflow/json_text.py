"""JSON, read fast; and, only when there is something to point at, read again word by word for the lines."""

import json
import re
from typing import Any

from workflow.marks import Marks, TextRefused

_WORD = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+', re.DOTALL)


def read_json(text: str) -> tuple[Any, bool]:
    """The document in a text, and whether some mapping in it repeats a key. Raises TextRefused."""
    repeats = False

    def mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal repeats
        content = dict(pairs)
        repeats = repeats or len(content) < len(pairs)
        return content

    try:
        return json.loads(text, object_pairs_hook=mapping), repeats
    except json.JSONDecodeError as error:
        raise TextRefused(f"this is no JSON: {error.msg} (column {error.colno})", error.lineno) from None
    except RecursionError:
        raise TextRefused("lists and mappings are nested too deep", 1, "64 levels") from None
    except ValueError as error:
        raise TextRefused(f"this is no JSON: {error}", 1) from None


def mark_json(text: str) -> Marks:
    """The same document with its lines; its values are left out, as nobody asks for them. `text` is JSON. Raises TextRefused."""
    marks = Marks()
    line, counted = 1, 0
    for match in _WORD.finditer(text):
        line += text.count("\n", counted, match.start())
        counted = match.start()
        word = match[0]
        if word in "{[":
            marks.open({} if word == "{" else [], line)
        elif word in "}]":
            marks.close()
        elif word in ",:":
            continue
        elif marks.awaits_key():
            marks.key(json.loads(word), line)
        else:
            marks.value(None, line)
    return marks
