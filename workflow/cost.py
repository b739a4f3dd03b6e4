"""What an expression would cost on the values at hand, bounded from above before the library runs it.

CEL always ends, but not always soon: `[s].map(a, a + a).map(a, a + a)...` doubles with each word, and while the library
computes, nothing else in the process runs. So sizes are followed through the tree first. The figures are those of the
library as measured: `map` and `filter` copy what they have so far for every item, so they are quadratic.
"""

import re
from typing import NamedTuple

from workflow.syntax import Call, Collection, Comprehension, Literal, Node, Part, Read, Variable

STEPS_MAX = 5_000_000  # A step is about 0.1 us, so half a second.
WEIGHT_MAX = 8 << 20
REACH_WEIGHT_MAX = 1 << 20
LIST_ITEMS_MAX = 1_000
VALUE_DEPTH_MAX = 64
VALUE_WEIGHT = 16
NUMBER_TEXT_MAX = 400  # string(5e-324) writes all its digits.
SMALL_WEIGHT = 4_096  # Without a comprehension, nothing that is made of so little can cost much.

INT_MIN, INT_MAX = -(2**63), 2**63 - 1


class TooMuch(ValueError):
    """A value or an expression is beyond a limit. `allowed` names the limit."""

    def __init__(self, message: str, allowed: str) -> None:
        super().__init__(f"{message}; allowed: {allowed}")
        self.message = message
        self.allowed = allowed


class Size(NamedTuple):
    """An upper bound of a value: its weight (bytes of text and 16 per value), how many items it has, and any one of them."""

    weight: int
    length: int = 0
    item: "Size | None" = None


SCALAR = Size(VALUE_WEIGHT)
WORD = Size(VALUE_WEIGHT + 64)  # What functions give: a number, a truth value, a moment, the name of a type.


def measure(value: object, depth: int = 0) -> Size:
    """The size of a JSON value that is about to reach an expression. Raises TooMuch if it is beyond what may."""
    if isinstance(value, str):
        return Size(VALUE_WEIGHT + len(value))
    if isinstance(value, dict | list) and depth >= VALUE_DEPTH_MAX:
        raise TooMuch("a value reaches the expression that is nested too deep", f"{VALUE_DEPTH_MAX} levels")
    if isinstance(value, list):
        if len(value) > LIST_ITEMS_MAX:
            raise TooMuch(f"a list of {len(value):,} items reaches the expression", f"{LIST_ITEMS_MAX:,} items")
        return _measure_items([measure(item, depth + 1) for item in value])
    if isinstance(value, dict):
        return _measure_items([*(measure(item, depth + 1) for item in value.values()), *map(measure, value)])
    if isinstance(value, int) and not INT_MIN <= value <= INT_MAX:
        raise TooMuch("a whole number reaches the expression that does not fit 64 bits", "-2^63 to 2^63 - 1")
    return SCALAR


def _measure_items(items: list[Size]) -> Size:
    weight = VALUE_WEIGHT + sum(item.weight for item in items)
    if weight > REACH_WEIGHT_MAX:
        raise TooMuch("too much reaches the expression", f"about {REACH_WEIGHT_MAX >> 20} MiB")
    return Size(weight, len(items), _largest(items))


def _largest(sizes: list[Size]) -> Size | None:
    """One size that no other exceeds in any respect."""
    if not sizes:
        return None
    first = sizes[0]
    if all(size is first for size in sizes):
        return first
    items = [size.item for size in sizes if size.item is not None]
    return Size(max(size.weight for size in sizes), max(size.length for size in sizes), _largest(items))


def check_cost(root: Node, reads: list[Size]) -> None:
    """Raises TooMuch if the expression could take more than STEPS_MAX or make something heavier than WEIGHT_MAX."""
    _Estimate(reads).size(root)


class _Estimate:
    """One pass over a tree that adds up steps; inside a comprehension, steps count once per item."""

    def __init__(self, reads: list[Size]) -> None:
        self.steps = 0
        self.reads = reads
        self.variables: dict[str, Size] = {}

    def size(self, node: Node) -> Size:
        match node:
            case Literal():
                return Size(VALUE_WEIGHT + node.length)
            case Read():
                return self._made(1, self.reads[node.reference])
            case Variable():
                return self._made(1, self.variables[node.name])
            case Part():
                self.size(node.key)
                return self._made(1, self.size(node.whole).item or SCALAR)
            case Collection():
                items = [self.size(item) for item in node.items]
                weight = VALUE_WEIGHT + sum(item.weight for item in items)
                return self._made(len(items), Size(weight, len(items), _largest(items)))
            case Comprehension():
                return self._comprehension(node)
            case Call():
                return self._call(node, [self.size(argument) for argument in node.arguments])

    def _made(self, steps: int, size: Size) -> Size:
        self.steps += steps
        if self.steps > STEPS_MAX or size.weight > WEIGHT_MAX:
            raise TooMuch(
                "the expression could take too long on these values",
                f"about {STEPS_MAX:,} steps and {WEIGHT_MAX >> 20} MiB; leave larger work to a task",
            )
        return size

    def _comprehension(self, node: Comprehension) -> Size:
        range_ = self.size(node.range)
        before, shadowed = self.steps, self.variables.get(node.variable)
        self.variables[node.variable] = range_.item or SCALAR
        bodies = [self.size(body) for body in node.bodies]
        if shadowed is not None:
            self.variables[node.variable] = shadowed
        count = range_.length
        self.steps = before + count * (self.steps - before + 4)
        if node.macro == "filter":
            return self._made(count * count * 2 // 3, range_)
        if node.macro == "map":
            return self._made(count * count * 2 // 3, Size(VALUE_WEIGHT + count * bodies[-1].weight, count, bodies[-1]))
        return self._made(1, SCALAR)

    def _call(self, node: Call, sizes: list[Size]) -> Size:
        weight = sum(size.weight for size in sizes)
        items = sum(size.length for size in sizes)
        match node.function:
            case "+":
                return self._made(1 + weight // 256 + items, Size(weight, items, _largest([_item(size) for size in sizes])))
            case "?:":
                return self._made(1, _largest(sizes[1:]) or SCALAR)
            case "matches":
                return self._made(200 + weight // 4 + _regex_steps(node.arguments[-1]), SCALAR)
            case "string" | "bytes" | "dyn":
                return self._made(1 + weight // 64, sizes[0] if node.function == "dyn" else Size(weight + NUMBER_TEXT_MAX))
            case _:
                return self._made(1 + weight // 64, WORD)


def _item(size: Size) -> Size:
    return size.item or SCALAR


_CLASS = re.compile(r"\\[wWdDsSpP]|\(\?[a-zA-Z]*i|\.")
_REPEAT = re.compile(r"\{(\d+)(?:,(\d*))?\}")
_REGEX_STEPS_MAX = 1_000_000  # The library refuses a pattern that compiles to more than 10 MiB, which takes about this long.


def _regex_steps(pattern: Node) -> int:
    """A pattern is compiled at each call: repeats multiply it, and a class like `\\w` holds all of Unicode."""
    if not isinstance(pattern, Literal) or not isinstance(pattern.value, str):
        return _REGEX_STEPS_MAX
    steps = 20 * len(pattern.value) + 4_000 * len(_CLASS.findall(pattern.value))
    for low, high in _REPEAT.findall(pattern.value):
        steps = min(_REGEX_STEPS_MAX, steps * max(1, int((high or low)[:6])))
    return min(_REGEX_STEPS_MAX, steps)
