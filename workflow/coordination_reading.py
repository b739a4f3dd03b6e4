"""`coordination:` as authors and operators write it, for a whole run or one task: a word, or a mapping.

coordination: auction
coordination: {protocol: auction, evaluator: fastest, window: 50ms, wait: 500ms, price_max: 20, otherwise: direct}
coordination: {protocol: consensus, rule: two_thirds, group: [ann, ben, cleo], quorum: 2}
coordination: {protocol: leader, group: [ann, ben], ttl: 20s, lock_delay: 5s, priority: {ann: 2}}
"""

from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from workflow.durations import Timeout
from workflow.nothing import NO_FIELDS, NO_ITEMS
from workflow.parts import LABEL, AgentWord, Identifier, Part, aliases
from workflow.scoring import compile_score
from workflow.syntax import ExpressionSyntaxError
from workflow.tasks import CoordinationPlan, GroupOfAgents, LevelPlan

AGENTS_MAX = 1_000
LEVELS_MAX = 4
ROUNDS_MAX = 100
WINDOW_MS, WINDOW_MS_MAX = 50, 10_000
WAIT_MS, WAIT_MS_MAX = 500, 600_000
ALONE_MS, ALONE_MS_MAX = 60_000, 3_600_000
VOTE_WAIT_MS = 10_000
TTL_MS_MIN, TTL_MS_MAX = 1_000, 600_000
LOCK_DELAY_MS_MAX = 600_000
PRIORITY_MAX = 1_000_000
ROUNDS = 5
LEVEL_FIELDS = ("level", "scope", "budget", "expires", "by", "on_loss")
ORDER = ("cloud", "site", "group", "agent")
FIELDS_OF_LEVEL = {
    "cloud": ("level", "protocol", "evaluator", "score", "price_max", "scope", "budget"),
    "agent": ("level", "protocol", "wait", "price_max", "scope", "budget", "expires", "on_loss"),
}
"""Of those that have not all."""
PROTOCOLS_OF_LEVEL = {"cloud": ("direct", "auction"), "agent": ("direct", "offer")}
"""Of those that have not all but `offer`, which is for an agent to take or to leave."""
SCOPE_OF = {"cloud": "sites", "site": "groups", "group": "agents"}
"""Who is below, by what `scope` calls them; a site above no group has agents."""
NAMES_MAX = 1_000
FIELDS_OF = {
    "direct": (),
    "auction": ("group", "evaluator", "score", "window", "wait", "price_max", "rounds", "otherwise", "alone"),
    "leader": ("group", "ttl", "lock_delay", "priority", "wait", "otherwise"),
    "consensus": ("group", "rule", "weights", "veto", "quorum", "tie", "wait", "otherwise"),
    "hierarchical": ("levels", "wait", "otherwise"),
    "offer": ("wait", "price_max"),
}
_WAITS = {"auction": WAIT_MS, "offer": WAIT_MS, "leader": VOTE_WAIT_MS, "consensus": VOTE_WAIT_MS, "hierarchical": 0, "direct": 0}
Rank = Annotated[int, Field(ge=-PRIORITY_MAX, le=PRIORITY_MAX, strict=True)]
Weight = Annotated[float, Field(gt=0, le=1_000_000, allow_inf_nan=False)]


class GroupPart(Part):
    """Who takes part: all with a capability (without one, that of the task), these agents, or those with a label `key=value`."""

    name: Identifier | None = Field(default=None, description="What it is called, as by who leads it.")
    capability: AgentWord | None = None
    agents: list[AgentWord] = Field(default=NO_ITEMS, max_length=AGENTS_MAX)
    label: str | None = Field(default=None, pattern=LABEL)

    @model_validator(mode="after")
    def _one_says_who(self) -> "GroupPart":
        given = [word for word in ("capability", "agents", "label") if getattr(self, word)]
        if len(given) > 1 or not (given or self.name):
            raise PydanticCustomError(
                "one_of", "one", {"given": " and ".join(given) or "none of them", "allowed": "capability, agents, label"}
            )
        return self

    def value(self) -> GroupOfAgents:
        """As a plan carries it."""
        return GroupOfAgents(self.name or "", self.capability or "", tuple(dict.fromkeys(self.agents)), self.label or "")


def _read_group(found: object) -> object:
    if isinstance(found, str):
        return {"capability": found}
    return {"agents": found} if isinstance(found, list) else found


GroupField = Annotated[GroupPart, BeforeValidator(_read_group, json_schema_input_type=AgentWord | list[AgentWord] | GroupPart)]


