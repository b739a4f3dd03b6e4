"""A workflow as its author writes it: the models of a definition and the JSON Schema that is published.

    name: fulfilment
    version: 1.0.0
    inputs:
      order: {type: string}
    tasks:
      pick:
        capability: pick-item
        with: {sku: "${{ inputs.order }}"}
        timeout: 30s

`workflow.parts` has the small models, `workflow.reading` says what is wrong with the form of a document. What only the whole
document can tell (unknown needs, cycles, references) is found when it is compiled, see `workflow.plan`.
"""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import PydanticCustomError

from sync.points.terms import POINTS_MAX
from workflow.contract_reading import AutonomyField, ConsistencyField
from workflow.coordination_reading import CoordinationField
from workflow.durations import DURATION_MS_MAX, DURATION_RULE, Timeout, parse_duration, show_duration
from workflow.nothing import NO_FIELDS, NO_ITEMS
from workflow.parts import (
    AWAITS_MAX,
    ID_RULE,
    Action,
    AgentWord,
    Approval,
    AwaitItem,
    Cache,
    Cel,
    ChildRun,
    Deadlock,
    Identifier,
    Join,
    Name,
    NeedItem,
    Part,
    RecoveryItem,
    ResourceItem,
    RetryPolicy,
    Rule,
    Service,
    StageField,
    StageName,
    SyncPoint,
    ValidationField,
    Wait,
    aliases,
)
from workflow.parts import VERSION as _VERSION
from workflow.point_reading import SyncPointTerms
from workflow.vote_parts import Vote

__all__ = [
    "DURATION_MS_MAX",
    "DURATION_RULE",
    "ID_RULE",
    "RetryPolicy",
    "TaskDefinition",
    "Wait",
    "WorkflowDefinition",
    "json_schema",
    "parse_duration",
    "show_duration",
]

TASKS_MAX = 100_000
INPUTS_MAX = 1_000
DOCUMENT_DEPTH_MAX = 64
ROUNDS_MAX = 10_000
RETRY_DELAY_CAP_MS = 30_000  # The cap of growing delays where the author names none.

Tasks = Annotated[dict[Identifier, "TaskDefinition"], Field(min_length=1, max_length=TASKS_MAX)]
Rest = Literal["cancel", "finish"]
Version = Annotated[str, Field(pattern=_VERSION)]


class Parallel(Part):
    """Tasks side by side, in the order of their needs. `join` of them complete the group; `rest` says what the others do then."""

    tasks: Tasks
    join: Join = 0
    rest: Rest = "cancel"


class Sequential(Part):
    """Tasks one after the other, as they are written."""

    tasks: Tasks


class Map(Part):
    """A copy of its tasks per item of a list; they see `item` and `index`."""

    over: Cel
    concurrency: int | None = Field(default=None, ge=1, le=TASKS_MAX, description="Copies at once; without it, all.")
    join: Join = 0
    rest: Rest = "cancel"
    tasks: Tasks


