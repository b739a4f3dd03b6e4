"""Certificates that are renewed over the link that they make: in time, for who asks alone, and in nobody's way."""

import asyncio
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from cloud.driver import CloudConfig, GlobalPlanner
from sync.identity import main as certificates
from sync.identity.files import TlsFiles, files_in, tls_files
from sync.identity.names import Identity
from sync.identity.renewing import due_ms, spread_s
from sync.identity.signing.main import Authority, Signed, accepted, request_for
from sync.identity.upkeep.service import NotRenewed, renewed_over
from tests.command_line import COMMAND
from tests.free_ports import free_port
from tests.test_mutual_tls import nodes, secure
from tests.whole import Whole, lay_certs, linked, until, whole
from tiercel.v1 import join_pb2, join_pb2_grpc

PATIENCE_S = 60.0
MINUTE = 1 / 1_440
"""A certificate of so many days is one whose renewal is due."""


@pytest.fixture
def certs(tmp_path: Path) -> Path:
    """A CA, and certificates for a cloud and a site."""
    return lay_certs(tmp_path / "certs")


def short(certs: Path, node: str, **more: Any) -> TlsFiles:
    """A certificate that ends in a minute."""
    return certificates.issue(certs / "ca", certs / node, Identity(node), days=MINUTE, **more)


def lasts_long(files: TlsFiles) -> bool:
    found = certificates.read(files.cert)
    return found.not_after_ms - found.not_before_ms > 80 * 86_400_000


async def renewed(files: TlsFiles) -> None:
    async def is_renewed() -> bool:
        return lasts_long(files)

    await until(is_renewed)


async def asked(system: Whole, files: TlsFiles) -> certificates.Certificate:
    """What the cloud answers who asks for a renewal with this certificate."""
    async with secure(system.links, files) as channel:
        request = join_pb2.RenewRequest(request=request_for(certificates.new_key()))
        reply = await join_pb2_grpc.RenewalServiceStub(channel).Renew(request, timeout=PATIENCE_S)
        return certificates.parsed(reply.certificate)


async def test_a_site_renews_its_certificate_under_load_and_no_task_is_lost(tmp_path: Path, certs: Path) -> None:
    """It has a new key and the same names; a second line takes over; every run ends, each task was done once."""
    files = short(certs, "harbour", hosts=["gateway.harbour.example", "10.0.0.7"])
    old, key = certificates.read(files.cert), files.key.read_bytes()
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
        tasks: dict[str, Any] = {f"t{n}": {"capability": "lift", "with": {"crate": n}} for n in range(400)}
        run = await system.start_run(tasks)
        await renewed(files)

        async def is_replaced() -> bool:
            return system.cloud.exchange.links.get("harbour", first) is not first

        await until(is_replaced)
        assert (await system.ended(run))["run"]["state"] == "completed"
        assert sorted(done) == list(range(400))
    found = certificates.read(files.cert)
    assert (found.identity, sorted(found.names)) == (old.identity, sorted(old.names))
    assert files.key.read_bytes() != key
    certificates.load(files)


async def test_a_cloud_with_the_ca_renews_its_own(tmp_path: Path, certs: Path) -> None:
    """Sites that come later see the new one."""
    files = short(certs, "cloud")
    async with whole(tmp_path, "harbour") as system:
        await renewed(files)
        certificates.load(files)
        await system.stop("harbour")
        await system.restart("harbour")
        await until(linked(lambda: system.cloud))
    assert certificates.read(files.cert).identity == Identity("cloud")


async def test_who_does_not_want_it_renews_nothing(tmp_path: Path, certs: Path) -> None:
    """Neither the cloud nor the site; the end is warned of all the same."""
    files = {node: short(certs, node) for node in ("cloud", "harbour")}
    before = {node: each.cert.read_bytes() for node, each in files.items()}
    with capture_logs() as lines:
        async with nodes(tmp_path, certs, files["harbour"], signs=True, renews=False) as (cloud, edge):

            async def are_warned() -> bool:
                edge.look()
                cloud.look()
                said = str(lines)
                return "certificate of site harbour expires in" in said and "certificate of the cloud expires in" in said

            await until(are_warned)
            await until(linked(lambda: cloud))
            for _ in range(20):
                edge.look()
                cloud.look()
                await asyncio.sleep(0.02)
    assert {node: each.cert.read_bytes() for node, each in files.items()} == before


async def test_a_renewal_is_for_the_one_who_asks(tmp_path: Path, certs: Path) -> None:
    """A site gets its own names whatever it asks for; an agent, the cloud itself and whoever has no certificate get nothing."""
    agent = certificates.issue(certs / "ca", certs / "crane", Identity("harbour", "crane-1"))
    airport = certificates.issue(certs / "ca", certs / "airport", Identity("airport"), hosts=["gateway.airport.example"])
    async with whole(tmp_path, "harbour") as system:
        found = await asked(system, airport)
        assert (found.identity, "gateway.airport.example" in found.names) == (Identity("airport"), True)
        assert not any("harbour" in name for name in found.names)
        for files, told in (
            (agent, "certificate is for agent crane-1 of site harbour; this port is for sites"),
            (files_in(certs / "cloud"), "those of sites are renewed here"),
        ):
            with pytest.raises(grpc.aio.AioRpcError, match=told) as refused:
                await asked(system, files)
            assert refused.value.code() == grpc.StatusCode.PERMISSION_DENIED
        with pytest.raises(grpc.aio.AioRpcError) as closed:
            await asked(system, certificates.issue(certs / "ca", certs / "late", Identity("late"), days=-1))
        assert closed.value.code() == grpc.StatusCode.UNAVAILABLE


