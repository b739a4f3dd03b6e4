"""A definition compiled to arrays: tasks are integers in topological order, templates are ready to be filled.

One plan is made per version of a definition and shared by all its runs. It travels to the sites as the definition's
document and is compiled again there; the same document gives the same plan everywhere.
"""

import gc
from array import array
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

import msgspec

from sync.points.terms import PointTerms
from workflow.awaits import compile_awaits
from workflow.contract import Contract, ContractRefused, contract_of
from workflow.definition import WorkflowDefinition
from workflow.expression import Expression, ExpressionError
from workflow.flatten import Draft, flatten
from workflow.graphs import build_graph
from workflow.idle_fields import check_idle_fields
from workflow.inputs import InputCheck, InputError, compile_inputs
from workflow.needs import arrange
from workflow.packing import DocumentRefused, is_packed, pack, unpack
from workflow.problems import DefinitionError, Problems
from workflow.reading import read_document
from workflow.readings import check_readings, check_sites
from workflow.rules import compile_rules
from workflow.stages import check_stages
from workflow.task_plans import TaskCompiler
from workflow.tasks import AwaitPlan, Effect, Graph, RetryPlan, RulePlan, TaskPlan
from workflow.template import Template
from workflow.templates import Vocabulary

__all__ = [
    "DefinitionError",
    "Effect",
    "ExpressionError",
    "InputError",
    "Plan",
    "RetryPlan",
    "TaskPlan",
    "Template",
    "compile_plan",
    "plan_from_document",
    "read_plan",
]

# The plans of large definitions that somebody holds, by their packed documents: what was compiled in a thread, to check it or
# because it is on its way, is not compiled once more in the loop that everybody waits for.
_LARGE: "WeakValueDictionary[bytes, Plan]" = WeakValueDictionary()


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Plan:
    """A compiled definition; every tuple is indexed by the task's index, which is its place in topological order. Hidden tasks
    (validation, cleanup, compensation) come after all others."""

    ref: str  # name@version
    packed: bytes  # The definition as canonical JSON, compressed if it is large: `workflow.packing`.
    tasks: tuple[TaskPlan, ...]
    index: dict[str, int]
    needs: tuple[tuple[int, ...], ...]
    dependents: tuple[tuple[int, ...], ...]
    retained: tuple[bool, ...]  # Outputs that some expression reads.
    graph: Graph = field(compare=False, repr=False)  # The same, with the needs that are met by failure or any end.
    inputs: InputCheck = field(compare=False, repr=False)
    outputs: Template | None = None  # Of the run.
    timeout_ms: int = 0
    stops: bool = True  # When a task has failed for good; else what does not depend on it goes on.
    stages: dict[str, tuple[str, ...]] = field(default_factory=dict)  # Name -> next ones; the first is first.
    rules: tuple[RulePlan, ...] = ()
    watched: frozenset[str] = frozenset()  # States of a run that rules name.
    queries: dict[str, Expression] = field(default_factory=dict)
    priority: int = 4
    checkpoints: int = 10
    awaits: tuple[AwaitPlan, ...] = ()  # Other runs that its runs wait for.
    points: dict[str, PointTerms] = field(default_factory=dict)  # Where agents wait for each other.
    contract: Contract | None = None  # Of its runs; None: the default.
    gives_way: int = 3  # So often a task is undone because others wait for it in a circle; then a person decides.
    takes_freely: bool = False  # Do tasks inside others take resources in any order?
    says_contract: bool = False  # Does the definition name one, be it the default?
    is_plain: bool = True  # Every need is after success, nothing is inside anything, and tasks are work or wait for a time.

    @property
    def document(self) -> bytes:
        """The definition as canonical JSON."""
        return unpack(self.packed)

    def first_missing(self) -> "array[int]":
        """How many needs each task waits for; the first of a group wait for its start, too."""
        missing = array("I", map(len, self.needs))
        if not self.is_plain:
            for task in self.tasks:
                for first in task.group.first if task.group is not None else ():
                    missing[first] += 1
        return missing

    @property
    def fallbacks(self) -> dict[int, tuple[int, ...]]:
        """The tasks that wait for a task's failure."""
        return self.graph.fallbacks

    @property
    def ends(self) -> frozenset[tuple[int, int]]:
        """(task, dependent): the dependent takes any end of the task."""
        return self.graph.ends

    def check_inputs(self, inputs: Mapping[str, object], later: frozenset[str] = frozenset()) -> dict[str, object]:
        """The inputs of a run with defaults filled in; those of `later` may be missing. Raises InputError, which never repeats
        the value of a secret."""
        return self.inputs.check(inputs, later)


def compile_plan(definition: WorkflowDefinition) -> Plan:
    """Compile a definition. Raises DefinitionError with all that only the whole document shows."""
    with _no_collection():
        return _compile(definition, Problems())


