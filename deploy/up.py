"""`tiercel up`: a cloud, its sites and some agents on this machine, in the foreground, until Ctrl-C."""

import contextlib
import shlex
import signal
import tempfile
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from agents.config import AgentDescription, HostConfig, HostConfigError
from agents.registry import Registry
from cloud.admission import RUNS_ACTIVE_MAX
from deploy.directories import DirectoryInUse
from deploy.founding import FoundedOtherwise, as_founded
from deploy.layout import PEER_PORT, PortsTaken, SiteConfig, SystemConfig
from deploy.watching import Leaders, Restarts
from edge.group.values import SIZES
from tiercel.client import DEFAULT_SERVER, ApiError, Client, ServerUnreachable

if TYPE_CHECKING:
    from deploy.system import LocalSystem

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
POLL_S = 2.0
LINKED_S_MAX = 15.0
AGENT_CAPACITY = 4
SITES = ["harbour", "airport"]
TLS = "cloud, sites and agents know each other by certificates of a CA of their own, in --data; the API stays on this machine"
NODES = (
    "Boxes of each site, or NAME=N for one of them, repeatable: 1, 3 or 5, each a process with a log of its own; with 3 any one "
    "may be lost, with 5 any two. Default: as many as the data directory holds, else 1."
)
INSECURE = "needed with a --host that others can reach: whoever reaches the ports can run work, for nobody is asked who he is"


def command(
    data: Annotated[Path, typer.Option(help="Directory of logs and journals; started on it again, all runs go on.")] = Path(
        ".tiercel"
    ),
    site: Annotated[
        list[str] | None, typer.Option(help="NAME or NAME=GATEWAY_PORT, for each site. Default: harbour and airport.")
    ] = None,
    agents: Annotated[int, typer.Option(min=0, max=100, help="Local agents at each site.")] = 2,
    capabilities: Annotated[
        list[str] | None,
        typer.Option(help="Python module or .py file that tells what local agents can do, beside files, HTTP, CSV and JSON."),
    ] = None,
    api_port: Annotated[int, typer.Option(help="Port of the API.")] = 8003,
    sync_port: Annotated[int, typer.Option(help="Port that the sites dial.")] = 7443,
    nodes: Annotated[list[str] | None, typer.Option(help=NODES)] = None,
    gateway_port: Annotated[
        int, typer.Option(help="Port of the first gateway; those of further boxes and sites are the next.")
    ] = 7444,
    peer_port: Annotated[
        int, typer.Option(help="Port by which the other boxes of its site reach the first box; further ones have the next.")
    ] = PEER_PORT,
    host: Annotated[str, typer.Option(help="Address that all ports listen on.")] = "127.0.0.1",
    first_link_wait: Annotated[
        float, typer.Option(help="Seconds that a site waits for the cloud at its start before it goes on without it.")
    ] = 1.0,
    insecure: Annotated[bool, typer.Option("--insecure", help=INSECURE[0].upper() + INSECURE[1:] + ".")] = False,
    tls: Annotated[bool, typer.Option("--tls", help=TLS[0].upper() + TLS[1:] + ".")] = False,
    runs_active_max: Annotated[
        int, typer.Option(min=1, help="So many runs are active at once; the others wait for their turn.")
    ] = RUNS_ACTIVE_MAX,
) -> None:
    """Run a cloud, its sites and local agents on this machine until Ctrl-C, over a directory that outlives them."""
    # The agents' processes have another working directory.
    modules = tuple(str(Path(m).resolve()) if m.endswith(".py") else m for m in capabilities or _example_capabilities())
    try:
        settled = settle(data.resolve(), site or SITES, nodes or [], gateway_port, peer_port)
        sites = tuple(_with_agents(data.resolve(), each, agents, modules) for each in settled)
        config = SystemConfig(data, sites, host, api_port, sync_port, insecure, first_link_wait, runs_active_max, tls)
        config.validate()
    except (ValueError, OSError) as error:
        refuse(error)
    if insecure:
        typer.echo("WARNING: --insecure: connections are not authenticated; whoever reaches them can run work", err=True)
    with interrupts():
        try:
            _keep_running(config)
        except KeyboardInterrupt:
            typer.echo("Stopped. Nothing runs any more; what was unfinished goes on at the next `tiercel up`.")


def refuse(error: Exception) -> NoReturn:
    """End with what went wrong, in plain words."""
    typer.echo(f"tiercel: {error}", err=True)
    raise typer.Exit(1)


