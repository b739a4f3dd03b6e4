"""TLS as an agent uses it: whom it trusts, by what it is known, and how it moves to a new certificate."""

import hashlib
import os
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import grpc

from tiercel.errors import SessionLost

State = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files, as `tiercel cert issue` writes them: whom to trust, our certificate, its key. Without the last two a token says
    who we are. `server` is the name that the gateway's certificate must have (as in `SITE.tiercel`); default: the host that is
    dialled. Raises ValueError if a certificate comes without its key."""

    ca: Path | str
    cert: Path | str | None = None
    key: Path | str | None = None
    server: str = ""

    def __post_init__(self) -> None:
        if (self.cert is None) != (self.key is None):
            raise ValueError("Tls: cert and key are given together, or neither, with a token")

    def credentials(self, token: str = "") -> grpc.ChannelCredentials:
        """What the files hold now. Raises SessionLost when they cannot be used: they are looked at again at the next try."""
        try:
            self._check()
            ca = Path(self.ca).read_bytes()
            key, cert = (None if it is None else Path(it).read_bytes() for it in (self.key, self.cert))
        except (OSError, ValueError) as error:
            raise SessionLost(f"TLS files cannot be used ({self.words}): {error}", code="certificate") from None
        secured = grpc.ssl_channel_credentials(ca, key, cert)
        return grpc.composite_channel_credentials(secured, grpc.access_token_call_credentials(token)) if token else secured

    def _check(self) -> None:
        """That they are PEM and that the key is the certificate's. Raises OSError (of which ssl's errors are)."""
        context = ssl.create_default_context(cafile=str(self.ca))
        if self.cert is not None and self.key is not None:
            # Without a callback an encrypted key would be asked for at the terminal.
            context.load_cert_chain(str(self.cert), str(self.key), password=lambda: "")

    def state(self) -> State:
        """Changes when one of the files does."""
        return state_of(Path(path) for path in (self.ca, self.cert, self.key) if path is not None)

    @property
    def words(self) -> str:
        """As in a sentence: the files, never what they hold."""
        return ", ".join(str(path) for path in (self.ca, self.cert, self.key) if path is not None)


def tls_of(environment: Mapping[str, str] = os.environ) -> Tls | None:
    """What TIERCEL_TLS_CA, TIERCEL_TLS_CERT, TIERCEL_TLS_KEY and TIERCEL_TLS_SERVER say; None without the first."""
    ca, cert, key, server = (environment.get(f"TIERCEL_TLS_{name}", "") for name in ("CA", "CERT", "KEY", "SERVER"))
    return Tls(ca, cert or None, key or None, server) if ca else None


def token_of(environment: Mapping[str, str] = os.environ) -> str:
    """What TIERCEL_TLS_TOKEN says."""
    return environment.get("TIERCEL_TLS_TOKEN", "")


def agent_uri(site: str, agent: str) -> str:
    """Who an agent is, as its certificate says."""
    return f"tiercel://agent/{site}/{quote(agent, safe='')}"


def peer_host(site: str, agent: str) -> str:
    """The DNS name under which an agent's certificate is checked by its peers, whatever it is called and wherever it is."""
    return f"{hashlib.sha256(agent_uri(site, agent).encode()).hexdigest()[:40]}.peer.tiercel"


def state_of(files: Iterable[Path]) -> State:
    """Changes when one of the files does."""
    return tuple(_state(path) for path in files)


def _state(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0)
    return found.st_mtime_ns, found.st_ino, found.st_size
