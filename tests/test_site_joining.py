"""Sites that join a cloud with a token, over real sockets: who gets a certificate, and who does not, whatever he says."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from structlog.testing import capture_logs

from cloud.driver import CloudConfig, GlobalPlanner
from edge.driver import EdgeConfig, EdgeNode
from edge.enrolling.service import JOINING_KEY, Enrolment, JoinRefused, join
from sync.identity import main as certificates
from sync.identity.files import TlsFiles, tls_files
from sync.identity.names import Identity
from sync.identity.signing.main import request_for
from tests.free_ports import free_port
from tests.test_mutual_tls import secure
from tests.test_well import ended, served
from tests.whole import lay_certs, linked, until
from tiercel.v1 import blob_pb2_grpc, events_pb2, join_pb2, join_pb2_grpc

TOKENS = "/api/v1/site-tokens"
PATIENCE_S = 60.0


class Cloud:
    """A cloud that signs: with its CA, and a port for those who have no certificate yet."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder, self._settings = folder, settings
        self.ca = folder / "ca"
        lay_certs(folder, "cloud")
        self.api, self.links, self.joining = (f"127.0.0.1:{free_port()}" for _ in range(3))
        self.client = httpx.AsyncClient(base_url=f"http://{self.api}", timeout=PATIENCE_S)

    async def start(self) -> None:
        (self.folder / "data").mkdir(exist_ok=True)
        config = CloudConfig(
            self.folder / "data",
            api_port=int(self.api.rpartition(":")[2]),
            sync_listen=self.links,
            tls=tls_files(self.folder / "cloud"),
            ca_dir=self.ca,
            listen_join=self.joining,
            **self._settings,
        )
        self.node = GlobalPlanner(config)
        self._serving = await served(self.node)

        async def answers() -> bool:
            try:
                return (await self.client.get("/readyz")).status_code == 200
            except httpx.TransportError:
                return False

        await until(answers)

    async def stop(self) -> None:
        await ended(self._serving)

    async def token(self, **said: Any) -> dict[str, Any]:
        answer = await self.client.post(TOKENS, json={"site": "harbour", **said})
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def listed(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.client.get(TOKENS)).json()["items"]
        return found

    def enrolment(self, token: str, out: str = "harbour", **more: Any) -> Enrolment:
        return Enrolment(self.joining, **{"site": "harbour", "token": token, "out": self.folder / out, **more})

    async def asked(self, token: str, request: bytes, site: str = "harbour") -> join_pb2.JoinReply:
        return await asked(self.joining, self.ca, token, request, site)


async def asked(address: str, ca: Path, token: str, request: bytes, site: str = "harbour") -> join_pb2.JoinReply:
    """What a cloud answers who speaks to it directly."""
    trusted = grpc.ssl_channel_credentials((ca / "ca.crt").read_bytes())
    options = (("grpc.ssl_target_name_override", "cloud.tiercel"),)
    async with grpc.aio.secure_channel(address, trusted, options=options) as channel:
        wanted = join_pb2.JoinRequest(token=token.partition(".")[0], site=site, request=request)
        reply = await join_pb2_grpc.JoinServiceStub(channel).Join(wanted, timeout=PATIENCE_S)
        assert isinstance(reply, join_pb2.JoinReply)
        return reply


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[Cloud]:
    cloud = Cloud(tmp_path)
    await cloud.start()
    yield cloud
    await cloud.stop()
    await cloud.client.aclose()


async def refused(cloud: Cloud, token: str, request: bytes, site: str = "harbour") -> str:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await cloud.asked(token, request, site)
    return str(error.value.details())


def key() -> ec.EllipticCurvePrivateKey:
    return certificates.new_key()


