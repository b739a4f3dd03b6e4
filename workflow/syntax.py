"""The grammar of CEL, read into a small tree, so that an expression is known before it runs.

The library that evaluates CEL shows no tree, and it has no limits. From ours follow what an expression refers to (and
therefore needs), how deep its comprehensions nest, and what it may cost on given values (`workflow.cost`). Each static
reference (`inputs.order.lines[0]`, `tasks.pick.output.sku`, `run.id`) is one node, whose value we look up ourselves;
the library is given the source with a variable in its place.

Grammar: github.com/google/cel-spec, doc/langdef.md. Left out, as the library does: optional syntax, messages, a leading dot.
One thing is added: ids may hold `-`, so `tasks.pick-item.output` needs no brackets and quotes.
"""

from dataclasses import dataclass

import msgspec

NESTED_MAX = 32
DEPTH_MAX = 100
COMPREHENSIONS_MAX = 2
ROOTS = ("inputs", "tasks", "run")
RUN_WORDS = ("id", "definition", "labels", "priority")  # All but the id are known only in standing rules.
LOCALS = ("item", "index", "previous", "output", "event", "outcome", "mine", "theirs", "value", "bid", "agent", "lot")
"""Words that only some places know."""
FACETS = ("output", "state", "error")

MACROS = frozenset({"all", "exists", "exists_one", "existsOne", "filter", "map"})
TYPE_NAMES = frozenset({"bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"})
FUNCTIONS = frozenset({
    *("size", "contains", "startsWith", "endsWith", "matches", "string", "int", "uint", "double", "bytes", "type", "dyn"),
    *("timestamp", "duration", "getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear"),
    *("getHours", "getMinutes", "getSeconds", "getMilliseconds"),
})  # fmt: skip


class ExpressionSyntaxError(ValueError):
    """An expression that is refused before it runs. `column` counts its characters from 1; `at_end`: there is too little."""

    def __init__(self, message: str, column: int, allowed: str = "", *, at_end: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.column = column
        self.allowed = allowed
        self.at_end = at_end


class Reference(msgspec.Struct, frozen=True):
    """A value that an expression reads: an input, what came of a task, the run's id or a local word, and the way into it.

    `root` is one of ROOTS or LOCALS; `name` the input (empty: all of them) or the task, of which `facet` is read; `presence`
    asks only whether it is there.
    """

    root: str
    name: str
    path: tuple[str | int, ...] = ()
    presence: bool = False
    facet: str = "output"


class Literal(msgspec.Struct, frozen=True):
    value: str | int | None  # None for what only the library needs to read.
    length: int = 0
    depth: int = 1


class Read(msgspec.Struct, frozen=True):
    reference: int  # Index in `Syntax.references`.
    depth: int = 1


class Variable(msgspec.Struct, frozen=True):
    name: str
    depth: int = 1


class Part(msgspec.Struct, frozen=True):
    """A field or an item that is only known at run time: `x.sku`, `lines[i]`."""

    whole: "Node"
    key: "Node"
    depth: int


class Call(msgspec.Struct, frozen=True):
    """A function or operator; the target of a method is its first argument."""

    function: str
    arguments: tuple["Node", ...]
    depth: int


class Collection(msgspec.Struct, frozen=True):
    """A list, or a map as its keys and values in turn."""

    items: tuple["Node", ...]
    is_map: bool
    depth: int


class Comprehension(msgspec.Struct, frozen=True):
    """`range.macro(variable, ...bodies)`."""

    macro: str
    range: "Node"
    variable: str
    bodies: tuple["Node", ...]
    depth: int


Node = Literal | Read | Variable | Part | Call | Collection | Comprehension


@dataclass(frozen=True, slots=True)
class Syntax:
    """One expression: its tree, what it reads, where in the text each reading stands, and where the expression ends."""

    root: Node
    references: tuple[Reference, ...]
    spans: tuple[tuple[int, int, int], ...]  # (start, end, index of the reference), in order.
    comprehensions: int
    end: int
