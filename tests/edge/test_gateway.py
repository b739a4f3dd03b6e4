"""The door for agents over a real socket: who is let in, what is answered, and what ends a session."""

import asyncio
import contextlib
import shutil
import stat
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio

from edge.driver import EdgeConfig, EdgeNode
from edge.executor import Executor
from edge.service import CAPACITY_MAX, FACE_BYTES_MAX
from tiercel.v1 import agent_pb2, agent_pb2_grpc

pytestmark = pytest.mark.asyncio(loop_scope="module")
PATIENCE_S = 60.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def edge(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EdgeNode]:
    """A site that starts without its cloud."""
    run_dir = Path(tempfile.mkdtemp(prefix="tcl-", dir="/tmp"))  # Socket paths end at 107 bytes.
    node = EdgeNode(EdgeConfig("harbour", tmp_path_factory.mktemp("edge"), run_dir / "run", "127.0.0.1:1"))
    ready = asyncio.Event()
    serving = asyncio.ensure_future(node.serve(ready))
    await asyncio.wait_for(ready.wait(), PATIENCE_S)
    yield node
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    shutil.rmtree(run_dir)


class Caller:
    """The agent's end of a session."""

    def __init__(self, call: Any) -> None:
        self._call = call

    async def say(self, **kind: Any) -> None:
        await self._call.write(agent_pb2.AgentMessage(**kind))

    async def register(self, agent: str = "anna", **changes: Any) -> None:
        fields: dict[str, Any] = {"protocol_version": 1, "agent": agent, "boot": "b1", "capacity": 4, **changes}
        await self.say(register=agent_pb2.Register(**fields))

    async def hear(self, kind: str) -> Any:
        """The next message, which must be of this kind."""
        message = await asyncio.wait_for(self._call.read(), PATIENCE_S)
        assert message is not grpc.aio.EOF
        assert message.WhichOneof("kind") == kind
        return getattr(message, kind)

    async def hear_next(self, kind: str) -> Any:
        """The next message of this kind, whatever comes before it."""
        while True:
            message = await asyncio.wait_for(self._call.read(), PATIENCE_S)
            assert message is not grpc.aio.EOF
            if message.WhichOneof("kind") == kind:
                return getattr(message, kind)

    async def ends(self) -> None:
        """The site ends the session."""
        assert await asyncio.wait_for(self._call.read(), PATIENCE_S) is grpc.aio.EOF


@asynccontextmanager
async def caller(edge: EdgeNode) -> AsyncIterator[Caller]:
    narrow = (("grpc.http2.bdp_probe", 0),)  # The window of HTTP/2 stays as small as it begins.
    async with grpc.aio.insecure_channel(f"unix:{edge.config.socket}", options=narrow) as channel:
        yield Caller(agent_pb2_grpc.AgentServiceStub(channel).Connect())


def core(edge: EdgeNode) -> Executor:
    assert isinstance(edge.loop.driver.core, Executor)
    return edge.loop.driver.core


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - The core rings no bell.
            await asyncio.sleep(0.005)


async def test_only_its_own_user_may_use_the_socket(edge: EdgeNode) -> None:
    """The socket is 0600 in a directory of 0700: the kernel checks who connects."""
    assert stat.S_IMODE(edge.config.socket.stat().st_mode) == 0o600
    assert stat.S_IMODE(edge.config.run_dir.stat().st_mode) == 0o700


