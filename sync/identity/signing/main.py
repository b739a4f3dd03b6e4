"""A certificate for a key that never leaves the machine that made it: the request, and the CA that answers it.

A request proves that whoever made it holds the key. Nothing else in it is believed: who the certificate is for says the one who
signs it, and he knows it from a token, or from the certificate that the connection shows.
"""

import hashlib
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sync.identity.files import CA, CA_KEY
from sync.identity.main import Certificate, CertificateProblem, ca_of, names_for, parsed, pem_of, read, sign
from sync.identity.names import Identity

REQUEST_BYTES_MAX = 16 << 10
CURVES = (ec.SECP256R1, ec.SECP384R1)


class Signed(NamedTuple):
    """What a request is answered with, in PEM: whom to trust, and the certificate."""

    ca: bytes
    certificate: bytes


def request_for(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A request (PKCS #10, DER) for a certificate for this key. It names nobody."""
    signed = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.DER)


def requested(der: bytes) -> ec.EllipticCurvePublicKey:
    """The key that a request proves to be its sender's. Raises CertificateProblem."""
    if len(der) > REQUEST_BYTES_MAX:
        raise CertificateProblem(f"the request for a certificate has {len(der):,} bytes; at most {REQUEST_BYTES_MAX:,}")
    try:
        request = x509.load_der_x509_csr(der)
        key, is_proved = request.public_key(), request.is_signature_valid
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise CertificateProblem("the request for a certificate is no PKCS #10 in DER") from None
    if not is_proved:
        raise CertificateProblem("the request for a certificate is not signed by the key that it names")
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, CURVES):
        raise CertificateProblem("the request for a certificate is for a key that is not of EC P-256 or P-384")
    return key


def key_sha256(key: ec.EllipticCurvePublicKey) -> str:
    """By what a public key is known (hex)."""
    described = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(described).hexdigest()


def accepted(answer: Signed, identity: Identity, key: ec.EllipticCurvePublicKey, known: bytes) -> Certificate:
    """What was asked for, once it is what was asked for: for us, for our key, of those whom we know (PEM). Raises
    CertificateProblem."""
    try:
        found = parsed(answer.certificate)
        signed = x509.load_pem_x509_certificate(answer.certificate)
        trusted = x509.load_pem_x509_certificates(answer.ca)
    except ValueError:
        raise CertificateProblem("the cloud answered with what is no certificate") from None
    if found.identity != identity or signed.public_key() != key:
        raise CertificateProblem(f"the cloud answered with a certificate that is not for the key of {identity.words}")
    if not any(each in trusted for each in x509.load_pem_x509_certificates(known)):
        raise CertificateProblem("the cloud answered with CAs among which is none that it is known by")
    return found


class Authority:
    """A CA that a node may sign with. Its key is read for each signature, and is in memory for no longer."""

    def __init__(self, folder: Path, days: float) -> None:
        """Certificates are valid for `days`. Raises CertificateProblem if the folder holds no CA, or others can read its key."""
        self.folder, self.days = folder, days
        self._open()

    @property
    def fingerprint(self) -> str:
        """Of the CA's certificate, as `tiercel cert show` says it. Raises CertificateProblem."""
        return read(self.folder / CA).fingerprint

    def issued(self, cert: Path) -> bool:
        """Is that certificate one of this CA? Raises CertificateProblem."""
        read(cert)
        try:
            x509.load_pem_x509_certificate(cert.read_bytes()).verify_directly_issued_by(self._open()[0])
        except (ValueError, TypeError, InvalidSignature):
            return False
        return True

    def certify(self, key: ec.EllipticCurvePublicKey, identity: Identity, hosts: Iterable[str]) -> bytes:
        """A certificate (PEM) for the holder of a key. Raises CertificateProblem."""
        ca, ca_key = self._open()
        return pem_of(sign(ca, ca_key, key, names_for(identity, hosts, ()), days=self.days))

    def _open(self) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        found = ca_of(self.folder)
        path = self.folder / CA_KEY
        if (mode := stat.S_IMODE(path.stat().st_mode)) & 0o077:
            raise CertificateProblem(f"{path} signs certificates, and others can read it (mode {mode:04o}): chmod 600 {path}")
        return found
