"""The private CA and what it signs (EC P-256), and reading certificates. Needs `cryptography`; imported where TLS is used alone.

A pair lies whole beside its place before the key, and then the certificate, is renamed: who reads between the two sees a pair
that does not match, keeps what it had, and looks again; and what dies there is mended by who reads next.
"""

import contextlib
import datetime as dt
import ipaddress
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sync.identity.files import CA, CA_KEY, CERT, LEAF_DAYS, TlsFiles, files_in
from sync.identity.names import Identity, capabilities_among, capability_uri, identity_among, server_name
from tiercel.tls import peer_host

CA_DAYS = 3_650
BACKDATED = dt.timedelta(minutes=5)
"""Clocks of machines differ: what was signed now must be valid now everywhere."""


class CertificateProblem(ValueError):
    """A certificate or key that cannot be used, and why; never its content."""


class Certificate(NamedTuple):
    """What a certificate says. Times are UTC milliseconds; `identity` is None if it names none of ours."""

    identity: Identity | None
    subject: str
    is_ca: bool
    names: tuple[str, ...]
    not_before_ms: int
    not_after_ms: int
    fingerprint: str

    @property
    def signed_ms(self) -> int:
        """When it was signed, as all of ours are: its beginning lies a little before."""
        return self.not_before_ms + int(BACKDATED.total_seconds()) * 1000

    @property
    def hosts(self) -> list[str]:
        """The names and addresses among its names."""
        return [name for name in self.names if "://" not in name]


