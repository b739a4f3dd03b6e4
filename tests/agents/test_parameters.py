"""Parameters are checked against the signature before a capability begins."""

import asyncio
import inspect
from typing import Any, Literal

import pytest

from agents.parameters import checked
from tests.agents.attempts import context
from tiercel import TaskContext, TerminalError
from tiercel.capability import Runs, capability_of


def add(task: TaskContext, left: int, right: int = 1, unit: Literal["kg", "lb"] = "kg") -> dict[str, Any]:
    return {"sum": left + right, "unit": unit, "key": task.idempotency_key}


async def wait(seconds: float) -> float:
    return seconds


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"left": "1"}, "Expected `int`, got `str` - at `$.left`"),
        ({"left": 1, "right": 1.5}, "at `$.right`"),
        ({"left": 1, "unit": "t"}, "Invalid enum value 't' - at `$.unit`; allowed: kg, lb"),
        ({}, "missing required field `left`"),
        ({"left": 1, "rihgt": 2}, "contains unknown field `rihgt`"),
    ],
)
def test_what_does_not_fit_is_terminal(given: dict[str, Any], expected: str) -> None:
    """A parameter of the wrong type, missing or unknown ends the task with a message that names it."""
    with pytest.raises(TerminalError) as caught:
        checked(add)(task=context(), **given)
    assert caught.value.code == "validation"
    assert expected in str(caught.value)


def test_what_fits_is_passed() -> None:
    """Defaults stay defaults, and the context passes unchecked."""
    assert checked(add)(task=context(), left=2) == {"sum": 3, "unit": "kg", "key": "run-1/write"}


def test_the_agent_sees_the_same_function() -> None:
    """To the SDK a checked function looks like the original: same parameters, same context, same place to run."""
    before, after = capability_of("add", add, inline=False), capability_of("add", checked(add), inline=False)
    assert (after.allowed, after.required, after.context) == (before.allowed, before.required, before.context)
    assert inspect.signature(checked(add)) == inspect.signature(add)
    assert capability_of("wait", checked(wait), inline=False).runs is Runs.LOOP


def test_coroutines_are_checked_too() -> None:
    """A coroutine function refuses, and works, the same way."""
    assert asyncio.run(checked(wait)(seconds=0.5)) == 0.5
    with pytest.raises(TerminalError, match="seconds"):
        asyncio.run(checked(wait)(seconds="long"))
