"""A document built from the words of a text, with the line of every part, so that a problem can be pointed at."""

from dataclasses import dataclass, field
from typing import Any

from workflow.definition import DOCUMENT_DEPTH_MAX
from workflow.problems import Place, Problem, show_path

ALIASED_VALUES_MAX = 10_000


class TextRefused(ValueError):
    """The text is not read any further."""

    def __init__(self, message: str, line: int, allowed: str = "", place: Place = ()) -> None:
        super().__init__(message)
        self.problem = Problem("", line, show_path(place), message, allowed, place)


@dataclass(slots=True)
class _Whole:
    """A mapping or list that is being filled; `key` is where the next value of a mapping goes."""

    content: Any
    lines: dict[str | int, int]
    place: Place
    anchor: str | None
    values_before: int
    key: str | None = None


@dataclass(slots=True)
class Marks:
    """Takes the words in order; `document` is there when all are taken. Nothing recurses, so depth is only a number.

    Raises TextRefused for what is nested too deep, for aliases of what is not there or not complete, and when aliases
    would multiply to more than ALIASED_VALUES_MAX values.
    """

    document: Any = None
    repeated: list[Problem] = field(default_factory=list)
    _open: list[_Whole] = field(default_factory=list)
    _anchors: dict[str, tuple[Any, int]] = field(default_factory=dict)
    _values: int = 0
    _aliased: int = 0
    _lines: dict[int, dict[str | int, int]] = field(default_factory=dict)  # By id; `document` keeps the parts alive.

    def line(self, place: Place) -> int:
        """The line where the part at a place begins, or the nearest part around it that the text has."""
        line, part = 1, self.document
        for step in place:
            lines = self._lines.get(id(part), {})
            if step not in lines:
                break
            line, part = lines[step], part[step]
        return line

    def awaits_key(self) -> bool:
        """Is the next word a key of a mapping?"""
        return bool(self._open) and isinstance(self._open[-1].content, dict) and self._open[-1].key is None

    def key(self, key: str, line: int) -> None:
        whole = self._open[-1]
        if key in whole.lines:
            place = (*whole.place, key)
            message = f"is written twice, first on line {whole.lines[key]}"
            self.repeated.append(Problem("", line, show_path(place), message, "each once", place))
        whole.key = key
        whole.lines[key] = line

    def value(self, value: object, line: int, anchor: str | None = None) -> None:
        self._values += 1
        if anchor is not None:
            self._anchors[anchor] = value, 1
        self._attach(value, line)

    def open(self, content: dict[str, Any] | list[Any], line: int, anchor: str | None = None) -> None:
        if len(self._open) >= DOCUMENT_DEPTH_MAX:
            raise TextRefused("lists and mappings are nested too deep", line, f"{DOCUMENT_DEPTH_MAX} levels")
        if anchor is not None:
            self._anchors.pop(anchor, None)  # Complete only when it is closed.
        place = self._attach(content, line)
        lines: dict[str | int, int] = {}
        self._lines[id(content)] = lines
        self._open.append(_Whole(content, lines, place, anchor, self._values))
        self._values += 1

    def close(self) -> None:
        whole = self._open.pop()
        if whole.anchor is not None:
            self._anchors[whole.anchor] = whole.content, self._values - whole.values_before

    def alias(self, anchor: str, line: int) -> None:
        if anchor not in self._anchors:
            raise self._refusal(f"*{anchor} stands for nothing that is complete", line, "an &anchor before it")
        value, values = self._anchors[anchor]
        self._values += values
        self._aliased += values
        if self._aliased > ALIASED_VALUES_MAX:
            raise self._refusal("aliases multiply without end", line, f"{ALIASED_VALUES_MAX:,} values by aliases")
        self._attach(value, line)

    def _attach(self, value: object, line: int) -> Place:
        if not self._open:
            self.document = value
            return ()
        whole = self._open[-1]
        if whole.key is None:
            step: str | int = len(whole.content)
            whole.content.append(value)
            whole.lines[step] = line
        else:
            step, whole.key = whole.key, None
            whole.content[step] = value
        return (*whole.place, step)

    def _refusal(self, message: str, line: int, allowed: str) -> TextRefused:
        return TextRefused(message, line, allowed, self._open[-1].place if self._open else ())
