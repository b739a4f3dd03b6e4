"""Orders of a home that the run has left: an agent that knows the later one refuses them, and says so."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.sdk.gateway import ONCE, REPEATABLE, Effect, Gateway, assignment, serving
from tiercel import Agent, TaskContext, fences
from tiercel.errors import Superseded
from tiercel.fences import Fences
from tiercel.journal import Journal
from tiercel.v1 import agent_pb2
from workflow.homes import attempt_epoch

NewAgent = Callable[..., Agent]


def ordered(task: int, home: int, attempt: int = 1, capability: str = "do", effect: Effect = ONCE) -> agent_pb2.Assignment:
    """An order of the run's home of this epoch."""
    order: agent_pb2.Assignment = assignment(capability, task, effect, attempt=attempt, epoch=attempt_epoch(home, attempt))
    return order


def worker(new_agent: NewAgent, done: list[int]) -> Agent:
    agent = new_agent()

    @agent.capability("do")
    async def do(task: TaskContext) -> int:
        done.append(task.fence)
        return task.fence

    return agent


async def test_an_order_of_an_earlier_home_is_not_begun(gateway: Gateway, new_agent: NewAgent) -> None:
    """The answer says by which home it was overtaken; runs of which no later home is known are not touched by that."""
    done: list[int] = []
    async with serving(worker(new_agent, done), gateway):
        connection = await gateway.welcomed()
        await connection.assign(ordered(0, 2))
        assert (await connection.result()).output == b"2"
        await connection.assign(ordered(1, 3))
        assert (await connection.result()).output == b"3"
        other = ordered(3, 2)
        other.key.run = "r2"
        await connection.assign(ordered(2, 2), ordered(4, 3), other)
        told = {(result.key.run, result.key.task): result for result in await connection.results(3)}
    refused = told[("r1", 2)].failure
    assert (refused.code, refused.superseded_by, refused.retryable) == ("not_started", 3, True)
    assert "home of epoch 2" in refused.message
    assert told[("r1", 2)].key.epoch == attempt_epoch(2, 1), "whose order it was"
    assert (told[("r1", 4)].output, told[("r2", 3)].output) == (b"3", b"2")
    assert done == [2, 3, 3, 2]


async def test_it_is_remembered_by_who_takes_the_journal_over(gateway: Gateway, new_agent: NewAgent) -> None:
    """Also if the agent was killed, and had nothing left to tell."""
    done: list[int] = []
    async with serving(worker(new_agent, done), gateway):
        connection = await gateway.welcomed()
        await connection.assign(ordered(0, 5))
        await connection.acknowledge(await connection.result())
    async with serving(worker(new_agent, done), gateway):
        connection = await gateway.welcomed()
        await connection.assign(ordered(1, 4))
        result = await connection.result()
        while result.key.task != 1:  # What the first was not yet told to be durable comes again.
            result = await connection.result()
    assert result.failure.superseded_by == 5
    assert done == [5]


async def test_it_is_on_disk_before_the_work_begins(gateway: Gateway, new_agent: NewAgent, tmp_path: Path) -> None:
    """Whatever happens to the agent while it works, whoever takes its journal over knows the later home."""
    agent, seen = new_agent(), list[int]()

    @agent.capability("do", inline=True)
    def do(task: TaskContext) -> None:
        copy = Path(shutil.copy(tmp_path / "picker-1.journal", tmp_path / "copy"))
        journal = Journal(copy)
        seen.append(journal.fences.highest[task.run])
        journal.close()

    async with serving(agent, gateway):
        connection = await gateway.welcomed()
        await connection.assign(ordered(0, 3), ordered(1, 4, effect=REPEATABLE))
        results = await connection.results(2)
    assert sorted(bool(result.failure.superseded_by) for result in results) == [False, True], "the older of two in one message"
    assert seen == [4]


async def test_an_earlier_home_stops_nothing(gateway: Gateway, new_agent: NewAgent) -> None:
    """Its stop is refused with the same words, the work goes on, and its present home may stop it."""
    agent, begun = new_agent(), asyncio.Event()

    @agent.capability("do")
    async def do() -> None:
        begun.set()
        await asyncio.Event().wait()

    async with serving(agent, gateway):
        connection = await gateway.welcomed()
        await connection.assign(ordered(0, 3))
        await begun.wait()
        await connection.cancel(ordered(0, 2))
        refused = await connection.result()
        assert refused.failure.superseded_by == 3
        assert "does not stop it" in refused.failure.message
        await connection.cancel(ordered(0, 3))
        assert (await connection.result()).cancelled


async def test_what_is_done_is_told_to_whoever_asks(gateway: Gateway, new_agent: NewAgent) -> None:
    """An attempt that is done is a fact: an earlier home that orders the same hears of it, and nothing is done again."""
    done: list[int] = []
    async with serving(worker(new_agent, done), gateway):
        connection = await gateway.welcomed()
        await connection.assign(ordered(0, 3))
        first = await connection.result()
        await connection.assign(ordered(0, 2))
        again = await connection.result()
    assert (first.output, again.output) == (b"3", b"3")
    assert done == [3]


async def test_a_capability_may_find_that_its_order_was_overtaken(gateway: Gateway, new_agent: NewAgent) -> None:
    """What it acts on refuses the fence: the site hears by which home, and that nothing was begun."""
    agent = new_agent()

    @agent.capability("do")
    async def do(task: TaskContext) -> None:
        raise Superseded("the crane", task.fence, 7)

    async with serving(agent, gateway):
        connection = await gateway.welcomed()
        await connection.assign(ordered(0, 2))
        failure = (await connection.result()).failure
    assert (failure.code, failure.superseded_by) == ("not_started", 7)
    assert failure.message == "the crane has had orders of the run's home of epoch 7, and this is of epoch 2"


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of which a new home was heard longest ago are forgotten first, and those that never moved are not kept at all."""
    monkeypatch.setattr(fences, "RUNS_MAX", 3)
    known = Fences()
    assert known.raises([ordered(0, 2)]) == {}
    for number in range(5):
        known.learn({f"r{number}": 3})
        known.learn({"r0": 3 + number})
    assert known.highest == {"r0": 7, "r3": 3, "r4": 3}
