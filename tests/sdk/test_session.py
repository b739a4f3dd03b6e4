"""Sessions that break, and what is still there afterwards."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.sdk.gateway import ONCE, PATIENCE_S, REPEATABLE, Effect, Gateway, assignment, gateway_running, serving
from tiercel import Agent, TaskContext
from tiercel.channel import open_channel
from tiercel.errors import AgentRefused, JournalInUse
from tiercel.v1 import agent_pb2

NewAgent = Callable[..., Agent]


def counting(agent: Agent) -> list[int]:
    """The agent can `count`; the list grows by each execution."""
    done: list[int] = []

    @agent.capability("count")
    async def count() -> int:
        done.append(1)
        return len(done)

    return done


async def test_a_result_whose_acknowledgement_was_lost_is_sent_again(gateway: Gateway, new_agent: NewAgent) -> None:
    """After a reconnect the agent names it as held, sends it again, and forgets it when it is acknowledged."""
    agent = new_agent()
    done = counting(agent)
    async with serving(agent, gateway):
        first = await gateway.welcomed()
        await first.assign(assignment("count", 0, ONCE))
        sent = await first.result()
        first.drop()
        second = await gateway.connection()
        assert [(key.run, key.task, key.attempt) for key in second.register.holding] == [("r1", 0, 1)]
        await second.welcome()
        again = await second.result()
        assert again == sent
        await second.acknowledge(again)
        await second.assign(assignment("count", 1))
        await second.result()
        second.drop()
        third = await gateway.connection()
    assert [key.task for key in third.register.holding] == [1]
    assert len(done) == 2


@pytest.mark.parametrize("effect", [REPEATABLE, ONCE])
async def test_what_is_done_is_not_done_again(gateway: Gateway, new_agent: NewAgent, effect: Effect) -> None:
    """The same attempt, delivered again by the same session, the next session, and to the next process."""
    agent = new_agent()
    done = counting(agent)
    item = assignment("count", 0, effect)
    async with serving(agent, gateway):
        connection = await gateway.welcomed()
        await connection.assign(item, item)
        await connection.result()
        await connection.assign(item)
        assert (await connection.result()).output == b"1"
    again = new_agent()
    done_again = counting(again)
    async with serving(again, gateway):
        connection = await gateway.connection()
        assert [key.task for key in connection.register.holding] == [0]
        await connection.welcome()
        assert (await connection.result()).output == b"1"
        await connection.assign(item)
        assert (await connection.result()).output == b"1"
    assert (len(done), len(done_again)) == (1, 0)


async def test_numbers_acknowledge_whole_messages(gateway: Gateway, new_agent: NewAgent) -> None:
    """A message of results is forgotten by its numbers; one of a lost session is sent again under others."""
    agent = new_agent(capacity=8)
    counting(agent)
    async with serving(agent, gateway):
        first = await gateway.welcomed()
        await first.assign(*(assignment("count", number) for number in range(4)))
        kept = (await first.hear("results")).results
        await first.assign(assignment("count", 4), assignment("count", 5))
        lost = (await first.hear("results")).results
        await first.say(result_acks=agent_pb2.ResultAcks(numbers=kept.numbers))
        await first.assign(assignment("count", 6))
        await first.hear("results")  # What was said before has been read.
        first.drop()
        second = await gateway.welcomed()
        again = (await second.hear("results")).results
        assert {item.key.task for item in again.items} == {4, 5, 6}
        assert not set(again.numbers) & {*kept.numbers, *lost.numbers}
        await second.say(result_acks=agent_pb2.ResultAcks(numbers=again.numbers))
        agent.stop()
        await second.hear("goodbye")  # It leaves when nothing is left to be acknowledged.


async def test_what_runs_is_not_started_twice(gateway: Gateway, new_agent: NewAgent) -> None:
    """Work goes on over a reconnect, is named as held, and a second delivery of it is ignored."""
    agent = new_agent()
    begun: list[int] = []
    first_begun, go_on = asyncio.Event(), asyncio.Event()

    @agent.capability("long")
    async def long() -> str:
        begun.append(1)
        first_begun.set()
        await go_on.wait()
        return "done"

    async with serving(agent, gateway):
        first = await gateway.welcomed()
        await first.assign(assignment("long", 0, ONCE), assignment("long", 0, ONCE))
        await first_begun.wait()
        first.drop()
        second = await gateway.connection()
        assert [key.task for key in second.register.holding] == [0]
        await second.welcome()
        await second.assign(assignment("long", 0, ONCE))
        go_on.set()
        assert (await second.result()).output == b'"done"'
    assert begun == [1]


async def test_results_that_end_while_nobody_listens_are_sent_later(gateway: Gateway, new_agent: NewAgent) -> None:
    """The agent works on without a session and delivers at the next one, once."""
    agent = new_agent()
    ended = asyncio.Event()

    @agent.capability("long")
    async def long() -> str:
        await asyncio.sleep(0.05)
        ended.set()
        return "done"

    async with serving(agent, gateway):
        first = await gateway.welcomed()
        await first.assign(assignment("long", 0, ONCE))
        first.drop()
        second = await gateway.connection()
        await ended.wait()
        await second.welcome()
        assert (await second.result()).output == b'"done"'


async def test_a_silent_gateway_is_left(gateway: Gateway, new_agent: NewAgent) -> None:
    """No heartbeat acknowledged for a lease: the connection may be dead although nothing says so."""
    agent = new_agent()
    async with serving(agent, gateway):
        connection = await gateway.connection()
        connection.acknowledges_heartbeats = False
        await connection.welcome(lease_ms=200, heartbeat_ms=20)
        second = await gateway.connection()
    assert second.register.boot == connection.register.boot


async def test_an_agent_waits_for_its_gateway(new_agent: NewAgent, gateway: Gateway) -> None:
    """It may be started first: it tries until somebody is there."""
    agent = new_agent()
    done = counting(agent)
    serve = asyncio.create_task(agent.serve("unix:/nonexistent/gateway.sock"))
    await asyncio.sleep(0.3)
    assert not serve.done()
    agent.stop()
    await serve
    async with serving(agent, gateway):
        connection = await gateway.welcomed()
        await connection.assign(assignment("count"))
        await connection.result()
    assert len(done) == 1


def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine with much else to do, a second in which this loop was not run must not end a session, nor a goodbye."""
    monkeypatch.setattr("tiercel.session.WELCOME_TIMEOUT_S", PATIENCE_S)
    monkeypatch.setattr("tiercel.runtime.STOPPED_S", PATIENCE_S)


