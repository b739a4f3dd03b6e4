"""`coordination:` in definitions: what it may say, what is refused and how, and what becomes of it in the plan."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel

from cloud.coordinating.service import order_in
from cloud.port import Problem
from sync.values import RunId
from tests.workflow.plans import adopted, plan_of
from workflow.coordinating import coordination_of
from workflow.coordination_reading import CoordinationPart
from workflow.definition import WorkflowDefinition, json_schema
from workflow.explain import explain
from workflow.expression import ExpressionError
from workflow.fragment import Fragment
from workflow.growth import GrowthRefused, check_addition, compile_addition
from workflow.idle_fields import check_coordination
from workflow.parts import PATTERN_RULES
from workflow.plan import DefinitionError, plan_from_document, read_plan
from workflow.reading import read_part
from workflow.scoring import compile_score, score
from workflow.standing import StandingRule
from workflow.syntax import ExpressionSyntaxError
from workflow.tasks import CoordinationPlan, GroupOfAgents


def refusals(coordination: Any, **task: Any) -> list[str]:
    with pytest.raises(DefinitionError) as caught:
        plan_of({"a": {**task, "coordination": coordination}})
    return [str(problem) for problem in caught.value.problems]


def levels(*more: dict[str, Any], **first: Any) -> dict[str, Any]:
    below = [{"level": "site", "protocol": "direct"}] if first.get("level") == "cloud" else []
    return {"protocol": "hierarchical", "levels": [{"level": "site", "protocol": "direct", **first}, *below, *more]}


def test_a_word_stands_for_all_defaults() -> None:
    """An auction gathers for 50 ms, waits for bids for half a second, and takes the cheapest."""
    (task,) = plan_of({"a": {}}, coordination="auction").tasks
    assert task.coordination == CoordinationPlan("auction", None, "cheapest", window_ms=50, wait_ms=500, rounds=5)


def test_the_run_says_the_default_of_its_tasks() -> None:
    """A task says otherwise; one that names its agent, and what serves another, go directly."""
    tasks: dict[str, dict[str, Any]] = {
        "a": {},
        "b": {"coordination": "direct"},
        "c": {"agent": "ann"},
        "d": {"cleanup": {"capability": "sweep"}},
    }
    plans = plan_of(tasks, coordination={"protocol": "auction", "group": ["ann", "ben"]}).tasks
    found = {plan.id: plan.coordination and plan.coordination.group for plan in plans}
    group = GroupOfAgents(agents=("ann", "ben"))
    assert found == {"a": group, "b": None, "c": None, "d": group, "d:cleanup": None}


@pytest.mark.parametrize(("said", "alone_ms"), [(True, 60_000), ("5s", 5_000), (90, 90_000), (False, 0)])
def test_only_what_may_be_repeated_is_left_alone(said: Any, alone_ms: int) -> None:
    """What the run says holds for its repeatable tasks; the others are auctioned as without."""
    tasks = {"a": {"effect": "repeatable"}, "b": {"effect": "once"}}
    plan = plan_of(tasks, coordination={"protocol": "auction", "alone": said})
    assert [task.coordination and task.coordination.alone_ms for task in plan.tasks] == [alone_ms, 0]
    assert plan_from_document(plan.document).tasks == plan.tasks


def test_bodies_inherit_it() -> None:
    """What a map makes copies of is auctioned like all else."""
    inner = {"map": {"over": "[1, 2]", "tasks": {"b": {"capability": "work"}}}}
    plan = plan_of({"a": inner}, coordination="auction")
    body = plan.tasks[0].body
    assert body is not None
    assert plan.tasks[0].coordination is None
    assert body.graph.tasks[0].coordination is not None


def test_the_document_says_the_same() -> None:
    """A site compiles the very same plan of what travels to it."""
    levels = [{"level": "site", "protocol": "auction", "budget": 5}, {"level": "group", "protocol": "leader", "group": "lift"}]
    plan = plan_of({"a": {}}, coordination={"protocol": "hierarchical", "levels": levels})
    assert plan_from_document(plan.document).tasks == plan.tasks
    assert plan.tasks[0].coordination is not None
    assert [(level.level, level.budget) for level in plan.tasks[0].coordination.levels] == [("site", 5), ("group", 0)]


def test_how_a_group_is_led_travels_with_the_task() -> None:
    """Times in ms and priorities by agent, at a task or a level; without a word there is nothing."""
    terms: dict[str, Any] = {"protocol": "leader", "ttl": "20s", "lock_delay": 5, "priority": {"ben": -1, "ann": 2}}
    plan = plan_of({"a": {"coordination": terms}, "b": {"coordination": "leader"}})
    of_level = {"protocol": "hierarchical", "levels": [{"level": "group", **terms}]}
    levels = plan_of({"a": {"coordination": of_level}}).tasks[0].coordination
    assert plan_from_document(plan.document).tasks == plan.tasks
    found = [plan.tasks[0].coordination, plan.tasks[1].coordination, levels and levels.levels[0].coordination]
    said = [(each.ttl_ms, each.lock_delay_ms, each.priority) for each in found if each is not None]
    assert said == [(20_000, 5_000, (("ann", 2), ("ben", -1))), (0, 0, ()), (20_000, 5_000, (("ann", 2), ("ben", -1)))]


def test_all_four_levels_have_mandates() -> None:
    """Scope, budget by tasks and by cost, end, and what holds without the level above; each with its own protocol."""
    found = [
        {
            "level": "cloud",
            "protocol": "auction",
            "evaluator": "fastest",
            "scope": {"sites": ["harbour"]},
            "budget": {"cost": 90},
        },
        {"level": "site", "protocol": "leader", "budget": {"tasks": 9, "cost": 40.5}, "scope": {"groups": ["a", "b", "a"]}},
        {"level": "group", "protocol": "consensus", "by": "hall", "budget": 3, "expires": "5m", "on_loss": "hold"},
        {"level": "agent", "protocol": "offer", "wait": "2s", "price_max": 7, "scope": {"capabilities": ["work"]}},
    ]
    plan = plan_of({"a": {}}, coordination={"protocol": "hierarchical", "levels": found})
    (task,) = plan.tasks
    assert plan_from_document(plan.document).tasks == plan.tasks
    assert task.coordination is not None
    cloud, site, group, agent = task.coordination.levels
    assert (cloud.coordination.evaluator, cloud.names, cloud.budget, cloud.cost_max) == ("fastest", ("harbour",), 0, 90.0)
    assert (site.coordination.protocol, site.names, site.budget, site.cost_max) == ("leader", ("a", "b"), 9, 40.5)
    assert (group.budget, group.cost_max, group.expires_ms, group.by, group.on_loss) == (3, -1.0, 300_000, "hall", "hold")
    assert (agent.coordination.wait_ms, agent.coordination.price_max, agent.capabilities) == (2_000, 7.0, ("work",))
    assert [level.is_bounded for level in task.coordination.levels] == [True] * 4


@pytest.mark.parametrize(
    ("coordination", "said"),
    [
        ("auktion", "'auktion' is unknown; allowed: direct, auction"),
        ({"protocol": "auction", "rule": "majority"}, "nothing to do with rule; allowed: protocol, group, evaluator"),
        ({"protocol": "auction", "windo": "5ms"}, "did you mean 'window'?"),
        ({"protocol": "auction", "window": "1h"}, "window is too long; allowed: 10s at most"),
        ({"protocol": "auction", "price_max": -1}, "price_max"),
        ({"protocol": "auction", "rounds": 0}, "rounds"),
        ({"protocol": "auction", "evaluator": "custom"}, "belong together"),
        ({"protocol": "auction", "score": "bid.cost"}, "belong together"),
        ({"protocol": "auction", "evaluator": "custom", "score": "inputs.x"}, "'inputs' is not known here"),
        ({"protocol": "auction", "evaluator": "custom", "score": "bid.cost +"}, "score: "),
        ({"protocol": "consensus", "rule": "weighted"}, "weights and `rule: weighted` belong together"),
        ({"protocol": "consensus", "rule": "majority", "veto": ["ann"]}, "veto and `rule: veto` belong together"),
        ({"protocol": "consensus", "rule": "weighted", "weights": {"ann": 0}}, "weights"),
        ({"protocol": "leader", "group": {"capability": "lift", "agents": ["ann"]}}, "it names capability and agents"),
        ({"protocol": "leader", "ttl": "900ms"}, "ttl is too short; allowed: 1s at least"),
        ({"protocol": "leader", "ttl": "1h"}, "ttl is too long; allowed: 600s at most"),
        ({"protocol": "leader", "lock_delay": "1h"}, "lock_delay is too long; allowed: 600s at most"),
        ({"protocol": "leader", "priority": {"ann": 1_000_001}}, "priority"),
        ({"protocol": "leader", "priority": {"ann": 1.5}}, "priority"),
        ({"protocol": "auction", "lock_delay": "5s"}, "nothing to do with lock_delay"),
        ({"protocol": "hierarchical"}, "names no levels"),
        ({"protocol": "hierarchical", "levels": [{"level": "site", "protocol": "hierarchical"}]}, "level is hierarchical itself"),
        (
            {
                "protocol": "hierarchical",
                "levels": [{"level": "group", "protocol": "direct"}, {"level": "site", "protocol": "direct"}],
            },
            "each once, in the order cloud, site, group, agent",
        ),
        ({"protocol": "hierarchical", "levels": [{"level": "agent", "protocol": "direct"}]}, "no site and no group"),
        ({"protocol": "hierarchical", "levels": [{"level": "hall", "protocol": "direct"}]}, "allowed: cloud, site, group"),
        ({"protocol": "offer"}, "'offer' is unknown"),
        (
            {
                "protocol": "hierarchical",
                "levels": [{"level": "cloud", "protocol": "leader"}, {"level": "group", "protocol": "direct"}],
            },
            "a level cloud does not choose by leader; allowed: direct, auction",
        ),
        (
            {"protocol": "hierarchical", "levels": [{"level": "site", "protocol": "direct", "by": "hall"}]},
            "only a group has `by`",
        ),
        (levels(level="site", protocol="offer"), "a level site does not choose by offer"),
        (levels({"level": "agent", "protocol": "auction"}), "a level agent does not choose by auction; allowed: direct, offer"),
        (levels(budget={"cost": -1}), "cost"),
        (levels(budget={}), "a budget of nothing; allowed: tasks, cost, or both"),
        (levels(budget=0), "tasks"),
        (levels(budget=True), "budget"),
        (levels(scope={"sites": ["harbour"]}), "the scope of level site has no sites; allowed: capabilities, agents"),
        (
            levels({"level": "group", "protocol": "direct"}, scope={"agents": ["ann"]}),
            "has no agents; allowed: capabilities, groups",
        ),
        (
            levels({"level": "agent", "protocol": "direct", "scope": {"agents": ["ann"]}}),
            "agent has no agents; allowed: capabilities",
        ),
        (levels(level="cloud", expires="1h"), "a level cloud has nothing to do with expires"),
        (levels({"level": "agent", "protocol": "offer", "by": "hall"}), "only a group has `by`"),
        ({"protocol": "consensus", "tie": "chair"}, "'chair' is unknown"),
        ({"protocol": "consensus", "alone": True}, "a consensus protocol has nothing to do with alone"),
        ({"protocol": "auction", "ttl": "5s"}, "an auction protocol has nothing to do with ttl"),
        ({"protocol": "auction", "alone": "2h"}, "alone is too long; allowed: 3600s at most"),
        ({"protocol": "auction", "alone": "soon"}, "alone"),
        (
            {"protocol": "auction", "alone": True},
            "may do the task twice, and its effect is `once`",
        ),
        (
            {"protocol": "hierarchical", "levels": [{"level": "site", "protocol": "auction", "alone": True}]},
            "a level is left to agents alone",
        ),
        (7, "7 stands here; allowed: a mapping"),
    ],
)
def test_what_makes_no_sense_is_refused(coordination: Any, said: str) -> None:
    """At registration, with what is allowed."""
    found = refusals(coordination)
    assert any(said in line for line in found), found


def test_who_names_an_agent_chooses_nobody() -> None:
    """The two contradict each other."""
    assert "the task names its agent" in refusals("auction", agent="ann")[0]


def test_a_wait_is_not_coordinated() -> None:
    """Nobody does it."""
    assert "nothing to do with coordination" in refusals("auction", wait={"for": 1})[0]


def test_the_schema_knows_it() -> None:
    """Editors complete the protocols and refuse fields of others."""
    schema = msgspec.json.encode(json_schema()).decode()
    assert "CoordinationPart" in schema
    assert '"two_thirds"' in schema


def test_a_score_is_a_number() -> None:
    """What an author's rule makes of a bid; anything else is an error that says so."""
    agent: dict[str, object] = {"id": "ann", "load": 0.5}
    assert score("bid.cost + 2.0 * agent.load", {"cost": 1.5}, agent, {}) == 2.5
    for text in ("agent.id", "bid.cost / 0.0", "bid.nothing", "true"):
        with pytest.raises(ExpressionError):
            score(text, {"cost": 1.5}, agent, {})
    with pytest.raises(ExpressionSyntaxError, match=r"'lot\.crate' is not known here"):
        compile_score("lot.crate + lot.parameters.crate")
    with pytest.raises(ExpressionSyntaxError, match="unknown name 'nope'") as refused:
        compile_score("bid.cost + nope.x")
    assert (refused.value.column, refused.value.allowed) == (12, "bid, agent, lot")


