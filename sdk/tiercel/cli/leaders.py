"""`tiercel agent groups` and `hand-over`: who leads which group of agents, and who is to."""

from pathlib import Path
from typing import Annotated, Any

import typer

from tiercel.answers import ApiError
from tiercel.cli.fleet import agents
from tiercel.cli.links import asked, site_at
from tiercel.cli.options import Format, Output, Server
from tiercel.cli.show import Table, link, note, print_json
from tiercel.cli.text import age, when
from tiercel.client import DEFAULT_SERVER, Client
from tiercel.v1 import node_pb2

__all__ = ["agents"]

Socket = Annotated[
    Path | None,
    typer.Option(help="Ask the site itself, on its own machine: SITE.sock in its run directory. The cloud is not needed."),
]
REFUSED_STATUS = 409
ORDER_TIMEOUT_S = 60.0
"""A site that has just started waits for its agents to come back."""


@agents.command()
def groups(
    server: Server = DEFAULT_SERVER,
    site: Annotated[str, typer.Option(help="Of this site alone.")] = "",
    socket: Socket = None,
    output: Output = Format.TABLE,
) -> None:
    """List the groups that have, or had, a leader, with the epoch of its term, and what is under way."""
    if socket is not None:
        status = asked(socket)
        found = [{**each, "site": status["site"]} for each in status.get("leaders", [])]
    else:
        with Client(server) as client:
            found = client.groups(site)
    if output is Format.JSON:
        print_json(found)
        return
    table = Table(("group", "site", "leader", "epoch", "why", "since", "believed for", "lock-delay", "next"))
    for each in found:
        times = (age(each[name]) if each.get(name) else "" for name in ("ttl_ms", "lock_delay_ms"))
        leads = each["leader"] or "nobody", str(each["epoch"]), each["reason"], when(each["since"])
        table.rows.append((each["group"], each["site"], *leads, *times, each.get("heir", "")))
    table.print()
    for each in found:
        if (order := each.get("transfer")) is not None:
            who, since = order["to"] or "whoever is next", when(order["since"])
            note(f"{who} is to lead {each['group']} since {since}: {each['site']} has not answered ({link(order['link'])})")


@agents.command("hand-over")
def hand_over(
    group: Annotated[str, typer.Argument(metavar="GROUP", help="The group, as `tiercel agent groups` names it.")],
    site: Annotated[str, typer.Option("--site", help="Its site, asked through the cloud; or --socket.")] = "",
    to: Annotated[str, typer.Option("--to", metavar="AGENT", help="Who is to lead; without it, whoever is next.")] = "",
    epoch: Annotated[int, typer.Option(min=0, help="Only while this is the group's latest epoch.")] = 0,
    wait: Annotated[float, typer.Option(min=0, max=60, help="Seconds to wait for the site's answer.")] = 2.0,
    socket: Socket = None,
    server: Server = DEFAULT_SERVER,
    output: Output = Format.TABLE,
) -> None:
    """Let another member lead a group, whatever its leader says. A site that is cut off does so when it is back; on its own
    machine it is asked at once (--socket)."""
    if bool(site) == (socket is not None):
        raise typer.BadParameter("name a --site, or its --socket")
    if socket is not None:
        found = _moved(socket, group, to, epoch)
    else:
        with Client(server) as client:
            found = dict(client.hand_over(site, group, to, epoch=epoch, wait_s=wait))
    if output is Format.JSON:
        print_json(found)
    elif found.get("state") == "pending":
        note(f"{site} has not answered yet: command {found['command']} reaches it when it can be reached")
    else:
        typer.echo(found["detail"])


def _moved(socket: Path, group: str, to: str, epoch: int) -> dict[str, Any]:
    """What the site did. Raises ApiError if it refuses."""
    request = node_pb2.HandOverRequest(group=group, to=to, epoch=epoch)
    with site_at(socket) as site:
        reply = site.HandOver(request, timeout=ORDER_TIMEOUT_S)
    if reply.code:
        raise ApiError(REFUSED_STATUS, reply.code, reply.detail)
    return {"detail": reply.detail, "leader": reply.leader, "epoch": reply.epoch}
