"""What is read, once all is compiled: a task must be upstream of whoever reads it, and what is read is kept."""

from collections.abc import Iterator
from itertools import chain
from typing import Any

import msgspec

from workflow.definition import NESTING, TaskDefinition
from workflow.flatten import Draft
from workflow.needs import Upstream
from workflow.problems import Place, Problems, choices
from workflow.tasks import LOCAL_BITS, Role

_NUMBER = (1 << LOCAL_BITS) - 1


def check_readings(drafts: list[Draft], upstreams: list[Upstream], problems: Problems) -> None:
    """The task that is read must be upstream of the one that reads, or its output need not be there yet. What is inside of a
    body reads as the `map` or `repeat` does; so these get what is read inside into their own `reads`. Inner bodies come first.
    """
    for draft, upstream in zip(reversed(drafts), reversed(upstreams), strict=True):
        pairs = list(_pairs(draft))
        if draft.is_ordered and pairs:
            for task, read in upstream.refused(pairs):
                _refuse(draft, task, read, problems)
        _check_rollbacks(draft, upstream, problems)
        if draft.outer is not None:
            _hand_outwards(draft, draft.outer)


def _pairs(draft: Draft) -> Iterator[tuple[int, int]]:
    """(task, what it reads of this draft and does not need itself); what a hidden task reads, its owner must be able to."""
    needs = draft.needs
    for plan in draft.plans:
        if not plan.reads and not plan.parameters.reads:
            continue
        owner = plan.index if plan.role is Role.WORK else plan.owner
        for read in chain(plan.parameters.reads, plan.reads):
            if read >> LOCAL_BITS < draft.depth:
                draft.outer_reads.add(read)
            elif (read := read & _NUMBER) not in needs[owner] and (plan.role is Role.WORK or read != owner):
                yield owner, read


def _hand_outwards(draft: Draft, outer: Draft) -> None:
    index = outer.index[draft.owner]
    plan = outer.plans[index]
    reads = draft.outer_reads.difference(plan.reads)
    if reads:
        outer.plans[index] = msgspec.structs.replace(plan, reads=tuple(sorted({*plan.reads, *reads})))


def _check_rollbacks(draft: Draft, upstream: Upstream, problems: Problems) -> None:
    pairs = [
        (index, step.to)
        for index, number in enumerate(draft.order)
        if draft.tasks[number].recovery
        for step in draft.plans[index].recovery
        if step.to >= 0
    ]
    for task, to in upstream.refused(pairs) if draft.is_ordered and pairs else []:
        message = f"task {draft.plans[task].id!r} cannot go back to {draft.plans[to].id!r}, which it does not wait for"
        problems.add((*draft.place(draft.order[task]), "recovery"), message, "tasks upstream")


def check_sites(draft: Draft, problems: Problems) -> None:
    """A recovery goes back at its own site, and not to a task of another. Only for definitions that are read anew: one that is
    registered stays what it was, and there such a task begins anew alone."""
    for index, number in enumerate(draft.order if draft.is_ordered else ()):
        for position, step in enumerate(draft.plans[index].recovery if draft.tasks[number].recovery else ()):
            here, there = (_site_of(draft, task) for task in (index, step.to)) if step.to >= 0 else ("", "")
            if here and there and here != there:
                message = f"task {draft.plans[index].id!r} is done at {here}, and {draft.plans[step.to].id!r} at {there}"
                allowed = "tasks of the same site; a person's rollback goes back at all sites"
                problems.add((*draft.place(number), "recovery", position, "rollback", "to"), message, allowed)


def _site_of(draft: Draft, task: int) -> str:
    """Where the task is done for sure, with all that is around it; empty if only a run shows it."""
    while draft.plans[task].parent >= 0:
        task = draft.plans[task].parent
    site = draft.plans[task].site
    return msgspec.json.decode(site.constant) if site is not None and site.constant is not None else ""


# Refusals -------------------------------------------------------------------------------------------------------------


def _refuse(draft: Draft, task: int, read: int, problems: Problems) -> None:
    number, other = draft.order[task], draft.order[read]
    id, name = draft.ids[number], draft.ids[other]
    place = _place_of(draft, number, draft.local(other))
    if task == read:
        problems.add(place, f"task {id!r} reads its own output", "tasks upstream")
    elif id.startswith(f"{name}."):
        problems.add(place, f"task {id!r} reads the output of {name!r}, which it is inside of", "tasks upstream")
    else:
        message = f"reads the output of task {name!r}, which it does not wait for"
        direct = choices([draft.plans[need].id for need in draft.needs[task]])
        problems.add(place, message, f"tasks upstream ({direct}); or add {draft.local(other)!r} to needs")


def _place_of(draft: Draft, number: int, name: str) -> Place:
    """Where in a task another one's name first stands in a text with an expression."""
    place = draft.place(number)
    return next(_places(_fields(draft.tasks[number]), name, place), place)


def _fields(task: TaskDefinition) -> dict[str, Any]:
    fields = task.model_dump(exclude_defaults=True, warnings=False, exclude={"needs", "recovery", "description"})
    for word in NESTING & fields.keys():
        if task.map or task.repeat:
            continue  # What is inside reads through it.
        fields[word].pop("tasks", None)
    return fields


def _places(whole: Any, name: str, place: Place) -> Iterator[Place]:
    if isinstance(whole, str):
        if name in whole and "tasks" in whole:
            yield place
    elif isinstance(whole, dict | list):
        for key, part in whole.items() if isinstance(whole, dict) else enumerate(whole):
            yield from _places(part, name, (*place, key))