@contextlib.contextmanager
def interrupts() -> Iterator[None]:
    """SIGTERM and a terminal that closes stop us in order, as Ctrl-C does; and so does SIGINT where a shell, starting us in the
    background of a script, has had it ignored."""

    def interrupt(number: int, frame: object) -> NoReturn:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, action in before.items():
            signal.signal(number, action)


def _keep_running(config: SystemConfig) -> None:
    """Returns never: raises KeyboardInterrupt, with everything stopped. Starts the whole anew if Ray itself is lost."""
    from deploy.system import ClusterLost, LocalSystem  # noqa: PLC0415 - Brings Ray along, which takes a second to import.

    while True:
        system = LocalSystem(config)
        _start(system)
        try:
            _describe(system)
            _watch(system)
        except ClusterLost as error:
            typer.echo(f"{_clock()} {error}, so nobody supervises the nodes: all is started again from the logs")
        except KeyboardInterrupt:
            typer.echo("\nStopping: agents finish what they hold, nodes close their logs (Ctrl-C again: at once).")
            raise
        finally:
            system.stop()


def _start(system: "LocalSystem") -> None:
    from deploy.cluster import ClusterFailed  # noqa: PLC0415 - As above.
    from deploy.nodes import StartFailed  # noqa: PLC0415 - As above.

    try:
        system.start(lambda line: typer.echo(f"{line} ..."))
    except StartFailed as error:
        refuse(StartFailed(f"{error}\n  logs: {system.data.logs}"))
    except (DirectoryInUse, FoundedOtherwise, PortsTaken, ClusterFailed, OSError) as error:
        refuse(error)


def _watch(system: "LocalSystem") -> None:
    grouped = {site.name: frozenset(box.node for box in site.boxes) for site in system.config.sites if site.nodes > 1}
    with Client(system.config.api_url) as client:
        leaders, restarts = Leaders(grouped), Restarts(system.data.logs)
        while True:
            time.sleep(POLL_S)
            for change in system.poll():
                if words := restarts.words(change):
                    typer.echo(f"{_clock()} {change.node}: {words}", err=not change.pid)
            if grouped:
                with contextlib.suppress(ServerUnreachable, ApiError):
                    for line in leaders.news({site["id"]: site.get("group") for site in client.sites()}):
                        typer.echo(f"{_clock()} {line}")


def _describe(system: "LocalSystem") -> None:
    """What runs, and what to do with it."""
    config = system.config
    width = max(len("cloud"), *(len(site.name) for site in config.sites))
    typer.echo(f"\nTiercel runs, over {system.data.path}. Ctrl-C stops it.\n")
    typer.echo(f"  {'cloud':{width}}  API {config.api_url}")
    pids = system.pids()
    for site in config.sites:
        local = f"{len(site.agents) or 'no'} local {'agent' if len(site.agents) == 1 else 'agents'}"
        typer.echo(
            f"  {site.name:{width}}  {local}; {'gateways' if site.nodes > 1 else 'gateway'} for yours: {config.gateways(site)}"
        )
        for box in site.boxes:
            itself = f"box {box.node}, process {pids[box.name] or 'none yet'}" if box.node else "by itself"
            typer.echo(f"  {'':{width}}  {itself}: tiercel site status --socket {shlex.quote(str(system.socket(box.name)))}")
    typer.echo(f"  {'logs':{width}}  {system.data.logs}\n")
    for line in _hints(config):
        typer.echo(f"  {line}")
    _tell_what_goes_on(config)


def _hints(config: SystemConfig) -> Iterator[str]:
    if config.api_url != DEFAULT_SERVER:
        yield f"export TIERCEL_SERVER={config.api_url}"
    examples = _shown(EXAMPLES)
    if (EXAMPLES / "orders.csv").is_file() and {site.name for site in config.sites if site.agents} >= set(SITES):
        yield f"tiercel run start {examples}/fulfilment.yaml --inputs-file {examples}/orders.csv --watch"
    else:
        yield "tiercel run start FILE --input NAME=VALUE --watch"
    yield "tiercel run list; tiercel agent list; tiercel site list"
    if config.sites:
        address = config.gateways(config.sites[0])
        if config.tls:
            issue = f"tiercel cert issue --ca-dir {_shown(config.data_dir / 'ca')} --site {config.sites[0].name} --agent NAME"
            yield f"{issue}; then TIERCEL_TLS_CA, _CERT and _KEY for it"
        yield f'your own agent, from any process: agent.run("{address}"); see {examples}/agent.py'
    yield ""


