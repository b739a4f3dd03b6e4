"""TLS between cloud, sites and agents over real sockets: who is let in, who is refused and told why, and new certificates."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from structlog.testing import capture_logs

from cloud.driver import CloudConfig, GlobalPlanner
from edge.driver import EdgeConfig, EdgeNode
from sync.identity import main as certificates
from sync.identity.driver import Credentials
from sync.identity.files import TlsFiles, files_in, tls_files
from sync.identity.names import Identity
from sync.serving.service import CHANNEL_OPTIONS
from tests.free_ports import free_port
from tests.test_well import ended, served
from tests.whole import lay_certs, until, whole
from tiercel.answers import ServerUnreachable
from tiercel.client import Client
from tiercel.v1 import agent_pb2, agent_pb2_grpc, blob_pb2_grpc, events_pb2

PATIENCE_S = 60.0
CRANE = Identity("harbour", "crane-1")
NO_BLOB = events_pb2.BlobRef(sha256=b"0" * 32, size=1)


@pytest.fixture
def certs(tmp_path: Path) -> Path:
    """A CA, and certificates for a cloud and a site."""
    return lay_certs(tmp_path / "certs")


def of_another_ca(certs: Path) -> TlsFiles:
    certificates.init(certs / "strange")
    certificates.issue(certs / "strange", certs / "harbour", Identity("harbour"))
    # It trusts ours: so the cloud is the one that refuses.
    (certs / "harbour" / "ca.crt").write_bytes((certs / "ca" / "ca.crt").read_bytes())
    return files_in(certs / "harbour")


def trusting_another_ca(certs: Path) -> TlsFiles:
    certificates.init(certs / "strange")
    files = files_in(certs / "harbour")
    files.ca.write_bytes((certs / "strange" / "ca.crt").read_bytes())
    return files


def self_signed(certs: Path) -> TlsFiles:
    """A certificate of itself: what a stranger can make without any CA."""
    files = of_another_ca(certs)
    files.cert.write_bytes((certs / "strange" / "ca.crt").read_bytes())
    files.key.write_bytes((certs / "strange" / "ca.key").read_bytes())
    return files


def of_another_site(certs: Path) -> TlsFiles:
    return certificates.issue(certs / "ca", certs / "airport", Identity("airport"))


def of_an_agent(certs: Path) -> TlsFiles:
    return certificates.issue(certs / "ca", certs / "crane", CRANE)


def expired(certs: Path) -> TlsFiles:
    return certificates.issue(certs / "ca", certs / "harbour", Identity("harbour"), days=-0.125)


@pytest.mark.parametrize(
    ("shows", "told"),
    [
        (of_another_ca, "most likely it does not take our certificate"),
        (self_signed, "most likely it does not take our certificate"),
        (trusting_another_ca, "the cloud's certificate is not of a CA that we trust"),
        (of_another_site, "certificate is for site airport, hello says harbour"),
        (of_an_agent, "certificate is for agent crane-1 of site harbour"),
        (expired, "certificate of site harbour expired 3 h ago: tiercel cert issue --site harbour"),
    ],
)
async def test_who_is_refused_says_why_and_works_on_alone(
    tmp_path: Path, certs: Path, shows: Callable[[Path], TlsFiles], told: str
) -> None:
    """A site with a wrong certificate gets no link, its log and its status say what is wrong, and its gateway takes agents all
    the same."""
    with capture_logs() as lines:
        async with nodes(tmp_path, certs, shows(certs)) as (cloud, edge):

            async def is_told() -> bool:
                return any(told in str(line) for line in lines)

            async def is_shown() -> bool:
                """One attempt may fail to write before it has read why it was refused: it does not hide what another was told."""
                link = (await edge._status()).link
                return told in f"{link.ended} {link.refusals.last}"

            await until(is_told)
            await until(is_shown)
            for _ in range(20):
                assert await is_shown()
                await asyncio.sleep(0.02)
            assert (await edge._status()).link.state == "down"
            assert cloud.exchange.links == {}
            assert edge.gateway.accepting


async def test_a_refused_hello_is_counted_where_one_looks_for_it(tmp_path: Path, certs: Path) -> None:
    """At the cloud, of the site that it names."""
    async with nodes(tmp_path, certs, of_another_site(certs)) as (cloud, _):

        async def is_counted() -> bool:
            return cloud.exchange.standings.of("harbour").refusals.by_code.get("identity", 0) > 0

        await until(is_counted)
        said = cloud.exchange.standings.of("harbour").refusals.last
        assert said == "certificate is for site airport, hello says harbour"


async def test_a_site_without_tls_gets_no_link_to_a_cloud_with_it(tmp_path: Path, certs: Path) -> None:
    """Plain text against TLS is no connection; the site says what may be missing, and goes on."""
    with capture_logs() as lines:
        async with nodes(tmp_path, certs, None) as (_, edge):

            async def is_told() -> bool:
                return any("it wants TLS, perhaps (--tls-dir)" in str(line.get("reason")) for line in lines)

            await until(is_told)
            assert "it wants TLS" in (await edge._status()).link.ended


async def test_plain_text_is_no_connection_to_a_cloud_with_tls(tmp_path: Path, certs: Path) -> None:
    """Nothing is answered to it."""
    async with nodes(tmp_path, certs, None) as (cloud, edge):
        async with grpc.aio.insecure_channel(cloud.config.sync_listen) as channel:
            with pytest.raises(grpc.RpcError):
                await blob_pb2_grpc.BlobServiceStub(channel).Stat(NO_BLOB, timeout=PATIENCE_S)
        assert cloud.exchange.links == {}
        assert edge.gateway.accepting


async def test_blobs_of_the_cloud_are_for_sites(tmp_path: Path, certs: Path) -> None:
    """An agent's certificate opens none of the cloud's services, and the answer says whose certificate it is."""
    files = of_an_agent(certs)
    async with nodes(tmp_path, certs, None) as (cloud, _), secure(cloud.config.sync_listen, files) as channel:
        with pytest.raises(grpc.aio.AioRpcError, match="certificate is for agent crane-1 of site harbour") as refused:
            await blob_pb2_grpc.BlobServiceStub(channel).Stat(NO_BLOB, timeout=PATIENCE_S)
        assert refused.value.code() == grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize(
    ("agent", "capabilities", "refused"),
    [
        ("crane-1", ["lift"], ""),
        ("crane-2", ["lift"], "certificate is for agent crane-1 of site harbour, Register says agent crane-2"),
        ("crane-1", ["lift", "weld"], "certificate of agent crane-1 is for lift; Register offers weld, too"),
    ],
)
async def test_an_agent_is_who_its_certificate_says(
    tmp_path: Path, certs: Path, agent: str, capabilities: list[str], refused: str
) -> None:
    """Another id, or a capability that the certificate does not bind, is refused as `identity`."""
    files = certificates.issue(certs / "ca", certs / "crane", CRANE, capabilities=["lift"])
    harbour = files_in(certs / "harbour")
    async with nodes(tmp_path, certs, harbour) as (_, edge), secure(edge.config.listen, files, server="localhost") as channel:
        answer = await registered(channel, agent, capabilities)
        assert answer.WhichOneof("kind") == ("refused" if refused else "welcome")
        if refused:
            assert answer.refused.code == "identity"
            assert refused in answer.refused.message


async def test_a_site_s_certificate_is_none_for_an_agent(tmp_path: Path, certs: Path) -> None:
    """Nor is that of an agent of another site."""
    harbour = files_in(certs / "harbour")
    other = certificates.issue(certs / "ca", certs / "other", Identity("airport", "crane-1"))
    async with nodes(tmp_path, certs, harbour) as (_, edge):
        for files in (harbour, other):
            async with secure(edge.config.listen, files, server="localhost") as channel:
                with pytest.raises(grpc.aio.AioRpcError, match="this gateway is for agents of site harbour"):
                    await registered(channel, "crane-1", ["lift"])


async def test_certificates_change_under_load_and_no_task_is_lost(tmp_path: Path, certs: Path) -> None:
    """Both sides get new keys while runs go on: a second line takes over, every run ends, each task was done once."""
    async with whole(tmp_path, "harbour") as system:
        agent = system.agent("crane-1", capacity=8)
        done: list[int] = []

        @agent.capability("lift")
        async def lift(crate: int) -> int:
            await asyncio.sleep(0.05)
            done.append(crate)
            return crate

        await system.join("harbour", agent)
        first = system.cloud.exchange.links["harbour"]
        tasks: dict[str, Any] = {f"t{n}": {"capability": "lift", "with": {"crate": n}} for n in range(100)}
        run = await system.start_run(tasks)
        for node in ("cloud", "harbour"):
            certificates.rotate(certs / "ca", certs / node)

        async def is_replaced() -> bool:
            return system.cloud.exchange.links.get("harbour", first) is not first

        await until(is_replaced)
        assert (await system.ended(run))["run"]["state"] == "completed"
        assert sorted(done) == list(range(100))
        again = await system.start_run({"last": {"capability": "lift", "with": {"crate": 100}}})
        assert (await system.ended(again))["run"]["state"] == "completed"


async def test_a_site_view_says_that_a_certificate_ends(tmp_path: Path, certs: Path) -> None:
    """Within two weeks of its end, with what to type."""
    certificates.issue(certs / "ca", certs / "harbour", Identity("harbour"), days=3.5)
    async with whole(tmp_path, "harbour") as system:

        async def said() -> list[str]:
            sites = (await system.client.get("/api/v1/sites")).json()["items"]
            return [site["certificate"] for site in sites if site["certificate"]]

        async def is_said() -> bool:
            return bool(await said())

        await until(is_said)
        assert await said() == ["certificate of site harbour expires in 3 d: tiercel cert issue --site harbour"]


async def test_the_api_speaks_https_to_who_trusts_its_ca(tmp_path: Path, certs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client takes the CA from the environment; without it, it does not go on."""
    cloud = certs / "cloud"
    port = free_port()
    config = CloudConfig(
        tmp_path, api_port=port, sync_listen=f"127.0.0.1:{free_port()}", api_tls=(cloud / "tls.crt", cloud / "tls.key")
    )
    serving = await served(GlobalPlanner(config))
    with Client(f"https://127.0.0.1:{port}") as stranger, pytest.raises(ServerUnreachable, match="CERTIFICATE_VERIFY_FAILED"):
        await asyncio.to_thread(stranger.agents)
    monkeypatch.setenv("TIERCEL_CA", str(certs / "ca" / "ca.crt"))
    with Client(f"https://127.0.0.1:{port}") as client:
        assert await asyncio.to_thread(client.agents) == []
    await ended(serving)


