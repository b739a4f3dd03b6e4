"""A workflow as its author writes it: the models of a definition, its durations, and the JSON Schema that is published.

    name: fulfilment
    version: 1.0.0
    inputs:
      order: {type: string}
    tasks:
      pick:
        capability: pick-item
        with: {sku: "${{ inputs.order }}"}
        timeout: 30s

`workflow.reading` says what is wrong with the form of a document. What only the whole document can tell (unknown needs,
cycles, references) is found when it is compiled, see `workflow.plan`.
"""

import re
from functools import lru_cache
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

TASKS_MAX = 100_000
INPUTS_MAX = 1_000
DOCUMENT_DEPTH_MAX = 64
DURATION_MS_MAX = 3_650 * 86_400_000  # Ten years.
RETRY_DELAY_CAP_MS = 30_000  # The cap of growing delays where the author names none.

ID_RULE = "a lower-case letter, then lower-case letters, digits, - and _; 128 at most"
_ID = r"^[a-z][a-z0-9_-]{0,127}$"
_INPUT_NAME = r"^[A-Za-z_][A-Za-z0-9_]{0,127}$"
_VERSION = r"^[0-9A-Za-z][0-9A-Za-z.+_-]{0,63}$"
_AGENT_WORD = r"^[^\s\x00-\x1f@]{1,128}$"
PATTERN_RULES = {
    _ID: ID_RULE,
    _INPUT_NAME: "a letter or _, then letters, digits and _; 128 at most",
    _VERSION: "letters, digits and . + _ -, as in 1.0.0; 64 at most",
    _AGENT_WORD: "a name without spaces and @; 128 characters at most",
}

DURATION_RULE = 'a number of seconds, or "500ms", "30s", "5m", "2h", "1d"; ten years at most'
_DURATION = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)(ms|s|m|h|d)", re.ASCII)
_UNIT_MS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}