def read_plan(document: object, *, is_known: bool = False) -> tuple[WorkflowDefinition, Plan]:
    """Read and compile a parsed document. Raises DefinitionError with all problems, of form and of content. One that `is_known`
    was taken before, and is taken even if it would be refused today."""
    with _no_collection():
        definition, problems = read_document(document)
        return definition, _compile(definition, problems, is_known=is_known)


def plan_from_document(document: bytes) -> Plan:
    """The plan of a `Plan.document` or a `Plan.packed`. Raises DefinitionError."""
    if (known := _LARGE.get(document)) is not None:
        return known
    problems = Problems()
    try:
        parsed = msgspec.json.decode(unpack(document))
    except DocumentRefused as refusal:
        problems.add((), f"the document cannot be read: {refusal}")
        raise DefinitionError(problems.found) from None
    except (msgspec.DecodeError, RecursionError) as error:
        problems.add((), f"the document is no JSON: {error}")
        raise DefinitionError(problems.found) from None
    return read_plan(parsed, is_known=True)[1]


@contextmanager
def _no_collection() -> Iterator[None]:
    """A plan is a million objects, none of which is garbage: looking for cycles among them takes longer than compiling."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _compile(definition: WorkflowDefinition, problems: Problems, *, is_known: bool = False) -> Plan:
    drafts = flatten(definition, problems)
    upstreams = [arrange(draft, problems) for draft in drafts]
    inputs = compile_inputs(definition.inputs, problems)
    vocabulary = _vocabulary(definition, inputs)
    compiler = TaskCompiler(definition, vocabulary, problems)
    for draft in drafts:
        compiler.name(draft)
    for draft in drafts:
        compiler.compile(draft)
    check_readings(drafts, upstreams, problems)
    if not is_known:
        check_sites(drafts[0], problems)
        check_idle_fields(definition, drafts, problems)
    if definition.stages:
        check_stages(definition.stages, problems, ("stages",))
    is_plain = compiler.is_plain and _is_plain(definition, drafts[0])
    whole = compile_rules(definition, drafts[0], problems)
    awaits = compile_awaits(definition, drafts, vocabulary, problems)
    contract = _contract(definition, problems)
    packed = _packed(definition, problems)
    if problems:
        raise DefinitionError(problems.found, problems.left_out)
    graph = build_graph(drafts)
    plan = Plan(
        ref=definition.ref,
        packed=packed,
        tasks=graph.tasks,
        index={task.id: task.index for task in graph.tasks},
        needs=graph.needs,
        dependents=graph.dependents,
        retained=graph.retained,
        graph=graph,
        inputs=inputs,
        outputs=whole.outputs,
        timeout_ms=definition.timeout or 0,
        stops=definition.on_failure == "stop",
        stages={name: tuple(targets) for name, targets in definition.stages.items()},
        rules=whole.rules,
        watched=whole.watched,
        queries=whole.queries,
        priority=definition.priority,
        checkpoints=definition.checkpoints,
        awaits=awaits,
        points={name: terms.value() for name, terms in definition.sync_points.items()},
        contract=contract,
        gives_way=definition.deadlock.retries if definition.deadlock is not None else 3,
        takes_freely=definition.deadlock is not None and definition.deadlock.order == "free",
        says_contract=definition.consistency is not None or definition.autonomy is not None,
        is_plain=is_plain,
    )
    # Of one that was compiled before and is held by somebody, all get that one.
    return _LARGE.setdefault(packed, plan) if is_packed(packed) else plan


def _contract(definition: WorkflowDefinition, problems: Problems) -> Contract | None:
    level, autonomy = definition.consistency, definition.autonomy
    try:
        return contract_of(level.value() if level is not None else None, autonomy.value() if autonomy is not None else None)
    except ContractRefused as refusal:
        found, _, allowed = str(refusal).partition("; allowed: ")
        problems.add(("autonomy",), found, allowed)
        return None


def _packed(definition: WorkflowDefinition, problems: Problems) -> bytes:
    if problems:
        return b""
    try:
        return pack(definition.document())
    except DocumentRefused as refusal:
        found, _, allowed = str(refusal).partition("; allowed: ")
        problems.add((), f"the definition has {found}", allowed)
        return b""


def _is_plain(definition: WorkflowDefinition, draft: Draft) -> bool:
    """Does nothing but what its tasks say make it more than a graph of work?"""
    more = draft.groups or draft.fallbacks or draft.ends or definition.recovery or definition.stages or definition.rules
    return not more and definition.on_failure == "stop" and not draft.top.compiler.words


def _vocabulary(definition: WorkflowDefinition, inputs: InputCheck) -> Vocabulary:
    schemas = inputs.schemas.values()
    return Vocabulary(
        inputs=dict(definition.inputs),
        secrets=frozenset(schema.name for schema in schemas if schema.is_secret),
        secret_holders=frozenset(schema.name for schema in schemas if schema.holds_secrets),
    )