def test_direct_is_no_protocol_at_run_time() -> None:
    """Nothing is in force for a task that goes directly."""
    plan = plan_of({"a": {}, "b": {"coordination": "auction"}})
    fragment = Fragment.adopt(RunId("r1"), plan, adopted(plan))
    fragment.more().coordination[-1] = CoordinationPlan("direct")
    assert [coordination_of(fragment, task) for task in (0, 1)] == [None, None]


def site_above_groups(**more: Any) -> dict[str, Any]:
    return levels({"level": "group", "protocol": "direct"}, protocol="auction", **more)


@pytest.mark.parametrize(
    ("coordination", "said"),
    [
        ({**levels(), "wait": "5s"}, "coordination.wait: a hierarchy as a whole waits for nobody"),
        (levels(protocol="leader", otherwise="fail"), "levels[0].otherwise: level site hands what it cannot decide"),
        *[
            (site_above_groups(**{name: value}), f"levels[0].{name}: a site above groups asks nobody for bids")
            for name, value in (
                ("evaluator", "fastest"),
                ("price_max", 3),
                ("window", "1s"),
                ("wait", "1s"),
                ("rounds", 3),
            )
        ],
    ],
)
def test_what_nothing_goes_by_is_refused(coordination: dict[str, Any], said: str) -> None:
    """In a definition that is registered, for the whole run or one task, and in an order; one that was registered stays good."""
    task = {"capability": "work"}
    for document in (
        {"tasks": {"a": task}, "coordination": coordination},
        {"tasks": {"a": {**task, "coordination": coordination}}},
    ):
        with pytest.raises(DefinitionError) as caught:
            read_plan({"name": "story", "version": "1", **document})
        assert any(said in str(problem) for problem in caught.value.problems), caught.value.problems
    with pytest.raises(Problem) as refused:
        order_in(msgspec.json.encode(coordination))
    assert any(said.removeprefix("coordination.") in line for line in refused.value.problems)
    assert plan_of({"a": {}}, coordination=coordination).tasks[0].coordination is not None


