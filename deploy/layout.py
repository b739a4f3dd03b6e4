"""What a local system is made of: its sites, their boxes and agents, its ports. No Ray here, so a mistake is told at once."""

import contextlib
import re
import socket
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from agents.config import AgentDescription
from cloud.admission import RUNS_ACTIVE_MAX
from edge.group.values import SIZES, WILDCARDS
from sync.listen import check_address

_SITE = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_RESERVED = ("cloud", "logs")
_NODES = "abcde"

LOOPBACK = "127.0.0.1"
PEER_PORT = 7500


class PortsTaken(RuntimeError):
    """Somebody else listens on ports that are wanted. The message names each, and who has it."""


@dataclass(frozen=True, slots=True)
class BoxConfig:
    """One process of a site. `name` is that of its socket, its log file and its certificates; `node` its name among the boxes of
    the site, empty if it is alone: then it needs no port for others."""

    name: str
    node: str
    gateway_port: int
    peer_port: int


@dataclass(frozen=True, slots=True)
class SiteConfig:
    """One site: where its gateway listens for agents of other processes, and the agents that it brings along.

    `modules` and `settings` are what its agents can do, see agents.config.HostConfig. `cloud` is the address that the
    site dials, by default that of the cloud itself: a test may put a proxy on the path. Of several `nodes` the first has
    `gateway_port` and `peer_port`, and each next one the next of both.
    """

    name: str
    gateway_port: int
    agents: tuple[AgentDescription, ...] = ()
    modules: tuple[str, ...] = ()
    settings: dict[str, str] = field(default_factory=dict)
    cloud: str = ""
    nodes: int = 1
    peer_port: int = PEER_PORT

    @property
    def boxes(self) -> tuple[BoxConfig, ...]:
        """All of its processes that keep its log, in order."""
        if self.nodes == 1:
            return (BoxConfig(self.name, "", self.gateway_port, 0),)
        return tuple(
            BoxConfig(f"{self.name}-{node}", node, self.gateway_port + at, self.peer_port + at)
            for at, node in enumerate(_NODES[: self.nodes])
        )

    @property
    def peers(self) -> dict[str, str]:
        """Where its boxes reach each other: on this machine only, wherever agents do."""
        return {box.node: f"{LOOPBACK}:{box.peer_port}" for box in self.boxes if box.node}


FIRST_LINK_WAIT_S_MAX = 30.0
"""Less than what a node may take to start."""


@dataclass(frozen=True, slots=True)
class SystemConfig:
    """What runs, and where. All ports listen on `host`, which is of this machine only unless `insecure`. With `tls` cloud,
    sites and agents know each other by certificates, so theirs may listen anywhere, and the API, which asks nobody, stays here.

    `first_link_wait_s`: how long each site waits for the cloud at its start before it goes on without it.
    """

    data_dir: Path
    sites: tuple[SiteConfig, ...]
    host: str = "127.0.0.1"
    api_port: int = 8003
    sync_port: int = 7443
    insecure: bool = False
    first_link_wait_s: float = 1.0
    runs_active_max: int = RUNS_ACTIVE_MAX
    tls: bool = False

    @property
    def api_host(self) -> str:
        """Where the API listens."""
        return LOOPBACK if self.tls and not self.insecure else self.host

    @property
    def api_url(self) -> str:
        """Where clients of this machine find the API."""
        return f"http://{self._local(self.api_host)}:{self.api_port}"

    def reach(self, port: int) -> str:
        """The address by which processes of this machine reach one of the ports."""
        return f"{self._local(self.host)}:{port}"

    def gateways(self, site: SiteConfig) -> str:
        """The addresses by which agents of this machine find the site: of all its boxes, with commas between."""
        return ",".join(self.reach(box.gateway_port) for box in site.boxes)

    def host_of(self, port: int) -> str:
        """The address that one of the ports listens on."""
        if port == self.api_port:
            return self.api_host
        return LOOPBACK if any(port == box.peer_port for site in self.sites for box in site.boxes) else self.host

    @staticmethod
    def _local(host: str) -> str:
        return LOOPBACK if host in WILDCARDS else host

    def ports(self) -> dict[int, str]:
        """Every port, and what it is for. Raises ValueError if one has two uses."""
        uses: dict[int, str] = {}
        pairs = [(self.api_port, "the API"), (self.sync_port, "the links of the sites")]
        boxes = [box for site in self.sites for box in site.boxes]
        pairs += [(box.gateway_port, f"the gateway of {box.name}") for box in boxes]
        pairs += [(box.peer_port, f"the other boxes to reach {box.name}") for box in boxes if box.node]
        for port, use in pairs:
            if not 0 < port < 65_536:
                raise ValueError(f"port {port} for {use} does not exist: ports are 1 to 65535")
            if port in uses:
                raise ValueError(f"port {port} is wanted for {uses[port]} and for {use}: give one of them another")
            uses[port] = use
        return uses

    def validate(self) -> None:
        """Raises ValueError, and ListenRefused for an address that others could reach."""
        names = [site.name for site in self.sites]
        reserved = (*_RESERVED, "ca", "tls") if self.tls else _RESERVED
        for name in names:
            if not _SITE.fullmatch(name) or name in reserved or names.count(name) > 1:
                raise ValueError(
                    f"site {name!r}: a site has a name of its own, of up to 40 small letters, digits and -, "
                    f"and not {' or '.join(reserved)}"
                )
        self._check_boxes()
        if not 0 <= self.first_link_wait_s <= FIRST_LINK_WAIT_S_MAX:
            longest = f"0 to {FIRST_LINK_WAIT_S_MAX:g} seconds"
            raise ValueError(f"first link wait: {longest}, not {self.first_link_wait_s:g}; a start must come to its end")
        for port in self.ports():
            check_address(f"{self.host_of(port)}:{port}", insecure=self.insecure or self.tls)

    def _check_boxes(self) -> None:
        for site in self.sites:
            if site.nodes not in SIZES:
                raise ValueError(
                    f"site {site.name}: {site.nodes} boxes; allowed are 1, 3 and 5, for an even number bears no more losses than "
                    "the odd one below it"
                )
        sites = {site.name for site in self.sites}
        for box in (box for site in self.sites for box in site.boxes):
            if box.node and box.name in sites:
                raise ValueError(f"site {box.name!r} has the name of box {box.node} of another site: give one of them another")


def check_ports(config: SystemConfig) -> None:
    """Raises PortsTaken that names every port that cannot be had, and who has it."""
    taken = []
    for port, use in config.ports().items():
        host = config.host_of(port)
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                taken.append(f"{host}:{port} for {use}: {(error.strerror or str(error)).lower()}{_owner(port)}")
    if taken:
        lines = "".join(f"\n  {line}" for line in taken)
        raise PortsTaken(f"some ports cannot be had: stop who has them, or choose others (--help shows how){lines}")


def _owner(port: int) -> str:
    with contextlib.suppress(psutil.Error):
        for found in psutil.net_connections("tcp"):
            if found.status == psutil.CONN_LISTEN and found.laddr and found.laddr.port == port and found.pid:
                return f", by process {found.pid} ({psutil.Process(found.pid).name()})"
    return ""