def _rules_of_protocols(*more: str) -> list[Any]:
    """In the published schema: each protocol stands with its own fields."""
    return [
        {
            "if": {"properties": {"protocol": {"const": protocol}}, "required": ["protocol"]},
            "then": {"propertyNames": {"enum": ["protocol", *more, *fields]}},
        }
        for protocol, fields in FIELDS_OF.items()
    ]


def _read_alone(found: object) -> object:
    return {True: ALONE_MS / 1_000, False: None}[found] if isinstance(found, bool) else found


AloneField = Annotated[Timeout | None, BeforeValidator(_read_alone, json_schema_input_type=bool | Timeout)]


class _Protocol(Part):
    """What all levels share: the protocol, and the fields that belong to it."""

    also: ClassVar[tuple[str, ...]] = ()
    protocol: str
    group: GroupField | None = Field(default=None, description="Who takes part; without it, all that have the task's capability.")
    evaluator: Literal["cheapest", "fastest", "balanced", "custom"] = Field(default="cheapest", description="Which bid is best.")
    score: str | None = Field(default=None, min_length=1, description="Of custom: CEL over bid, agent, lot; the lowest wins.")
    window: Timeout | None = Field(default=None, description="How long tasks gather to be auctioned together; 50ms.")
    wait: Timeout | None = Field(default=None, description="How long bids, votes or the leader are waited for.")
    price_max: float | None = Field(default=None, ge=0, allow_inf_nan=False, description="No dearer bid is taken.")
    rounds: int = Field(default=ROUNDS, ge=1, le=ROUNDS_MAX, description="Auctions without an award until `otherwise`.")
    rule: Literal["majority", "two_thirds", "unanimous", "weighted", "veto"] = "majority"
    weights: dict[AgentWord, Weight] = Field(
        default=NO_FIELDS, max_length=AGENTS_MAX, description="Of weighted: agent -> weight."
    )
    veto: list[AgentWord] = Field(default=NO_ITEMS, max_length=AGENTS_MAX, description="Of veto: whose no decides.")
    quorum: int | None = Field(default=None, ge=1, le=AGENTS_MAX, description="So many must vote.")
    tie: Literal["reject", "accept", "lowest"] = Field(default="lowest", description="What counts as chosen then.")
    ttl: Timeout | None = Field(default=None, description="Of leader: how long it is believed after its last word.")
    lock_delay: Timeout | None = Field(default=None, description="Of leader: how long nobody follows one that is lost.")
    priority: dict[AgentWord, Rank] = Field(
        default=NO_FIELDS, max_length=AGENTS_MAX, description="Of leader: member -> number; the highest that is there leads."
    )
    otherwise: Literal["direct", "wait", "fail"] = Field(default="wait", description="What follows when nobody is found.")
    alone: AloneField = Field(
        default=None,
        description="How long agents that have lost their site may begin it by agreement; true: 60s.",
    )

    @model_validator(mode="after")
    def _agrees(self) -> Any:
        own = ("protocol", *self.also, *FIELDS_OF[self.protocol])
        if idle := self.model_fields_set - set(own):
            context = {"idle": aliases(type(self), idle), "what": f"{self.protocol} protocol", "allowed": ", ".join(own)}
            raise PydanticCustomError("idle", "{idle}", context)
        if (self.evaluator == "custom") != (self.score is not None):
            raise PydanticCustomError("score", "score and custom belong together")
        if self.score is not None:
            _check_score(self.score)
        self._check_voting()
        self._check_times()
        return self

    def _check_voting(self) -> None:
        if (self.rule == "weighted") != bool(self.weights):
            raise PydanticCustomError("of_rule", "of a rule", {"field": "weights", "rule": "weighted"})
        if (self.rule == "veto") != bool(self.veto):
            raise PydanticCustomError("of_rule", "of a rule", {"field": "veto", "rule": "veto"})

    def _check_times(self) -> None:
        most = {
            "alone": ALONE_MS_MAX,
            "window": WINDOW_MS_MAX,
            "wait": WAIT_MS_MAX,
            "ttl": TTL_MS_MAX,
            "lock_delay": LOCK_DELAY_MS_MAX,
        }
        for name, limit in most.items():
            if (getattr(self, name) or 0) > limit:
                raise PydanticCustomError("too_long_a_time", "too long", {"field": name, "most": f"{limit / 1000:g}s"})
        if self.ttl is not None and self.ttl < TTL_MS_MIN:
            raise PydanticCustomError("too_short_a_time", "too short", {"field": "ttl", "least": f"{TTL_MS_MIN / 1000:g}s"})

    def value(self) -> CoordinationPlan:
        """As a plan carries it: durations in ms, and what is not said as it is by default."""
        is_auction, votes = self.protocol == "auction", self.protocol == "consensus"
        return CoordinationPlan(
            protocol=self.protocol,
            group=self.group.value() if self.group is not None else None,
            evaluator=self.evaluator if is_auction else "",
            score=self.score or "",
            window_ms=(self.window or WINDOW_MS) if is_auction else 0,
            wait_ms=self.wait or _WAITS[self.protocol],
            price_max=-1.0 if self.price_max is None else float(self.price_max),
            rounds=self.rounds if is_auction else 0,
            rule=self.rule if votes else "",
            weights=tuple(sorted(self.weights.items())),
            veto=tuple(sorted(set(self.veto))),
            quorum=self.quorum or 0,
            tie=self.tie if votes else "",
            levels=tuple(self._levels()),
            otherwise=self.otherwise,
            ttl_ms=self.ttl or 0,
            lock_delay_ms=self.lock_delay or 0,
            priority=tuple(sorted(self.priority.items())),
            alone_ms=self.alone or 0,
        )

    def _levels(self) -> Iterable[LevelPlan]:
        return ()


