"""`tiercel agent token` and `tiercel site token`: with what agents join their site, and sites the cloud."""

import re
from typing import Annotated, Any

import typer

from tiercel.cli.draining import sites
from tiercel.cli.options import Format, Output, Server, noun
from tiercel.cli.presence import agents
from tiercel.cli.show import Table, note, print_json
from tiercel.cli.text import when
from tiercel.client import DEFAULT_SERVER
from tiercel.tokens import AGENTS, SITES, TokenClient

__all__ = ["agents", "sites"]

app = noun("Make, list and revoke the tokens with which agents join their site.")
agents.add_typer(app, name="token")
of_sites = noun("Make, list and revoke the tokens with which new sites get their certificate.")
sites.add_typer(of_sites, name="token")
Hosts = Annotated[
    list[str] | None, typer.Option("--host", help="Name or address by which agents dial the site's gateway; repeatable.")
]
UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
Capabilities = Annotated[list[str] | None, typer.Option(help="All that the agent may offer; repeatable; default: any.")]


@app.command()
def create(
    site: Annotated[str, typer.Option(help="The agent's site.")],
    agent: Annotated[str, typer.Option(help="The agent's id.")],
    capability: Capabilities = None,
    ttl: Annotated[str, typer.Option(help="How long it holds: 30m, 12h, 90d.")] = "90d",
    uses: Annotated[int, typer.Option(min=0, help="In so many processes at most; 0: in any number.")] = 0,
    server: Server = DEFAULT_SERVER,
    output: Output = Format.TABLE,
) -> None:
    """Make a token for one agent. It is shown once, and kept nowhere."""
    with TokenClient(server) as client:
        made = client.create_agent_token(site, agent, capability or (), _ms(ttl), uses)
    if output is Format.JSON:
        print_json(made)
        return
    typer.echo(made["token"])
    note(f"agent {agent} of site {site} shows it as TIERCEL_TLS_TOKEN, with TIERCEL_TLS_CA; {made['id']} revokes it")


@app.command("list")
def list_tokens(server: Server = DEFAULT_SERVER, output: Output = Format.TABLE) -> None:
    """List the tokens: for whom, until when, and whether the site has been told."""
    with TokenClient(server) as client:
        _print(client.tokens(AGENTS), output)


@app.command()
def revoke(
    id: Annotated[str, typer.Argument(metavar="ID", help="As `tiercel agent token list` shows it.")],
    server: Server = DEFAULT_SERVER,
    output: Output = Format.TABLE,
) -> None:
    """Let a token hold no longer. A site that is cut off learns of it when it is back."""
    with TokenClient(server) as client:
        _print([client.revoke_token(AGENTS, id)], output)


@of_sites.command("create")
def create_for_site(
    site: Annotated[str, typer.Option(help="The site.")],
    ttl: Annotated[str, typer.Option(help="How long it holds: 30m, 24h, 7d.")] = "24h",
    host: Hosts = None,
    server: Server = DEFAULT_SERVER,
    output: Output = Format.TABLE,
) -> None:
    """Make a token with which a new site gets its certificate, once. It is shown once, and kept nowhere."""
    with TokenClient(server) as client:
        made = client.create_site_token(site, host or (), _ms(ttl))
    if output is Format.JSON:
        print_json(made)
        return
    typer.echo(made["token"])
    note(f"on the machine of {site}: tiercel edge join --cloud HOST:PORT --site {site}, with it as TIERCEL_JOIN_TOKEN")
    note(f"it holds until {when(made['expires'])}, for one key; tiercel site token revoke {made['id']} ends it")


@of_sites.command("list")
def list_for_sites(server: Server = DEFAULT_SERVER, output: Output = Format.TABLE) -> None:
    """List the tokens of sites: until when, and when and from where each was used."""
    with TokenClient(server) as client:
        _print_sites(client.tokens(SITES), output)


@of_sites.command("revoke")
def revoke_for_site(
    id: Annotated[str, typer.Argument(metavar="ID", help="As `tiercel site token list` shows it.")],
    server: Server = DEFAULT_SERVER,
    output: Output = Format.TABLE,
) -> None:
    """Let a token hold no longer. A certificate that was signed for it stays one."""
    with TokenClient(server) as client:
        _print_sites([client.revoke_token(SITES, id)], output)


def _ms(text: str) -> int:
    if (found := re.fullmatch(r"(\d{1,9})([smhd])", text)) is None:
        raise typer.BadParameter(f"--ttl {text!r}: a number and s, m, h or d, as in 12h")
    return int(found[1]) * UNITS_MS[found[2]]


def _print(found: list[dict[str, Any]], output: Format) -> None:
    if output is Format.JSON:
        print_json(found)
        return
    table = Table(("id", "agent", "site", "capabilities", "made", "expires", "used", "site told"))
    for each in found:
        used = f"{each.get('used', 0)}/{each['uses']}" if each.get("uses") else ""
        who = each["id"], each["agent"], each["site"], ",".join(each["capabilities"]) or "any"
        table.rows.append((*who, when(each["made"]), when(each["expires"]), used, "yes" if each["told"] else "no"))
    table.print()


@sites.command("revoke")
def revoke_site(
    site: Annotated[str, typer.Argument(metavar="SITE", help="The site.")],
    reason: Annotated[str, typer.Option(help="Why; shown to the site, and kept.")] = "",
    server: Server = DEFAULT_SERVER,
    output: Output = Format.TABLE,
) -> None:
    """Refuse the certificates and tokens that a site has by now, because a key was lost. Its link ends; it goes on alone, and
    comes back by joining with a new token."""
    with TokenClient(server) as client:
        found = client.revoke_site(site, reason)
    if output is Format.JSON:
        print_json(found)
        return
    typer.echo(f"{site}: what was signed before {when(found['before'])} is refused from now on")
    note(f"it comes back with a new one: tiercel site token create --site {site}, then tiercel edge join")


def _print_sites(found: list[dict[str, Any]], output: Format) -> None:
    if output is Format.JSON:
        print_json(found)
        return
    table = Table(("id", "site", "hosts", "made", "expires", "used", "from"))
    for each in found:
        used = when(each.get("used", 0)), each.get("used_by", "")
        table.rows.append((each["id"], each["site"], ",".join(each["hosts"]), when(each["made"]), when(each["expires"]), *used))
    table.print()
