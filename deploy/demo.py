"""`tiercel demo`: a day's orders at two sites, with the cable of one of them cut halfway; from orders to a report."""

import contextlib
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import psutil
import typer

from agents.config import AgentDescription, HostConfigError, load_agents
from deploy.directories import DirectoryInUse
from deploy.layout import PortsTaken, SiteConfig, SystemConfig
from deploy.orders import Order, OrdersUnusable, read_orders
from deploy.proxy import CuttingProxy
from deploy.screen import Screen
from deploy.story import Story, Wrong
from deploy.up import EXAMPLES, TLS, example_settings, interrupts, refuse
from deploy.watching import Watcher
from tiercel.answers import ApiError, ServerUnreachable
from tiercel.cli.options import INTERRUPTED
from tiercel.client import Client

LOOPBACK = "127.0.0.1"
CUT_SITE = "harbour"

Team = dict[str, tuple[AgentDescription, ...]]


def command(
    orders: Annotated[Path, typer.Option(help="CSV file of orders.")] = EXAMPLES / "orders.csv",
    report: Annotated[Path | None, typer.Option(help="Where to write the report. Default: reports/demo-TIME.csv.")] = None,
    tls: Annotated[bool, typer.Option("--tls", help=TLS[0].upper() + TLS[1:] + ".")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the data directory with its logs, journals and ledgers.")] = False,
) -> None:
    """Fulfil a few hundred orders at two sites, cut the link of one halfway, and report what came of each order.

    Exits 0 if each effect of each order happened exactly once, and if cloud and sites agree; leaves no process behind.
    """
    if not (EXAMPLES / "agents.yaml").is_file():
        refuse(FileNotFoundError("the demonstration needs the folder examples/: run `make demo` in a clone of the repository"))
    try:
        taken, team, path = read_orders(orders), load_agents(EXAMPLES / "agents.yaml"), _report_path(report)
    except (OrdersUnusable, HostConfigError, OSError) as error:
        refuse(error)
    before = _children()
    data = Path(tempfile.mkdtemp(prefix="tiercel-demo-"))
    with interrupts(), Screen() as screen:
        screen.say(f"Tiercel: {len(taken)} orders, {len(team)} sites, {sum(map(len, team.values()))} agents.", "bold")
        try:
            problems = _play(screen, data, taken, team, path, tls=tls)
        except KeyboardInterrupt:
            screen.say("Interrupted; everything is stopped.")
            shutil.rmtree(data, ignore_errors=True)
            raise typer.Exit(INTERRUPTED) from None
        problems += [f"a process is left: {process.pid}" for process in _children() - before]
        _conclude(screen, data, problems, keep=keep)
    raise typer.Exit(1 if problems else 0)


def _play(screen: Screen, data: Path, orders: Sequence[Order], team: Team, report: Path, *, tls: bool) -> list[str]:
    """What went wrong, in sentences. Everything is stopped when it returns or raises."""
    from deploy.cluster import ClusterFailed  # noqa: PLC0415 - Brings Ray along, which takes a second to import.
    from deploy.nodes import StartFailed  # noqa: PLC0415 - As above.
    from deploy.system import LocalSystem  # noqa: PLC0415 - As above.

    api_port, sync_port, *gateways = _free_ports(2 + len(team))
    with CuttingProxy(f"{LOOPBACK}:{sync_port}") as proxy:
        sites = [_site(data, name, port, team, proxy) for name, port in zip(team, gateways, strict=True)]
        config = SystemConfig(data, tuple(sites), LOOPBACK, api_port, sync_port, tls=tls)
        system = LocalSystem(config)
        try:
            system.start(lambda line: screen.say(f"{line} ..."))
            with Client(config.api_url) as client, Watcher(client) as watcher:
                story = Story(screen, system, client, watcher, orders)
                return story.play(CUT_SITE, proxy, report)
        except (StartFailed, ClusterFailed, DirectoryInUse, PortsTaken, ApiError, ServerUnreachable, OSError, Wrong) as error:
            return [str(error), *getattr(error, "problems", [])]
        finally:
            screen.say("Stopping ...")
            system.stop()


def _conclude(screen: Screen, data: Path, problems: Sequence[str], *, keep: bool) -> None:
    for problem in problems:
        screen.say(f"WRONG: {problem}", "bold red")
    if problems or keep:
        screen.say(f"The data directory, with the logs of all processes, is kept: {data}")
    else:
        shutil.rmtree(data, ignore_errors=True)
    if not problems:
        screen.say("All is well, and no process is left.", "bold green")


def _site(data: Path, name: str, port: int, team: Team, proxy: CuttingProxy) -> SiteConfig:
    return SiteConfig(
        name,
        port,
        agents=team[name],
        modules=(str(EXAMPLES / "capabilities.py"),),
        settings=example_settings(data / name, name),
        cloud=proxy.address if name == CUT_SITE else "",
    )


def _free_ports(count: int) -> list[int]:
    """Ports that nobody uses now, so that the demo runs beside a `tiercel up`."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server((LOOPBACK, 0))) for _ in range(count)]
        return [int(probe.getsockname()[1]) for probe in probes]


def _report_path(given: Path | None) -> Path:
    """Raises OSError if it cannot be written there, before any work is done for it."""
    path = given or Path("reports", f"demo-{time.strftime('%Y%m%d-%H%M%S')}.csv")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise PermissionError(f"the report cannot be written to {path}: name another file with --report")
    return path


def _children() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))
