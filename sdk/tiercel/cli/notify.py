"""`tiercel contact` and `tiercel notification`: who is told of what happens, by which address, and what came of it."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from tiercel.cli.options import Format, Output, Server, noun
from tiercel.cli.show import Table, note, print_json
from tiercel.cli.text import short, when
from tiercel.client import DEFAULT_SERVER, Client

contacts = noun("Say where people and roles are notified.")
notifications = noun("See who was notified of what, and try again what did not arrive.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="A person, role:name, or * for what is for anybody.")]
Limit = Annotated[int, typer.Option(min=1, max=1_000, help="So many at most, the newest first.")]


class State(StrEnum):
    """Of a notification."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    UNDELIVERABLE = "undeliverable"


@contacts.command("set")
def set_contact(
    name: Name,
    urls: Annotated[list[str], typer.Argument(metavar="URL...", help="http(s) addresses that take a POST.")],
    secret: Annotated[
        str, typer.Option(envvar="TIERCEL_CONTACT_SECRET", help="Notifications are signed with it. It is never shown again.")
    ] = "",
    server: Server = DEFAULT_SERVER,
    output: Output = Format.TABLE,
) -> None:
    """Let notifications for a name go to these addresses, and no longer to those from before."""
    with Client(server) as client:
        _print_contacts([client.set_contact(name, urls, secret)], output)


@contacts.command("list")
def list_contacts(server: Server = DEFAULT_SERVER, output: Output = Format.TABLE) -> None:
    """List the contact book."""
    with Client(server) as client:
        _print_contacts(client.contacts(), output)


@contacts.command()
def remove(name: Name, server: Server = DEFAULT_SERVER, output: Output = Format.TABLE) -> None:
    """Forget a contact. What is for that name is listed as undeliverable from then on."""
    with Client(server) as client:
        _print_contacts([client.remove_contact(name)], output)


@notifications.command("list")
def list_notifications(
    state: Annotated[State | None, typer.Option(help="Only those.")] = None,
    limit: Limit = 100,
    server: Server = DEFAULT_SERVER,
    output: Output = Format.TABLE,
) -> None:
    """List the latest notifications, the newest first."""
    with Client(server) as client:
        found = client.notifications(state=state or "", limit=limit)
    if output is Format.JSON:
        print_json(found)
        return
    _table(found["items"]).print()
    if found["crowded"]:
        note(f"{found['crowded']} found {found['pending_max']} waiting already and were not tried: see --state failed")


@notifications.command()
def retry(
    notification: Annotated[str, typer.Argument(metavar="ID")], server: Server = DEFAULT_SERVER, output: Output = Format.TABLE
) -> None:
    """Try one again that was given up, or that had no address."""
    with Client(server) as client:
        found = client.retry_notification(notification)
    if output is Format.JSON:
        print_json(found)
    else:
        _table([found]).print()


def _table(found: list[dict[str, Any]]) -> Table:
    table = Table(("id", "time", "event", "to", "state", "attempts", "next", "message", "error"))
    for each in found:
        tries = each["state"], each.get("attempts", 0), when(each.get("next", 0))
        said = short(each["message"], 120), short(each.get("error", ""), 120)
        table.rows.append((each["id"], when(each["time"]), each["event"], each["to"], *tries, *said))
    return table


def _print_contacts(found: list[dict[str, Any]], output: Format) -> None:
    if output is Format.JSON:
        print_json(found)
        return
    rows = [(each["name"], " ".join(each["urls"]), "yes" if each["signed"] else "no", when(each["set"])) for each in found]
    Table(("name", "addresses", "signed", "since"), list(rows)).print()
