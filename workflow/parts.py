"""The small parts of a definition, each a field or two of a task or of the whole: retries, waits, approvals, recovery, rules.

Where a short form is allowed (`resources: [forklift]`) it is read as the long one (`{name: forklift}`), and the canonical
document has the long one only.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from workflow.durations import Duration, Timeout
from workflow.nothing import NO_FIELDS, NO_ITEMS

ID_RULE = "a lower-case letter, then lower-case letters, digits, - and _; 128 at most"
ID = r"^[a-z][a-z0-9_-]{0,127}$"
INPUT_NAME = r"^[A-Za-z_][A-Za-z0-9_]{0,127}$"
VERSION = r"^[0-9A-Za-z][0-9A-Za-z.+_-]{0,63}$"
AGENT_WORD = r"^[^\s\x00-\x1f@]{1,128}$"
PERSON = r"^[^\s\x00-\x1f]{1,128}$"
REF = r"^[a-z][a-z0-9_-]{0,127}(@[0-9A-Za-z][0-9A-Za-z.+_-]{0,63})?$"
LABEL = r"^[^=\s]{1,128}=[^\s]{0,128}$"
STAGE = r"^[A-Za-z_][A-Za-z0-9_-]{0,127}$"
TRIGGER = r"^((task|run|stage)\.[A-Za-z_][A-Za-z0-9_-]{0,127}|(enter|exit)\.[a-z_]{1,40}(\.[a-z_]{1,40}){0,3})$"
PATTERN_RULES = {
    ID: ID_RULE,
    INPUT_NAME: "a letter or _, then letters, digits and _; 128 at most",
    VERSION: "letters, digits and . + _ -, as in 1.0.0; 64 at most",
    AGENT_WORD: "a name without spaces and @; 128 characters at most",
    PERSON: "a name without spaces, or role:name; 128 characters at most",
    REF: "name or name@version",
    LABEL: "key=value, without spaces, as in crew=north; 128 characters at most each",
    STAGE: "letters, digits, _ and -, not beginning with a digit",
    TRIGGER: "task.<state>, run.<state>, stage.<name>, enter.<state of a run> or exit.<state of a run>",
}

Identifier = Annotated[str, StringConstraints(pattern=ID)]
Name = Annotated[str, StringConstraints(pattern=INPUT_NAME)]
AgentWord = Annotated[str, StringConstraints(pattern=AGENT_WORD)]
Person = Annotated[str, StringConstraints(pattern=PERSON)]
Ref = Annotated[str, StringConstraints(pattern=REF)]
StageName = Annotated[str, StringConstraints(pattern=STAGE)]
Cel = Annotated[str, StringConstraints(min_length=1)]
Action = Literal["http", "api_call", "file_operation", "database_query"]


class Part(BaseModel):
    """What all models share: unknown fields are refused, nothing is converted, nothing changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=False, serialize_by_alias=True)


def _long(key: str) -> Callable[[object], object]:
    """Reads the short form, a text, as a mapping of one field."""
    return lambda found: {key: found} if isinstance(found, str) else found


def _joined(found: object) -> int:
    """all, any or a number of needs; as a number, of which 0 means all."""
    if found == "all":
        return 0
    if found == "any":
        return 1
    if isinstance(found, int) and not isinstance(found, bool) and 1 <= found <= 100_000:
        return found
    raise PydanticCustomError("join", "is no join")


def _show_join(join: int) -> str | int:
    return {0: "all", 1: "any"}.get(join, join)


JOIN_RULE = "all, any, or a number from 1 on"
Join = Annotated[
    int,
    BeforeValidator(_joined),
    PlainSerializer(_show_join),
    WithJsonSchema({"anyOf": [{"enum": ["all", "any"]}, {"type": "integer", "minimum": 1, "maximum": 100_000}]}),
]


# Who does it, and what follows -----------------------------------------------------------------------------------------


