"""What the API asks of standing rules."""

from typing import NamedTuple

from workflow.standing import StandingPlan


class AddRule(NamedTuple):
    """Let the rule hold from here on; the very same again changes nothing, another one of its name is refused."""

    token: int
    plan: StandingPlan


class RemoveRule(NamedTuple):
    """Let the rule hold no longer."""

    token: int
    name: str
