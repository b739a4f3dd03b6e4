"""How a site gets its first certificate: it makes a key, which never leaves it, and shows the cloud its token.

The cloud is known by its CA before the token is shown: by a file, or by a fingerprint, which the token's text ends with. With a
fingerprint alone the CA is fetched first, unchecked (it is no secret), compared, and the cloud is dialled again trusting that
one alone (so kubeadm does it, too). The key lies in its directory from before the first attempt on, so an answer that was lost,
or a process that was killed, is made up for by asking again: the cloud answers the same to the same key.
"""

import asyncio
import contextlib
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sync.identity import main as certificates
from sync.identity.files import CERT, TlsFiles, files_in
from sync.identity.names import CLOUD, Identity, server_name
from sync.identity.signing.main import Signed, accepted, request_for
from sync.serving.service import CHANNEL_OPTIONS
from tiercel.backoff import Backoff
from tiercel.v1 import join_pb2, join_pb2_grpc

ATTEMPT_S_MAX = 10.0
JOINING_KEY = "joining.key"
PASSING = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)


class JoinRefused(Exception):
    """There is no certificate, and why; asking again without a change is of no use."""


class CloudAway(JoinRefused):
    """The cloud cannot be had, or not now: worth another attempt."""


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What a site needs to join. `token` as it was shown, or without its ending; one of `ca` and `fingerprint` if without."""

    cloud: str
    site: str
    token: str
    out: Path
    ca: Path | None = None
    fingerprint: str = ""

    @property
    def secret(self) -> str:
        """The token itself."""
        return self.token.strip().partition(".")[0]

    def pins(self) -> set[str]:
        """The fingerprints that the CA must have, as hex: they come from two places, and must not differ."""
        given = self.fingerprint, self.token.strip().partition(".")[2]
        return {each.lower().removeprefix("sha256:").replace(":", "") for each in given if each}


class Joined(NamedTuple):
    """What is there now, and where the site dials."""

    files: TlsFiles
    not_after_ms: int
    link: str


async def join(wanted: Enrolment, wait_s: float) -> Joined:
    """Have a certificate put in `out`. A cloud that is away is tried again for `wait_s`. Raises JoinRefused, OSError."""
    _check_out(wanted)
    key = _key(wanted.out)
    clock, backoff = asyncio.get_running_loop().time, Backoff(first_s=0.5)
    until_s = clock() + wait_s
    while True:
        try:
            return await _attempt(wanted, key)
        except CloudAway:
            if (pause_s := backoff.next_s()) + clock() >= until_s:
                raise
            await asyncio.sleep(pause_s)


async def _attempt(wanted: Enrolment, key: ec.EllipticCurvePrivateKey) -> Joined:
    ca = await _authority(wanted)
    request = join_pb2.JoinRequest(token=wanted.secret, site=wanted.site, request=request_for(key))
    async with _dial(wanted.cloud, ca) as channel:
        try:
            reply = await join_pb2_grpc.JoinServiceStub(channel).Join(request, timeout=ATTEMPT_S_MAX)
        except grpc.aio.AioRpcError as error:
            raise _problem(error, wanted.cloud) from error
    try:
        found = accepted(Signed(reply.ca, reply.certificate), Identity(wanted.site), key.public_key(), ca)
    except certificates.CertificateProblem as error:
        raise JoinRefused(str(error)) from error
    files = files_in(wanted.out)
    certificates.place(files, reply.ca, certificates.pem_of_key(key), reply.certificate)
    (wanted.out / JOINING_KEY).unlink(missing_ok=True)
    return Joined(files, found.not_after_ms, f"{wanted.cloud.rpartition(':')[0]}:{reply.link_port}")


# Whom to trust ------------------------------------------------------------------------------------------------------------


async def _authority(wanted: Enrolment) -> bytes:
    """The CA by which the cloud is known, in PEM."""
    pins = wanted.pins()
    if len(pins) > 1:
        raise JoinRefused("--ca-fingerprint and the end of the token name two CAs: the token is of another cloud")
    if wanted.ca is not None:
        try:
            held = x509.load_pem_x509_certificates(wanted.ca.read_bytes())
        except ValueError as error:
            raise JoinRefused(f"{wanted.ca} is no certificate in PEM") from error
        where = str(wanted.ca)
    elif pins:
        held, where = await _fetch(wanted.cloud), wanted.cloud
    else:
        raise JoinRefused(
            "it is not known whom to trust: give the CA with --ca FILE, or its fingerprint with --ca-fingerprint sha256:... "
            "(tiercel cert show ca.crt), or the token with its ending, as it was shown"
        )
    known = [each for each in held if not pins or each.fingerprint(hashes.SHA256()).hex() in pins]
    if not known:
        shown = ", ".join(f"sha256:{each.fingerprint(hashes.SHA256()).hex()}" for each in held)
        raise JoinRefused(
            f"the CA of {where} is not the one of the token, sha256:{pins.pop()}, but {shown or 'none'}: the token is of another "
            "cloud, or somebody stands between; the token was not shown to it"
        )
    return b"".join(certificates.pem_of(each) for each in known)


async def _fetch(cloud: str) -> list[x509.Certificate]:
    """The CAs that whoever answers there names. Nothing is believed of them but by their fingerprint."""
    leaf = await _leaf(cloud)
    async with _dial(cloud, leaf) as channel:
        try:
            reply = await join_pb2_grpc.JoinServiceStub(channel).Authority(join_pb2.AuthorityRequest(), timeout=ATTEMPT_S_MAX)
        except grpc.aio.AioRpcError as error:
            raise _problem(error, cloud) from error
    try:
        return x509.load_pem_x509_certificates(reply.ca)
    except ValueError as error:
        raise JoinRefused(f"{cloud} names no CA: is it the cloud's port for joining (--listen-join)?") from error


async def _leaf(cloud: str) -> bytes:
    """The certificate that the other side shows, unchecked, in PEM."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    host, _, port = cloud.rpartition(":")
    try:
        async with asyncio.timeout(ATTEMPT_S_MAX):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port), ssl=context)
    except ssl.SSLError as error:
        raise JoinRefused(f"{cloud} does not speak TLS ({error.reason}): is it the cloud's port for joining?") from error
    except OSError as error:
        raise CloudAway(f"{cloud} cannot be reached: {str(error) or 'no answer'}") from error
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return ssl.DER_cert_to_PEM_cert(shown).encode()