class RetryPolicy(Part):
    """What follows a failed attempt: up to `max_attempts` in all, each after a delay that grows by `factor`."""

    max_attempts: int = Field(default=3, ge=1, le=1_000, description="Attempts in all; 1 means no retry.")
    delay: Duration = Field(default=1_000, description="Before the second attempt.", json_schema_extra={"default": "1s"})
    factor: float = Field(default=2.0, ge=1, le=100, allow_inf_nan=False, description="By which delays grow.")
    delay_max: Duration | None = Field(default=None, description="No delay is longer; without it 30s, or `delay` if longer.")
    jitter: float = Field(default=0.2, ge=0, le=1, allow_inf_nan=False, description="Up to this share of a delay is left off.")
    retry_on: list[AgentWord] = Field(default=NO_ITEMS, max_length=100, description="Only failures of these codes are repeated.")
    give_up_on: list[AgentWord] = Field(default=NO_ITEMS, max_length=100, description="Failures of these codes are not repeated.")

    @model_validator(mode="after")
    def _agrees(self) -> "RetryPolicy":
        if self.delay_max is not None and self.delay_max < self.delay:
            raise PydanticCustomError("cap", "delay_max is less than delay")
        if self.retry_on and self.give_up_on:
            raise PydanticCustomError("codes", "both lists are given")
        return self


class Wait(Part):
    """A task that nobody works on: it completes when the time is over, or when somebody gives the signal."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": [word]} for word in ("for", "until", "signal")]})

    duration: Timeout | None = Field(default=None, alias="for")
    until: str | None = Field(default=None, min_length=1, description="A moment, RFC 3339; ${{ }} is CEL.")
    signal: Identifier | None = Field(default=None, description="The name of a signal.")
    kept: bool = Field(default=True, description="false: a signal counts only if it comes while the task waits for it.")

    @model_validator(mode="after")
    def _one_says_what(self) -> "Wait":
        require_one(self, ("duration", "until", "signal"))
        if self.signal is None and "kept" in self.model_fields_set:
            raise PydanticCustomError("idle", "{idle}", {"idle": "kept", "what": "wait for a time", "allowed": "for, until"})
        return self


class Need(Part):
    """A task that ends before this one starts, and how."""

    task: str
    after: Literal["success", "failure", "end"] = "success"


# The short form first: it is by far the most frequent, and a text is never read as anything else.
NeedItem = Annotated[str | Need, Field(union_mode="left_to_right")]


AWAITS_MAX = 1_000
"""Other runs that one run may wait for from its beginning."""


class Await(Part):
    """Another run, or a task of it, that ends before this begins, how, whether it counts, and what of its output goes where."""

    run: str = Field(min_length=1, description="A run, RUN/TASK or a list of these; ${{ }} reads inputs only. Empty: none.")
    task: str = Field(default="", description="Of that run; ${{ }} reads inputs only.")
    kind: Literal["success", "failure", "end"] = "success"
    when: Cel | None = Field(default=None, description="CEL over `outcome` and `output`; unless true, it waits in vain.")
    select: Cel | None = Field(default=None, description="CEL over the same: what is handed over; without it the whole output.")
    into: Name | None = Field(default=None, description="The parameter of the task, or input of the run, that it becomes.")
    shape: dict[str, Any] | None = Field(default=None, alias="schema", description="JSON Schema of what is handed over.")


AwaitItem = Annotated[Await, BeforeValidator(_long("run"), json_schema_input_type=str | Await)]


class Resource(Part):
    """What a task holds while it runs, of what the site has."""

    name: AgentWord
    units: int = Field(default=1, ge=1, le=1_000_000)


ResourceItem = Annotated[Resource, BeforeValidator(_long("name"), json_schema_input_type=str | Resource)]


class Service(Part):
    """Work that belongs to another task: who does it, with what."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": [who]} for who in ("capability", "agent", "action")]})

    capability: AgentWord | None = None
    agent: AgentWord | None = None
    action: Action | None = None
    parameters: dict[str, Any] = Field(default=NO_FIELDS, alias="with")
    effect: Literal["repeatable", "once", "physical"] = "once"
    timeout: Timeout | None = None
    start_timeout: Timeout | None = None
    heartbeat: Timeout | None = None
    retry: RetryPolicy | None = None

    @model_validator(mode="after")
    def _one_says_who(self) -> "Service":
        require_one(self, ("capability", "agent", "action"))
        return self


