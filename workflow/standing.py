"""Standing rules: what operators say outside of definitions, for all runs or for some, as it is compiled and looked up.

    name: tell-night-shift
    on: task.failed
    when: event.code == 'jam' && run.priority >= 7
    do: {escalate: "role:night-shift"}
    scope: {site: harbour, definition: fulfilment, labels: {line: "4"}}

They have the words, limits and messages of a definition's own rules, but for what only one definition knows: its tasks and inputs
cannot be read. A condition reads `event` and `run` (id, definition, labels, priority); `skip` skips the task that the event is
about.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from workflow.parts import (
    PATTERN_RULES,
    RULE_WORDS,
    URL,
    Cel,
    Identifier,
    Nothing,
    Part,
    Person,
    Ref,
    StartedRun,
    require_one,
)
from workflow.problems import DefinitionError, Problems
from workflow.reading import read_part
from workflow.rules import RUN_EVENTS, TASK_EVENTS
from workflow.syntax import RUN_WORDS
from workflow.tasks import RulePlan
from workflow.template import EMPTY
from workflow.templates import TemplateCompiler, Vocabulary

if TYPE_CHECKING:
    from workflow.fragment import Fragment

DOCUMENT_BYTES_MAX = 64 << 10
LABELS_MAX = 20
SITE = r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$"
PATTERN_RULES[SITE] = "the name of a site: lower-case letters, digits and -, 63 at most"
TRIGGER = r"^(task|run|stage)\.[A-Za-z_][A-Za-z0-9_-]{0,127}$"
PATTERN_RULES[TRIGGER] = "task.<state>, run.<state> or stage.<name>"
BARE = ("pause", "cancel", "skip")


class StandingAction(Part):
    """What a standing rule does: one of its fields."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": [word]} for word in RULE_WORDS]})

    pause: Nothing | None = None
    cancel: Nothing | None = None
    start: StartedRun | None = None
    notify: Annotated[str, StringConstraints(pattern=URL)] | None = None
    skip: Nothing | None = None
    escalate: Person | None = None

    @model_validator(mode="after")
    def _one_action(self) -> "StandingAction":
        require_one(self, RULE_WORDS)
        return self


def _action(found: object) -> object:
    if isinstance(found, str):
        if found not in BARE:
            raise PydanticCustomError("bare_action", "is no action")
        return {found: {}}
    return found


class StandingScope(Part):
    """Of which runs it speaks: those that fit all that is said."""

    site: Annotated[str, StringConstraints(pattern=SITE)] | None = None
    definition: Ref | None = None
    labels: dict[str, str] = Field(default={}, max_length=LABELS_MAX)


class StandingRule(Part):
    """A standing rule as its author writes it."""

    name: Identifier
    on: Annotated[str, StringConstraints(pattern=TRIGGER)]  # Not on states of runs: only runs with rules on them record these.
    when: Cel | None = None
    do: Annotated[
        StandingAction, BeforeValidator(_action, json_schema_input_type=Literal["pause", "cancel", "skip"] | StandingAction)
    ]
    scope: StandingScope = StandingScope()


@dataclass(frozen=True, slots=True)
class StandingPlan:
    """A standing rule, compiled. `document` is its canonical JSON."""

    name: str
    rule: RulePlan
    site: str
    definition: str
    labels: dict[str, str]
    document: bytes

    def concerns(self, fragment: "Fragment") -> bool:
        """Does it speak of this run? That it speaks of the site is the cloud's to see to."""
        wanted, ref = self.definition, fragment.plan.ref
        if wanted and ref != wanted and ("@" in wanted or ref.partition("@")[0] != wanted):
            return False
        labels = fragment.labels or {}
        return all(labels.get(name) == value for name, value in self.labels.items())


@dataclass(slots=True)
class Standing:
    """The standing rules of a site, in the order of their names; false if there are none."""

    plans: dict[str, StandingPlan] = field(default_factory=dict)
    by_event: dict[str, list[StandingPlan]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.plans)

    def put(self, plan: StandingPlan) -> None:
        """The rule holds from here on, in the place of the one of that name."""
        self.plans[plan.name] = plan
        self._sort(self.plans.values())

    def remove(self, name: str) -> None:
        """The rule holds no longer."""
        if self.plans.pop(name, None) is not None:
            self._sort(self.plans.values())

    def _sort(self, plans: Iterable[StandingPlan]) -> None:
        self.by_event = {}
        for plan in sorted(plans, key=lambda plan: plan.name):
            self.by_event.setdefault(plan.rule.on, []).append(plan)


def read_standing(document: object) -> StandingPlan:
    """Read and compile a parsed document. Raises DefinitionError with all problems, of form and of content."""
    rule, problems = read_part(StandingRule, document)
    if rule is None:
        raise DefinitionError(problems.found, problems.left_out)
    plan = _compile(rule, problems)
    if len(plan.document) > DOCUMENT_BYTES_MAX:
        problems.add((), f"the rule has {len(plan.document):,} bytes", f"{DOCUMENT_BYTES_MAX:,} bytes")
    if problems:
        raise DefinitionError(problems.found, problems.left_out)
    return plan


def standing_from_document(document: bytes) -> StandingPlan:
    """The plan of a `StandingPlan.document`. Raises DefinitionError."""
    return read_standing(msgspec.json.decode(document))


def _compile(rule: StandingRule, problems: Problems) -> StandingPlan:
    nothing = Vocabulary(inputs={}, secrets=frozenset(), secret_holders=frozenset())
    templates = TemplateCompiler(nothing, problems, {}, ("event",), roots=("run",), run_words=RUN_WORDS)
    subject, _, what = rule.on.partition(".")
    known = {"task": TASK_EVENTS, "run": RUN_EVENTS}.get(subject)
    if known is not None and what not in known:
        problems.add_unknown(("on",), f"event of a {subject}", what, known)
    when = templates.condition(rule.when, ("when",))[0] if rule.when is not None else None
    do = rule.do
    action = next(word for word in RULE_WORDS if getattr(do, word) is not None)
    if action == "skip" and subject != "task":
        problems.add(("do", "skip"), f"{rule.on} is about no task", f"on: task. with {', '.join(TASK_EVENTS)}")
    started: dict[str, Any] = {}
    if do.start is not None:
        inputs = templates.parameters(do.start.inputs, ("do", "start", "inputs")) if do.start.inputs else EMPTY
        started = {"definition": do.start.definition, "inputs": inputs}
    plan = RulePlan(rule.on, action, when, -1, do.notify or do.escalate or "", **started)
    scope = rule.scope
    document = rule.model_dump_json(exclude_defaults=True, by_alias=True).encode()
    return StandingPlan(rule.name, plan, scope.site or "", scope.definition or "", dict(sorted(scope.labels.items())), document)