async def test_a_site_joins_and_is_linked(cloud: Cloud, tmp_path: Path) -> None:
    """With the token alone: the CA comes by its fingerprint, the key never leaves, and with what it got the site is linked. The
    list says when the token was used, and the token is in no byte of what the cloud keeps or logs."""
    with capture_logs() as lines:
        made = await cloud.token(hosts=["gateway.harbour.example", "10.0.0.7"])
        joined = await join(cloud.enrolment(made["token"]), 0.0)
        assert joined.link == cloud.links
        found = certificates.read(joined.files.cert)
        assert found.identity == Identity("harbour")
        assert {"gateway.harbour.example", "10.0.0.7", "harbour.tiercel", "localhost"} <= set(found.names)
        certificates.load(joined.files)
        assert joined.files.key.stat().st_mode & 0o777 == 0o600
        assert not (tmp_path / "harbour" / JOINING_KEY).exists()
        async with working(cloud, tmp_path, joined.files):
            (listed,) = await cloud.listed()
        assert (listed["used"] > 0, listed["used_by"], "token" in listed) == (True, "127.0.0.1", False)
    secret = made["token"].partition(".")[0]
    assert secret not in json.dumps(lines, default=str)
    assert holding(tmp_path, secret) == []


def holding(folder: Path, secret: str) -> list[Path]:
    """The files with the secret in them."""
    return [path for path in folder.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]


@asynccontextmanager
async def working(cloud: Cloud, folder: Path, files: TlsFiles) -> AsyncIterator[EdgeNode]:
    """A site with these files, which is linked."""
    (folder / "e").mkdir(exist_ok=True)
    edge = EdgeNode(EdgeConfig("harbour", folder / "e", folder / "r", cloud.links, tls=files))
    serving = await served(edge)
    await until(linked(lambda: cloud.node))
    yield edge
    await ended(serving)


async def test_a_lost_answer_is_made_up_for_and_nobody_else_gets_one(cloud: Cloud) -> None:
    """The same key gets the same bytes again, from a cloud that was started anew, too; another key gets none."""
    token = (await cloud.token())["token"]
    request = request_for(first := key())
    answers = [(await cloud.asked(token, request)).certificate for _ in range(2)]
    assert "was used for another key" in await refused(cloud, token, request_for(key()))
    await cloud.stop()
    await cloud.start()
    answers.append((await cloud.asked(token, request_for(first))).certificate)
    assert len(set(answers)) == 1
    assert "was used for another key" in await refused(cloud, token, request_for(key()))


async def test_of_two_sites_with_one_token_one_wins(cloud: Cloud) -> None:
    """However many ask at the same moment: one key gets a certificate, and its holder gets it as often as he asks."""
    token = (await cloud.token())["token"]
    requests = [request_for(key()) for _ in range(8)]

    async def ask(request: bytes) -> bytes | None:
        try:
            return (await cloud.asked(token, request)).certificate
        except grpc.aio.AioRpcError as error:
            if error.code() != grpc.StatusCode.PERMISSION_DENIED:
                raise
            return None

    answers = await asyncio.gather(*(ask(request) for request in [*requests, *requests]))
    won = [n for n, answer in enumerate(answers) if answer is not None]
    assert len(won) == 2
    assert won[1] - won[0] == len(requests)
    assert answers[won[0]] == answers[won[1]]


async def test_a_token_says_for_which_site_and_how_long(cloud: Cloud) -> None:
    """Another site, an expired token, a revoked one, one that never was: each is told what to type."""
    again = "tiercel site token create --site "
    token = (await cloud.token())["token"]
    assert await refused(cloud, token, request_for(key()), "airport") == (
        f"the token is for site harbour, not for airport: {again}airport"
    )
    short = await cloud.token(ttl_ms=1_000)

    async def is_over() -> bool:
        now_ms: int = cloud.node.loop.clock.now().wall_ms
        return bool(now_ms > short["expires"])

    await until(is_over)
    assert "the token of site harbour expired at" in await refused(cloud, short["token"], request_for(key()))
    revoked = await cloud.token()
    assert (await cloud.client.delete(f"{TOKENS}/{revoked['id']}")).status_code == 200
    for unknown in (revoked["token"], token.partition(".")[0] + "x", "tcla_x", ""):
        told = await refused(cloud, unknown, request_for(key()))
        assert told == f"the token is unknown to this cloud, or was revoked: {again}harbour"
    assert "cannot be a site's name" in await refused(cloud, token, request_for(key()), "cloud")


