"""The certificates of a system whose nodes somebody else places: made where they are missing, and anew when they are due.

`python -m deploy.papers FOLDER NODE...` does it for containers: FOLDER/ca is the CA, and each FOLDER/NODE, which may be a volume,
gets what the node of that name needs; NODE=SITE is one of several boxes of a site, each of which renews a certificate of its own.
As root it gives all to the user TIERCEL_UID, as which the nodes run.
"""

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from deploy.layout import SystemConfig
from sync.identity import main as certificates
from sync.identity.files import CA, CA_KEY, TlsFiles, files_in
from sync.identity.names import CLOUD, Identity, capabilities_among
from sync.identity.renewing import due_ms

CA_NAME = "Tiercel CA"


def lay_ca(folder: Path) -> None:
    """A CA, if there is none. Raises CertificateProblem, OSError."""
    if not (folder / CA_KEY).exists():
        certificates.init(folder, name=CA_NAME)


def lay(ca: Path, folder: Path, identity: Identity, hosts: Sequence[str] = (), capabilities: Iterable[str] = ()) -> TlsFiles:
    """A certificate that says this, unless one is there that does and is not due. Raises CertificateProblem, OSError."""
    files, wanted = files_in(folder), frozenset(capabilities)
    try:
        certificates.load(files)
        held = certificates.read(files.cert)
        is_right = held.identity == identity and wanted == capabilities_among(held.names) and set(hosts) <= set(held.names)
        if is_right and due_ms(held.not_before_ms, held.not_after_ms) > time.time() * 1000 and _is_of(ca, files):
            return files
    except certificates.CertificateProblem:
        pass  # What cannot be used is made anew.
    return certificates.issue(ca, folder, identity, hosts=hosts, capabilities=sorted(wanted))


def _is_of(ca: Path, files: TlsFiles) -> bool:
    return (ca / CA).read_bytes() == files.ca.read_bytes()


class LocalPapers:
    """Those of a local system, in its data directory: `ca`, and `tls/NODE`, `tls/SITE.agents/AGENT`."""

    def __init__(self, config: SystemConfig, data: Path) -> None:
        self._config, self._data = config, data

    @property
    def ca(self) -> Path:
        """The CA's directory."""
        return self._data / "ca"

    def node(self, name: str) -> TlsFiles:
        """Of the cloud or a box of a site."""
        return files_in(self._data / "tls" / name)

    def agents(self, site: str) -> Path:
        """A directory with one for each agent of a site."""
        return self._data / "tls" / f"{site}.agents"

    def lay(self) -> None:
        """All that is missing or due. Who uses it takes it without a restart."""
        lay_ca(self.ca)
        hosts = [] if self._config.host in ("0.0.0.0", "::", "127.0.0.1") else [self._config.host]
        lay(self.ca, self.node(CLOUD).cert.parent, Identity(CLOUD), hosts)
        for site in self._config.sites:
            for box in site.boxes:
                lay(self.ca, self.node(box.name).cert.parent, Identity(site.name), hosts)
            for agent in site.agents:
                lay(self.ca, self.agents(site.name) / agent.id, Identity(site.name, agent.id), (), agent.capabilities)


def main(folder: Path, nodes: Sequence[str], owner: int = -1) -> None:
    """As the module says. Raises CertificateProblem, OSError."""
    lay_ca(folder / "ca")
    sites = {name: site or name for name, _, site in (node.partition("=") for node in nodes)}
    for name, site in sites.items():
        lay(folder / "ca", folder / name, Identity(site), [] if name == CLOUD else [name])
    for path in _all(folder / name for name in ("ca", *sites)):
        if owner >= 0 and os.geteuid() == 0:
            os.chown(path, owner, owner)


def _all(folders: Iterable[Path]) -> Iterator[Path]:
    for folder in folders:
        yield folder
        yield from folder.iterdir()


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: python -m deploy.papers FOLDER NODE[=SITE]...")
    main(Path(sys.argv[1]), sys.argv[2:], int(os.environ.get("TIERCEL_UID", "-1")))