class BudgetPart(Part):
    """What a level may give away of a run under one mandate."""

    tasks: int | None = Field(
        default=None, ge=1, le=1_000_000, description="So many tasks; one that is awarded again counts once."
    )
    cost: float | None = Field(
        default=None,
        ge=0,
        le=1e12,
        allow_inf_nan=False,
        description="The sum of the winning bids, or of what agents ask: `cost`.",
    )

    @model_validator(mode="after")
    def _says_something(self) -> "BudgetPart":
        if self.tasks is None and self.cost is None:
            raise PydanticCustomError("empty_budget", "neither of them")
        return self


def _read_budget(found: object) -> object:
    return {"tasks": found} if isinstance(found, int) and not isinstance(found, bool) else found


BudgetField = Annotated[BudgetPart, BeforeValidator(_read_budget, json_schema_input_type=int | BudgetPart)]


class ScopePart(Part):
    """What a level may decide on, and among whom of those below it."""

    capabilities: list[AgentWord] = Field(default=NO_ITEMS, max_length=NAMES_MAX, description="Tasks that ask for one of these.")
    sites: list[AgentWord] = Field(default=NO_ITEMS, max_length=NAMES_MAX, description="Of cloud.")
    groups: list[AgentWord] = Field(default=NO_ITEMS, max_length=NAMES_MAX, description="Of a site above groups.")
    agents: list[AgentWord] = Field(default=NO_ITEMS, max_length=NAMES_MAX, description="Of whoever chooses the agent.")


class LevelPart(_Protocol):
    """One level of a hierarchy, and the protocol by which it chooses among those below it."""

    model_config = ConfigDict(json_schema_extra={"allOf": _rules_of_protocols(*LEVEL_FIELDS)})
    also: ClassVar[tuple[str, ...]] = LEVEL_FIELDS
    level: Literal["cloud", "site", "group", "agent"]
    protocol: Literal["direct", "auction", "leader", "consensus", "hierarchical", "offer"]
    scope: ScopePart | None = Field(default=None, description="What it may decide on, and among whom; without it, all.")
    budget: BudgetField | None = Field(
        default=None, description="What it may give away before it asks above: a count of tasks, or both."
    )
    expires: Timeout | None = Field(default=None, description="How long its mandate lasts, from its first decision.")
    by: AgentWord | None = Field(default=None, description="Of group: the label that says in which group an agent is; `group`.")
    on_loss: Literal["continue", "finish", "hold"] = Field(
        default="continue", description="What it may still decide while the level above cannot be heard."
    )

    @model_validator(mode="after")
    def _is_one(self) -> "LevelPart":
        if self.protocol == "hierarchical":
            raise PydanticCustomError("nested_levels", "levels are not nested")
        allowed = PROTOCOLS_OF_LEVEL.get(self.level, ("direct", "auction", "leader", "consensus"))
        if self.protocol not in allowed:
            context = {"level": self.level, "protocol": self.protocol, "allowed": ", ".join(allowed)}
            raise PydanticCustomError("of_level", "of another level", context)
        if self.alone is not None:
            raise PydanticCustomError("alone_in_levels", "alone in levels")
        if self.by is not None and self.level != "group":
            raise PydanticCustomError("of_group", "of group")
        fields = FIELDS_OF_LEVEL.get(self.level)
        if fields is not None and (idle := self.model_fields_set - set(fields)):
            context = {"idle": aliases(type(self), idle), "what": f"level {self.level}", "allowed": ", ".join(fields)}
            raise PydanticCustomError("idle", "{idle}", context)
        return self

    def plan(self, below: str) -> LevelPlan:
        """As a plan carries it. `below` is how `scope` names those among whom it chooses."""
        by = (self.by or "group") if self.level == "group" else ""
        scope, budget = self.scope or ScopePart(), self.budget
        tasks = (budget.tasks or 0) if budget is not None else 0
        cost = -1.0 if budget is None or budget.cost is None else float(budget.cost)
        bounds = tasks, self.expires or 0, by, self.on_loss
        names = tuple(dict.fromkeys(getattr(scope, below) if below else ()))
        return LevelPlan(self.level, self.value(), *bounds, cost, tuple(dict.fromkeys(scope.capabilities)), names)


