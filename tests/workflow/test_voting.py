"""`vote:` of a task: what is read, what is refused, and what comes of a result."""

from typing import Any

import pytest

from tests.workflow.plans import plan_of
from workflow.definition import json_schema
from workflow.problems import DefinitionError
from workflow.tasks import Kind

GOOD: dict[str, Any] = {"question": "Good?", "voters": ["ann", "ben"]}


def test_a_vote_is_compiled() -> None:
    """Short forms, defaults, and what expressions read."""
    plan = plan_of(
        {
            "weigh": {"capability": "weigh"},
            "ask": {
                "needs": ["weigh"],
                "vote": {"question": "Is ${{ tasks.weigh.output }} kg too much?", "voters": "judge", "rule": "two_thirds"},
            },
        }
    )
    task = plan.tasks[plan.index["ask"]]
    assert task.kind is Kind.VOTE
    assert task.vote is not None
    assert (task.vote.capability, task.vote.agents, task.vote.topic) == ("judge", (), "judge")
    assert (task.vote.options, task.vote.no, task.vote.deadline_ms) == (("accept", "reject"), "reject", 60_000)
    assert task.reads == (plan.index["weigh"],)


@pytest.mark.parametrize(
    ("vote", "words"),
    [
        ({"voters": ["ann"]}, "question: is missing"),
        ({**GOOD, "voters": {}}, "one of capability, agents"),
        ({**GOOD, "options": ["a", "a"]}, "options names one of them twice"),
        ({**GOOD, "rule": "most"}, "'majority'"),
        ({**GOOD, "weights": {"ann": 2}}, "`weights` and `rule: weighted` belong together"),
        ({**GOOD, "rule": "veto"}, "`veto` and `rule: veto` belong together"),
        ({**GOOD, "tie": "chair"}, "`chair` and `tie: chair` belong together"),
        ({**GOOD, "rule": "veto", "veto": ["cleo"]}, "cleo may not vote"),
        ({**GOOD, "quorum": 3}, "3 must vote, and it names 2"),
        ({**GOOD, "deadline": "soon"}, "deadline"),
        ({**GOOD, "chairs": 2}, "chairs"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_helps(vote: dict[str, Any], words: str) -> None:
    """Each mistake is told at its place."""
    with pytest.raises(DefinitionError) as refused:
        plan_of({"ask": {"vote": vote}})
    said = str(refused.value)
    assert "tasks.ask.vote" in said
    assert words.replace("'", "") in said.replace("'", "")


def test_a_vote_has_nothing_to_do_with_what_only_agents_at_work_have() -> None:
    """A retry of a vote would be another question."""
    with pytest.raises(DefinitionError, match="vote has nothing to do with retry"):
        plan_of({"ask": {"vote": GOOD, "retry": {"max_attempts": 2}}})


def test_the_published_schema_knows_votes() -> None:
    """Editors show the fields."""
    schema = json_schema()
    assert {"question", "voters", "rule", "quorum", "on_reject"} <= schema["$defs"]["Vote"]["properties"].keys()
