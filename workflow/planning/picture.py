"""A fragment's plan as a document of operational transform (`sync.ot`): tasks are nodes, needs are edges.

A node's fields are what an edit may change: `with.NAME` is a parameter that was given since the start, in the place of the
definition's. A task that was skipped is no node any more, and neither is what serves others or belongs to an earlier try.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from sync.ot.document import Document
from sync.ot.operations import AddEdge, AddNode, Any_, DelEdge, DelNode, Json
from workflow.states import SKIPPED, VOID
from workflow.tasks import After, Role

if TYPE_CHECKING:
    from workflow.fragment import Fragment

WITH = "with."
KINDS = {After.SUCCESS: "success", After.FAILURE: "failure", After.END: "end"}


def plan_of(fragment: "Fragment") -> Document:
    """The whole plan of the run as its home at this site has it; tasks of other sites are nodes, too."""
    return plan_around(fragment, (fragment.id_of(task) for task in range(len(fragment.states)) if _is_node(fragment, task)))


def plan_around(fragment: "Fragment", names: Iterable[str]) -> Document:
    """These tasks, as far as there are such, with all edges at them; at the other ends of these are nodes without fields."""
    document = Document()
    for name in dict.fromkeys(names):
        if not fragment.has(name) or not _is_node(fragment, task := fragment.index_of(name)):
            continue
        document.nodes[name] = _fields(fragment, task)
        edges = [(need, task, fragment.after_of(need, task)) for need in fragment.needs_of(task)]
        edges += [(task, dependent, after) for dependent, after in fragment.edges_of(task)]
        for source, target, after in edges:
            if _is_node(fragment, source) and _is_node(fragment, target):
                document.edges[(fragment.id_of(source), fragment.id_of(target), KINDS[after])] = None
    for edge in document.edges:
        for end in edge[:2]:
            document.nodes.setdefault(end, {})
    return document


def named_by(operations: Iterable[Any_]) -> list[str]:
    """The tasks that operations are about."""
    found: dict[str, None] = {}
    for operation in operations:
        match operation:
            case AddNode(id) | DelNode(id):
                found[id] = None
            case AddEdge(source, target) | DelEdge(source, target):
                found |= {source: None, target: None}
            case _:
                found[operation.node] = None
    return list(found)


def _is_node(fragment: "Fragment", task: int) -> bool:
    return fragment.task(task).role is Role.WORK and fragment.states[task] not in (SKIPPED, VOID)


def _fields(fragment: "Fragment", task: int) -> dict[str, Json]:
    given = fragment.extras.overrides.get(task) if fragment.extras is not None else None
    values: dict[str, Json] = msgspec.json.decode(given) if given else {}
    return {f"{WITH}{name}": value for name, value in sorted(values.items()) if value is not None}