@pytest.mark.parametrize(
    ("makes", "told"),
    [
        (lambda certs: certificates.issue(certs / "ca", certs / "cloud", Identity("cloud"), days=-1), "certificate has expired"),
        (
            lambda certs: certificates.issue(certs / "ca", certs / "cloud", Identity("airport")),
            "is not the cloud's (cloud.tiercel)",
        ),
        (lambda certs: shutil.rmtree(certs / "cloud"), "does not speak TLS: is the cloud started with --tls-dir?"),
    ],
)
async def test_a_site_says_what_is_wrong_with_its_cloud(
    tmp_path: Path, certs: Path, makes: Callable[[Path], object], told: str
) -> None:
    """An expired certificate, that of another node, none at all: each in its own words, in log and status."""
    makes(certs)
    files = tls_files(certs / "harbour")
    with capture_logs() as lines:
        async with nodes(tmp_path, certs, files) as (_, edge):

            async def is_told() -> bool:
                return any(told in str(line.get("reason")) for line in lines)

            await until(is_told)
            assert told in (await edge._status()).link.ended


class nodes:  # noqa: N801 - used as a context manager
    """A cloud with TLS, and with a CA if it `signs`, and a site with these files, running. `renews`: do both, when it is due?"""

    def __init__(self, folder: Path, certs: Path, files: TlsFiles | None, *, signs: bool = False, renews: bool = True) -> None:
        for name in ("c", "e"):
            (folder / name).mkdir()
        links, listen = (f"127.0.0.1:{free_port()}" for _ in range(2))
        self._cloud = CloudConfig(
            folder / "c",
            api_port=free_port(),
            sync_listen=links,
            tls=tls_files(certs / "cloud") if (certs / "cloud").is_dir() else None,
            ca_dir=certs / "ca" if signs else None,
            renews=renews,
        )
        wait = 0.2
        self._edge = EdgeConfig(
            "harbour", folder / "e", folder / "r", links, listen, first_link_wait_s=wait, tls=files, renews=renews
        )
        self._serving: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> tuple[GlobalPlanner, EdgeNode]:
        cloud = GlobalPlanner(self._cloud)
        self._serving.append(await served(cloud))
        edge = EdgeNode(self._edge)
        self._serving.append(await served(edge))
        return cloud, edge

    async def __aexit__(self, *_: object) -> None:
        for serving in reversed(self._serving):
            await ended(serving)


def secure(address: str, files: TlsFiles, server: str = "cloud.tiercel") -> grpc.aio.Channel:
    options = (*CHANNEL_OPTIONS, ("grpc.ssl_target_name_override", server))
    return grpc.aio.secure_channel(address, Credentials(files).client(), options=options)


async def registered(channel: grpc.aio.Channel, agent: str, capabilities: list[str]) -> agent_pb2.EdgeMessage:
    """What the gateway answers to a Register."""
    register = agent_pb2.Register(protocol_version=1, agent=agent, boot="b", capabilities=capabilities, capacity=1)
    call = agent_pb2_grpc.AgentServiceStub(channel).Connect(timeout=PATIENCE_S)
    await call.write(agent_pb2.AgentMessage(register=register))
    answer = await call.read()
    assert isinstance(answer, agent_pb2.EdgeMessage)
    return answer
