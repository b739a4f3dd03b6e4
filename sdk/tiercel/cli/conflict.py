"""`tiercel conflict`: what could not both be, what was done about it, and a person's word on it."""

from typing import Annotated, Any

import typer

from tiercel.cli.options import Format, Output, Server, noun
from tiercel.cli.show import Table, print_json
from tiercel.cli.text import short, when
from tiercel.client import DEFAULT_SERVER, Client

app = noun("See what lost against what, bring it back, or accept it.")

Id = Annotated[str, typer.Argument(metavar="CONFLICT")]
By = Annotated[str, typer.Option(help="Who sees to it.")]
Note = Annotated[str, typer.Option(help="Why; it is kept with the conflict.")]


@app.command("list")
def list_conflicts(
    kind: Annotated[str, typer.Option(help="data, outcome, order or home.")] = "",
    state: Annotated[str, typer.Option(help="open or resolved.")] = "",
    subject: Annotated[str, typer.Option(help="Of this document or task.")] = "",
    run: Annotated[str, typer.Option(help="Of this run.")] = "",
    site: Annotated[str, typer.Option(help="With this site on one side.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=1_000)] = 100,
    server: Server = DEFAULT_SERVER,
    output: Output = Format.TABLE,
) -> None:
    """List conflicts, the newest first."""
    with Client(server) as client:
        found = client.conflicts(kind=kind, state=state, subject=subject, run=run, site=site, limit=limit)
    if output is Format.JSON:
        print_json(found)
        return
    table = Table(("conflict", "time", "kind", "subject", "rule", "stands", "loses", "state"))
    for each in found["items"]:
        sides = [short(f"{each[side]['what']} by {each[side]['by']}") for side in ("stands", "loses")]
        table.rows.append((each["id"], when(each["time"]), each["kind"], each["subject"], each["rule"], *sides, _state(each)))
    table.print()
    if found["dropped"]:
        typer.echo(f"{found['dropped']:,} older ones are in the log alone")


@app.command()
def show(conflict: Id, server: Server = DEFAULT_SERVER) -> None:
    """Show a conflict as JSON: both sides with their values, the rule, the reason, and what was done about it."""
    with Client(server) as client:
        print_json(client.conflict(conflict))


@app.command()
def restore(
    conflict: Id,
    by: By = "",
    note: Note = "",
    expected: Annotated[int | None, typer.Option(help="Only while the document has this version.", min=0)] = None,
    wait: Annotated[float, typer.Option(help="Seconds to wait for the home's word.", min=0, max=60)] = 2.0,
    server: Server = DEFAULT_SERVER,
) -> None:
    """Bring the loser back: a document's value by a new edit, once however often it is asked."""
    with Client(server) as client:
        _say(client.restore_conflict(conflict, by=by, note=note, expected=expected, wait_s=wait))


@app.command()
def accept(conflict: Id, by: By = "", note: Note = "", server: Server = DEFAULT_SERVER) -> None:
    """Leave it as it is: it is open no more."""
    with Client(server) as client:
        _say(client.accept_conflict(conflict, by=by, note=note))


def _say(conflict: dict[str, Any]) -> None:
    typer.echo(f"{conflict['id']} ({conflict['subject']}): {_state(conflict)}")


def _state(conflict: dict[str, Any]) -> str:
    if (resolution := conflict.get("resolution")) is None:
        return "open"
    way = "restoring, its home has not decided" if resolution["pending"] else resolution["how"]
    return f"{way} by {resolution['by']}"
