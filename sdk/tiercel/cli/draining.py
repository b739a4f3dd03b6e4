"""`tiercel site drain`: a site is emptied, and its runs go on at others."""

import time
from typing import Annotated, Any

import typer

from tiercel.cli.fleet import sites
from tiercel.cli.options import REFUSED, Format, Output, Server
from tiercel.cli.show import Table, link, note, print_json
from tiercel.client import DEFAULT_SERVER, Client

__all__ = ["sites"]

SiteName = Annotated[str, typer.Argument(metavar="SITE", help="The site.")]
To = Annotated[str, typer.Option("--to", metavar="SITE", help="To this site; without it, to whichever suits best.")]
Reason = Annotated[str, typer.Option(help="Why; it is kept.")]
Wait = Annotated[bool, typer.Option("--wait", help="Until all that can has left.")]
LOOK_EVERY_S = 1.0


@sites.command()
def drain(
    site: SiteName,
    to: To = "",
    reason: Reason = "",
    wait: Wait = False,
    server: Server = DEFAULT_SERVER,
    output: Output = Format.TABLE,
) -> None:
    """Empty a site before it is switched off: nothing new is placed there, and its runs go on at other sites. Exit code 1
    if runs stay that cannot leave: which, and why, is told."""
    with Client(server) as client:
        found = client.drain_site(site, to, reason)
        while wait and found["state"] == "draining":
            time.sleep(LOOK_EVERY_S)
            found = client.site_drain(site)
    _print_drain(found, output)
    if found["state"] == "stays":
        raise typer.Exit(REFUSED)


@sites.command()
def draining(site: SiteName, server: Server = DEFAULT_SERVER, output: Output = Format.TABLE) -> None:
    """How far the draining of a site is: what still leaves, what stays, and why."""
    with Client(server) as client:
        found = client.site_drain(site)
    _print_drain(found, output)


@sites.command()
def undrain(site: SiteName, server: Server = DEFAULT_SERVER, output: Output = Format.TABLE) -> None:
    """Let a site that was drained be as others again."""
    with Client(server) as client:
        found = client.undrain_site(site)
    _print_drain(found, output)


def _print_drain(found: dict[str, Any], output: Format) -> None:
    if output is Format.JSON:
        print_json(found)
        return
    counts = found["moving"], found["staying"], len(found["schedules"])
    Table(("site", "state", "leaving", "staying", "schedules"), [(found["site"], found["state"], *counts)]).print()
    if found["state"] != "active" and found["link"]["state"] != "up":
        note(f"{found['site']} is cut off (link {link(found['link'])}): what is there leaves it when it is back")
    for each in found["moves"]:
        note(f"{each['run']}: {each['detail']}")
    for each in found["stays"]:
        note(f"{each['run']} stays: {each['why']}")
    if found["schedules"]:
        note(f"schedules that stay there: {', '.join(found['schedules'])}")
