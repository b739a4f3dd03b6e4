"""`tiercel cert`: a private CA, certificates for the cloud, sites and agents, and what they say."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from sync.identity import main as certificates
from sync.identity.expiry import WARN_MS, span
from sync.identity.files import CA, CERT, LEAF_DAYS
from sync.identity.names import AGENT_CHARACTERS_MAX, CLOUD, Identity, capabilities_among
from sync.values import site_name_problem
from tiercel.tls import peer_host

commands = typer.Typer(help="Certificates by which cloud, sites and agents know each other.", no_args_is_help=True)
CaDir = Annotated[Path, typer.Option("--ca-dir", help="directory of the CA: ca.crt, and ca.key, which never leaves it")]
DEFAULT_CA = Path(".tiercel/ca")
Days = Annotated[float, typer.Option(help="how long it is valid; renew it two weeks before")]


@commands.command()
def init(
    ca_dir: CaDir = DEFAULT_CA,
    days: Annotated[int, typer.Option(min=1, help="how long the CA is valid")] = certificates.CA_DAYS,
    name: Annotated[str, typer.Option(help="its name")] = "Tiercel CA",
) -> None:
    """Make a private CA. One that is there is never overwritten."""
    try:
        made = certificates.init(ca_dir, days=days, name=name)
        typer.echo(f"{made} is the CA: give this file to all; {ca_dir / 'ca.key'} signs: keep it here, and a copy in a safe")
        typer.echo(f"fingerprint {certificates.read(made).fingerprint}")
    except (ValueError, OSError) as error:
        _fail(error)


@commands.command()
def issue(
    node: Annotated[str, typer.Option(help="`cloud`")] = "",
    site: Annotated[str, typer.Option(help="the site that it is for, or whose agent")] = "",
    agent: Annotated[str, typer.Option(help="the agent that it is for; its site by --site")] = "",
    capability: Annotated[list[str] | None, typer.Option(help="all that the agent may offer; repeatable; default: any")] = None,
    peers: Annotated[bool, typer.Option("--peers", help="other agents may dial the agent, for tasks that say `alone`")] = False,
    host: Annotated[list[str] | None, typer.Option("--host", "--ip", help="name or address by which it is dialled")] = None,
    out: Annotated[Path | None, typer.Option(help="directory for ca.crt, tls.crt and tls.key; default .tiercel/tls/NAME")] = None,
    days: Days = LEAF_DAYS,
    ca_dir: CaDir = DEFAULT_CA,
) -> None:
    """Make a key and a certificate for the cloud, a site or an agent."""
    try:
        identity = _identity(node, site, agent)
        if capability and not agent:
            raise ValueError("--capability binds an agent: name it with --agent")
        if peers and not agent:
            raise ValueError("--peers is of an agent: name it with --agent")
        if peers:
            host = [peer_host(site, agent)]
        folder = out or Path(".tiercel/tls") / (f"{site}.{agent}" if agent else identity.site)
        certificates.issue(ca_dir, folder, identity, days=days, hosts=host or (), capabilities=capability or ())
        typer.echo(f"{folder}: certificate for {identity.words}, {days:g} days; bring it there and give it as --tls-dir")
    except (ValueError, OSError) as error:
        _fail(error)


@commands.command()
def rotate(
    tls_dir: Annotated[Path, typer.Argument(help="directory that `tiercel cert issue` wrote")],
    days: Days = LEAF_DAYS,
    ca_dir: CaDir = DEFAULT_CA,
) -> None:
    """Put a new key and certificate in place of those in a directory. Who uses it takes them without a restart."""
    try:
        certificates.rotate(ca_dir, tls_dir, days=days)
    except (ValueError, OSError) as error:
        _fail(error)
    show(tls_dir)


@commands.command()
def show(path: Annotated[Path, typer.Argument(help="a certificate, or a directory with one")]) -> None:
    """Say what a certificate is, for whom, and when it ends. Exit code 1 if it has ended."""
    try:
        if path.is_dir():
            path = path / (CERT if (path / CERT).exists() else CA)
        found = certificates.read(path)
    except (ValueError, OSError) as error:
        _fail(error)
    whose = "a CA" if found.is_ca else f"for {found.identity.words}" if found.identity else "without an identity of Tiercel"
    left_ms = found.not_after_ms - int(time.time() * 1000)
    ends = datetime.fromtimestamp(found.not_after_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
    typer.echo(f"{path}: {whose} ({found.subject}), {found.fingerprint}")
    if bound := capabilities_among(found.names):
        typer.echo(f"may offer: {', '.join(sorted(bound))}")
    typer.echo(f"ends {ends}, {f'in {span(left_ms)}' if left_ms > 0 else f'{span(-left_ms)} ago'}")
    if left_ms < WARN_MS:
        again = found.identity.reissue if found.identity else "make a new one"
        typer.echo(f"WARNING: {'it has expired' if left_ms <= 0 else 'it expires soon'}: {again}", err=True)
    if left_ms <= 0:
        raise typer.Exit(1)


def _identity(node: str, site: str, agent: str) -> Identity:
    """Raises ValueError."""
    if bool(node) == bool(site) or (agent and not site):
        raise ValueError("give --node cloud, --site NAME, or --site NAME --agent ID")
    if node and node != CLOUD:
        raise ValueError(f"--node {node}: only the cloud is named so; a site is named with --site {node}")
    if site and (wrong := site_name_problem(site)) is not None:
        raise ValueError(wrong)
    if len(agent) > AGENT_CHARACTERS_MAX:
        raise ValueError(f"an agent's id has at most {AGENT_CHARACTERS_MAX} characters")
    return Identity(node or site, agent)


def _fail(error: Exception) -> NoReturn:
    typer.echo(f"tiercel cert: {error}", err=True)
    raise typer.Exit(1) from None
