"""Plans: topological order, the round trip of the document, who may read whom, retries, and limits."""

import gc
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workflow.documents import document, graphs, plan, refusals
from workflow.definition import TASKS_MAX, WorkflowDefinition
from workflow.plan import DefinitionError, Effect, Plan, RetryPlan, compile_plan, plan_from_document


def with_needs(needs: dict[str, list[str]], reads: dict[str, str] | None = None) -> dict[str, Any]:
    reads = reads or {}
    return {
        id: {"needs": its_needs} | ({"with": {"x": f"${{{{ tasks.{reads[id]}.output }}}}"}} if id in reads else {})
        for id, its_needs in needs.items()
    }


@given(graphs())
def test_tasks_are_in_topological_order(needs: dict[str, list[str]]) -> None:
    """Each task comes after its needs; arrays agree with each other and with what was written."""
    known = plan(with_needs(needs))
    assert sorted(known.index) == sorted(needs)
    for id, index in known.index.items():
        task = known.tasks[index]
        assert (task.id, task.index) == (id, index)
        assert sorted(needs[id]) == sorted(known.tasks[need].id for need in known.needs[index])
        assert all(need < index for need in known.needs[index])
        for need in known.needs[index]:
            assert index in known.dependents[need]
    assert sum(map(len, known.needs)) == sum(map(len, known.dependents))


def test_order_is_the_order_of_writing_where_needs_allow() -> None:
    """Of the tasks that are ready, the one written first comes first."""
    known = plan(with_needs({"d": ["b"], "c": [], "b": [], "a": ["c"]}))
    assert [task.id for task in known.tasks] == ["c", "b", "d", "a"]


tasks = st.fixed_dictionaries(
    {},
    optional={
        "effect": st.sampled_from(["repeatable", "once", "physical"]),
        "timeout": st.sampled_from([1, 0.5, "90s", "2h"]),
        "retry": st.fixed_dictionaries(
            {}, optional={"max_attempts": st.integers(1, 9), "delay": st.just("40s"), "jitter": st.floats(0, 1)}
        ),
        "site": st.sampled_from(["harbour", "${{ inputs.site }}"]),
        "with": st.sampled_from([{}, {"x": [1, "é", None]}, {"x": "${{ inputs.site + '!' }}"}, {"x": "$${{"}]),
    },
)


@settings(deadline=None)
@given(graphs(), st.data())
def test_a_plan_survives_the_journey(needs: dict[str, list[str]], data: st.DataObject) -> None:
    """The plan of a plan's document is equal, down to the bytes of the document; so are two compilations of one definition."""
    drawn = {id: data.draw(tasks) | task for id, task in with_needs(needs).items()}
    whole = document(drawn, inputs={"site": {"type": "string", "default": "x"}}, description="d")
    definition = WorkflowDefinition.model_validate(whole)
    known = compile_plan(definition)
    again = plan_from_document(known.document)
    assert known == again == compile_plan(definition)
    assert known.document == again.document
    assert known.check_inputs({}) == again.check_inputs({})


def test_a_task_is_compiled_to_numbers() -> None:
    """Durations are in ms, effects are those of the wire, and of capability, agent and wait one is set."""
    known = plan({
        "a": {"capability": "pick", "effect": "physical", "timeout": "1.5s"},
        "b": {"agent": "anna", "effect": "repeatable"},
        "c": {"wait": {"for": "2h"}},
    })  # fmt: skip
    expected = [
        ("pick", "", 0, Effect.PHYSICAL, 1_500),
        ("", "anna", 0, Effect.REPEATABLE, 0),
        ("", "", 7_200_000, Effect.ONCE, 0),
    ]
    assert [(task.capability, task.agent, task.wait_ms, task.effect, task.timeout_ms) for task in known.tasks] == expected
    assert [Effect.REPEATABLE, Effect.ONCE, Effect.PHYSICAL] == [1, 2, 3]
    assert known.ref == "flow@1.0.0"


def test_outputs_that_are_read_are_retained() -> None:
    """Only outputs that some expression reads are marked to be kept."""
    known = plan(with_needs({"a": [], "b": ["a"], "c": ["b"]}, {"c": "a"}))
    assert known.retained == (True, False, False)


@given(graphs(), st.data())
def test_only_upstream_tasks_can_be_read(needs: dict[str, list[str]], data: st.DataObject) -> None:
    """A reading is refused exactly if no path of needs leads to the task that is read, and the message says what to add."""
    reader, read = data.draw(st.sampled_from(sorted(needs))), data.draw(st.sampled_from(sorted(needs)))
    upstream: set[str] = set()
    frontier = [reader]
    while frontier:
        frontier = [need for id in frontier for need in needs[id] if need not in upstream]
        upstream |= set(frontier)
    found = refusals(document(with_needs(needs, {reader: read})))
    if read in upstream:
        assert not found
    else:
        (problem,) = found
        assert problem.startswith(f"tasks.{reader}.with.x: ")
        assert problem.endswith("allowed: tasks upstream" if reader == read else f"or add '{read}' to needs")


@pytest.mark.parametrize(
    ("needs", "circles"),
    [
        ({"a": ["a"]}, ["a -> a"]),
        ({"a": ["c"], "b": ["a"], "c": ["b"]}, ["a -> c -> b -> a"]),
        ({"x": [], "d": ["c", "x"], "c": ["b"], "b": ["c"]}, ["c -> b -> c"]),
        ({"a": ["b"], "b": [], "c": ["d"], "d": ["c"], "e": ["e"]}, ["c -> d -> c", "e -> e"]),
    ],
)
def test_circles_are_named(needs: dict[str, list[str]], circles: list[str]) -> None:
    """A circle is shown from the task that is written first, each followed by one that it needs."""
    assert refusals(document(with_needs(needs))) == [
        f"tasks.{circle[0]}.needs: tasks need each other in a circle: {circle}; allowed: needs without circles"
        for circle in circles
    ]


