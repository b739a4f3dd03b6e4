"""Signs of life, seen from the other end of the wire: who falls silent is stopped by his own agent."""

import asyncio
import logging
import threading
from collections.abc import Callable

import pytest

from tests.sdk.gateway import ONCE, PHYSICAL, REPEATABLE, Effect, Gateway, assignment, serving
from tiercel import Agent, TaskContext
from tiercel.answers import TaskProgress
from tiercel.cli.show import outcome

NewAgent = Callable[..., Agent]
QUARTER_S = 0.25


@pytest.mark.parametrize(("effect", "retryable"), [(REPEATABLE, True), (ONCE, False), (PHYSICAL, False)])
async def test_who_falls_silent_is_stopped(gateway: Gateway, new_agent: NewAgent, effect: Effect, retryable: bool) -> None:
    """It fails as `heartbeat`; only what may be repeated is retryable, because half of it may have happened."""
    agent = new_agent()

    @agent.capability("long")
    async def long() -> None:
        await asyncio.sleep(3600)

    async with serving(agent, gateway):
        connection = await gateway.welcomed()
        await connection.assign(assignment("long", 0, effect, heartbeat_ms=20))
        failure = (await connection.result()).failure
    assert (failure.code, failure.retryable) == ("heartbeat", retryable)
    assert "heartbeat() for 20 ms" in failure.message


@pytest.mark.parametrize("says", ["progress", "heartbeat"])
async def test_who_gives_signs_of_life_goes_on(gateway: Gateway, new_agent: NewAgent, says: str) -> None:
    """Coroutines and functions in threads alike, by progress and by a bare heartbeat, for many times the silence allowed."""
    agent = new_agent()

    def speak(task: TaskContext, step: int) -> None:
        if says == "progress":
            task.progress(step / 40)
        else:
            task.heartbeat()

    @agent.capability("loop")
    async def loop(task: TaskContext) -> float:
        for step in range(40):
            speak(task, step)
            await asyncio.sleep(0.05)
        return task.heartbeat_s

    @agent.capability("thread")
    def thread(task: TaskContext) -> float:
        for step in range(40):
            speak(task, step)
            task.wait_cancelled(0.05)
        return task.heartbeat_s

    async with serving(agent, gateway):
        connection = await gateway.welcomed()
        await connection.assign(*[assignment(name, n, heartbeat_ms=1_000) for n, name in enumerate(("loop", "thread"))])
        results = await connection.results(2)
    assert [result.output for result in results] == [b"1.0", b"1.0"]


async def test_a_sign_of_life_does_not_hide_progress(gateway: Gateway, new_agent: NewAgent) -> None:
    """What was said last stands: a heartbeat of the same moment travels with it, one by itself says nothing of its own."""
    agent = new_agent()
    go_on = threading.Event()

    @agent.capability("long")
    def long(task: TaskContext) -> None:
        task.progress(0.5, "half")
        task.heartbeat()
        go_on.wait(30)
        task.heartbeat()
        task.wait_cancelled(30)

    async with serving(agent, gateway):
        connection = await gateway.welcomed()
        await connection.assign(assignment("long"))
        first = (await connection.hear("progress")).progress.items[0]
        go_on.set()
        second = (await connection.hear("progress")).progress.items[0]
        await connection.cancel(assignment("long"))
        await connection.result()
    assert (first.fraction, first.note, first.beat) == (0.5, "half", False)
    assert (second.fraction, second.note, second.beat) == (0.0, "", True)


@pytest.mark.parametrize("said", [float("nan"), float("inf"), -0.1, 40])
async def test_what_is_no_fraction_is_a_sign_of_life(
    gateway: Gateway, new_agent: NewAgent, caplog: pytest.LogCaptureFixture, said: float
) -> None:
    """The work does not fail by it, and the agent's log says what is allowed."""
    agent = new_agent()

    @agent.capability("long")
    async def long(task: TaskContext) -> str:
        task.progress(said)
        await asyncio.sleep(QUARTER_S)
        return "done"

    with caplog.at_level(logging.WARNING, "tiercel"):
        async with serving(agent, gateway):
            connection = await gateway.welcomed()
            await connection.assign(assignment("long"))
            report = (await connection.hear("progress")).progress.items[0]
            assert (await connection.result()).output == b'"done"'
    assert report.beat
    assert "is no fraction: allowed is 0 to 1" in caplog.text


async def test_nobody_is_expected_to_speak_before_he_is_called(gateway: Gateway, new_agent: NewAgent) -> None:
    """While an attempt waits for a thread its agent gives the signs of life, and its time begins with the function."""
    agent = new_agent(capacity=1)
    agent_busy, go_on = threading.Event(), threading.Event()

    @agent.capability("busy")
    def busy(n: int) -> int:
        agent_busy.set()
        go_on.wait(30)
        return n

    async with serving(agent, gateway):
        connection = await gateway.welcomed()
        await connection.assign(assignment("busy", 0, with_={"n": 0}))
        await asyncio.to_thread(agent_busy.wait, 30)
        await connection.assign(assignment("busy", 1, with_={"n": 1}, heartbeat_ms=200))
        for _ in range(3):
            assert (await connection.hear("progress")).progress.items[0].beat
        go_on.set()
        results = await connection.results(2)
    assert sorted(result.output for result in results) == [b"0", b"1"]


@pytest.mark.parametrize(
    ("progress", "shown"),
    [
        ({"fraction": 0.4, "note": "40 of 100", "at": 7}, "40% done: 40 of 100"),
        ({"fraction": 1.0, "note": "", "at": 7}, "100% done"),
        ({"fraction": None, "note": "", "at": 7}, "at work"),
    ],
)
def test_the_command_line_shows_how_far_a_task_is(progress: TaskProgress, shown: str) -> None:
    """In the column of its result, which it has not yet; a sign of life alone gives no new line each time."""
    assert outcome({"id": "a", "state": "running", "progress": progress}) == shown
    assert outcome({"id": "a", "state": "running"}) == ""