async def test_an_agent_is_welcomed(edge: EdgeNode) -> None:
    """It learns the site, its lease, how often to be heard, and what is too large to be sent as a result."""
    async with caller(edge) as anna:
        await anna.register(capabilities=["pick", "pick", "pack"], labels={"hall": "3"}, agent_kind=agent_pb2.AGENT_KIND_ROBOT)
        welcome = await anna.hear("welcome")
        assert (welcome.site, welcome.boot, welcome.protocol_version) == ("harbour", edge.log.boot, 1)
        assert 0 < welcome.heartbeat_ms <= welcome.lease_ms // 3
        assert welcome.inline_bytes_max == 65_536
        slot = core(edge).roster.slots["anna"]
        assert (slot.agent_kind, slot.capabilities, slot.labels) == ("robot", ("pick", "pack"), {"hall": "3"})
        for number in (7, 8, 9):
            await anna.say(heartbeat=agent_pb2.Heartbeat(id=number))
            assert (await anna.hear("heartbeat_ack")).id == number


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"protocol_version": 0}, "protocol_version"),
        ({"agent": ""}, "invalid_register"),
        ({"boot": ""}, "invalid_register"),
        ({"capacity": 0}, "invalid_register"),
        ({"capacity": CAPACITY_MAX + 1}, "invalid_register"),
        ({"capabilities": ["x" * 1_000] * (FACE_BYTES_MAX // 1_000 + 1)}, "invalid_register"),
        ({"labels": {"note": "x" * FACE_BYTES_MAX}}, "invalid_register"),
    ],
    ids=str,
)
async def test_who_cannot_be_an_agent_is_told_why(edge: EdgeNode, changes: dict[str, Any], code: str) -> None:
    """A registration that makes no sense is refused with a code and what helps, and leaves no trace."""
    before = edge.loop.driver.pos
    async with caller(edge) as stranger:
        await stranger.register(**{"agent": "stranger", **changes})
        refused = await stranger.hear("refused")
        assert (refused.code, bool(refused.message)) == (code, True)
        await stranger.ends()
    assert "stranger" not in core(edge).roster.slots
    assert edge.loop.driver.pos == before


async def test_the_first_message_is_register(edge: EdgeNode) -> None:
    """Whoever begins with anything else is refused."""
    async with caller(edge) as stranger:
        await stranger.say(heartbeat=agent_pb2.Heartbeat(id=1))
        assert (await stranger.hear("refused")).code == "register_first"
        await stranger.ends()


async def test_a_site_that_is_not_ready_says_so(edge: EdgeNode) -> None:
    """While events are fetched back, or when the site has stopped, nobody is let in."""
    edge.gateway.accepting = False
    try:
        async with caller(edge) as anna:
            await anna.register()
            refused = await anna.hear("refused")
            assert (refused.code, refused.message) == ("not_ready", "site harbour is not ready for work yet: try again shortly")
    finally:
        edge.gateway.accepting = True


async def test_no_sign_of_life_is_acknowledged_that_does_not_count(edge: EdgeNode) -> None:
    """The site has given up the session, and only the end of that commit will tell: the agent would count its lease on."""
    async with caller(edge) as anna:
        await anna.register("late")
        await anna.hear("welcome")
        await anna.say(heartbeat=agent_pb2.Heartbeat(id=1))
        assert (await anna.hear("heartbeat_ack")).id == 1
        slot = core(edge).roster.slots["late"]
        assert core(edge).roster.close("late", slot.session) is slot
        await anna.say(heartbeat=agent_pb2.Heartbeat(id=2))
        await anna.say(goodbye=agent_pb2.Goodbye(reason="done"))
        await anna.ends()


async def test_the_newer_connection_of_an_agent_counts(edge: EdgeNode) -> None:
    """The older one is told that it was replaced, and its end changes nothing."""
    async with caller(edge) as first:
        await first.register("twin")
        await first.hear("welcome")
        async with caller(edge) as second:
            await second.register("twin")
            await second.hear("welcome")
            assert (await first.hear("refused")).code == "replaced"
            await first.ends()
            await second.say(heartbeat=agent_pb2.Heartbeat(id=1))
            await second.hear("heartbeat_ack")
            assert core(edge).roster.slots["twin"].session


async def test_a_goodbye_is_not_a_broken_line(edge: EdgeNode) -> None:
    """Who says goodbye is gone; whose line breaks is only away."""
    for name, goodbye in (("leaver", True), ("breaker", False)):
        async with caller(edge) as agent:
            await agent.register(name)
            await agent.hear("welcome")
            if goodbye:
                await agent.say(goodbye=agent_pb2.Goodbye(reason="done"))
                await agent.ends()
        await until(lambda name=name: not core(edge).roster.slots[name].session)  # type: ignore[misc]
    assert not core(edge).roster.slots["leaver"].present
    assert core(edge).roster.slots["breaker"].present


async def test_an_agent_that_never_reads_is_cut_off(edge: EdgeNode) -> None:
    """What waits to be said to it is bounded; beyond that its session ends, and others go on."""
    async with caller(edge) as deaf:
        await deaf.register("deaf")
        await until(lambda: "deaf" in core(edge).roster.slots)
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            for number in range(100_000):
                await deaf.say(heartbeat=agent_pb2.Heartbeat(id=number + (1 << 60)))
                if not core(edge).roster.slots["deaf"].session:
                    break
    await until(lambda: not core(edge).roster.slots["deaf"].session)
    async with caller(edge) as anna:
        await anna.register("anna")
        await anna.hear("welcome")
        assert core(edge).roster.slots["anna"].session
        assert not core(edge).roster.slots["deaf"].session


async def test_results_are_acknowledged_as_they_came(edge: EdgeNode) -> None:
    """A message with numbers by its numbers, all of them; one without, of an older agent, by each of its attempts."""
    keys = [agent_pb2.AttemptKey(run="r9", task=task, attempt=1, epoch=5) for task in range(3)]
    results = [agent_pb2.TaskResult(key=key, output=b"1") for key in keys]
    async with caller(edge) as anna:
        await anna.register()
        await anna.hear("welcome")
        await anna.say(results=agent_pb2.Results(items=results, numbers=[7, 8]))
        assert await anna.hear("result_acks") == agent_pb2.ResultAcks(numbers=[7, 8])
        await anna.say(results=agent_pb2.Results(items=results))
        assert await anna.hear("result_acks") == agent_pb2.ResultAcks(items=keys)
