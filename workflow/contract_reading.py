"""`consistency:` and `autonomy:` as authors write them, in definitions and with a request: a word, or a mapping.

consistency: {level: bounded, versions: 50, time: 30s}
autonomy: {when_cut: continue, horizon: 2h, budget: 500, then: hold}
"""

from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from sync.levels import Level
from workflow.contract import Autonomy
from workflow.durations import Timeout
from workflow.parts import Part

VERSIONS_MAX = 1_000_000
_OF_LEVEL = {"strong": ("when_cut", "wait"), "bounded": ("versions", "time"), "eventual": ()}


class Consistency(Part):
    """How certain the steps of a run are: `strong` (each counts once the cloud has it), `bounded` (its site is ahead of the cloud
    by so many `versions` or so much `time` at most), `eventual`."""

    model_config = ConfigDict(
        json_schema_extra={
            "allOf": [
                {
                    "if": {"properties": {"level": {"const": level}}, "required": ["level"]},
                    "then": {"propertyNames": {"enum": ["level", *fields]}},
                }
                for level, fields in _OF_LEVEL.items()
            ],
        }
    )

    level: Literal["strong", "bounded", "eventual"]
    when_cut: Literal["wait", "fail"] = Field(default="wait", description="Of strong: what is asked while the cloud is away.")
    wait: Timeout | None = Field(default=None, description="Of strong: it waits so long at most, then it fails.")
    versions: int | None = Field(default=None, ge=1, le=VERSIONS_MAX, description="Of bounded: events that the cloud lacks.")
    time: Timeout | None = Field(default=None, description="Of bounded: how long the cloud may lack the oldest.")

    @model_validator(mode="after")
    def _agrees(self) -> "Consistency":
        idle = self.model_fields_set - {"level", *_OF_LEVEL[self.level]}
        if idle:
            allowed = ", ".join(("level", *_OF_LEVEL[self.level]))
            raise PydanticCustomError(
                "idle", "{idle}", {"idle": ", ".join(sorted(idle)), "what": f"level {self.level}", "allowed": allowed}
            )
        if self.level == "bounded" and self.versions is None and self.time is None:
            raise PydanticCustomError("bounds", "no bound")
        return self

    def value(self) -> Level:
        """As the run carries it."""
        return Level(self.level, self.versions or 0, self.time or 0, self.when_cut, self.wait or 0)


class AutonomyPart(Part):
    """What the site does with the run while the cloud cannot be reached, for how long, and with how many attempts."""

    when_cut: Literal["continue", "finish_released", "hold", "compensate"] = "finish_released"
    horizon: Timeout | None = Field(default=None, description="Cut off for longer, it does what `then` says.")
    budget: int | None = Field(default=None, ge=1, le=VERSIONS_MAX, description="Attempts that may begin while it is cut off.")
    then: Literal["hold", "compensate"] = "hold"

    def value(self) -> Autonomy:
        """As the run carries it."""
        return Autonomy(self.when_cut, self.horizon or 0, self.budget or 0, self.then)


ConsistencyField = Annotated[
    Consistency,
    BeforeValidator(
        lambda found: {"level": found} if isinstance(found, str) else found,
        json_schema_input_type=Literal["strong", "eventual"] | Consistency,
    ),
]
AutonomyField = Annotated[
    AutonomyPart,
    BeforeValidator(
        lambda found: {"when_cut": found} if isinstance(found, str) else found,
        json_schema_input_type=Literal["continue", "finish_released", "hold", "compensate"] | AutonomyPart,
    ),
]


class Asked(Part):
    """Both, as a request gives them beside a definition."""

    consistency: ConsistencyField | None = None
    autonomy: AutonomyField | None = None