async def test_many_agents_share_one_channel(gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has its own session on it, and the end of one does not end the others."""
    patient(monkeypatch)
    channel = open_channel(gateway.address)
    agents = [Agent(f"a{n}", journal=tmp_path / f"a{n}.journal") for n in range(5)]
    for agent in agents:
        counting(agent)
    serves = [asyncio.create_task(agent.serve(channel)) for agent in agents]
    connections = {c.register.agent: c for c in [await gateway.welcomed() for _ in agents]}
    for name in ("a0", "a1", "a2", "a3", "a4"):  # An agent that has answered has taken note of its welcome, and will say goodbye.
        await connections[name].assign(assignment("count", 0))
        await connections[name].acknowledge(await connections[name].result())
    agents[0].stop()
    await connections["a0"].hear("goodbye")
    await serves[0]
    for name in ("a1", "a2", "a3", "a4"):
        await connections[name].assign(assignment("count", 1))
        await connections[name].acknowledge(await connections[name].result())
    for agent in agents[1:]:
        agent.stop()
    await asyncio.gather(*serves)
    await channel.close()


async def test_a_final_refusal_ends_the_agent(gateway: Gateway, new_agent: NewAgent) -> None:
    """A registration that can never succeed is raised to whoever runs the agent."""
    agent = new_agent()
    serve = asyncio.create_task(agent.serve(gateway.address))
    connection = await gateway.connection()
    await connection.say(refused=agent_pb2.Refused(code="protocol_version", message="update tiercel-sdk"))
    with pytest.raises(AgentRefused, match=r"protocol_version.*update tiercel-sdk"):
        await serve


async def test_a_refusal_for_now_is_tried_again(gateway: Gateway, new_agent: NewAgent) -> None:
    """A site that is not ready yet will be."""
    agent = new_agent()
    done = counting(agent)
    async with serving(agent, gateway):
        connection = await gateway.connection()
        await connection.say(refused=agent_pb2.Refused(code="not_ready", message="in a moment"))
        connection = await gateway.welcomed()
        await connection.assign(assignment("count"))
        await connection.result()
    assert len(done) == 1


async def test_a_stopping_agent_finishes_its_work(gateway: Gateway, new_agent: NewAgent) -> None:
    """Within the grace work ends and is delivered; then comes the goodbye, and `serve` returns."""
    agent = new_agent(grace_s=30)
    begun, go_on = asyncio.Event(), asyncio.Event()

    @agent.capability("long")
    async def long() -> str:
        begun.set()
        await go_on.wait()
        return "done"

    serve = asyncio.create_task(agent.serve(gateway.address))
    connection = await gateway.welcomed()
    await connection.assign(assignment("long"))
    await begun.wait()
    agent.stop()
    await asyncio.sleep(0)
    await connection.assign(assignment("long", 1))
    refused = await connection.result()
    assert (refused.failure.code, refused.failure.retryable) == ("not_started", True)
    go_on.set()
    result = await connection.result()
    assert result.output == b'"done"'
    await connection.acknowledge(refused, result)
    await connection.hear("goodbye")
    await serve


async def test_a_stopping_agent_leaves_what_outlasts_the_grace(gateway: Gateway, new_agent: NewAgent) -> None:
    """It is cancelled and not reported: the goodbye tells the site that it was not done."""
    agent = new_agent(grace_s=0)
    begun, cleaned = asyncio.Event(), asyncio.Event()

    @agent.capability("long")
    async def long() -> None:
        begun.set()
        try:
            await asyncio.sleep(3600)
        finally:
            cleaned.set()

    serve = asyncio.create_task(agent.serve(gateway.address))
    connection = await gateway.welcomed()
    await connection.assign(assignment("long", 0, ONCE))
    await begun.wait()
    agent.stop()
    await connection.hear("goodbye")
    await serve
    assert cleaned.is_set()


async def test_two_processes_cannot_be_one_agent(gateway: Gateway, new_agent: NewAgent) -> None:
    """The journal has one owner, and the second is told so."""
    first, second = new_agent(), new_agent()
    async with serving(first, gateway):
        await gateway.welcomed()
        with pytest.raises(JournalInUse, match=r"picker-1\.journal\.lock"):
            await second.serve(gateway.address)


async def test_a_gateway_that_comes_back_is_found_again(new_agent: NewAgent, tmp_path: Path) -> None:
    """The server is gone and another one listens at the same address: the same work, the same agent."""
    agent = new_agent()

    @agent.capability("who")
    async def who(task: TaskContext) -> str:
        return task.task

    async with gateway_running() as gateway, gateway_running() as other:
        async with serving(agent, gateway):
            connection = await gateway.welcomed()
            await connection.assign(assignment("who", 0, ONCE))
            await connection.result()
        async with serving(agent, other):
            connection = await other.welcomed()
            assert json.loads((await connection.result()).output) == "task-0"


async def test_unknown_messages_are_skipped(gateway: Gateway, new_agent: NewAgent) -> None:
    """A gateway of a later version may say what this agent does not know."""
    agent = new_agent()
    done = counting(agent)
    async with serving(agent, gateway):
        connection = await gateway.welcomed()
        await connection.say()
        await connection.say(offers=agent_pb2.Offers())
        await connection.say(heartbeat_ack=agent_pb2.HeartbeatAck(id=10**9))
        await connection.acknowledge(agent_pb2.TaskResult(key=agent_pb2.AttemptKey(run="none")))
        await connection.cancel(assignment("count", 9))
        await connection.assign(assignment("count"))
        await connection.result()
    assert len(done) == 1