@lru_cache(maxsize=1024)
def parse_duration(text: str) -> int:
    """`"1.5s"` as 1500 (ms, rounded). Raises ValueError for all but a number and a unit (ms, s, m, h, d)."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no duration; allowed: {DURATION_RULE}")
    return _in_range(float(match[1]) * _UNIT_MS[match[2]], text)


def show_duration(duration_ms: int) -> str:
    """The shortest text that `parse_duration` reads back: 90000 as `90s`, 60000 as `1m`."""
    unit = next((unit for unit, length in _UNIT_MS.items() if duration_ms and duration_ms % length == 0), "s")
    return f"{duration_ms // _UNIT_MS[unit]}{unit}"


def _in_range(duration_ms: float, found: object) -> int:
    whole = round(duration_ms) if 0 <= duration_ms <= DURATION_MS_MAX else -1
    if whole < 0 or (whole == 0 and duration_ms > 0):
        raise ValueError(f"{found!r} is out of range; allowed: {DURATION_RULE}, 1ms at least")
    return whole


def _duration_ms(found: object) -> int:
    try:
        if isinstance(found, str):
            return parse_duration(found)
        if isinstance(found, int | float) and not isinstance(found, bool):
            return _in_range(found * 1_000, found)
    except ValueError:
        pass
    raise PydanticCustomError("duration", "is no duration")


def _timeout_ms(found: object) -> int:
    duration_ms = _duration_ms(found)
    if duration_ms == 0:
        raise PydanticCustomError("timeout", "is no time at all")
    return duration_ms


_DURATION_SCHEMA = {
    "anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": r"^\d{1,12}(\.\d{1,6})?(ms|s|m|h|d)$"}],
    "description": DURATION_RULE,
}
_AS_TEXT = (PlainSerializer(show_duration), WithJsonSchema(_DURATION_SCHEMA))
Duration = Annotated[int, BeforeValidator(_duration_ms), *_AS_TEXT]
Timeout = Annotated[int, BeforeValidator(_timeout_ms), *_AS_TEXT]
Identifier = Annotated[str, StringConstraints(pattern=_ID)]
AgentWord = Annotated[str, StringConstraints(pattern=_AGENT_WORD)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=False, serialize_by_alias=True)


class RetryPolicy(_Part):
    """What follows a failed attempt: up to `max_attempts` in all, each after a delay that grows by `factor`."""

    max_attempts: int = Field(default=3, ge=1, le=1_000, description="Attempts in all; 1 means no retry.")
    delay: Duration = Field(default=1_000, description="Before the second attempt.", json_schema_extra={"default": "1s"})
    factor: float = Field(default=2.0, ge=1, le=100, allow_inf_nan=False, description="By which delays grow.")
    delay_max: Duration | None = Field(default=None, description="No delay is longer; without it 30s, or `delay` if longer.")
    jitter: float = Field(default=0.2, ge=0, le=1, allow_inf_nan=False, description="Up to this share of a delay is left off.")

    @model_validator(mode="after")
    def _cap_is_no_less_than_delay(self) -> "RetryPolicy":
        if self.delay_max is not None and self.delay_max < self.delay:
            raise PydanticCustomError("cap", "delay_max is less than delay")
        return self


class Wait(_Part):
    """A task that nobody works on: it completes when the time is over."""

    duration: Timeout = Field(alias="for")


class TaskDefinition(_Part):
    """One step. Exactly one of `capability`, `agent` and `wait` says who does it."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": [who]} for who in ("capability", "agent", "wait")]})

    capability: AgentWord | None = Field(default=None, description="Any agent that has it may do the task.")
    agent: AgentWord | None = Field(default=None, description="The one agent that does the task.")
    wait: Wait | None = None
    parameters: dict[str, Any] = Field(default={}, alias="with", description="Parameters; ${{ }} in strings is CEL.")
    effect: Literal["repeatable", "once", "physical"] = Field(default="once", description="What an unknown outcome allows.")
    timeout: Timeout | None = Field(default=None, description="From the start of an attempt to its finish.")
    retry: RetryPolicy | None = None
    site: str | None = Field(default=None, min_length=1, description="Where; ${{ }} reads inputs only.")
    needs: list[str] = Field(default=[], description="Tasks that complete before this one starts.")

    @model_validator(mode="after")
    def _one_says_who(self) -> "TaskDefinition":
        given = [word for word in ("capability", "agent", "wait") if getattr(self, word) is not None]
        if len(given) != 1:
            raise PydanticCustomError("who", "{given}", {"given": " and ".join(given) or "none of them"})
        if self.wait is not None and (idle := self.model_fields_set - {"wait", "needs", "site"}):
            words = sorted("with" if word == "parameters" else word for word in idle)
            raise PydanticCustomError("idle", "{idle}", {"idle": ", ".join(words)})
        return self


class WorkflowDefinition(_Part):
    """A workflow `name@version`. Once registered, a version never changes."""

    name: Identifier
    version: Annotated[str, StringConstraints(pattern=_VERSION)]
    description: str = ""
    inputs: dict[Annotated[str, StringConstraints(pattern=_INPUT_NAME)], dict[str, Any]] = Field(
        default={}, max_length=INPUTS_MAX, description="Name -> JSON Schema, plus `secret: true` and `default`."
    )
    tasks: dict[Identifier, TaskDefinition] = Field(min_length=1, max_length=TASKS_MAX)

    @property
    def ref(self) -> str:
        return f"{self.name}@{self.version}"

    def document(self) -> bytes:
        """The definition as canonical JSON: fields in the order of the models, without what is default."""
        return self.model_dump_json(exclude_defaults=True).encode()


def json_schema() -> dict[str, Any]:
    """The JSON Schema of definitions, for editors and other tools."""
    schema = WorkflowDefinition.model_json_schema(by_alias=True)
    for field in ("inputs", "tasks"):
        schema["properties"][field]["additionalProperties"] = False  # Else keys beside the pattern would pass.
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema
