"""The front door: what a person writes, and a process that runs it."""

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.sdk.gateway import ONCE, PATIENCE_S, Gateway, assignment
from tiercel import Agent
from tiercel.v1 import agent_pb2

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "agent.py"


@asynccontextmanager
async def example_running(gateway: Gateway, state: Path) -> AsyncIterator["asyncio.subprocess.Process"]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, EXAMPLE, gateway.address, env={**os.environ, "TIERCEL_STATE": str(state)}
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_the_example_works_and_stops_when_told(gateway: Gateway, tmp_path: Path) -> None:
    """It registers from a process of its own, does a task, and says goodbye on SIGTERM with exit code 0."""
    async with example_running(gateway, tmp_path) as process:
        connection = await gateway.welcomed()
        assert connection.register.agent == "maria-1"
        await connection.assign(assignment("inspect-item", 0, ONCE, with_={"sku": "A-1", "quantity": 2}))
        result = await connection.result()
        assert json.loads(result.output) == {"sku": "A-1", "inspected": 2, "key": "r1/task-0"}
        await connection.acknowledge(result)
        process.send_signal(signal.SIGTERM)
        await connection.hear("goodbye")
        assert await asyncio.wait_for(process.wait(), PATIENCE_S) == 0
    journal = tmp_path / "agents" / "maria-1.journal"
    assert stat.S_IMODE(journal.stat().st_mode) == 0o600


async def test_a_second_signal_does_not_wait(gateway: Gateway, tmp_path: Path) -> None:
    """The first lets work finish, the second ends the process although a thread still works."""
    async with example_running(gateway, tmp_path) as process:
        connection = await gateway.welcomed()
        await connection.assign(assignment("inspect-item", 0, with_={"sku": "A-1", "quantity": 10_000}))
        await connection.hear("progress")
        process.send_signal(signal.SIGINT)
        await asyncio.sleep(0.2)
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), PATIENCE_S) == 0
    assert not any(agent_pb2.AgentMessage.FromString(message).HasField("goodbye") for message in connection.raw)


async def test_what_was_done_before_a_kill_is_not_done_again(gateway: Gateway, tmp_path: Path) -> None:
    """kill -9 after the result was sent and before it was acknowledged: the next process answers from the journal."""
    async with example_running(gateway, tmp_path) as process:
        connection = await gateway.welcomed()
        await connection.assign(assignment("inspect-item", 0, ONCE, with_={"sku": "A-1"}))
        sent = await connection.result()
        process.kill()
        await process.wait()
    async with example_running(gateway, tmp_path):
        again = await gateway.connection()
        assert again.register.boot != connection.register.boot
        assert [key.task for key in again.register.holding] == [0]
        await again.welcome()
        assert await again.result() == sent


def test_importing_the_front_door_is_light() -> None:
    """A robot installs grpcio and protobuf; what the command line needs is not imported."""
    program = "import sys, tiercel; print([n for n in ('typer', 'rich', 'httpx', 'ray', 'yaml') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "dog"}, "kind 'dog' is unknown; allowed: robot, human, ai, service"),
        ({"capacity": 0}, "capacity and threads are at least 1"),
        ({"threads": 0}, "capacity and threads are at least 1"),
        ({"grace_s": -1}, "grace_s is not negative"),
        ({"name": ""}, "a name has 1 to 200 characters"),
    ],
)
def test_settings_are_checked_at_once(settings: dict[str, Any], message: str) -> None:
    """What is wrong is said with what is allowed."""
    with pytest.raises(ValueError, match=message):
        Agent(**({"name": "a"} | settings))


def test_a_capability_has_one_function() -> None:
    """Offering a name twice is a mistake; the function itself stays what it was."""
    agent = Agent("a")

    @agent.capability("pick")
    def pick(sku: str) -> str:
        return sku

    assert pick("A-1") == "A-1"
    with pytest.raises(ValueError, match="has a capability 'pick' already"):
        agent.capability("pick")(pick)
