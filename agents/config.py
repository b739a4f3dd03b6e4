"""What an agent host is told once, at its start: where the gateway is, what it may touch, and which agents live in
it."""

import re
from math import inf
from pathlib import Path
from typing import Literal

import msgspec

from agents.http import HttpPolicy
from coordination.breaker import BreakerPolicy
from tiercel.places import Places
from tiercel.tls import Tls

ROWS_MAX = 10_000
"""The most that one query may answer, whoever asks."""
SOCKET_PATH_BYTES_MAX = 107
"""sun_path of a Unix socket on Linux, without its closing zero."""
_AGENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class HostConfigError(ValueError):
    """The configuration cannot be used. `problems` names everything that is wrong with it, one sentence each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class AgentDescription(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One local agent. `capabilities` are names that the host's registry knows; `capacity` is how many tasks it holds
    at once."""

    id: str
    kind: Literal["robot", "human", "ai", "service"] = "service"
    capacity: int = 1
    capabilities: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    cost: float = 1.0

    def problems(self) -> list[str]:
        """What is wrong with it; nothing if it can be used."""
        found = []
        if not _AGENT_ID.fullmatch(self.id):
            found.append(f"agent {self.id!r}: an id has 1 to 100 letters, digits, . _ - and begins with a letter or digit")
        if self.capacity < 1:
            found.append(f"agent {self.id!r}: capacity {self.capacity} is not at least 1")
        if not 0 <= self.cost < inf:
            found.append(f"agent {self.id!r}: cost {self.cost} is no number from 0 on")
        if not self.capabilities:
            found.append(f"agent {self.id!r}: it offers no capability, so no task could ever reach it")
        return found


class DatabaseSource(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One database. `url` is SQLAlchemy's (`postgresql+psycopg://user@host/name`, `sqlite:////path`), or `secret://name`."""

    url: str
    read_only: bool = False
    rows_max: int = 1_000
    connections: int = 5
    breaker: BreakerPolicy = BreakerPolicy()


class HostConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything an AgentHost knows of the world. Workflows can change none of it.

    `gateway`      "unix:/path" or "host:port"; of a site of several nodes all of them, with commas between
    `data_dir`     the agents' journals; belongs to this host alone and outlives it
    `secrets`      the site's secrets file (mode 0600)
    `root`         what `file.read` and `file.write` may reach; without it they are not offered
    `http`         what `http` may reach
    `databases`    what `database_query` may reach, by name
    `modules`      Python modules (dotted name, or path of a .py file) with `capabilities(settings) -> {name: function}`
    `functions`    capability name -> "python:module.function"
    `settings`     handed to the modules: directories, addresses, names
    `tls`          files by which gateway and agents know each other, when it is on another machine
    `tls_dir`      instead: a directory with one for each agent, by its id, as `tiercel cert issue` writes it
    `tls_server`   the name that the gateway's certificate must have then (SITE.tiercel)
    `token_file`   a file (mode 0600) with the token of the one agent, instead of a certificate
    """

    gateway: str
    data_dir: Path
    agents: tuple[AgentDescription, ...]
    secrets: Path | None = None
    root: Path | None = None
    http: HttpPolicy = HttpPolicy()
    databases: dict[str, DatabaseSource] = {}
    modules: tuple[str, ...] = ()
    functions: dict[str, str] = {}
    settings: dict[str, str] = {}
    tls: Tls | None = None
    token_file: Path | None = None
    tls_dir: Path | None = None
    tls_server: str = ""

    def tls_of(self, agent: str) -> Tls | None:
        """By what the gateway knows an agent."""
        if self.tls_dir is None:
            return self.tls
        folder = self.tls_dir / agent
        return Tls(folder / "ca.crt", folder / "tls.crt", folder / "tls.key", self.tls_server)

    def validate(self) -> None:
        """Raises HostConfigError with all problems that show without touching the world."""
        problems = [problem for agent in self.agents for problem in agent.problems()]
        ids = [agent.id for agent in self.agents]
        problems += [f"agent {id!r} is described more than once" for id in sorted({i for i in ids if ids.count(i) > 1})]
        if not self.agents:
            problems.append("no agents are described")
        if self.token_file is not None and (self.tls is None or len(self.agents) != 1):
            problems.append("a token is one agent's, and shown over TLS alone: with token_file describe one agent, and tls.ca")
        if self.tls_dir is not None and (self.tls is not None or self.token_file is not None):
            problems.append("tls_dir has a certificate for each agent: give it, or tls, or a token")
        if not self.gateway:
            problems.append("no gateway is named; it is unix:/path or host:port")
        problems += self._gateway_problems() if self.gateway else []
        problems += [f"http.breaker: {problem}" for problem in self.http.breaker.problems()]
        for name, source in self.databases.items():
            problems += [f"databases.{name}.breaker: {problem}" for problem in source.breaker.problems()]
        if problems:
            raise HostConfigError(problems)

    def _gateway_problems(self) -> list[str]:
        try:
            known = Places.of(self.gateway).known
        except ValueError as error:
            return [str(error)]
        paths = [place.removeprefix("unix:") for place in known if place.startswith("unix:")]
        too_long = [path for path in paths if len(path.encode()) > SOCKET_PATH_BYTES_MAX]
        limit = f"has more than {SOCKET_PATH_BYTES_MAX} bytes: put it in a shorter directory"
        return [f"the socket path {path} {limit}" for path in too_long]


def load_agents(path: Path) -> dict[str, tuple[AgentDescription, ...]]:
    """The agents of each site from a YAML or JSON file `{site: [{id, kind, capacity, capabilities, labels}]}`.

    Raises HostConfigError, which names the file and every problem.
    """
    try:
        sites = msgspec.yaml.decode(path.read_bytes(), type=dict[str, tuple[AgentDescription, ...]])
    except (OSError, msgspec.DecodeError) as error:
        raise HostConfigError([f"{path}: {error}"]) from error
    if problems := [f"{path}: {site}: {it}" for site, agents in sites.items() for a in agents for it in a.problems()]:
        raise HostConfigError(problems)
    return sites


class Reach(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the actions of a site may reach, as its file `actions.yaml` says; the fields are those of HostConfig."""

    http: HttpPolicy = HttpPolicy()
    databases: dict[str, DatabaseSource] = {}


def load_reach(path: Path) -> Reach:
    """From a YAML or JSON file; without one nothing is reached. Raises HostConfigError, which names the file."""
    try:
        return msgspec.yaml.decode(path.read_bytes(), type=Reach)
    except FileNotFoundError:
        return Reach()
    except (OSError, msgspec.DecodeError) as error:
        raise HostConfigError([f"{path}: {error}"]) from error
