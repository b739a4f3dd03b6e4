"""The three files that a node or agent needs for TLS."""

from pathlib import Path
from typing import NamedTuple

TLS_DIR_HELP = "directory with ca.crt, tls.crt and tls.key, as `tiercel cert issue` writes: mutual TLS between machines"
CA, CERT, KEY = "ca.crt", "tls.crt", "tls.key"
CA_KEY = "ca.key"
LEAF_DAYS = 90


class TlsFiles(NamedTuple):
    """PEM files: whom to trust, our certificate (with what is between it and the CA), its key."""

    ca: Path
    cert: Path
    key: Path


def files_in(folder: Path) -> TlsFiles:
    """Those of a directory that `tiercel cert issue` writes."""
    return TlsFiles(folder / CA, folder / CERT, folder / KEY)


def tls_files(folder: Path | None, ca: Path | None = None, cert: Path | None = None, key: Path | None = None) -> TlsFiles | None:
    """What --tls-dir, or --tls-ca, --tls-cert and --tls-key name; None if none is given. Raises ValueError if some lack."""
    if folder is not None:
        there = files_in(folder)
        return TlsFiles(ca or there.ca, cert or there.cert, key or there.key)
    if ca is None and cert is None and key is None:
        return None
    if ca is None or cert is None or key is None:
        raise ValueError("--tls-ca, --tls-cert and --tls-key are given together, or --tls-dir alone")
    return TlsFiles(ca, cert, key)
