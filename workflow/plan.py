"""A definition compiled to arrays: tasks are integers in topological order, templates are ready to be filled.

One plan is made per version of a definition and shared by all its runs. It travels to the sites as the definition's
document and is compiled again there; the same document gives the same plan everywhere.
"""

import gc
from array import array
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import msgspec

from workflow.definition import RETRY_DELAY_CAP_MS, RetryPolicy, TaskDefinition, WorkflowDefinition
from workflow.expression import ExpressionError
from workflow.graph import Needs, dependents_of, find_cycles, not_upstream, topological_order
from workflow.inputs import InputCheck, InputError, compile_inputs
from workflow.problems import DefinitionError, Problems, choices
from workflow.reading import read_document
from workflow.tasks import Effect, Kind, RetryPlan, TaskPlan
from workflow.template import EMPTY, Template
from workflow.templates import TemplateCompiler, Vocabulary

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

DOCUMENT_BYTES_MAX = 3 << 20  # It travels to the sites as one event, and a message of a link has 4 MiB at most.
CYCLE_TASKS_SHOWN_MAX = 20


@dataclass(frozen=True, slots=True)
class Plan:
    """A compiled definition; every tuple is indexed by the task's index, which is its place in topological order."""

    ref: str  # name@version
    document: bytes  # The definition as canonical JSON.
    tasks: tuple[TaskPlan, ...]
    index: dict[str, int]
    needs: tuple[tuple[int, ...], ...]
    dependents: tuple[tuple[int, ...], ...]
    retained: tuple[bool, ...]  # Outputs that some expression reads.
    inputs: InputCheck = field(compare=False, repr=False)
    fallbacks: dict[int, tuple[int, ...]] = field(default_factory=dict)
    ends: frozenset[tuple[int, int]] = frozenset()
    outputs: Template | None = None
    timeout_ms: int = 0
    stops: bool = True
    stages: dict[str, tuple[str, ...]] = field(default_factory=dict)
    priority: int = 4
    checkpoints: int = 10
    is_plain: bool = True  # Every need is after success, and nothing is inside anything.

    def first_missing(self) -> "array[int]":
        """How many needs each task waits for; the first of a group wait for its start, too."""
        missing = array("I", map(len, self.needs))
        if not self.is_plain:
            for task in self.tasks:
                for first in task.group.first if task.group is not None else ():
                    missing[first] += 1
        return missing

    def check_inputs(self, inputs: Mapping[str, object]) -> dict[str, object]:
        """The inputs of a run with defaults filled in. Raises InputError, which never repeats the value of a secret."""
        return self.inputs.check(inputs)


def compile_plan(definition: WorkflowDefinition) -> Plan:
    """Compile a definition. Raises DefinitionError with all that only the whole document shows."""
    with _no_collection():
        return _compile(definition, Problems())


def read_plan(document: object) -> tuple[WorkflowDefinition, Plan]:
    """Read and compile a parsed document. Raises DefinitionError with all problems, of form and of content."""
    with _no_collection():
        definition, problems = read_document(document)
        return definition, _compile(definition, problems)


def plan_from_document(document: bytes) -> Plan:
    """The plan of a `Plan.document`. Raises DefinitionError."""
    try:
        parsed = msgspec.json.decode(document)
    except (msgspec.DecodeError, RecursionError) as error:
        problems = Problems()
        problems.add((), f"the document is no JSON: {error}")
        raise DefinitionError(problems.found) from None
    return read_plan(parsed)[1]


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


def _compile(definition: WorkflowDefinition, problems: Problems) -> Plan:
    ids = list(definition.tasks)
    written = _needs(definition, problems)
    order = topological_order(written)
    is_ordered = len(order) == len(ids)
    if not is_ordered:
        for cycle in find_cycles(written, order):
            _add_cycle(cycle, ids, problems)
        order = list(range(len(ids)))
    index = {ids[number]: place for place, number in enumerate(order)}
    places = [index[id] for id in ids]
    needs = tuple(tuple(sorted(places[need] for need in written[number])) for number in order)
    inputs = compile_inputs(definition.inputs, problems)
    templates = TemplateCompiler(_vocabulary(definition, index, inputs), problems)
    tasks = tuple(_task(index[id], id, definition.tasks[id], templates) for id in index)
    if is_ordered:
        _check_readings(definition, tasks, needs, templates)
    document = definition.document() if not problems else b""
    if len(document) > DOCUMENT_BYTES_MAX:
        problems.add((), f"the definition has {len(document):,} bytes", f"{DOCUMENT_BYTES_MAX:,} bytes")
    if problems:
        raise DefinitionError(problems.found, problems.left_out)
    read = {task for plan in tasks for task in plan.parameters.reads}
    return Plan(
        ref=definition.ref,
        document=document,
        tasks=tasks,
        index=index,
        needs=needs,
        dependents=tuple(map(tuple, dependents_of(needs))),
        retained=tuple(place in read for place in range(len(tasks))),
        inputs=inputs,
    )