def _tell_what_goes_on(config: SystemConfig) -> None:
    """Wait a moment until every site is linked, and say what was taken up again."""
    deadline = time.monotonic() + LINKED_S_MAX
    with Client(config.api_url) as client:
        while time.monotonic() < deadline:
            with contextlib.suppress(ServerUnreachable, ApiError):
                linked = {site["id"] for site in client.sites() if site["link"]["state"] == "up"}
                waited_for = {site.name: len(site.agents) for site in config.sites if site.name not in linked}
                if not waited_for:
                    active = len(client.runs(state="active", limit=1000)["items"])
                    typer.echo("All sites are linked." + (f" {active} unfinished runs go on." if active else ""))
                    return
            time.sleep(0.2)
    typer.echo("Some sites are not linked to the cloud yet; `tiercel site list` shows which.")


def settle(data: Path, texts: Sequence[str], nodes: Sequence[str], gateway_port: int, peer_port: int) -> list[SiteConfig]:
    """The sites with their boxes and ports, without agents; what the directory holds of them stays. Raises ValueError."""
    ports = _sites(texts)
    counts = _nodes(nodes, ports)
    sites: list[SiteConfig] = []
    for name, port in ports.items():
        site = as_founded(SiteConfig(name, port or gateway_port, peer_port=peer_port), data / name, counts.get(name, 0))
        gateway_port += len(site.boxes)
        peer_port = max(peer_port, site.peer_port + site.nodes) if site.nodes > 1 else peer_port
        sites.append(site)
    return sites


def _sites(texts: Sequence[str]) -> dict[str, int]:
    """The gateway's port of each site; 0: the next one."""
    ports: dict[str, int] = {}
    for text in texts:
        name, given, port = text.partition("=")
        if given and not port.isdigit():
            raise ValueError(f"--site {text}: {port!r} is no port; write NAME or NAME=PORT")
        if name in ports:
            raise ValueError(f"--site {name} is given twice")
        ports[name] = int(port) if given else 0
    return ports


def _nodes(texts: Sequence[str], sites: Collection[str]) -> dict[str, int]:
    """How many boxes each site is to have; one that is missing has as many as there are, or one."""
    counts: dict[str, int] = {}
    for name, equals, count in sorted(text.rpartition("=") for text in texts):  # What is said of all comes first.
        if not count.isdigit() or int(count) not in SIZES:
            raise ValueError(f"--nodes {name}{equals}{count}: allowed are 1, 3 and 5, as in --nodes 3, or NAME=3 for one site")
        if equals and name not in sites:
            raise ValueError(f"--nodes {name}={count}: there is no site {name!r}; there are {', '.join(sites)}")
        counts |= dict.fromkeys([name] if equals else sites, int(count))
    return counts


def _with_agents(data: Path, site: SiteConfig, agents: int, modules: tuple[str, ...]) -> SiteConfig:
    """The site with agents that can all do everything that the modules and Tiercel itself bring."""
    if not agents:
        return site
    name, offered = site.name, _offered(site.name, modules)
    described = tuple(
        AgentDescription(id=f"{name}-{number}", capacity=AGENT_CAPACITY, capabilities=offered) for number in range(1, agents + 1)
    )
    return replace(site, agents=described, modules=modules, settings=example_settings(data / name, name))


def _offered(site: str, modules: tuple[str, ...]) -> tuple[str, ...]:
    """The names of all capabilities, from modules that are loaded for it with a directory that is thrown away."""
    with tempfile.TemporaryDirectory() as scratch:
        settings = example_settings(Path(scratch), site)
        folder = Path(scratch)
        host = HostConfig(
            gateway="", data_dir=folder, agents=(), modules=modules, settings=settings, root=folder, secrets=folder / "secrets"
        )
        try:
            return tuple(Registry(host).names)
        except HostConfigError as error:
            raise ValueError(f"there can be no local agents: {error}") from None


def example_settings(home: Path, site: str) -> dict[str, str]:
    """What modules of capabilities are told: their site, a directory for what they do, and the example's inventory."""
    return {"site": site, "ledger": str(home / "ledger"), "inventory": str(EXAMPLES / "inventory.csv")}


def _example_capabilities() -> list[str]:
    module = EXAMPLES / "capabilities.py"
    return [str(module)] if module.is_file() else []


def _shown(path: Path) -> str:
    """As one would type it here."""
    with contextlib.suppress(ValueError):
        path = path.relative_to(Path.cwd())
    return shlex.quote(str(path))


def _clock() -> str:
    return time.strftime("%H:%M:%S")