class Validation(Part):
    """Whether an output is accepted: an expression over `output`, or work whose own output is true or `{valid: true}`."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": [who]} for who in ("check", "capability", "agent", "action")]}
    )

    check: Cel | None = None
    capability: AgentWord | None = None
    agent: AgentWord | None = None
    action: Action | None = None
    parameters: dict[str, Any] = Field(default=NO_FIELDS, alias="with")
    effect: Literal["repeatable", "once", "physical"] = "once"
    timeout: Timeout | None = None
    start_timeout: Timeout | None = None
    heartbeat: Timeout | None = None
    retry: RetryPolicy | None = None

    @model_validator(mode="after")
    def _one_says_who(self) -> "Validation":
        require_one(self, ("check", "capability", "agent", "action"))
        if self.check is not None and (idle := self.model_fields_set - {"check"}):
            raise PydanticCustomError("idle", "{idle}", {"idle": aliases(type(self), idle), "what": "check", "allowed": "check"})
        return self

    @property
    def service(self) -> Service | None:
        """The work, if it is one."""
        if self.check is not None:
            return None
        return Service.model_construct(**{name: getattr(self, name) for name in Service.model_fields})


ValidationField = Annotated[Validation, BeforeValidator(_long("check"), json_schema_input_type=str | Validation)]


class Escalation(Part):
    """Who may decide too when nobody has decided for so long."""

    after: Timeout
    by: list[Person] = Field(min_length=1, max_length=100)


def _request(found: object) -> object:
    if not isinstance(found, str | dict):
        raise PydanticCustomError("request", "is neither text nor mapping")
    return found


class Approval(Part):
    """People decide: `count` of `by` must approve, and one rejection decides against it."""

    by: list[Person] = Field(default=[], max_length=100, description="People, and role:name; empty: anybody.")
    count: int = Field(default=1, ge=1, le=100)
    deadline: Timeout | None = None
    request: Annotated[Any, BeforeValidator(_request), WithJsonSchema({"type": ["string", "object"]})] = ""
    escalate: list[Escalation] = Field(default=[], max_length=10)
    on_reject: Literal["fail", "complete"] = "fail"

    @model_validator(mode="after")
    def _there_are_enough(self) -> "Approval":
        people = {*self.by, *(person for step in self.escalate for person in step.by)}
        if self.by and self.count > len(people) and not any(person.startswith("role:") for person in people):
            raise PydanticCustomError("people", "too few", {"count": self.count, "people": len(people)})
        return self


class ChildRun(Part):
    """Another run, of a registered definition."""

    definition: Ref
    inputs: dict[str, Any] = {}
    wait: bool = Field(default=True, description="false: it is begun, and the task is complete.")
    on_cancel: Literal["cancel", "leave"] = "cancel"


class Deadlock(Part):
    """What tasks may do that could come to wait for each other in a circle, and how often one of them gives way."""

    order: Literal["kept", "free"] = Field(
        default="kept", description="free: a task inside may hold an earlier name than those around."
    )
    retries: int = Field(
        default=3, ge=0, le=100, description="So often a task is undone and begins again; then a person decides."
    )


class SyncPoint(Part):
    """All parties of a point start together."""

    point: AgentWord
    parties: int = Field(ge=2, le=10_000)


class Cache(Part):
    """A result is kept under a key, for other runs."""

    key: str = Field(min_length=1)
    lifetime: Timeout


class StagesOfTask(Part):
    """The stages that the run enters with a task."""

    start: StageName | None = None
    success: StageName | None = None
    failure: StageName | None = None


StageField = Annotated[StagesOfTask, BeforeValidator(_long("start"), json_schema_input_type=str | StagesOfTask)]


# Recovery and rules -----------------------------------------------------------------------------------------------------


class Times(Part):
    """How often a strategy is tried."""

    times: int = Field(default=1, ge=1, le=1_000)


class Rollback(Times):
    """Back to a task, with compensation; without `to`, to the start."""

    to: str | None = None


class Nothing(Part):
    """There is nothing to say about it."""


class RecoveryStep(Part):
    """One strategy for a task whose retries are used up."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": [word]} for word in ("restore", "rollback", "incident", "degrade")]}
    )

    restore: Times | None = Field(default=None, description="Back to the last checkpoint.")
    rollback: Rollback | None = Field(default=None, description="Back to a task, with compensation, then again.")
    incident: Nothing | None = Field(default=None, description="A person decides.")
    degrade: Nothing | None = Field(default=None, description="On without the task.")

    @model_validator(mode="after")
    def _one_strategy(self) -> "RecoveryStep":
        require_one(self, ("restore", "rollback", "incident", "degrade"))
        return self