@pytest.mark.parametrize(
    ("needs", "says"),
    [
        ({"pick": [], "pack": ["pikc"]}, "tasks.pack.needs[0]: unknown task 'pikc'; did you mean 'pick'?; allowed: pick, pack"),
        ({"a": [], "b": ["a", "a"]}, "tasks.b.needs[1]: task 'a' is named twice; allowed: each task once"),
    ],
)
def test_bad_needs_are_refused(needs: dict[str, list[str]], says: str) -> None:
    """Needs that nobody knows, and needs named twice."""
    assert refusals(document(with_needs(needs))) == [says]


def test_a_long_circle_is_cut() -> None:
    """The message of a circle of thousands of tasks stays readable."""
    needs = {f"t{number}": [f"t{(number + 1) % 5_000}"] for number in range(5_000)}
    (found,) = refusals(document(with_needs(needs)))
    assert found.endswith("t18 -> t19 -> ... (4980 more) -> t0; allowed: needs without circles")


def test_the_number_of_tasks_is_bounded() -> None:
    """One task more than the limit is refused."""
    found = refusals(document({f"t{number}": {} for number in range(TASKS_MAX + 1)}))
    assert found == ["tasks: has too many; allowed: 100000 at most"]


def test_a_large_definition_is_compiled() -> None:
    """20,000 tasks in a chain, each reading the first, are compiled, and their plan knows it."""
    needs = {f"t{number}": [f"t{number - 1}"] if number else [] for number in range(20_000)}
    known = plan(with_needs(needs, dict.fromkeys(list(needs)[1:], "t0")))
    assert known.needs[19_999] == (19_998,)
    assert known.retained.count(True) == 1


@pytest.mark.parametrize("text", [b"", b"{", b"[" * 100_000, b"\xff", b"null", b'{"name":"a"}'])
def test_what_is_no_document_is_refused(text: bytes) -> None:
    """Bytes that are no definition raise DefinitionError and nothing else."""
    with pytest.raises(DefinitionError):
        plan_from_document(text)


# Retries --------------------------------------------------------------------------------------------------------------


def test_delays_grow_up_to_the_cap() -> None:
    """Each delay is the one before times the factor, until the cap; the first follows the first attempt."""
    retry = RetryPlan(max_attempts=9, delay_ms=1_000, factor=2.0, delay_max_ms=5_000, jitter=0.0)
    assert [retry.delay_before(attempt, 0.5) for attempt in range(1, 6)] == [1_000, 2_000, 4_000, 5_000, 5_000]


@given(
    st.builds(
        RetryPlan,
        max_attempts=st.just(1_000),
        delay_ms=st.integers(0, 10**9),
        factor=st.floats(1, 100),
        delay_max_ms=st.integers(10**9, 10**11),
        jitter=st.floats(0, 1),
    ),
    st.integers(1, 1_000),
    st.floats(0, 1, exclude_max=True),
)
def test_jitter_only_shortens(retry: RetryPlan, attempt: int, chance: float) -> None:
    """A delay lies between the exponential one and that less the share of the jitter, for any attempt."""
    whole = msgspec.structs.replace(retry, jitter=0.0).delay_before(attempt, chance)
    delay_ms = retry.delay_before(attempt, chance)
    assert isinstance(delay_ms, int)
    assert whole * (1 - retry.jitter) - 1 <= delay_ms <= whole <= retry.delay_max_ms


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (None, RetryPlan(3, 1_000, 2.0, 30_000, 0.2)),
        ({"max_attempts": 1}, RetryPlan(1, 1_000, 2.0, 30_000, 0.2)),
        ({"delay": "5m"}, RetryPlan(3, 300_000, 2.0, 300_000, 0.2)),
        ({"delay": 0, "delay_max": "10s", "factor": 1, "jitter": 0}, RetryPlan(3, 0, 1.0, 10_000, 0.0)),
    ],
)
def test_policies_have_defaults(policy: dict[str, Any] | None, expected: RetryPlan) -> None:
    """Without a policy there are three attempts; a long delay is not cut by the default cap."""
    known: Plan = plan({"a": {} if policy is None else {"retry": policy}})
    assert known.tasks[0].retry == expected


# The garbage collector -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("enabled", [True, False])
def test_compiling_leaves_the_collector_as_it_was(enabled: bool) -> None:
    """Compiling pauses the garbage collector; afterwards, and after a refusal, it is as before."""
    before = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        plan({"a": {}})
        assert refusals(document({"a": {"needs": ["b"]}}))
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if before else gc.disable)()


def test_a_large_definition_is_compiled_once_while_somebody_holds_it() -> None:
    """It travels packed; whoever gets the same bytes while its plan is there gets that plan, and later an equal one."""
    whole = document({f"t{n}": {"capability": "pick", "description": "d" * 400} for n in range(1_000)})
    known = compile_plan(WorkflowDefinition.model_validate(whole))
    packed, written = known.packed, known.document
    assert (len(packed) < 20_000, len(written) > 400_000) == (True, True)
    assert plan_from_document(bytes(bytearray(packed))) is known
    assert plan_from_document(written) is known
    del known
    assert plan_from_document(packed).document == written


def test_a_document_that_cannot_be_unpacked_is_refused() -> None:
    """As any other that is no definition."""
    with pytest.raises(DefinitionError, match="neither JSON nor compressed JSON"):
        plan_from_document(b"x\x9c and no more")
