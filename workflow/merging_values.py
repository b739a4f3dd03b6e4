"""What an expression makes of two values of a field that several nodes have written (`sync.merging.rules`): CEL over `mine` and
`theirs`, which are given in the order of their dots, so that every replica asks the same and is told the same.
"""

from functools import lru_cache

from workflow.expression import Expression, bind, read_expression
from workflow.scope import Scope

WORDS = ("mine", "theirs")


def evaluate(expression: str, mine: object, theirs: object) -> bytes:
    """The value as JSON. Raises ValueError if it has none."""
    bound = bound_of(expression, WORDS)
    return bound.write(bound.value(Scope(locals={"mine": mine, "theirs": theirs})))


def expression_problem(expression: str) -> str:
    """Why nobody could evaluate this; empty if it can be tried."""
    try:
        bound_of(expression, WORDS)
    except ValueError as error:
        return str(error)
    return ""


@lru_cache(maxsize=256)
def bound_of(expression: str, words: tuple[str, ...]) -> Expression:
    """The expression, which may read these words and nothing else. Raises ValueError."""
    syntax = read_expression(expression)
    if expression[syntax.end :].strip():
        raise ValueError(f"there is something behind the expression: {expression[syntax.end :].strip()[:40]!r}")
    if others := sorted({reference.root for reference in syntax.references} - {*words}):
        raise ValueError(f"it reads {', '.join(others)}; it may read {' and '.join(words)}")
    return bind(syntax, expression, {})
