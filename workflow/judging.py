"""What else a dependency between runs asks: that a condition holds, and that a part of the output is handed over.

    when: "outcome == 'completed' && output.weight_kg < 20.0"
    select: output.box.id
    into: box
    schema: {type: string}

Both expressions see `outcome` (completed, failed, cancelled) and `output` of the awaited, and nothing else. They are evaluated
once, at the cloud, when the awaited has ended as the dependency's kind asks, and what came of it is recorded.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import jsonschema_rs
import msgspec

from workflow import secret
from workflow.event import Blob
from workflow.expression import Expression, ExpressionError, LargeOutput, Plain
from workflow.inputs import InputSchema, SchemaRefused
from workflow.problems import Place, Problems
from workflow.scope import Scope
from workflow.templates import TemplateCompiler, Vocabulary
from workflow.terms import Terms

SCHEMA_BYTES_MAX = 16 << 10
WORDS = ("outcome", "output")
_NOTHING = Vocabulary({}, frozenset(), frozenset())


class Judged(NamedTuple):
    """What the end of the awaited means: it is as asked, or why not. `value` (JSON) is what is handed over; empty: nothing."""

    is_met: bool
    detail: str = ""
    value: bytes = b""


def needs_output(terms: Terms | None) -> bool:
    """Must the output of the awaited be at hand?"""
    if terms is None:
        return False
    return bool(terms.into or terms.schema) or (bool(terms.when) and _reads_output(_compiled(terms.when)))


def read_terms(
    when: str, select: str, into: str, schema: dict[str, Any] | None, place: Place, problems: Problems
) -> Terms | None:
    """The terms, None if nothing is asked; what is wrong with them is added to `problems`."""
    if select and not into and schema is None:
        problems.add((*place, "select"), "selects what nothing is done with", "`into` or `schema` beside it")
    for word, text in (("when", when), ("select", select)):
        if text:
            _compiler(problems).condition(text, (*place, word))
    encoded = b"" if schema is None else msgspec.json.encode(schema)
    if len(encoded) > SCHEMA_BYTES_MAX:
        problems.add((*place, "schema"), f"has {len(encoded):,} bytes", f"{SCHEMA_BYTES_MAX:,} at most")
    elif schema is not None:
        try:
            InputSchema("schema", schema)
        except SchemaRefused as refusal:
            problems.add((*place, "schema", *refusal.place), str(refusal), "JSON Schema, without references to other files")
    terms = Terms(when, select, into, encoded)
    return terms if terms != Terms() else None


def judge(terms: Terms, awaited: str, outcome: str, output: bytes | Blob | None) -> Judged:
    """What is to be done now that `awaited` has ended; None as output: it has none. What cannot be told is not met."""
    known: dict[str, object] = {"outcome": outcome}
    if isinstance(output, Blob):
        known["output"] = LargeOutput({"$blob": {"sha256": output.sha256.hex(), "size": output.size}})
    elif output is not None:
        known["output"] = msgspec.json.decode(output)
    scope, words = Scope(locals=known), "been cancelled" if outcome == "cancelled" else outcome
    try:
        if terms.when and (held := _compiled(terms.when).value(scope)) is not True:
            return Judged(False, f"`when` ({terms.when.strip()}) is {_shown(held)} of {awaited}, which has {words}")
        if not terms.into and not terms.schema:
            return Judged(True)
        return _value(terms, awaited, scope)
    except ExpressionError as error:
        return Judged(False, f"{awaited} has {words}, and {error}")


def _value(terms: Terms, awaited: str, scope: Scope) -> Judged:
    expression = _compiled(terms.select or "output")
    value = expression.value(scope)
    if isinstance(value, LargeOutput):
        return Judged(False, f"the output of {awaited} {value.refusal.partition(':')[0]}, which no dependency hands over")
    encoded = expression.write(value)
    if b'"$blob"' in encoded:
        return Judged(False, f"the output of {awaited} has parts that are kept as blobs, which no dependency hands over")
    if secret.may_hold_reference(encoded):
        return Judged(False, f"the output of {awaited} has a {secret.PREFIX} reference, which comes from inputs only")
    if terms.schema and (fault := next(_schema(terms.schema).iter_errors(value), None)) is not None:
        place = "".join(f"[{step!r}]" for step in fault.instance_path)
        return Judged(False, f"what {awaited} gives does not fit `schema`{place and ' at '}{place}: {fault.message[:300]}")
    return Judged(True, "", encoded if terms.into else b"")


def _shown(value: object) -> str:
    if value is False:
        return "false"
    return "neither true nor false"


@lru_cache(maxsize=512)
def _compiled(text: str) -> Expression:
    problems = Problems()
    expression, _ = _compiler(problems).condition(text, ())
    assert expression is not None, f"{text!r} was checked when it was asked for: {problems.found}"
    return expression


@lru_cache(maxsize=512)
def _schema(encoded: bytes) -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for(
        msgspec.json.decode(encoded), validate_formats=True, offline=True, pattern_options=jsonschema_rs.RegexOptions()
    )


def _compiler(problems: Problems) -> TemplateCompiler:
    return TemplateCompiler(_NOTHING, problems, {}, WORDS, roots=())


def _reads_output(expression: Expression) -> bool:
    reads = (expression,) if isinstance(expression, Plain) else expression.reads
    return any(read.key == "output" for read in reads)
