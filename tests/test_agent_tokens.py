"""Agents that join with a token over TLS, at a site that is linked and at one that is cut off."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

import grpc
import pytest
from structlog.testing import capture_logs

from edge.driver import EdgeConfig, EdgeNode
from sync.identity.expiry import GRACE_MS, outlived
from sync.identity.files import tls_files
from tests.command_line import command
from tests.free_ports import free_port
from tests.test_well import ended, served
from tests.whole import Whole, lay_certs, until, whole
from tiercel import Tls
from tiercel.channel import open_channel
from tiercel.v1 import agent_pb2, agent_pb2_grpc, blob_pb2_grpc, events_pb2

PATIENCE_S = 60.0
TOKENS = "/api/v1/agent-tokens"


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[Whole]:
    lay_certs(tmp_path / "certs")
    async with whole(tmp_path) as running:
        yield running


class harbour:  # noqa: N801 - used as a context manager
    """The site, with a port for agents that show a token; `address` is that port."""

    def __init__(self, system: Whole, cloud: str = "") -> None:
        tls = tls_files(system.folder / "certs" / "harbour")
        self.address = f"127.0.0.1:{free_port()}"
        data, cloud = system.folder / "e", cloud or system.links
        data.mkdir(exist_ok=True)
        wait = {"first_link_wait_s": 0.2, "listen_tokens": self.address}
        self._config = EdgeConfig("harbour", data, system.run_dir, cloud, tls=tls, **wait)  # type: ignore[arg-type]

    async def __aenter__(self) -> Self:
        self.edge = EdgeNode(self._config)
        self._serving = await served(self.edge)
        return self

    async def __aexit__(self, *_: object) -> None:
        await ended(self._serving)


async def made(system: Whole, **said: Any) -> dict[str, Any]:
    answer = await system.client.post(TOKENS, json={"site": "harbour", "agent": "crane-1", "capabilities": ["lift"], **said})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()

    async def is_told() -> bool:
        return all(item["told"] for item in (await system.client.get(TOKENS)).json()["items"])

    await until(is_told)
    return found


async def registered(address: str, tls: Tls, token: str, agent: str = "crane-1", *capabilities: str, boot: str = "b") -> str:
    """What the gateway answers: `welcome`, or why it refuses."""
    async with open_channel(address, tls, token) as channel:
        offered = capabilities or ("lift",)
        register = agent_pb2.Register(protocol_version=1, agent=agent, boot=boot, capabilities=offered, capacity=1)
        call = agent_pb2_grpc.AgentServiceStub(channel).Connect(timeout=PATIENCE_S)
        await call.write(agent_pb2.AgentMessage(register=register))
        answer = await call.read()
        assert isinstance(answer, agent_pb2.EdgeMessage)
        return answer.refused.message if answer.WhichOneof("kind") == "refused" else str(answer.WhichOneof("kind"))


async def kind(call: Any) -> str:
    return str((await call.read()).WhichOneof("kind"))


async def test_a_token_says_who_an_agent_is_and_works_at_a_site_that_is_cut_off(system: Whole) -> None:
    """Another id, more capabilities, another token, none: refused in words. The site knows it without the cloud after a restart,
    an agent of the SDK does a task with it, and it is in no byte of what the nodes keep or log."""
    tls = Tls(system.folder / "certs" / "ca" / "ca.crt")
    with capture_logs() as lines:
        async with harbour(system) as site:
            token = (await made(system, uses=2))["token"]
            told = {
                ("crane-2", "lift"): "the token is for agent crane-1 of site harbour, Register says agent crane-2",
                ("crane-1", "weld"): "the token of agent crane-1 is for lift; Register offers weld, too",
                ("crane-1", "lift"): "welcome",
            }
            for (agent, capability), answer in told.items():
                assert await registered(site.address, tls, token, agent, capability) == answer
            for wrong in (token + "x", ""):
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await registered(site.address, tls, wrong)
                assert refused.value.code() == grpc.StatusCode.PERMISSION_DENIED
            crane = system.agent("crane-1", tls=tls, token=token)

            @crane.capability("lift")
            async def lift() -> int:
                return 7

            working = await system.run(crane.serve(site.address))
            run = await system.start_run({"t": {"capability": "lift"}})
            assert (await system.ended(run))["run"]["state"] == "completed"
            crane.stop()
            await working
            system._ended.add(working)
        async with harbour(system, cloud=f"127.0.0.1:{free_port()}") as alone:
            assert await registered(alone.address, tls, token) == "welcome"
            answer = await registered(alone.address, tls, token, boot="third")
            assert answer.startswith("the token of agent crane-1 was for 2 processes, which have joined")
    assert token not in json.dumps(lines, default=str)
    kept = [path for path in system.folder.rglob("*") if path.is_file() and token.encode() in path.read_bytes()]
    assert kept == []


async def test_a_revocation_ends_what_was_begun(system: Whole) -> None:
    """The list shows no token; whoever holds a revoked one is put out at his next heartbeat, and not let in again."""
    tls = Tls(system.folder / "certs" / "ca" / "ca.crt")
    async with harbour(system) as site, open_channel(site.address, tls, (shown := await made(system))["token"]) as channel:
        call = agent_pb2_grpc.AgentServiceStub(channel).Connect(timeout=PATIENCE_S)
        register = agent_pb2.Register(protocol_version=1, agent="crane-1", boot="b", capabilities=["lift"], capacity=1)
        await call.write(agent_pb2.AgentMessage(register=register))
        assert await kind(call) == "welcome"
        assert "token" not in (await system.client.get(TOKENS)).json()["items"][0]
        assert (await system.client.delete(f"{TOKENS}/{shown['id']}")).status_code == 200

        async def is_put_out() -> bool:
            await call.write(agent_pb2.AgentMessage(heartbeat=agent_pb2.Heartbeat(id=1)))
            return await kind(call) == "refused"

        await until(is_put_out)
        with pytest.raises(grpc.aio.AioRpcError, match="unknown to site harbour, or was revoked"):
            await registered(site.address, tls, shown["token"])
        again = await system.client.delete(f"{TOKENS}/{shown['id']}")
        assert (again.status_code, again.json()["code"]) == (404, "token_unknown")


async def test_an_expired_token_opens_nothing(system: Whole) -> None:
    """Neither sessions nor blobs; the answer says what to type."""
    tls = Tls(system.folder / "certs" / "ca" / "ca.crt")
    async with harbour(system) as site:
        token = (await made(system, ttl_ms=1_000))["token"]

        async def is_over() -> bool:
            async with open_channel(site.address, tls, token) as channel:
                try:
                    await blob_pb2_grpc.BlobServiceStub(channel).Stat(events_pb2.BlobRef(sha256=b"0" * 32, size=1))
                except grpc.aio.AioRpcError as error:
                    return "has expired" in str(error.details())
            return False

        await until(is_over)
        said = "has expired: tiercel agent token create --site harbour --agent crane-1"
        with pytest.raises(grpc.aio.AioRpcError, match=said):
            await registered(site.address, tls, token)
        async with open_channel(site.address, tls, token) as channel:
            with pytest.raises(grpc.aio.AioRpcError, match=said):
                await blob_pb2_grpc.BlobServiceStub(channel).Stat(events_pb2.BlobRef(sha256=b"0" * 32, size=1))


async def test_the_command_line_makes_lists_and_revokes(system: Whole) -> None:
    """The token is the one line of output, so that a script can take it; the list never has it."""
    where = ("--site", "harbour", "--agent", "crane-1", "--capability", "lift", "--ttl", "12h")
    token = (await command(system, "agent", "token", "create", *where)).strip()
    listed = json.loads(await command(system, "agent", "token", "list", "-o", "json"))
    assert [(item["agent"], item["capabilities"], item["told"]) for item in listed] == [("crane-1", ["lift"], False)]
    assert listed[0]["expires"] - listed[0]["made"] == 12 * 3_600_000
    assert token.startswith("tcla_")
    assert token not in await command(system, "agent", "token", "list")
    await command(system, "agent", "token", "revoke", listed[0]["id"])
    assert json.loads(await command(system, "agent", "token", "list", "-o", "json")) == []


async def test_what_is_asked_for_a_token_is_checked(system: Whole) -> None:
    """All that is wrong is said at once."""
    answer = await system.client.post(TOKENS, json={"site": "no site", "agent": "", "ttl_ms": 1, "uses": -1})
    assert answer.status_code == 422
    assert len(answer.json()["problems"]) == 4


def test_a_connection_outlives_its_certificate_by_its_grace_alone() -> None:
    """Clocks differ and a new certificate may be on its way; without a certificate there is no end."""
    assert outlived(1, 1 + GRACE_MS) == ""
    assert outlived(1, 2 + GRACE_MS) == "the certificate of this connection expired 1 h ago"
    assert outlived(0, 10 * GRACE_MS) == ""
