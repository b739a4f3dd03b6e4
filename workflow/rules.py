"""What a definition says of the whole run: its outputs, what is done when something happens, and what can be asked."""

from dataclasses import dataclass

from workflow.definition import WorkflowDefinition
from workflow.expression import Expression
from workflow.flatten import Draft
from workflow.parts import RULE_WORDS, Rule
from workflow.places import STATES
from workflow.problems import Place, Problems
from workflow.tasks import RulePlan
from workflow.template import EMPTY, Template
from workflow.templates import TemplateCompiler

TASK_EVENTS = (
    *("started", "completed", "failed", "skipped", "cancelled", "lost", "reconcile", "incident"),
    *("validating", "waiting_for_resource", "retrying"),
)
RUN_EVENTS = ("started", "paused", "resumed", "completed", "failed", "cancelled", "incident")


@dataclass(frozen=True, slots=True)
class Whole:
    """The parts of a plan that belong to no task."""

    outputs: Template | None
    rules: tuple[RulePlan, ...]
    queries: dict[str, Expression]

    @property
    def watched(self) -> frozenset[str]:
        """The states of a run that rules name."""
        parted = (rule.on.partition(".") for rule in self.rules)
        return frozenset(what for subject, _, what in parted if subject in ("enter", "exit"))


def compile_rules(definition: WorkflowDefinition, draft: Draft, problems: Problems) -> Whole:
    """Compile what reads the tasks of the run from outside; `draft` is the run's."""
    templates = draft.top.compiler
    outputs = templates.template(definition.outputs, ("outputs",)) if definition.outputs else None
    rules = tuple(
        _rule(definition, rule, templates.beside("event"), ("rules", position), problems)
        for position, rule in enumerate(definition.rules)
    )
    queries: dict[str, Expression] = {}
    for name, text in definition.queries.items():
        expression, _ = templates.condition(text, ("queries", name))
        if expression is not None:
            queries[name] = expression
    return Whole(outputs, rules, queries)


def _rule(definition: WorkflowDefinition, rule: Rule, templates: TemplateCompiler, place: Place, problems: Problems) -> RulePlan:
    subject, _, what = rule.on.partition(".")
    kind, known = {
        "task": ("event of a task", TASK_EVENTS),
        "run": ("event of a run", RUN_EVENTS),
        "stage": ("stage", tuple(definition.stages)),
    }.get(subject, ("state of a run", STATES))
    if what not in known:
        problems.add_unknown((*place, "on"), kind, what, known)
    when = templates.condition(rule.when, (*place, "when"))[0] if rule.when is not None else None
    do = rule.do
    action = next(word for word in RULE_WORDS if getattr(do, word) is not None)
    task, target, started, inputs = -1, do.notify or do.escalate or "", "", EMPTY
    if do.skip == "":
        if subject != "task":
            named = f"on: task. with {', '.join(TASK_EVENTS)}; or the task to skip: {{skip: ...}}"
            problems.add((*place, "do"), f"{rule.on} is about no task that could be skipped", named)
    elif do.skip is not None:
        task = templates.tasks.get(do.skip, -1)
        if task < 0:
            problems.add_unknown((*place, "do", "skip"), "task", do.skip, templates.tasks)
    elif do.start is not None:
        started, inputs = do.start.definition, templates.parameters(do.start.inputs, (*place, "do", "start", "inputs"))
    return RulePlan(rule.on, action, when, task, target, started, inputs)