def test_a_run_of_an_older_definition_grows() -> None:
    """What its definition says beside the point is not held against new tasks; what these say is. What was added is kept."""
    plan = plan_of({"a": {}}, coordination=site_above_groups(rounds=3))
    fragment = Fragment.adopt(RunId("r1"), plan, adopted(plan))
    added = msgspec.json.encode({"b": {"capability": "work"}})
    assert check_addition(fragment, added, {}).body.graph.tasks
    idle = msgspec.json.encode({"b": {"capability": "work", "coordination": site_above_groups(rounds=3)}})
    with pytest.raises(GrowthRefused, match="asks nobody for bids"):
        check_addition(fragment, idle, {})
    assert compile_addition(plan.document, idle).body.graph.tasks


def test_a_site_above_no_groups_asks_its_agents_for_bids() -> None:
    """There all that belongs to an auction counts; above groups, who takes part does."""
    above = {"tasks": {"a": {"capability": "work"}}, "coordination": site_above_groups(group="lift")}
    assert read_plan({"name": "s", "version": "1", **above})
    read_plan(
        {
            "name": "s",
            "version": "1",
            "tasks": {"a": {"capability": "work"}},
            "coordination": levels(protocol="auction", rounds=3),
        }
    )
    part, problems = read_part(CoordinationPart, levels(protocol="auction", rounds=3, price_max=4, wait="1s"))
    check_coordination(part, (), problems)
    assert (part is not None, problems.found) == (True, [])