async def test_nothing_that_a_request_says_gets_into_a_certificate(cloud: Cloud) -> None:
    """A subject, other names, the rights of a CA: what was asked for is not looked at, the key alone is taken."""
    token = (await cloud.token())["token"]
    holder = key()
    wishes = [x509.UniformResourceIdentifier("tiercel://node/cloud"), x509.DNSName("cloud.tiercel")]
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "cloud")]))
        .add_extension(x509.SubjectAlternativeName(wishes), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(holder, hashes.SHA256())
    )
    pem = (await cloud.asked(token, request.public_bytes(serialization.Encoding.DER))).certificate
    found = certificates.parsed(pem)
    assert (found.identity, found.is_ca, found.subject) == (Identity("harbour"), False, "CN=node/harbour")
    assert not any("cloud" in name for name in found.names)
    assert x509.load_pem_x509_certificate(pem).public_key() == holder.public_key()


async def test_a_request_that_proves_nothing_is_refused_and_uses_nothing_up(cloud: Cloud) -> None:
    """A forged signature, a key of another kind, no request at all, one too large: the token is good as before."""
    token = (await cloud.token())["token"]
    forged = bytearray(request_for(key()))
    forged[-1] ^= 1
    other = rsa.generate_private_key(65537, 2048)
    of_rsa = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(other, hashes.SHA256())
    for request, told in (
        (bytes(forged), "is not signed by the key that it names"),
        (of_rsa.public_bytes(serialization.Encoding.DER), "not of EC P-256 or P-384"),
        (b"", "is no PKCS #10 in DER"),
        (b"\x30\x80" + bytes(100), "is no PKCS #10 in DER"),
        (bytes(20_000), "at most 16,384"),
        (bytes(100_000), "larger than max"),
    ):
        assert told in await refused(cloud, token, request)
    assert (await cloud.asked(token, request_for(key()))).certificate != b""


async def test_a_token_is_shown_to_its_own_cloud_alone(cloud: Cloud, tmp_path: Path) -> None:
    """A fingerprint that is another's, a CA file of another, two that contradict, none at all: nothing is sent, and said why.
    With the CA's file the token's ending is not needed."""
    token = (await cloud.token())["token"]
    secret = token.partition(".")[0]
    strange = certificates.init(tmp_path / "strange")
    theirs = certificates.read(strange).fingerprint
    for wanted, told in (
        (cloud.enrolment(f"{secret}.{theirs.removeprefix('sha256:')}"), "or somebody stands between; the token was not shown"),
        (cloud.enrolment(secret, fingerprint=theirs), "or somebody stands between; the token was not shown"),
        (cloud.enrolment(secret, ca=strange), "shows no certificate of the CA"),
        (cloud.enrolment(token, ca=strange), f"the CA of {strange} is not the one of the token"),
        (cloud.enrolment(token, fingerprint=theirs), "name two CAs"),
        (cloud.enrolment(secret), "it is not known whom to trust"),
    ):
        with capture_logs() as lines, pytest.raises(JoinRefused, match=told):
            await join(wanted, 0.0)
        assert [line for line in lines if "join" in line["event"]] == []
    assert (await cloud.listed())[0].get("used", 0) == 0
    joined = await join(cloud.enrolment(secret, ca=cloud.ca / "ca.crt"), 0.0)
    assert certificates.read(joined.files.cert).identity == Identity("harbour")


