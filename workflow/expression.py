"""Expressions: CEL over a run's inputs, what came of earlier tasks and the run's id, bounded in every direction.

    inputs.order.lines.filter(line, line.quantity > 1)
    tasks.pick-item.output.weight_kg * 2.0

`read_expression` refuses at registration what can be refused then; `bind` gives tasks their index in the plan; `value`
evaluates, once, at the run's home, and `write` gives the JSON. A plain reference never enters the library: it costs a
microsecond, large numbers pass through it unrounded, and keys keep their order.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import isfinite
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from workflow.cost import SCALAR, SMALL_WEIGHT, VALUE_DEPTH_MAX, Size, TooMuch, check_cost, measure
from workflow.parser import parse
from workflow.scope import Scope
from workflow.syntax import FUNCTIONS, LOCALS, ExpressionSyntaxError, Node, Read, Reference, Syntax

if TYPE_CHECKING:
    import cel

SOURCE_BYTES_MAX = 4 << 10
RESULT_BYTES_MAX = 64 << 10
UNCHECKED_BYTES_MAX = 2_000  # In less JSON than this no list is longer than what may reach an expression.
REASON_CHARACTERS_MAX = 200


class ExpressionError(ValueError):
    """An expression that has no value: something it reads is not there, or it fails, or it is beyond a limit."""


class LargeOutput(dict[str, object]):
    """The output of a task that is kept as a blob: a reference, `{"$blob": {"sha256": ..., "size": ...}}`. It may be handed on
    whole, for the agent fetches what it stands for; no expression can look into it."""

    @property
    def refusal(self) -> str:
        """Why an expression that reads it has no value, and what helps."""
        blob = self["$blob"]
        size = blob["size"] if isinstance(blob, dict) else 0
        return (
            f"is kept as a blob ({size:,} bytes), and expressions read outputs up to {RESULT_BYTES_MAX >> 10} KiB: "
            "hand the whole output over as a parameter, or let the task return less"
        )


class _Absent(LookupError):
    """Something on the way to a value is not there. Only an error if the expression really asks for it."""


class Plain(msgspec.Struct, frozen=True, gc=False):
    """An expression that is one reference, bound to a plan: `key` is the name of the input, or the number of the task.

    `root` is inputs, run, a local word, or of a task outputs, states or errors.
    """

    root: str
    key: str | int
    path: tuple[str | int, ...]
    presence: bool
    name: str  # As the author writes it, without the path: `tasks.pick.output`.

    @property
    def source(self) -> str:
        return self.name + "".join(map(_show_step, self.path))

    def value(self, scope: Scope) -> object:
        """The value. Raises ExpressionError."""
        try:
            return self.find(scope)
        except _Absent as absence:
            raise _failure(self.source, absence) from None

    def write(self, value: object) -> bytes:
        """A value of this expression as JSON, with its keys in their order. Raises ExpressionError."""
        try:
            encoded = _encoded(value, None)
            if len(encoded) > UNCHECKED_BYTES_MAX:
                measure(value)
        except TooMuch as refusal:
            raise _failure(self.source, refusal) from None
        return encoded

    def find(self, scope: Scope) -> object:
        """The value, or for `presence` whether there is one. Raises _Absent."""
        if self.presence and not self.path and self.root in ("outputs", "errors"):
            return self.key in getattr(scope, self.root)
        value: Any = self._start(scope)
        if self.path and isinstance(value, LargeOutput):
            raise _Absent(f"{self.name} {value.refusal}")
        for depth, step in enumerate(self.path):
            if isinstance(value, dict):
                is_there = step in value
                if self.presence and depth == len(self.path) - 1:
                    return is_there
            else:
                is_there = isinstance(value, list) and isinstance(step, int) and step < len(value)
            if not is_there:
                raise _Absent(self._absence(value, depth))
            value = value[step]
        return True if self.presence else value

    def _start(self, scope: Scope) -> object:
        if self.root == "run":
            return scope.run_id if self.key == "id" else scope.run[str(self.key)]
        if self.key == "":
            return scope.inputs
        values: Mapping[Any, object] = getattr(scope, self.root)
        if self.key not in values:
            raise _Absent(f"{self.name} is not at hand")
        return values[self.key]

    def _absence(self, value: object, depth: int) -> str:
        whole = self.name + "".join(_show_step(step) for step in self.path[:depth])
        step = self.path[depth]
        if isinstance(value, dict):
            there = ", ".join(sorted(map(str, value))[:12]) or "nothing"
            return f"{whole} has no {step!r}; it has: {there}"
        if isinstance(value, list):
            return f"{whole} is a list of {len(value)} items, so it has no {step!r}"
        return f"{whole} is {_kind(value)}, so it has no {step!r}"


@dataclass(frozen=True, slots=True)
class Computed:
    """An expression that the library evaluates. Two are equal if they read alike."""

    source: str
    reads: tuple[Plain, ...]
    tree: Node
    has_comprehensions: bool
    program: "cel.Program" = field(compare=False)

    def value(self, scope: Scope) -> object:
        """The value, plain JSON. Raises ExpressionError."""
        try:
            return plain(self._execute(scope))
        except TooMuch as refusal:
            raise _failure(self.source, refusal) from None

    def write(self, value: object) -> bytes:
        """A value of this expression as JSON; its keys are sorted, as the library keeps none in order. Raises ExpressionError."""
        try:
            return _encoded(value, "sorted")
        except TooMuch as refusal:
            raise _failure(self.source, refusal) from None

    def _execute(self, scope: Scope) -> object:
        values: dict[str, object] = {}
        sizes: list[Size] = []
        missing: dict[str, str] = {}
        for index, read in enumerate(self.reads):
            try:
                value = read.find(scope)
                if isinstance(value, LargeOutput):
                    raise _Absent(f"{read.name} {value.refusal}")
                values[f"__{index}"] = value
                sizes.append(measure(value))
            except _Absent as absence:
                missing[f"__{index}"] = str(absence)
                sizes.append(SCALAR)
        if self.has_comprehensions or sum(size.weight for size in sizes) > SMALL_WEIGHT:
            check_cost(self.tree, sizes)
        try:
            return self.program.execute(values)
        except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise _failure(self.source, _reason(error, missing)) from None


Expression = Plain | Computed


def _failure(source: str, reason: object) -> ExpressionError:
    return ExpressionError(f"${{{{ {source} }}}}: {reason}")


def read_expression(text: str, start: int = 0) -> Syntax:
    """Read the expression that begins at `start`; its `end` counts from there. Raises ExpressionSyntaxError."""
    window = text[start : start + SOURCE_BYTES_MAX + 1]
    too_long = ExpressionSyntaxError("the expression is too long", 1, f"{SOURCE_BYTES_MAX >> 10} KiB")
    try:
        syntax = parse(window)
    except ExpressionSyntaxError as refusal:
        if refusal.at_end and start + len(window) < len(text):
            raise too_long from None
        raise
    if len(window[: syntax.end].encode()) > SOURCE_BYTES_MAX:
        raise too_long
    return syntax


def bind(syntax: Syntax, source: str, index: Mapping[str, int]) -> Expression:
    """Compile what was read from `source` (which begins where the expression does). Every task it names is in `index`.

    Raises ExpressionSyntaxError for what the library refuses.
    """
    reads = tuple(bind_reference(reference, index) for reference in syntax.references)
    if is_plain(syntax):
        return reads[0]
    source = source[: syntax.end].rstrip()
    program = _compile(_with_variables(source, syntax))
    return Computed(source.strip(), reads, syntax.root, syntax.comprehensions > 0, program)


def is_plain(syntax: Syntax) -> bool:
    """Is the expression one reference and nothing else?"""
    return isinstance(syntax.root, Read) and not syntax.references[syntax.root.reference].presence


_FACETS = {"output": "outputs", "state": "states", "error": "errors"}


def bind_reference(reference: Reference, index: Mapping[str, int]) -> Plain:
    root, key = reference.root, reference.name
    name = f"{root}.{key}".rstrip(".")
    if root == "tasks":
        found, name = index[key], f"{name}.{reference.facet}"
        return Plain(_FACETS[reference.facet], found, reference.path, reference.presence, name)
    if root in LOCALS:
        return Plain("locals", root, reference.path, reference.presence, root)
    return Plain(root, key, reference.path, reference.presence, name)


def _with_variables(source: str, syntax: Syntax) -> str:
    """The source with a variable in the place of each reference; spaces keep words apart."""
    pieces: list[str] = []
    position = 0
    for start, end, reference in syntax.spans:
        pieces += [source[position:start], f" __{reference} "]
        position = end
    return "".join([*pieces, source[position:]])


_LIBRARY_REFUSAL = re.compile(r"ERROR: <input>:\d+:(\d+): (.*)")


def _compile(source: str) -> "cel.Program":
    # It brings the command line of its authors along, with a terminal's toolkit: a fifth of a second, which a site that starts
    # again after a crash has no use for unless a definition of its computes something.
    import cel  # noqa: PLC0415

    try:
        return cel.compile(source)
    except ValueError as refusal:
        match = _LIBRARY_REFUSAL.search(str(refusal))
        raise ExpressionSyntaxError(match[2] if match else "it is no CEL", 1) from None


# Results --------------------------------------------------------------------------------------------------------------


def plain(value: object) -> object:
    """A result as JSON: moments as RFC 3339, durations in seconds (`"90s"`). Raises TooMuch for what JSON cannot say.

    The library keeps maps in random order: a list that an expression makes out of a map's keys has no defined order.
    """
    match value:
        case str() | bool() | int() | None:
            return value
        case float():
            if isfinite(value):
                return value
        case list():
            return [plain(item) for item in value]
        case dict():
            if all(isinstance(key, str) for key in value):
                return {key: plain(item) for key, item in value.items()}
            raise TooMuch("the result is a map with keys that are no text", "text as keys")
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case timedelta():
            return f"{value.total_seconds():.6f}".rstrip("0").rstrip(".") + "s"
    raise TooMuch(f"the result is {_kind(value)}", "text, numbers, true, false, null, lists, maps, moments, durations")


def _encoded(value: object, order: Literal["sorted"] | None) -> bytes:
    try:
        encoded = msgspec.json.encode(value, order=order)
    except RecursionError:
        raise TooMuch("the result is nested too deep", f"{VALUE_DEPTH_MAX} levels") from None
    if len(encoded) > RESULT_BYTES_MAX:
        raise TooMuch(f"the result has {len(encoded):,} bytes of JSON", f"{RESULT_BYTES_MAX >> 10} KiB")
    return encoded


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a truth value"
        case float() if not isfinite(value):
            return "not a finite number"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case bytes():
            return "bytes"
        case list():
            return "a list"
        case dict():
            return "a mapping"
        case _:
            return type(value).__name__


def _show_step(step: str | int) -> str:
    return f"[{step}]" if isinstance(step, int) else f".{step}"


_UNDEFINED = re.compile(r"Undefined variable or function: '(\w+)'")


def _reason(error: Exception, missing: Mapping[str, str]) -> str:
    """Why the library gave no value, in the author's words where we know more than it does."""
    text = str(error)
    if match := _UNDEFINED.match(text):
        if match[1] in missing:
            return missing[match[1]]
        if match[1] in FUNCTIONS:
            return f"{match[1]}() does not take these values"
    if isinstance(error, KeyError):
        return f"there is no {text}"
    return text if len(text) <= REASON_CHARACTERS_MAX else text[:REASON_CHARACTERS_MAX] + "..."
