"""What a definition says of other runs that its own wait for: compiled once, and evaluated once, when a run begins.

    awaits:
      - run: "${{ inputs.previous }}"
        kind: end

Which runs these are only the inputs tell, so nothing else may be read. An input that is empty or null: nothing is waited for.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from workflow.between import Kind, Point
from workflow.definition import AGENTS, WorkflowDefinition
from workflow.expression import ExpressionError
from workflow.flatten import Draft
from workflow.judging import read_terms
from workflow.parts import AWAITS_MAX, Await
from workflow.problems import Place, Problems, show_path, shown
from workflow.scope import Scope
from workflow.tasks import AwaitPlan
from workflow.templates import TemplateCompiler, Vocabulary
from workflow.terms import Terms

if TYPE_CHECKING:
    from workflow.plan import Plan


class AwaitRefused(ValueError):
    """What a run was to wait for cannot be told from its inputs. The message names the place in the definition."""


class Awaited(NamedTuple):
    """The run (`task` empty: as a whole) waits for `on`; `said` is where the definition says so, and how."""

    task: str
    on: Point
    kind: Kind
    said: str
    terms: Terms | None = None


def compile_awaits(
    definition: WorkflowDefinition, drafts: Sequence[Draft], vocabulary: Vocabulary, problems: Problems
) -> tuple[AwaitPlan, ...]:
    """Compile what the whole and its tasks await. What a `map` or `repeat` makes copies of has no names yet when a run begins."""
    templates = TemplateCompiler(vocabulary, problems, {}, roots=("inputs",))
    found = list(_compiled("", definition.awaits, ("awaits",), templates))
    for position, item in enumerate(definition.awaits):
        if item.into is not None:
            _check_input(item.into, ("awaits", position, "into"), vocabulary, problems)
    for draft in drafts:
        for number, task in enumerate(draft.tasks):
            if "awaits" not in task.model_fields_set or not task.awaits:
                continue
            place = (*draft.place(number), "awaits")
            if draft.outer is not None:
                problems.add(place, "what is copied or added later awaits no other run", "`awaits` on what is around it")
                continue
            if not AGENTS & task.model_fields_set and any(item.into is not None for item in task.awaits):
                problems.add(place, "only what agents do has parameters that a value can go into", ", ".join(sorted(AGENTS)))
            found += _compiled(draft.ids[number], task.awaits, place, templates)
    if len(found) > AWAITS_MAX:
        problems.add(("awaits",), f"{len(found):,} other runs are awaited in all", f"{AWAITS_MAX:,} at most")
    return tuple(found)


def _check_input(name: str, place: Place, vocabulary: Vocabulary, problems: Problems) -> None:
    if name not in vocabulary.inputs:
        problems.add_unknown(place, "input", name, vocabulary.inputs)
    elif name in vocabulary.secrets:
        problems.add(place, f"input {name!r} is a secret, and no output is one", "other inputs")


def _compiled(task: str, awaits: Sequence[Await], place: Place, templates: TemplateCompiler) -> Iterator[AwaitPlan]:
    for position, item in enumerate(awaits):
        where = (*place, position)
        run = templates.template(item.run, (*where, "run"))
        on_task = templates.template(item.task, (*where, "task"))
        terms = read_terms(item.when or "", item.select or "", item.into or "", item.shape, where, templates.problems)
        yield AwaitPlan(task, run, on_task, f"after_{item.kind}", f"{show_path((*where, 'run'))}: {shown(item.run)}", terms)


def awaited_by(plan: "Plan", inputs: Mapping[str, object]) -> list[Awaited]:
    """For whom a run with these inputs waits. Raises AwaitRefused."""
    scope, found = Scope(inputs), dict[Awaited, None]()
    for each in plan.awaits:
        try:
            runs = msgspec.json.decode(each.run.render(scope))
            task = msgspec.json.decode(each.on_task.render(scope)) or ""
        except ExpressionError as error:
            raise AwaitRefused(f"{each.said}: {error}") from None
        for name in runs if isinstance(runs, list) else [runs]:
            if name is None or name == "":
                continue
            if not isinstance(name, str) or not isinstance(task, str):
                wrong = name if not isinstance(name, str) else task
                raise AwaitRefused(
                    f"{each.said} gives {shown(wrong)}, which names no run or task; allowed: text, or a list of it"
                )
            run, _, inside = name.partition("/")
            if run:
                found[Awaited(each.of_task, Point(run, task or inside), each.kind, each.said, each.terms)] = None  # type: ignore[arg-type]
    if len(found) > AWAITS_MAX:
        raise AwaitRefused(f"{len(found):,} other runs would be awaited; allowed: {AWAITS_MAX:,} at most")
    return list(found)
