"""`rules={"speed": "safety,run,slow,stop"}`: by which rules the fields of a document of several writers are to be merged;
`context={"harbour": 3}`: what of it whoever edits has seen."""

import msgspec

from cloud.problems import of_parameters
from sync.merging.rules import read_rule
from workflow.merging_values import expression_problem

NAME_CHARACTERS_MAX = 200


def rules_asked(text: str) -> tuple[tuple[str, str], ...]:
    """Fields and their rules, in order. Raises Problem (422)."""
    if not text:
        return ()
    try:
        said = _RULES.decode(text)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise of_parameters([("rules", f"{text[:60]!r} is no JSON object of fields and rules: {error}")]) from None
    wrong = {name: problem for name, rule in said.items() if (problem := _wrong(name, rule))}
    if wrong:
        raise of_parameters([("rules", f"field {name[:60]!r}: {problem}") for name, problem in wrong.items()])
    return tuple(sorted(said.items()))


def _wrong(name: str, text: str) -> str:
    if not 1 <= len(name) <= NAME_CHARACTERS_MAX:
        return f"a field has a name of 1 to {NAME_CHARACTERS_MAX} characters"
    try:
        rule = read_rule(text)
    except ValueError as error:
        return str(error)
    return expression_problem(rule.expression) if rule.kind == "cel" else ""


def context_asked(text: str) -> dict[str, int] | None:
    """`context={"harbour": 3}`, as a read has shown it: what whoever edits has seen. Raises Problem (422)."""
    if not text:
        return None
    try:
        return _CONTEXT.decode(text)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise of_parameters([("context", f"{text[:60]!r} is no JSON object of writers and counters: {error}")]) from None


_CONTEXT = msgspec.json.Decoder(dict[str, int])
_RULES = msgspec.json.Decoder(dict[str, str])