def init(folder: Path, *, days: int = CA_DAYS, name: str = "Tiercel development CA") -> Path:
    """Make a CA in a folder: ca.key (0600) and ca.crt. Raises CertificateProblem if there is one."""
    for each in (CA, CA_KEY):
        if (folder / each).exists():
            raise CertificateProblem(f"{folder / each} exists already: another CA needs another directory")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = new_key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    usage = _usage(signs_certificates=True)
    built = (
        _builder(subject, subject, key.public_key(), days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    write(folder / CA_KEY, pem_of_key(key), 0o600)
    write(folder / CA, pem_of(built.sign(key, hashes.SHA256())), 0o644)
    return folder / CA


def issue(
    ca_folder: Path,
    out: Path,
    identity: Identity,
    *,
    days: float = LEAF_DAYS,
    hosts: Sequence[str] = (),
    capabilities: Iterable[str] = (),
) -> TlsFiles:
    """A new key and certificate in `out`, with the CA beside them; what was there is replaced.

    `hosts`: names and addresses under which others dial this one. `capabilities`: all that an agent may offer; none named: any.
    Raises CertificateProblem.
    """
    ca, ca_key = ca_of(ca_folder)
    key = new_key()
    signed = sign(ca, ca_key, key.public_key(), names_for(identity, hosts, capabilities), days=days)
    out.mkdir(mode=0o700, parents=True, exist_ok=True)
    files = files_in(out)
    place(files, pem_of(ca), pem_of_key(key), pem_of(signed))
    return files


def place(files: TlsFiles, ca: bytes, key: bytes, cert: bytes) -> None:
    """Put new PEM files in place of those that are there, if any. Raises OSError."""
    if not files.ca.exists() or files.ca.read_bytes() != ca:
        write(files.ca, ca, 0o644)
    laid = _lay(files.cert, cert, 0o644)
    write(files.key, key, 0o600)
    with contextlib.suppress(FileNotFoundError):  # Who read meanwhile has mended the pair.
        laid.replace(files.cert)


def mend(files: TlsFiles) -> None:
    """Finish what died between the two renames of `place`: the key is the new one, its certificate lies beside the old."""
    laid = _beside(files.cert)
    with contextlib.suppress(OSError, ValueError, TypeError):
        key = serialization.load_pem_private_key(files.key.read_bytes(), None).public_key()
        if key == x509.load_pem_x509_certificate(laid.read_bytes()).public_key():
            laid.replace(files.cert)


def rotate(ca_folder: Path, folder: Path, *, days: float = LEAF_DAYS) -> TlsFiles:
    """A new key and certificate for whom the one in `folder` is, with the same names. Raises CertificateProblem."""
    old = read(folder / CERT)
    if old.identity is None:
        raise CertificateProblem(f"{folder / CERT} names no identity of Tiercel: issue one")
    return issue(ca_folder, folder, old.identity, days=days, hosts=old.hosts, capabilities=sorted(capabilities_among(old.names)))


def new_key() -> ec.EllipticCurvePrivateKey:
    """A private key as all of ours are."""
    return ec.generate_private_key(ec.SECP256R1())


def names_for(identity: Identity, hosts: Iterable[str], capabilities: Iterable[str]) -> list[x509.GeneralName]:
    """What a certificate says of whom it is for. Agents only dial, so theirs names no host, or with it they could pass for their
    gateway; but one that its peers may dial has a name for that."""
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(identity.uri)]
    if identity.agent:
        dialled = [x509.DNSName(host)] if (host := peer_host(*identity)) in set(hosts) else []
        return [*names, *(x509.UniformResourceIdentifier(capability_uri(each)) for each in capabilities), *dialled]
    return names + [_name(each) for each in dict.fromkeys((server_name(identity.site), "localhost", "127.0.0.1", "::1", *hosts))]


def sign(
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    public_key: ec.EllipticCurvePublicKey,
    names: Sequence[x509.GeneralName],
    *,
    days: float,
) -> x509.Certificate:
    """A certificate for a key under these names, of which the first is the identity. It ends with its CA, at the latest."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, str(names[0].value).removeprefix("tiercel://")[:64])])
    serves = any(isinstance(name, x509.DNSName) for name in names)
    uses = [ExtendedKeyUsageOID.CLIENT_AUTH, *([ExtendedKeyUsageOID.SERVER_AUTH] if serves else [])]
    built = (
        _builder(subject, ca.subject, public_key, days, ca.not_valid_after_utc)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
    )
    return built.sign(ca_key, hashes.SHA256())


def read(path: Path) -> Certificate:
    """What a certificate file says. Raises CertificateProblem."""
    try:
        return parsed(path.read_bytes())
    except OSError as error:
        raise CertificateProblem(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise CertificateProblem(f"{path} is no certificate in PEM") from error


def parsed(pem: bytes) -> Certificate:
    """What the first certificate of a PEM says. Raises ValueError."""
    found = x509.load_pem_x509_certificate(pem)
    names: tuple[str, ...] = ()
    is_ca = False
    with contextlib.suppress(x509.ExtensionNotFound):
        held = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = tuple(str(name.value) for name in held)
    with contextlib.suppress(x509.ExtensionNotFound):
        is_ca = bool(found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
    return Certificate(
        identity_among(names),
        found.subject.rfc4514_string(),
        is_ca,
        names,
        int(found.not_valid_before_utc.timestamp() * 1000),
        int(found.not_valid_after_utc.timestamp() * 1000),
        "sha256:" + found.fingerprint(hashes.SHA256()).hex(),
    )


def load(files: TlsFiles) -> tuple[bytes, bytes, bytes]:
    """The PEM of CA, certificate and key, once they fit together. Raises CertificateProblem."""
    read(files.ca)
    read(files.cert)
    try:
        ca, cert, key_pem = files.ca.read_bytes(), files.cert.read_bytes(), files.key.read_bytes()
        key = serialization.load_pem_private_key(key_pem, None)
    except OSError as error:
        raise CertificateProblem(f"{error.filename} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError):
        raise CertificateProblem(f"{files.key} is no private key in PEM, or is encrypted") from None
    if key.public_key() != x509.load_pem_x509_certificate(cert).public_key():
        raise CertificateProblem(f"{files.key} is not the key of {files.cert}")
    return ca, cert, key_pem


def ca_of(folder: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """The CA in a folder, and the key that signs. Raises CertificateProblem."""
    try:
        ca = x509.load_pem_x509_certificate((folder / CA).read_bytes())
        key = serialization.load_pem_private_key((folder / CA_KEY).read_bytes(), None)
    except OSError as error:
        raise CertificateProblem(f"no CA in {folder} ({error.strerror}): tiercel cert init --ca-dir {folder}") from error
    except (ValueError, TypeError):
        raise CertificateProblem(f"{folder / CA} or {folder / CA_KEY} is damaged") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != ca.public_key():
        raise CertificateProblem(f"{folder / CA_KEY} is not the key of {folder / CA}")
    return ca, key


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: float, until: dt.datetime | None = None
) -> x509.CertificateBuilder:
    now = dt.datetime.fromtimestamp(time.time(), dt.UTC)
    ends = now + dt.timedelta(days=days)
    if until is not None:
        ends = min(ends, until)  # Nobody believes a certificate for longer than its CA.
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    serial = x509.random_serial_number()
    return builder.serial_number(serial).not_valid_before(min(now, ends) - BACKDATED).not_valid_after(ends)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def pem_of(certificate: x509.Certificate) -> bytes:
    """As it is written down."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def pem_of_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    """As it is written down, for the owner of the file alone."""
    pem: bytes = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return pem


def write(path: Path, content: bytes, mode: int) -> None:
    """By a rename, and never readable by others in between. Raises OSError."""
    _lay(path, content, mode).replace(path)


def _lay(path: Path, content: bytes, mode: int) -> Path:
    beside = _beside(path)
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return beside


def _beside(path: Path) -> Path:
    return path.with_name(path.name + ".new")