# Needs ----------------------------------------------------------------------------------------------------------------


def _needs(definition: WorkflowDefinition, problems: Problems) -> list[list[int]]:
    """The needs of each task as numbers in the order of the definition."""
    numbers = {id: number for number, id in enumerate(definition.tasks)}
    needs: list[list[int]] = []
    for id, task in definition.tasks.items():
        known = [numbers[need] for need in task.needs if need in numbers]
        if len(known) < len(task.needs) or (len(known) > 1 and len(set(known)) < len(known)):
            _add_bad_needs(id, task.needs, numbers, problems)
            known = list(dict.fromkeys(known))
        needs.append(known)
    return needs


def _add_bad_needs(id: str, needs: list[str], numbers: Mapping[str, int], problems: Problems) -> None:
    seen: dict[str, None] = {}
    for position, need in enumerate(needs):
        place = ("tasks", id, "needs", position)
        if need not in numbers:
            problems.add_unknown(place, "task", need, numbers)
        elif need in seen:
            problems.add(place, f"task {need!r} is named twice", "each task once")
        seen[need] = None


def _add_cycle(cycle: list[int], ids: list[str], problems: Problems) -> None:
    first = cycle.index(min(cycle))
    names = [ids[number] for number in (*cycle[first:], *cycle[:first])]
    left_out = len(names) - CYCLE_TASKS_SHOWN_MAX
    shown = [*names[:CYCLE_TASKS_SHOWN_MAX], f"... ({left_out} more)"] if left_out > 0 else names
    message = f"tasks need each other in a circle: {' -> '.join([*shown, names[0]])}"
    problems.add(("tasks", names[0], "needs"), message, "needs without circles")


# Tasks ----------------------------------------------------------------------------------------------------------------


def _vocabulary(definition: WorkflowDefinition, index: dict[str, int], inputs: InputCheck) -> Vocabulary:
    schemas = inputs.schemas.values()
    return Vocabulary(
        inputs=dict(definition.inputs),
        secrets=frozenset(schema.name for schema in schemas if schema.is_secret),
        secret_holders=frozenset(schema.name for schema in schemas if schema.holds_secrets),
        index=index,
        waits=frozenset(id for id, task in definition.tasks.items() if task.wait),
    )


def _task(index: int, id: str, task: TaskDefinition, templates: TemplateCompiler) -> TaskPlan:
    return TaskPlan(
        index=index,
        id=id,
        capability=task.capability or "",
        agent=task.agent or "",
        wait_ms=task.wait.duration if task.wait else 0,
        kind=Kind.WAIT if task.wait else Kind.WORK,
        parameters=templates.parameters(task.parameters, ("tasks", id, "with")) if task.parameters else EMPTY,
        effect=_EFFECTS[task.effect],
        timeout_ms=task.timeout or 0,
        retry=_retry(task.retry) if task.retry else _RETRY,
        site=templates.site(task.site, ("tasks", id, "site")) if task.site else None,
    )


def _retry(policy: RetryPolicy) -> RetryPlan:
    cap_ms = max(RETRY_DELAY_CAP_MS, policy.delay) if policy.delay_max is None else policy.delay_max
    return RetryPlan(policy.max_attempts, policy.delay, policy.factor, cap_ms, policy.jitter)


_RETRY = _retry(RetryPolicy())
_EFFECTS = {effect.name.lower(): effect for effect in Effect}


def _check_readings(
    definition: WorkflowDefinition, tasks: tuple[TaskPlan, ...], needs: Needs, templates: TemplateCompiler
) -> None:
    """The task that is read must be upstream of the one that reads, or its output need not be there yet."""
    pairs = [(task.index, read) for task in tasks for read in task.parameters.reads if read not in needs[task.index]]
    for task, read in not_upstream(needs, pairs) if pairs else []:
        id, name = tasks[task].id, tasks[read].id
        place = templates.place_of(name, definition.tasks[id].parameters, ("tasks", id, "with"))
        if task == read:
            templates.problems.add(place, f"task {id!r} reads its own output", "tasks upstream")
        else:
            message = f"reads the output of task {name!r}, which it does not wait for"
            direct = choices([tasks[need].id for need in needs[task]])
            templates.problems.add(place, message, f"tasks upstream ({direct}); or add {name!r} to needs")
