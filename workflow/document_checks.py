"""What must hold of a document after every edit: CEL over its `value` (`sync.documents.transforming`)."""

from workflow.merging_values import bound_of
from workflow.scope import Scope

WORDS = ("value",)


def holds(check: str, value: object) -> bool | str:
    """Does it hold? A string says why it cannot be told; then it does not."""
    try:
        answer = bound_of(check, WORDS).value(Scope(locals={"value": value}))
    except ValueError as error:
        return str(error)
    return answer if isinstance(answer, bool) else f"it gives {str(answer)[:40]!r}, neither true nor false"


def check_problem(check: str) -> str:
    """Why nobody could evaluate this; empty if it can be tried."""
    try:
        bound_of(check, WORDS)
    except ValueError as error:
        return str(error)
    return ""
