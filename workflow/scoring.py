"""An author's own rule for comparing bids: CEL over `bid`, `agent` and `lot`; the lowest number wins.

bid.cost + 0.1 * bid.finish_ms / 1000.0
"""

from collections.abc import Mapping
from functools import lru_cache
from math import isfinite

from workflow.expression import Expression, ExpressionError, bind, read_expression
from workflow.scope import Scope
from workflow.syntax import ROOTS, ExpressionSyntaxError

WORDS: dict[str, tuple[str, ...]] = {
    "bid": ("cost", "finish_ms", "units", "confidence"),
    "agent": ("id", "kind", "labels", "capacity", "room", "load"),
    "lot": ("run", "task", "capability", "priority", "parameters", "inputs", "labels"),
}
"""What each word has."""


@lru_cache(maxsize=256)
def compile_score(text: str) -> Expression:
    """Raises ExpressionSyntaxError, also for words that nobody knows there."""
    try:
        syntax = read_expression(text)
    except ExpressionSyntaxError as refusal:
        if refusal.allowed != ", ".join(ROOTS):
            raise
        said = refusal.message.partition("; did you mean")[0]  # These are not the names that are meant here.
        raise ExpressionSyntaxError(said, refusal.column, ", ".join(WORDS)) from None
    if rest := text[syntax.end :].strip():
        raise ExpressionSyntaxError(f"the expression does not end before {rest[:20]!r}", syntax.end + 1, "the end")
    for reference in syntax.references:
        if reference.root not in WORDS:
            raise ExpressionSyntaxError(f"{reference.root!r} is not known here", 1, ", ".join(WORDS))
        if reference.path and reference.path[0] not in WORDS[reference.root]:
            told = ", ".join(f"{reference.root}.{name}" for name in WORDS[reference.root])
            raise ExpressionSyntaxError(f"'{reference.root}.{reference.path[0]}' is not known here", 1, told)
    return bind(syntax, text, {})


def score(text: str, bid: Mapping[str, object], agent: Mapping[str, object], lot: Mapping[str, object]) -> float:
    """What the rule makes of a bid. Raises ExpressionError, also if that is no finite number."""
    try:
        found = compile_score(text).value(Scope(locals={"bid": bid, "agent": agent, "lot": lot}))
    except ExpressionSyntaxError as refusal:  # Of an event of a later version; definitions and requests are checked.
        raise ExpressionError(f"{text}: {refusal}") from None
    if isinstance(found, bool) or not isinstance(found, int | float) or not isfinite(found):
        raise ExpressionError(f"{text}: gives {found!r}, which is no number")
    return float(found)
