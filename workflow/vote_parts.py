"""`vote:` of a task as its author writes it: agents decide a question, under a rule.

vote: {question: "Is ${{ inputs.batch }} good?", voters: inspect}
vote: {question: Which dock?, options: [north, south], voters: [ann, ben, cleo], rule: weighted, weights: {ann: 3}, tie: lowest}
"""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from workflow.durations import Timeout
from workflow.nothing import NO_FIELDS, NO_ITEMS
from workflow.parts import AgentWord, Part

VOTERS_MAX = 100
OPTIONS_MAX = 50
WEIGHT_MAX = 1_000_000
DEADLINE_MS = 60_000
REJECT = "reject"

Option = Annotated[str, Field(min_length=1, max_length=200)]


class Voters(Part):
    """Who may vote: all agents of the site that have a capability when it is asked, or these."""

    capability: AgentWord | None = None
    agents: list[AgentWord] = Field(default=NO_ITEMS, max_length=VOTERS_MAX)

    @model_validator(mode="after")
    def _one_says_who(self) -> "Voters":
        if (self.capability is None) == (not self.agents):
            given = "none of them" if self.capability is None else "capability and agents"
            raise PydanticCustomError("one_of", "one", {"given": given, "allowed": "capability, agents"})
        return self


def _read_voters(found: object) -> object:
    if isinstance(found, str):
        return {"capability": found}
    return {"agents": found} if isinstance(found, list) else found


VotersField = Annotated[Voters, BeforeValidator(_read_voters, json_schema_input_type=AgentWord | list[AgentWord] | Voters)]


class Vote(Part):
    """A question, its options, who may vote, and what decides. One of the options may mean rejection (`no`)."""

    question: str = Field(min_length=1, max_length=10_000, description="${{ }} is CEL.")
    options: list[Option] = Field(default=["accept", REJECT], min_length=1, max_length=OPTIONS_MAX)
    no: str = Field(default=REJECT, description="The option that decides against all others, if it is one of them.")
    voters: VotersField
    topic: AgentWord | None = Field(default=None, description="By what agents find who answers; without it, the capability.")
    rule: Literal["majority", "plurality", "two_thirds", "unanimous", "weighted", "veto"] = "majority"
    weights: dict[AgentWord, Annotated[int, Field(ge=1, le=WEIGHT_MAX)]] = Field(
        default=NO_FIELDS, max_length=VOTERS_MAX, description="Of weighted: agent -> weight; others weigh 1."
    )
    veto: list[AgentWord] = Field(default=NO_ITEMS, max_length=VOTERS_MAX, description="Of veto: whose vote against it stops it.")
    quorum: int | None = Field(
        default=None,
        ge=1,
        le=VOTERS_MAX,
        description="So many must vote or abstain; without it more than half of the voters, of unanimous all.",
    )
    deadline: Timeout | None = Field(
        default=None, description="From the asking; 60s. After a restart of the site it begins anew."
    )
    tie: Literal["reject", "accept", "lowest", "chair"] = "reject"
    chair: AgentWord | None = Field(default=None, description="Of tie: chair: who breaks it.")
    on_reject: Literal["fail", "skip", "complete"] = "fail"

    @model_validator(mode="after")
    def _agrees(self) -> "Vote":
        if len(set(self.options)) != len(self.options):
            raise PydanticCustomError("twice", "twice", {"field": "options"})
        for field, given, of, wanted in (
            ("weights", bool(self.weights), "rule: weighted", self.rule == "weighted"),
            ("veto", bool(self.veto), "rule: veto", self.rule == "veto"),
            ("chair", self.chair is not None, "tie: chair", self.tie == "chair"),
        ):
            if given != wanted:
                raise PydanticCustomError("with", "with", {"field": field, "of": of})
        named = [*self.weights, *self.veto, *([self.chair] if self.chair else [])]
        if self.voters.agents and (strangers := sorted({*named} - {*self.voters.agents})):
            raise PydanticCustomError("strangers", "strangers", {"strangers": ", ".join(strangers)})
        if self.voters.agents and (self.quorum or 0) > len(set(self.voters.agents)):
            context = {"count": self.quorum, "people": len(set(self.voters.agents))}
            raise PydanticCustomError("voters", "too few", context)
        return self


WORDS = {
    "twice": lambda found, context: (f"{context['field']} names one of them twice", "each once"),
    "with": lambda found, context: (f"`{context['field']}` and `{context['of']}` belong together", "both, or none of them"),
    "strangers": lambda found, context: (f"{context['strangers']} may not vote", "agents that are among the voters"),
    "voters": lambda found, context: (
        f"{context['count']} must vote, and it names {context['people']}",
        "a quorum of no more than there are",
    ),
}
"""Faults as the validator names them, in the words of the author."""
