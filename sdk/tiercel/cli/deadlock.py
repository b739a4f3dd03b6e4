"""`tiercel deadlock`: runs that waited for each other in a circle, who gave way, and why."""

from typing import Annotated

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
    """List the circles that were found lately, the newest first."""
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


@app.command()
def show(deadlock: Annotated[str, typer.Argument(metavar="DEADLOCK")], server: Server = DEFAULT_SERVER) -> None:
    """Show a circle as JSON: each step of it, the victim, the rule, and what was done."""
    with Client(server) as client:
        found = [each for each in client.deadlocks(limit=200)["items"] if each["id"] == deadlock]
    if not found:
        typer.echo(f"deadlock {deadlock} is not among the latest 200: `tiercel deadlock list` has those", err=True)
        raise typer.Exit(1)
    print_json(found[0])
