"""Templates: constants are encoded once, `${{ }}` is filled in at rendering, and nothing but a declared secret becomes one."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workflow.documents import document, plan, refusals
from workflow.expression import RESULT_BYTES_MAX, ExpressionError
from workflow.scope import Scope
from workflow.template import RENDERED_BYTES_MAX, Template

INPUTS: dict[str, Any] = {
    "n": {"type": "integer"},
    "name": {"type": "string"},
    "any": {},
    "token": {"type": "string", "secret": True},
    "db": {"properties": {"password": {"secret": True}}},
}
VALUES: dict[str, object] = {
    "n": 3,
    "name": 'crate "7"',
    "any": {"z": [1, None], "a": True},
    "token": "secret://erp",
    "db": {"host": "h", "password": "secret://db"},
}
WAIT = {"wait": {"for": 1}}
OUTPUTS: dict[int, object] = {0: {"sku": "x-1", "count": 2}}


def template(parameters: dict[str, Any]) -> Template:
    """The parameters of a task `b` that needs a task `a`."""
    return plan({"a": {}, "b": {"needs": ["a"], "with": parameters}}, inputs=INPUTS).tasks[1].parameters


def rendered(parameters: dict[str, Any], inputs: dict[str, object] = VALUES, outputs: dict[int, object] = OUTPUTS) -> Any:
    return msgspec.json.decode(template(parameters).render(Scope(inputs, outputs, "run-1")))


def refused(text: Any) -> str:
    (found,) = refusals(
        document({"a": {}, "w": WAIT, "b": {"needs": ["a", "w"], "with": {"x": text}}, "late": {}}, inputs=INPUTS)
    )
    assert found.startswith("tasks.b.with.x")
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${{ inputs.n }}", 3),
        ("${{inputs.any}}", {"z": [1, None], "a": True}),
        ("  ${{ inputs.n }}", "  3"),
        ("${{ inputs.name }}${{ inputs.n + 1 }}", 'crate "7"4'),
        ("${{ inputs.any }}!", '{"z":[1,null],"a":true}!'),
        ("${{ inputs.any.z[1] }}/${{ inputs.any.a }}", "null/true"),
        ("${{ tasks.a.output.sku }} of ${{ run.id }}", "x-1 of run-1"),
        ("${{ {'a': {'b': '}}'}} }}", {"a": {"b": "}}"}}),
        ("$${{ inputs.n }}", "${{ inputs.n }}"),
        ("$$${{ x }} ${{ inputs.n }}", "$${{ x }} 3"),
        ("a }} b ${ {", "a }} b ${ {"),
        ("secret://erp/key", "secret://erp/key"),
    ],
)  # fmt: skip
def test_texts_are_filled_in(text: str, expected: object) -> None:
    """One expression alone keeps its type, several become text, and `$${{` is a literal `${{`."""
    assert rendered({"x": text}) == {"x": expected}


def test_gaps_are_found_at_any_depth() -> None:
    """Lists and mappings are searched; keys, order and everything without expressions stay as they are."""
    parameters = {
        "b": [1, {"y": "${{ inputs.n }}", "${": '"${'}, "${{ inputs.n }}"],
        "a": {},
        "c": [],
        "é\n": 1.5,
        "d": "${{ inputs.n }}",
    }
    expected = {"b": [1, {"y": 3, "${": '"${'}, 3], "a": {}, "c": [], "é\n": 1.5, "d": 3}
    assert rendered(parameters) == expected
    assert list(rendered(parameters)) == list(expected)


def test_a_constant_is_encoded_once() -> None:
    """Without expressions the template is its JSON, an escaped opening included, and rendering gives these very bytes."""
    known = template({"a": 1, "b": "$${{ x }}"})
    assert known.constant == b'{"a":1,"b":"${{ x }}"}'
    assert known.render(Scope({}, {}, "")) is known.constant
    assert (known.reads, template({}).constant) == ((), b"{}")


def test_reads_are_the_tasks_whose_outputs_are_needed() -> None:
    """Each task is named once, in ascending order; rendering asks for no other output."""
    tasks: dict[str, Any] = {"a": {}, "b": {}, "c": {}}
    text = "${{ tasks.c.output.x + tasks.a.output.x + tasks.c.output.y }}"
    known = plan(tasks | {"d": {"needs": ["a", "b", "c"], "with": {"x": text, "y": text}}}).tasks[3].parameters
    assert known.reads == (0, 2)
    assert known.render(Scope({}, {0: {"x": 1}, 2: {"x": 2, "y": 3}}, "")) == b'{"x":6,"y":6}'
    with pytest.raises(ExpressionError, match=r"tasks\.a\.output is not at hand"):
        known.render(Scope({}, {2: {"x": 1, "y": 1}}, ""))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("${{ inputs.nam }}", "unknown input 'nam'; did you mean 'name'?; allowed: n, name, any, token, db"),
        ("${{ tasks.aa.output }}", "unknown task 'aa'; did you mean 'a'?; allowed: a, w, b, late"),
        ("${{ tasks.w.output }}", "task 'w' is a wait, which has no output"),
        ("${{ tasks.b.output }}", "task 'b' reads its own output; allowed: tasks upstream"),
        (["", "a ${{ tasks.late.output }}"], "x[1]: reads the output of task 'late', which it does not wait for; allowed: tasks"),
        ("${{ tasks.late.output }}", "allowed: tasks upstream (a, w); or add 'late' to needs"),
        ("${{ inputs.n", "the expression does not end (column 10"),
        ("${{ inputs.n } }", "the expression does not end before '} }' (column"),
        ("${{ }}", "'}' stands where a value is needed (column 2"),
        ("a ${{ inputs.n + }} b", "'}' stands where a value is needed (column 13 of '${{ inputs.n + }} b')"),
        (["${{ lower(inputs.name) }}"], "unknown function 'lower'"),
        ({"${{ inputs.n }}": 1}, "'${{ inputs.n }}' is a name, not a value; allowed: ${{ }} in values"),
        ("Bearer ${{ inputs.token }}", "input 'token' is a secret, which only an agent can read"),
        ("${{ inputs.token + 'x' }}", "input 'token' is a secret"),
        ("${{ size(inputs) }}", "one of the inputs is a secret"),
        ("secret://${{ inputs.name }}", "the name of a secret is computed; allowed: secret://name"),
        ("secret://", "is no reference to a secret; allowed: secret://name"),
        ({"y": ["secret://a b"]}, "is no reference to a secret"),
    ],
)
def test_what_cannot_be_rendered_is_refused_when_it_is_compiled(text: Any, says: str) -> None:
    """Bad references, bad syntax and computed secrets are refused with the path of the parameter."""
    assert says in refused(text)


def test_every_bad_reference_is_named() -> None:
    """Several faults of one text are all reported, with its path."""
    found = refusals(document({"a": {"with": {"x": "${{ [inputs.nam, tasks.aa.output] }} ${{ run.x }}"}}}, inputs=INPUTS))
    assert [problem.split(";")[0] for problem in found[:2]] == [
        "tasks.a.with.x: unknown input 'nam'",
        "tasks.a.with.x: unknown task 'aa'",
    ]
    assert "run is only known by its id" in found[2]


@pytest.mark.parametrize(
    "text", ["${{ inputs.token }}", '${{ inputs["token"] }}', "${{ inputs.db }}", "${{ inputs.db.password }}", "${{ inputs }}"]
)
def test_a_declared_secret_passes_as_a_reference(text: str) -> None:
    """An input that is declared secret, or holds one, may be a parameter, whole or in part."""
    assert b'"secret://' in template({"x": text}).render(Scope(VALUES, OUTPUTS, ""))


@pytest.mark.parametrize(
    "text",
    [
        "${{ tasks.a.output.sku }}",
        "${{ tasks.a.output }}",
        "${{ tasks.a.output.sku + '' }}",
        "${{ [tasks.a.output.sku] }}",
        "${{ tasks.a.output.sku }}${{ inputs.n }}",
        "${{ tasks.a.output.head }}${{ tasks.a.output.tail }}",
        "${{ 'secret:' + tasks.a.output.tail }}",
    ],
)
def test_nothing_else_becomes_a_secret(text: str) -> None:
    """What a task returned, or what an expression makes of it, is never handed to an agent as a reference to a secret."""
    outputs: dict[int, object] = {0: {"sku": "secret://erp", "head": "secret:", "tail": "//erp"}}
    with pytest.raises(ExpressionError, match="comes from an input declared `secret: true` only"):
        rendered({"x": text}, VALUES, outputs)


def test_a_text_is_bounded() -> None:
    """What is put together from several parts is limited like a single result."""
    half = {"any": "x" * (RESULT_BYTES_MAX // 2)}
    assert rendered({"x": "${{ inputs.any }}-"}, VALUES | half)
    with pytest.raises(ExpressionError, match="64 KiB"):
        rendered({"x": "${{ inputs.any }}-${{ inputs.any }}"}, VALUES | half)


def test_all_parameters_together_are_bounded() -> None:
    """Many results that are allowed one by one are refused when they are too much together."""
    long = VALUES | {"any": "x" * (RESULT_BYTES_MAX - 100)}
    assert rendered({"x": ["${{ inputs.any }}"] * 15}, long)
    with pytest.raises(ExpressionError, match=f"allowed: {RENDERED_BYTES_MAX >> 20} MiB"):
        rendered({"x": ["${{ inputs.any }}"] * 17}, long)


def test_a_site_is_text_from_inputs() -> None:
    """A site is a JSON string, whatever type its expression has; it reads inputs, no secrets, no tasks and no run id."""
    task = plan(
        {"a": {"site": "${{ inputs.name }}"}, "b": {"site": "h-${{ inputs.n }}"}, "c": {"site": "${{ inputs.n }}"}}, inputs=INPUTS
    )
    sites = [site.render(Scope(VALUES, {}, "")) for site in (known.site for known in task.tasks) if site]
    assert sites == [b'"crate \\"7\\""', b'"h-3"', b'"3"']
    known = plan({"a": {"site": "harbour"}}).tasks[0].site
    assert known is not None
    assert known.constant == b'"harbour"'
    for text, says in (
        ("${{ tasks.a.output }}", "a site depends on inputs only, not on task 'a'"),
        ("${{ run.id }}", "a site depends on inputs only, not on the run"),
        ("${{ inputs.token }}", "input 'token' is a secret"),
    ):
        (found,) = refusals(document({"a": {}, "b": {"needs": ["a"], "site": text}}, inputs=INPUTS))
        assert found.startswith(f"tasks.b.site: {says}")


texts = st.sampled_from(
    ["$${{", "}}", "${", "$", "{{", '"', "\\", "${{ inputs.n }}", "${{ inputs.any }}", "${{ tasks.a.output.sku }}", "é"]
)
leaves = st.none() | st.integers(-9, 9) | st.lists(texts, max_size=4).map("".join)
shapes = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab$", max_size=2), inner, max_size=3),
    max_leaves=8,
)


def naive(value: Any) -> Any:
    """The value with every text replaced by hand, for the four expressions that occur."""
    if isinstance(value, dict):
        return {key: naive(item) for key, item in value.items()}
    if isinstance(value, list):
        return [naive(item) for item in value]
    known = {"${{ inputs.n }}": 3, "${{ inputs.any }}": {"k": 1}, "${{ tasks.a.output.sku }}": "x-1"}
    if not isinstance(value, str) or value in known:
        return known.get(value, value) if isinstance(value, str) else value
    filled, position = "", 0
    while position < len(value):
        found = next((text for text in known if value.startswith(text, position)), None)
        if value.startswith("$${{", position):
            filled, position = filled + "${{", position + 4
        elif found:
            result = known[found]
            filled += result if isinstance(result, str) else msgspec.json.encode(result).decode()
            position += len(found)
        else:
            filled, position = filled + value[position], position + 1
    return filled


@given(shapes)
def test_pieces_make_what_was_written(value: Any) -> None:
    """Cutting the JSON into pieces and filling the gaps gives the same as replacing text by text."""
    if not refusals(document({"a": {}, "b": {"needs": ["a"], "with": {"x": value}}}, inputs=INPUTS)):
        assert rendered({"x": value}, VALUES | {"any": {"k": 1}}) == {"x": naive(value)}