async def test_a_renewal_that_fails_says_why_and_is_tried_again(tmp_path: Path, certs: Path) -> None:
    """A cloud that signs nothing: the site works on, linked as before, with its certificate untouched; once there is a CA, a look
    at its files is enough."""
    files = short(certs, "harbour")
    before = files.cert.read_bytes()
    with capture_logs() as lines:
        async with nodes(tmp_path, certs, files) as (cloud, edge):

            async def is_said() -> bool:
                return any(
                    "could not be renewed" in line["event"] and "signs no certificates" in line["reason"] for line in lines
                )

            await until(is_said)
            await until(linked(lambda: cloud))
            assert files.cert.read_bytes() == before
            assert edge.gateway.accepting
            cloud.signing._authority = signing_cloud(tmp_path, certs).signing._authority
            edge.look()
            await renewed(files)


async def test_an_expired_certificate_says_how_to_join_again(tmp_path: Path, certs: Path) -> None:
    """It cannot be shown any more, so it is not tried; the site works on alone."""
    files = certificates.issue(certs / "ca", certs / "harbour", Identity("harbour"), days=-0.125)
    with capture_logs() as lines:
        async with nodes(tmp_path, certs, files, signs=True) as (_, edge):

            async def is_said() -> bool:
                return any("expired 3 h ago" in line["event"] and "tiercel edge join" in line["event"] for line in lines)

            await until(is_said)
            assert edge.gateway.accepting
    assert not lasts_long(files)


async def test_a_cloud_of_a_version_before_renews_nothing_and_is_not_pressed(tmp_path: Path) -> None:
    """What it does not know is not tried every second; nor is one that cannot be reached taken for it."""
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        with pytest.raises(NotRenewed, match="of a version that renews no certificates") as refused:
            await renewed_over(channel, b"")
        assert refused.value.lasting
        await server.stop(0)
        with pytest.raises(NotRenewed) as away:
            await renewed_over(channel, b"")
        assert not away.value.lasting
    with pytest.raises(NotRenewed, match="cannot be reached"):
        await renewed_over(None, b"")


def test_an_answer_that_is_not_what_was_asked_for_is_not_taken(certs: Path) -> None:
    """A certificate for another key, for another site, from somebody of another CA, or none at all: each is refused in words."""
    authority, ca = Authority(certs / "ca", 90), (certs / "ca" / "ca.crt").read_bytes()
    strange = certificates.init(certs / "strange").read_bytes()
    ours, other = (certificates.new_key().public_key() for _ in range(2))
    right = authority.certify(ours, Identity("harbour"), ())
    assert accepted(Signed(ca + strange, right), Identity("harbour"), ours, ca).identity == Identity("harbour")
    for answer, told in (
        (Signed(ca, authority.certify(other, Identity("harbour"), ())), "not for the key of site harbour"),
        (Signed(ca, authority.certify(ours, Identity("airport"), ())), "not for the key of site harbour"),
        (Signed(strange, right), "CAs among which is none that it is known by"),
        (Signed(ca, b"nothing"), "what is no certificate"),
        (Signed(b"", right), "what is no certificate"),
    ):
        with pytest.raises(certificates.CertificateProblem, match=told):
            accepted(answer, Identity("harbour"), ours, ca)


def test_no_certificate_outlives_its_ca(tmp_path: Path) -> None:
    """Nobody would believe it: so its end, and what is warned of, is the CA's."""
    ca = certificates.init(tmp_path / "ca", days=3)
    files = certificates.issue(tmp_path / "ca", tmp_path / "harbour", Identity("harbour"), days=90)
    assert certificates.read(files.cert).not_after_ms == certificates.read(ca).not_after_ms


def test_at_sighup_a_node_looks_and_does_not_end(tmp_path: Path) -> None:
    """A daemon is told so that it has new files; SIGTERM ends it in order afterwards."""
    (tmp_path / "data").mkdir()
    port = free_port()
    words = [
        "edge",
        "--site",
        "harbour",
        "--cloud",
        f"127.0.0.1:{port}",
        "--data",
        str(tmp_path / "data"),
        "--run-dir",
        str(tmp_path),
    ]
    command = [*COMMAND, *words, "--first-link-wait", "0"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert any("site serves" in line for line in iter(process.stderr.readline, ""))
        for _ in range(3):
            os.kill(process.pid, signal.SIGHUP)
        process.terminate()
        assert process.wait(PATIENCE_S) == 0


@given(st.integers(1, 10**12), st.integers(0, 10**12))
def test_a_renewal_is_due_within_the_life_of_its_certificate(life_ms: int, began_ms: int) -> None:
    """With a third of it left, and the first attempt well before its end."""
    ends_ms = began_ms + life_ms
    due = due_ms(began_ms, ends_ms)
    assert began_ms <= due <= ends_ms
    assert abs((ends_ms - due) * 3 - life_ms) <= 3
    assert due + spread_s(ends_ms - due) * 1000 <= ends_ms
    assert spread_s(due - ends_ms) == 0


def signing_cloud(folder: Path, certs: Path) -> GlobalPlanner:
    """One that does not serve: it has a CA."""
    (folder / "other").mkdir()
    return GlobalPlanner(CloudConfig(folder / "other", tls=tls_files(certs / "cloud"), ca_dir=certs / "ca"))
