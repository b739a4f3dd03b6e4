"""What the expressions of a task may see in a fragment, gathered just before they are evaluated."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import msgspec

from workflow.event import Blob
from workflow.expression import Expression, LargeOutput, Plain
from workflow.extras import Copy
from workflow.scope import Scope
from workflow.states import COMPLETED, NAMES, PENDING
from workflow.template import Template

if TYPE_CHECKING:
    from workflow.fragment import Fragment

_NOTHING: dict[str, object] = {}


def scope_of(fragment: "Fragment", task: int, local: Mapping[str, object] = _NOTHING) -> Scope:
    """The values that the task's expressions name. Outputs that are kept as blobs appear as references."""
    return _scope(fragment, task, fragment.reads_of(task), local)


def scope_inside(fragment: "Fragment", task: int, expression: Expression) -> Scope:
    """The values that an expression names which belongs to the body around the task, as the condition of a repeat does."""
    reads = (expression,) if isinstance(expression, Plain) else expression.reads
    return _scope(fragment, task, [read.key for read in reads if isinstance(read.key, int)], _NOTHING)


def scope_for(fragment: "Fragment", local: Mapping[str, object], *parts: Expression | Template | None) -> Scope:
    """The values that expressions name which belong to the run as a whole: rules, queries, outputs."""
    numbers: set[int] = set()
    for part in parts:
        if isinstance(part, Template):
            numbers.update(part.reads)
        elif part is not None:
            reads = (part,) if isinstance(part, Plain) else part.reads
            numbers.update(read.key for read in reads if isinstance(read.key, int))
    return _scope(fragment, -1, sorted(numbers), local)


def scope_of_run(run: str, inputs: bytes, tasks: Iterable[tuple[int, "Fragment | None"]]) -> Scope:
    """What expressions about a run as a whole see of these tasks, each as its own site has it, or pending."""
    outputs: dict[int, object] = {}
    states: dict[int, str] = {}
    errors: dict[int, object] = {}
    for task, fragment in tasks:
        states[task] = NAMES[PENDING if fragment is None else fragment.states[task]]
        if fragment is None:
            continue
        if fragment.states[task] == COMPLETED and (output := (fragment.outputs or {}).get(task)) is not None:
            outputs[task] = value_of(output)
        if fragment.extras is not None and task in fragment.extras.errors:
            code, message = fragment.extras.errors[task]
            errors[task] = {"code": code, "message": message}
    return Scope(msgspec.json.decode(inputs), outputs, run, states, errors)


def _scope(fragment: "Fragment", task: int, numbers: Iterable[int], local: Mapping[str, object]) -> Scope:
    outputs: dict[int, object] = {}
    states: dict[int, str] = {}
    errors: dict[int, object] = {}
    kept = fragment.outputs or {}
    for number in numbers:
        read = fragment.resolve(task, number) if task >= 0 else number
        if read in kept:
            outputs[number] = value_of(kept[read])
        if fragment.plan.is_plain and fragment.extras is None:
            continue
        states[number] = NAMES[fragment.states[read]]
        if fragment.extras is not None and read in fragment.extras.errors:
            code, message = fragment.extras.errors[read]
            errors[number] = {"code": code, "message": message}
    words = _locals(fragment, task, local) if task >= 0 else local
    return Scope(msgspec.json.decode(fragment.inputs), outputs, fragment.run, states, errors, words)


def _locals(fragment: "Fragment", task: int, local: Mapping[str, object]) -> Mapping[str, object]:
    copy = fragment.copy_around(task)
    plan = fragment.task(task)
    if plan.owner >= 0 and not local and fragment.outputs:
        owner = fragment.outputs.get(fragment.base_of(task) + plan.owner)
        local = {} if owner is None else {"output": value_of(owner)}
    if copy is None:
        return local
    item, around = copy.item, copy
    while not item and (outer := fragment.copy_around(around.owner) if around.owner >= 0 else None) is not None:
        item, around = outer.item, outer  # A round inside of a map sees the item around it.
    words = _Words({"index": copy.number, **({"item": msgspec.json.decode(item)} if item else {}), **local})
    words.place = fragment, copy
    return words


class _Words(dict[str, object]):
    """The local words of a copy. What the round before gave is gathered only for those who say `previous`."""

    __slots__ = ("place",)
    place: "tuple[Fragment, Copy]"

    def __contains__(self, word: object) -> bool:
        return word == "previous" or super().__contains__(word)

    def __missing__(self, word: str) -> object:
        if word != "previous":
            raise KeyError(word)
        return _round_before(*self.place)


def _round_before(fragment: "Fragment", copy: Copy) -> object:
    """What the last round of the nearest repeat gave, as the repeat itself gives it in the end; null in the first."""
    while copy.body.over is not None and (outer := fragment.copy_around(copy.owner)) is not None:
        copy = outer
    if copy.body.over is not None or copy.owner < 0 or copy.number == 0:
        return None
    copies = reversed(fragment.copies_of(copy.owner))
    before = next(known for known in copies if known.number == copy.number - 1 and not known.is_void)
    found = {before.body.graph.tasks[member].id: _given(fragment, before.base + member) for member in before.body.members}
    return next(iter(found.values())) if len(found) == 1 else found


def _given(fragment: "Fragment", task: int) -> object:
    output = (fragment.outputs or {}).get(task)
    return value_of(output) if output is not None and fragment.states[task] == COMPLETED else None


def value_of(output: bytes | Blob) -> object:
    """An output as expressions see it: decoded JSON, or a reference that the agent resolves at use."""
    if isinstance(output, Blob):
        return LargeOutput({"$blob": {"sha256": output.sha256.hex(), "size": output.size}})
    return msgspec.json.decode(output)