class Repeat(Part):
    """A copy of its tasks per round; they see `index`. The condition is read after each round, and reads its tasks."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["while"]}, {"required": ["until"]}]})

    again: Cel | None = Field(default=None, alias="while")
    until: Cel | None = None
    rounds_max: int = Field(alias="max", ge=1, le=ROUNDS_MAX)
    tasks: Tasks

    @model_validator(mode="after")
    def _one_condition(self) -> "Repeat":
        if (self.again is None) == (self.until is None):
            given = "none of them" if self.again is None else "while and until"
            raise PydanticCustomError("one_of", "one of them", {"given": given, "allowed": "while, until"})
        return self


# What each kind of task has to do with, besides COMMON. What agents do has to do with everything.
COMMON = frozenset({"needs", "join", "when", "site", "stage", "optional", "cancels", "description", "awaits"})
AGENTS = frozenset({"capability", "agent", "action"})
_GROUP = COMMON | {"timeout", "recovery", "resources", "cleanup", "compensate"}
FIELDS_OF = {
    "wait": COMMON | {"timeout", "recovery"},
    "check": COMMON | {"recovery"},
    "approval": COMMON | {"recovery", "compensate"},
    "run": COMMON | {"timeout", "recovery", "resources", "validation", "cleanup", "compensate", "output", "retry"},
    "parallel": _GROUP,
    "sequential": _GROUP,
    "map": _GROUP,
    "repeat": _GROUP,
    "sync_point": COMMON | {"timeout", "recovery"},
    "vote": COMMON | {"timeout", "recovery", "compensate", "parameters"},
}
WHO = ("capability", "agent", "action", *FIELDS_OF)
_WHO = frozenset(WHO)
NESTING = frozenset({"parallel", "sequential", "map", "repeat"})


class TaskDefinition(Part):
    """One step. Exactly one of `capability`, `agent`, `action`, `wait`, `check`, `approval`, `run`, `parallel`, `sequential`,
    `map`, `repeat`, `sync_point` and `vote` says who or what does it."""

    model_config = ConfigDict(json_schema_extra=lambda schema: schema.update(_rules_of_kinds()))

    capability: AgentWord | None = Field(default=None, description="Any agent that has it may do the task.")
    agent: AgentWord | None = Field(default=None, description="The one agent that does the task.")
    action: Action | None = Field(default=None, description="A built-in capability.")
    wait: Wait | None = None
    check: Cel | None = Field(default=None, description="CEL; its value is the output.")
    approval: Approval | None = None
    run: ChildRun | None = None
    parallel: Parallel | None = None
    sequential: Sequential | None = None
    map: Map | None = None
    repeat: Repeat | None = None
    sync_point: SyncPoint | None = None
    vote: Vote | None = Field(default=None, description="Agents decide; `with` tells them what it is about.")
    description: str = ""
    parameters: dict[str, Any] = Field(default=NO_FIELDS, alias="with", description="Parameters; ${{ }} in strings is CEL.")
    effect: Literal["repeatable", "once", "physical"] = Field(default="once", description="What an unknown outcome allows.")
    timeout: Timeout | None = Field(default=None, description="From the start of an attempt to its finish.")
    start_timeout: Timeout | None = Field(default=None, description="From being ready to the start of an attempt.")
    heartbeat: Timeout | None = Field(default=None, description="The longest silence of an agent at work.")
    retry: RetryPolicy | None = None
    recovery: list[RecoveryItem] | None = Field(default=None, max_length=10, description="When retries are used up.")
    site: str | None = Field(default=None, min_length=1, description="Where; ${{ }} reads inputs only.")
    needs: list[NeedItem] = Field(default=NO_ITEMS, description="Tasks that end before this one starts.")
    awaits: list[AwaitItem] = Field(default=NO_ITEMS, max_length=AWAITS_MAX, description="Other runs that end before it starts.")
    join: Join = Field(default=0, description="How many needs start it.")
    when: Cel | None = Field(default=None, description="CEL; false: the task is skipped.")
    resources: list[ResourceItem] | None = Field(default=None, max_length=100, description="What it holds while it runs.")
    validation: ValidationField | None = Field(default=None, alias="validate", description="Whether its output is accepted.")
    cleanup: Service | None = Field(default=None, description="Work that follows any end of it.")
    compensate: Service | None = Field(default=None, description="Work that undoes it.")
    reconcile: Service | None = Field(default=None, description="Work that finds out what became of an unknown outcome.")
    optional: bool = Field(default=False, description="Failing, it counts as skipped.")
    grows: bool = Field(default=False, description="Its output may add tasks to the run, under `tasks`.")
    cancels: list[str] = Field(default=NO_ITEMS, max_length=1_000, description="Tasks beside or around it that its end stops.")
    cache: Cache | None = None
    coordination: CoordinationField | None = Field(default=None, description="How an agent is found; default that of the run.")
    stage: StageField | None = None
    output: dict[str, Any] | None = Field(default=None, description="JSON Schema of the output.")

    @model_validator(mode="after")
    def _one_says_who(self) -> "TaskDefinition":
        given = self.model_fields_set & _WHO
        if len(given) == 1:
            (who,) = given
            if who == "capability" and self.capability is not None:
                return self
        words = [word for word in WHO if getattr(self, word) is not None]
        if len(words) != 1:
            raise PydanticCustomError("who", "{given}", {"given": " and ".join(words) or "none of them"})
        known = FIELDS_OF.get(words[0])
        if known is not None and (idle := self.model_fields_set - known - _WHO):
            context = {"idle": aliases(type(self), idle), "what": words[0], "allowed": _fields_of(words[0])}
            raise PydanticCustomError("idle", "{idle}", context)
        return self


class WorkflowDefinition(Part):
    """A workflow `name@version`. Once registered, a version never changes."""

    name: Identifier
    version: Version
    description: str = ""
    inputs: dict[Name, dict[str, Any]] = Field(
        default={}, max_length=INPUTS_MAX, description="Name -> JSON Schema, plus `secret: true` and `default`."
    )
    outputs: dict[Name, Any] = Field(default={}, max_length=INPUTS_MAX, description="Of the run; ${{ }} in strings is CEL.")
    timeout: Timeout | None = Field(default=None, description="Of the whole run.")
    on_failure: Literal["stop", "continue"] = Field(default="stop", description="Of what does not depend on a failed task.")
    recovery: list[RecoveryItem] = Field(default=[], max_length=10, description="The default of all tasks.")
    priority: int = Field(default=4, ge=0, le=9)
    checkpoints: int = Field(default=10, ge=1, le=100, description="As many are kept.")
    stages: dict[StageName, list[str]] = Field(default={}, max_length=200, description="Name -> next ones; the first is first.")
    rules: list[Rule] = Field(default=[], max_length=100, description="What is done when something happens.")
    queries: dict[Name, Cel] = Field(default={}, max_length=100, description="Name -> CEL, answered while the run goes on.")
    awaits: list[AwaitItem] = Field(default=[], max_length=AWAITS_MAX, description="Other runs that end before its own begin.")
    consistency: ConsistencyField | None = Field(default=None, description="How certain its steps are; default eventual.")
    autonomy: AutonomyField | None = Field(default=None, description="What goes on while the cloud cannot be reached.")
    coordination: CoordinationField | None = Field(default=None, description="How its tasks find their agents; default direct.")
    sync_points: dict[Identifier, SyncPointTerms] = Field(
        default={}, max_length=POINTS_MAX, description="Where agents wait for each other."
    )
    deadlock: Deadlock | None = Field(default=None, description="What happens when tasks wait for each other in a circle.")
    tasks: Tasks

    @property
    def ref(self) -> str:
        return f"{self.name}@{self.version}"

    def document(self) -> bytes:
        """The definition as canonical JSON: fields in the order of the models, without what is default."""
        return self.model_dump_json(exclude_defaults=True).encode()


# The published schema ---------------------------------------------------------------------------------------------------


def json_schema() -> dict[str, Any]:
    """The JSON Schema of definitions, for editors and other tools."""
    schema = WorkflowDefinition.model_json_schema(by_alias=True, schema_generator=_Schema)
    _close(schema)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema


class _Schema(GenerateJsonSchema):
    """Writes the shared defaults as what they are."""

    def encode_default(self, dft: Any) -> Any:
        return [] if dft is NO_ITEMS else {} if dft is NO_FIELDS else super().encode_default(dft)


def _close(schema: Any) -> None:
    """Else keys beside a mapping's pattern would pass."""
    if isinstance(schema, dict):
        if "patternProperties" in schema:
            schema["additionalProperties"] = False
        for part in schema.values():
            _close(part)
    elif isinstance(schema, list):
        for part in schema:
            _close(part)


def _fields_of(who: str) -> str:
    fields = TaskDefinition.model_fields
    return ", ".join([who, *(field.alias or name for name, field in fields.items() if name in FIELDS_OF[who])])


def _rules_of_kinds() -> dict[str, Any]:
    """One says who, and it stands with the fields that it has to do with."""
    return {
        "oneOf": [{"required": [who]} for who in WHO],
        "allOf": [
            {"if": {"required": [who]}, "then": {"propertyNames": {"enum": _fields_of(who).split(", ")}}} for who in FIELDS_OF
        ],
    }