class CoordinationPart(_Protocol):
    """By which protocol the tasks of a run, or one of them, find their agents."""

    model_config = ConfigDict(json_schema_extra={"allOf": _rules_of_protocols()})
    protocol: Literal["direct", "auction", "leader", "consensus", "hierarchical"]
    levels: list[LevelPart] = Field(default=NO_ITEMS, max_length=LEVELS_MAX, description="Of hierarchical: from above to below.")

    @model_validator(mode="after")
    def _has_levels(self) -> "CoordinationPart":
        names = [level.level for level in self.levels]
        if self.protocol == "hierarchical" and not {"site", "group"} & set(names):
            raise PydanticCustomError("no_levels", "no levels")
        if sorted(names, key=ORDER.index) != names or len(set(names)) != len(names):
            raise PydanticCustomError("levels_order", "levels out of order", {"found": ", ".join(names)})
        for level in self.levels:
            said = sorted((level.scope.model_fields_set if level.scope is not None else set()) - {"capabilities"})
            if wrong := [word for word in said if word != self._below(level)]:
                context = {"level": level.level, "word": wrong[0], "allowed": self._below(level) or "capabilities"}
                raise PydanticCustomError("of_scope", "of another scope", context)
        return self

    def _below(self, level: LevelPart) -> str:
        """How `scope` names those among whom the level chooses."""
        has_groups = any(each.level == "group" for each in self.levels)
        return "agents" if level.level == "site" and not has_groups else SCOPE_OF.get(level.level, "")

    def _levels(self) -> Iterable[LevelPlan]:
        return (each.plan(self._below(each)) for each in self.levels)


def _check_score(text: str) -> None:
    try:
        compile_score(text)
    except ExpressionSyntaxError as refusal:
        context = {"message": refusal.message, "column": refusal.column, "allowed": refusal.allowed or "CEL"}
        raise PydanticCustomError("no_score", "{message}", context) from None


def _read(found: object) -> object:
    return {"protocol": found} if isinstance(found, str) else found


CoordinationField = Annotated[
    CoordinationPart,
    BeforeValidator(
        _read,
        json_schema_input_type=Literal["direct", "auction", "leader", "consensus"] | CoordinationPart,
    ),
]

WORDS = {
    "score": lambda found, context: ("`score` and `evaluator: custom` belong together", "both, or none of them"),
    "no_score": lambda found, context: (f"score: {context['message']} (column {context['column']})", context["allowed"]),
    "of_rule": lambda found, context: (f"{context['field']} and `rule: {context['rule']}` belong together", "both, or none"),
    "too_long_a_time": lambda found, context: (f"{context['field']} is too long", f"{context['most']} at most"),
    "too_short_a_time": lambda found, context: (f"{context['field']} is too short", f"{context['least']} at least"),
    "no_levels": lambda found, context: (
        "hierarchical names no levels, or no site and no group",
        "levels: [{level: site, protocol: auction}, ...]",
    ),
    "of_group": lambda found, context: ("only a group has `by`", "no `by` here"),
    "of_level": lambda found, context: (
        f"a level {context['level']} does not choose by {context['protocol']}",
        context["allowed"],
    ),
    "of_scope": lambda found, context: (
        f"the scope of level {context['level']} has no {context['word']}",
        f"capabilities, {context['allowed']}" if context["allowed"] != "capabilities" else "capabilities",
    ),
    "empty_budget": lambda found, context: ("a budget of nothing", "tasks, cost, or both"),
    "alone_in_levels": lambda found, context: (
        "a level is left to agents alone",
        "`alone` with protocol auction, without levels",
    ),
    "nested_levels": lambda found, context: ("a level is hierarchical itself", "direct, auction, leader, consensus"),
    "levels_order": lambda found, context: (
        f"the levels are {context['found']}",
        f"each once, in the order {', '.join(ORDER)}",
    ),
}
"""Faults as the validator names them, in the words of the author."""