async def test_a_killed_attempt_goes_on_with_its_key(cloud: Cloud, tmp_path: Path) -> None:
    """The key lies there before the cloud hears of it. So an edge that was killed after the cloud had answered gets the same."""
    token = (await cloud.token())["token"]
    out = tmp_path / "harbour"
    with pytest.raises(JoinRefused, match="cannot be reached"):
        await join(Enrolment(f"127.0.0.1:{free_port()}", "harbour", token, out), 0.0)
    left = serialization.load_pem_private_key((out / JOINING_KEY).read_bytes(), None)
    assert isinstance(left, ec.EllipticCurvePrivateKey)
    lost = (await cloud.asked(token, request_for(left))).certificate
    joined = await join(cloud.enrolment(token), 0.0)
    assert joined.files.cert.read_bytes() == lost
    certificates.load(joined.files)


async def test_the_certificate_of_somebody_else_is_not_written_over(cloud: Cloud, tmp_path: Path) -> None:
    """A site joins again into its own directory, and never into another's."""
    token = (await cloud.token())["token"]
    certificates.issue(cloud.ca, tmp_path / "airport", Identity("airport"))
    before = (tmp_path / "airport" / "tls.crt").read_bytes()
    with pytest.raises(JoinRefused, match="is the certificate of site airport: site harbour needs another directory"):
        await join(cloud.enrolment(token, "airport"), 0.0)
    assert (tmp_path / "airport" / "tls.crt").read_bytes() == before
    first = await join(cloud.enrolment(token), 0.0)
    again = await join(cloud.enrolment((await cloud.token())["token"]), 0.0)
    assert first.files == again.files
    certificates.load(again.files)


async def test_a_site_whose_key_was_lost_is_shut_out_and_joins_again(cloud: Cloud, tmp_path: Path) -> None:
    """Its link ends, its certificate opens nothing of the cloud and is not renewed, its tokens are gone; the site works on alone
    and says why. With a new token into the same directory it is back, without a restart."""
    joined = await join(cloud.enrolment((await cloud.token())["token"]), 0.0)
    stolen = TlsFiles(*(tmp_path / f"stolen-{path.name}" for path in joined.files))
    for path, copy in zip(joined.files, stolen, strict=True):
        copy.write_bytes(path.read_bytes())
    with capture_logs() as lines:
        async with working(cloud, tmp_path, joined.files) as edge:
            unused = (await cloud.token())["token"]
            answer = await cloud.client.post("/api/v1/sites/harbour/revocation", json={"reason": "stolen"})
            assert (answer.status_code, answer.json()["reason"]) == (200, "stolen")
            assert await cloud.listed() == []

            async def is_told() -> bool:
                return "harbour" not in cloud.node.exchange.links and "are revoked (stolen)" in (await edge._status()).link.ended

            await until(is_told)
            assert edge.gateway.accepting

            async def is_refused() -> bool:
                return any("call refused" in line["event"] for line in lines)

            await until(is_refused)
            (view,) = (await cloud.client.get("/api/v1/sites")).json()["items"]
            assert "are revoked (stolen): tiercel site token create --site harbour" in view["certificate"]
            assert "unknown to this cloud, or was revoked" in await refused(cloud, unused, request_for(key()))
            await asyncio.sleep(1.0)  # Certificates count whole seconds, and one of the same second is refused, to be sure.
            await join(cloud.enrolment((await cloud.token())["token"]), 0.0)
            await until(linked(lambda: cloud.node))
    await cloud.stop()
    await cloud.start()
    async with secure(cloud.links, stolen) as channel:
        calls: tuple[tuple[Any, Any], ...] = (
            (join_pb2_grpc.RenewalServiceStub(channel).Renew, join_pb2.RenewRequest(request=request_for(key()))),
            (blob_pb2_grpc.BlobServiceStub(channel).Stat, events_pb2.BlobRef(sha256=b"0" * 32, size=1)),
        )
        for call, request in calls:
            with pytest.raises(grpc.aio.AioRpcError, match=r"are revoked \(stolen\)") as closed:
                await call(request, timeout=PATIENCE_S)
            assert closed.value.code() == grpc.StatusCode.PERMISSION_DENIED


