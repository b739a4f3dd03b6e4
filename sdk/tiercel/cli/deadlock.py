"""`tiercel deadlock`: runs that waited for each other in a circle, who gave way, and why."""

from typing import Annotated, Any

import typer

from tiercel.cli.options import Format, Output, Server, noun
from tiercel.cli.show import Table, print_json
from tiercel.cli.text import when
from tiercel.client import DEFAULT_SERVER, Client

app = noun("See which runs waited for each other in a circle, and who gave way.")


@app.command("list")
def list_deadlocks(
    run: Annotated[str, typer.Option(help="With this run in it.")] = "",
    site: Annotated[str, typer.Option(help="Found by this site, or by `cloud`.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=200)] = 100,
    server: Server = DEFAULT_SERVER,
    output: Output = Format.TABLE,
) -> None:
    """List the circles that were found lately, and who gave way before there was one; the newest first."""
    with Client(server) as client:
        found = client.deadlocks(run=run, site=site, limit=limit)
    if output is Format.JSON:
        print_json(found)
        return
    table = Table(("deadlock", "time", "victim", "remedy", "rule", "circle"))
    for each in found["items"]:
        victim = f"{each['victim']['run']}/{each['victim']['task']}"
        table.rows.append((each["id"], when(each["time"]), victim, each["remedy"], each["detail"] or each["rule"], each["words"]))
    table.print()
    if wounds := found.get("wounds"):
        _wounds(wounds).print()


def _wounds(wounds: list[dict[str, Any]]) -> Table:
    """Who gave way to an older one before anybody waited in a circle."""
    table = Table(("wound", "time", "victim", "gave way to", "rule", "chain"))
    for each in wounds:
        who = (f"{each[key]['run']}/{each[key]['task']}" for key in ("victim", "to"))
        table.rows.append((each["id"], when(each["time"]), *who, each["rule"], each["words"]))
    return table


@app.command()
def show(deadlock: Annotated[str, typer.Argument(metavar="DEADLOCK")], server: Server = DEFAULT_SERVER) -> None:
    """Show a circle, or a wound, as JSON: each step of it, the victim, the rule, and what was done."""
    with Client(server) as client:
        listed = client.deadlocks(limit=200)
    found = [each for each in (*listed["items"], *listed.get("wounds", [])) if each["id"] == deadlock]
    if not found:
        typer.echo(f"deadlock {deadlock} is not among the latest 200: `tiercel deadlock list` has those", err=True)
        raise typer.Exit(1)
    print_json(found[0])