STRATEGIES = ("restore", "rollback", "incident", "degrade")


def _strategy(found: object) -> object:
    if isinstance(found, str):
        if found not in STRATEGIES:
            raise PydanticCustomError("strategy", "is no strategy")
        return {found: {}}
    return found


StrategyName = Literal["restore", "rollback", "incident", "degrade"]
RecoveryItem = Annotated[RecoveryStep, BeforeValidator(_strategy, json_schema_input_type=StrategyName | RecoveryStep)]


class StartedRun(Part):
    """A run that a rule starts."""

    definition: Ref
    inputs: dict[str, Any] = {}


URL = r"^https?://[^\s]{1,2000}$"
RULE_WORDS = ("pause", "cancel", "start", "notify", "skip", "escalate")


class RuleAction(Part):
    """What a rule does: one of its fields."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": [word]} for word in RULE_WORDS]})

    pause: Nothing | None = None
    cancel: Nothing | None = None
    start: StartedRun | None = None
    notify: Annotated[str, StringConstraints(pattern=URL)] | None = None
    skip: str | None = Field(default=None, description="A task; empty: the one that it happened to.")
    escalate: Person | None = None

    @model_validator(mode="after")
    def _one_action(self) -> "RuleAction":
        require_one(self, RULE_WORDS)
        return self


PATTERN_RULES[URL] = "http://... or https://..."


def _rule_action(found: object) -> object:
    if isinstance(found, str):
        if found not in ("pause", "cancel", "skip"):
            raise PydanticCustomError("bare_action", "is no action")
        return {found: "" if found == "skip" else {}}
    return found


class Rule(Part):
    """When something happens in the run, and a condition over `event` holds, something is done."""

    on: Annotated[str, StringConstraints(pattern=TRIGGER)]
    when: Cel | None = None
    do: Annotated[
        RuleAction, BeforeValidator(_rule_action, json_schema_input_type=Literal["pause", "cancel", "skip"] | RuleAction)
    ]


# What validators share --------------------------------------------------------------------------------------------------


def require_one(part: BaseModel, words: tuple[str, ...]) -> None:
    """Exactly one of the fields must be given. Raises PydanticCustomError."""
    given = [word for word in words if getattr(part, word) is not None]
    if len(given) != 1:
        fields = type(part).model_fields
        allowed = ", ".join(fields[word].alias or word for word in words)
        found = " and ".join(fields[word].alias or word for word in given) or "none of them"
        raise PydanticCustomError("one_of", "one of them", {"given": found, "allowed": allowed})


def aliases(model: type[BaseModel], names: set[str]) -> str:
    """Fields as authors know them, in alphabetical order."""
    return ", ".join(sorted(model.model_fields[name].alias or name for name in names))