async def test_what_is_asked_of_a_revocation_is_checked(cloud: Cloud) -> None:
    """A site's name, and a reason that one can read."""
    for site, body in (("cloud", {}), ("harbour", {"reason": "x" * 201}), ("harbour", {"why": "x"})):
        answer = await cloud.client.post(f"/api/v1/sites/{site}/revocation", json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert (await cloud.client.post("/api/v1/sites/harbour/revocation")).status_code == 200


async def test_another_port_than_that_for_joining_is_said_to_be_one(cloud: Cloud, tmp_path: Path) -> None:
    """The API, or the port of the links, is no place to join; nor does the port for joining serve anything else."""
    token = (await cloud.token())["token"]
    for address, told in ((cloud.api, "does not speak TLS"), (cloud.links, "answer|reached|for joining")):
        with pytest.raises(JoinRefused, match=told):
            await join(Enrolment(address, "harbour", token, tmp_path / "harbour"), 0.0)
    files = certificates.issue(cloud.ca, tmp_path / "airport", Identity("airport"))
    async with secure(cloud.joining, files) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as unserved:
            await join_pb2_grpc.RenewalServiceStub(channel).Renew(join_pb2.RenewRequest())
        assert unserved.value.code() == grpc.StatusCode.UNIMPLEMENTED


async def test_what_is_asked_for_a_token_is_checked(cloud: Cloud) -> None:
    """All that is wrong is said at once."""
    answer = await cloud.client.post(TOKENS, json={"site": "cloud", "hosts": ["cloud.tiercel", "*"], "ttl_ms": 1})
    assert (answer.status_code, len(answer.json()["problems"])) == (422, 4)


@pytest.mark.parametrize("signs", [True, False])
async def test_a_cloud_that_cannot_have_sites_join_says_so(tmp_path: Path, signs: bool) -> None:
    """Without a CA, or without a port for it, no token is made, and the answer says what to start or type."""
    cloud = Cloud(tmp_path)
    config: dict[str, Any] = {"api_port": int(cloud.api.rpartition(":")[2]), "sync_listen": cloud.links}
    more: dict[str, Any] = {"tls": tls_files(tmp_path / "cloud"), "ca_dir": cloud.ca} if signs else {}
    (tmp_path / "data").mkdir()
    serving = await served(GlobalPlanner(CloudConfig(tmp_path / "data", **config, **more)))
    answer = await cloud.client.post(TOKENS, json={"site": "harbour"})
    code, told = ("no_join_port", "--listen-join HOST:PORT") if signs else ("no_authority", "tiercel cert issue --site NAME")
    assert (answer.status_code, answer.json()["code"]) == (409, code)
    assert told in answer.json()["detail"]
    await ended(serving)
    await cloud.client.aclose()


def test_what_does_not_go_together_keeps_a_cloud_from_starting(tmp_path: Path) -> None:
    """A key that others can read, a certificate of another CA, a port for joining without either: said before anything serves."""
    cloud = Cloud(tmp_path)
    tls = tls_files(tmp_path / "cloud")
    certificates.init(tmp_path / "strange")
    (tmp_path / "data").mkdir()
    cases: list[tuple[dict[str, Any], str]] = [
        ({"listen_join": cloud.joining, "tls": tls}, "this cloud signs no certificates"),
        ({"ca_dir": cloud.ca}, "--tls-dir"),
        ({"ca_dir": tmp_path / "strange", "tls": tls}, "is not signed by the CA in"),
        ({"ca_dir": tmp_path / "nowhere", "tls": tls}, "tiercel cert init"),
    ]
    for settings, told in cases:
        with pytest.raises(ValueError, match=told):
            GlobalPlanner(CloudConfig(tmp_path / "data", **settings))
    (cloud.ca / "ca.key").chmod(0o640)
    with pytest.raises(ValueError, match=r"others can read it \(mode 0640\): chmod 600"):
        GlobalPlanner(CloudConfig(tmp_path / "data", ca_dir=cloud.ca, tls=tls))