def test_a_label_without_a_value_is_refused() -> None:
    """With what a label looks like."""
    assert "'crew' is no valid name here; allowed: key=value" in refusals({"protocol": "leader", "group": {"label": "crew"}})[0]


@pytest.mark.parametrize("model", [WorkflowDefinition, CoordinationPart, StandingRule])
def test_every_pattern_has_words(model: type[BaseModel]) -> None:
    """What does not match is refused with a rule that people can read."""
    found = set(patterns(model.__pydantic_core_schema__))
    assert len(found) > 1
    assert found <= PATTERN_RULES.keys()


def patterns(schema: Any) -> Iterator[str]:
    """All that texts must match, keys of mappings too."""
    if isinstance(schema, dict):
        if schema.get("type") == "str" and "pattern" in schema:
            yield schema["pattern"]
        for key, part in schema.items():
            if key not in ("cls", "metadata"):
                yield from patterns(part)
    elif isinstance(schema, list | tuple):
        for part in schema:
            yield from patterns(part)


@pytest.mark.parametrize(
    ("coordination", "said"),
    [
        (levels(), "waits for the levels of its hierarchy to name an agent with work"),
        ({"protocol": "leader", "group": "work"}, "waits for the leader of its group to name an agent with work"),
        ({"protocol": "auction"}, "waits for its auction to name an agent with work"),
    ],
)
def test_who_is_to_name_an_agent_has_words(coordination: dict[str, Any], said: str) -> None:
    """What a task waits for is said as people say it."""
    plan = plan_of({"a": {}}, coordination=coordination)
    (reason,) = explain(Fragment.adopt(RunId("r1"), plan, adopted(plan)))
    assert reason.why == said
