"""`sync_points:` as authors write them.

sync_points:
  lift: {parties: [r1, r2], deadline: 30s, on_death: replace}
  beat: {parties: 3, cyclic: true, on_death: proceed, quorum: 2}
"""

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from sync.points.terms import PARTIES_MAX, PointTerms
from workflow.durations import Timeout
from workflow.parts import AGENT_WORD, AgentWord, Part

PARTIES_RULE = f"a number of agents from 2 to {PARTIES_MAX}, or a list of so many different names of agents"


def _parties(found: object) -> int | list[str]:
    if isinstance(found, int) and not isinstance(found, bool) and 2 <= found <= PARTIES_MAX:
        return found
    if isinstance(found, list) and 2 <= len(found) <= PARTIES_MAX:
        names = [name for name in found if isinstance(name, str) and re.fullmatch(AGENT_WORD, name)]
        if len({*names}) == len(found):
            return names
    raise PydanticCustomError("parties", "are no parties")


_NUMBER = {"type": "integer", "minimum": 2, "maximum": PARTIES_MAX}
_NAMES = {
    "type": "array",
    "items": {"type": "string", "pattern": AGENT_WORD},
    "minItems": 2,
    "maxItems": PARTIES_MAX,
    "uniqueItems": True,
}
Parties = Annotated[int | list[str], BeforeValidator(_parties), WithJsonSchema({"anyOf": [_NUMBER, _NAMES]})]


class SyncPointTerms(Part):
    """Agents wait for each other at this point of the run."""

    model_config = ConfigDict(
        json_schema_extra={
            "if": {"properties": {"on_death": {"const": "proceed"}}, "required": ["on_death"]},
            "then": {"required": ["quorum"]},
            "else": {"properties": {"quorum": False}},
        }
    )

    parties: Parties = Field(description="How many, or the names of the agents.")
    deadline: Timeout | None = Field(default=None, description="From the first arrival; then it is broken for all who wait.")
    on_death: Literal["fail", "proceed", "replace"] = Field(default="fail", description="When the lease of a party ends.")
    quorum: int | None = Field(default=None, ge=1, le=PARTIES_MAX, description="Of proceed: so many at least go on.")
    cyclic: bool = Field(default=False, description="It begins anew each time.")
    capability: AgentWord | None = Field(default=None, description="What parties that are counted, and stand-ins, can do.")

    @model_validator(mode="after")
    def _agrees(self) -> "SyncPointTerms":
        named = self.parties if isinstance(self.parties, list) else []
        if (self.quorum is None) == (self.on_death == "proceed"):
            given = f"quorum {self.quorum}" if self.quorum is not None else "no quorum"
            raise PydanticCustomError("quorum", "quorum", {"given": f"on_death is {self.on_death}, and it names {given}"})
        if self.quorum is not None and self.quorum > self.count:
            raise PydanticCustomError(
                "quorum", "quorum", {"given": f"quorum {self.quorum} is more than its {self.count} parties"}
            )
        if self.capability is not None and named and self.on_death != "replace":
            context = {"idle": "capability", "what": "point with named parties", "allowed": "capability with on_death: replace"}
            raise PydanticCustomError("idle", "{idle}", context)
        return self

    @property
    def count(self) -> int:
        return self.parties if isinstance(self.parties, int) else len(self.parties)

    def value(self) -> PointTerms:
        """As the plan has it."""
        named = () if isinstance(self.parties, int) else tuple(self.parties)
        return PointTerms(
            count=self.count,
            parties=named,
            deadline_ms=self.deadline or 0,
            on_death=self.on_death,
            quorum=self.quorum or 0,
            cyclic=self.cyclic,
            capability=self.capability or "",
        )