def _dial(cloud: str, ca: bytes) -> grpc.aio.Channel:
    options = (*CHANNEL_OPTIONS, ("grpc.ssl_target_name_override", server_name(CLOUD)))
    return grpc.aio.secure_channel(cloud, grpc.ssl_channel_credentials(ca), options=options)


def _problem(error: grpc.aio.AioRpcError, cloud: str) -> JoinRefused:
    said = error.details() or error.code().name
    if error.code() == grpc.StatusCode.UNIMPLEMENTED:
        return JoinRefused(f"{cloud} is not the cloud's port for joining: that is the one of --listen-join")
    if error.code() not in PASSING:
        return JoinRefused(said)
    if "CERTIFICATE_VERIFY_FAILED" in said or "BAD_SIGNATURE" in said:
        return JoinRefused(f"{cloud} shows no certificate of the CA: it is another cloud, or somebody stands between ({said})")
    return CloudAway(f"{cloud} does not answer: {said}")


# What is here -------------------------------------------------------------------------------------------------------------


def _check_out(wanted: Enrolment) -> None:
    """The certificate of somebody else is not written over."""
    held = wanted.out / CERT
    if not held.exists():
        return
    try:
        identity = certificates.read(held).identity
    except certificates.CertificateProblem:
        return
    if identity != Identity(wanted.site):
        whose = identity.words if identity else "nobody of Tiercel"
        raise JoinRefused(f"{held} is the certificate of {whose}: site {wanted.site} needs another directory (--out)")


def _key(out: Path) -> ec.EllipticCurvePrivateKey:
    """The key that an attempt before this one made, or a new one: it is here before anybody hears of it."""
    path = out / JOINING_KEY
    with contextlib.suppress(FileNotFoundError, ValueError, TypeError):
        held = serialization.load_pem_private_key(path.read_bytes(), None)
        if isinstance(held, ec.EllipticCurvePrivateKey):
            return held
    out.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = certificates.new_key()
    certificates.write(path, certificates.pem_of_key(key), 0o600)
    return key
