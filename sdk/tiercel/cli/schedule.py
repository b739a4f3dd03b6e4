"""`tiercel schedule`: what starts workflows by itself."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from tiercel.cli.options import Format, Output, Server, noun
from tiercel.cli.show import Table, print_json
from tiercel.cli.text import short, when
from tiercel.cli.values import pairs, parser
from tiercel.client import DEFAULT_SERVER, Client

app = noun("Create schedules, look at them, pause them, make up what they missed.")

Id = Annotated[str, typer.Argument(metavar="SCHEDULE")]
Reason = Annotated[str, typer.Option(help="Why; shown with the schedule.")]


@app.command()
def create(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="YAML or JSON.", exists=True, dir_okay=False)] = None,
    id: Annotated[str, typer.Option("--id", help="The schedule's name.")] = "",
    definition: Annotated[str, typer.Option(help="name, or name@version.")] = "",
    cron: Annotated[str, typer.Option(help='As "30 2 * * *".')] = "",
    every: Annotated[str, typer.Option(help="As 15m.")] = "",
    timezone: Annotated[str, typer.Option(help="As Europe/Berlin.")] = "",
    overlap: Annotated[str, typer.Option(help="allow, skip, buffer_one or cancel_other.")] = "",
    catch_up: Annotated[str, typer.Option(help="skip, all or latest.")] = "",
    catch_up_window: Annotated[str, typer.Option(help="How far back catch-up goes, as 1h.")] = "",
    valid_from: Annotated[str, typer.Option(help="As 2026-03-01T00:00:00Z.")] = "",
    valid_until: Annotated[str, typer.Option(help="As 2026-12-31T00:00:00Z.")] = "",
    jitter: Annotated[str, typer.Option(help="Each firing comes up to so much later, as 30s.")] = "",
    input: Annotated[list[str] | None, typer.Option("--input", "-i", help="NAME=VALUE; JSON if it parses, else text.")] = None,
    site: Annotated[str, typer.Option(help="Decided there, so it fires while the site is cut off.")] = "",
    server: Server = DEFAULT_SERVER,
    output: Output = Format.TABLE,
) -> None:
    """Create a schedule from a file, from options, or from both: options count."""
    document = _document(file) if file is not None else {}
    given = {"id": id, "definition": definition, "cron": cron, "every": every, "timezone": timezone, "overlap": overlap}
    given |= {"catch_up": catch_up, "catch_up_window": catch_up_window, "jitter": jitter, "site": site}
    given |= {"valid_from": valid_from, "valid_until": valid_until}
    document |= {name: text for name, text in given.items() if text}
    if input:
        read = parser(None)
        typed = {name: read(name, text) for name, text in pairs(input, "--input").items()}
        document["inputs"] = {**(document.get("inputs") or {}), **typed}
    with Client(server) as client:
        _print_one(client.create_schedule(document), output)


@app.command("list")
def list_schedules(server: Server = DEFAULT_SERVER, output: Output = Format.TABLE) -> None:
    """List the schedules."""
    with Client(server) as client:
        found = client.schedules()
    if output is Format.JSON:
        print_json(found)
        return
    table = Table(("schedule", "state", "starts", "when", "timezone", "site", "next", "fired", "last run"))
    for each in found:
        upcoming, recent = each.get("next", []), each.get("recent", [])
        last = recent[-1]["run"] if recent else ""
        moments = each.get("cron") or f"every {each.get('every', '')}", each["timezone"], each.get("site", "")
        table.rows.append(
            (
                each["id"],
                each["state"],
                each["starts"],
                *moments,
                when(upcoming[0]) if upcoming else "",
                each.get("fired", 0),
                last,
            )
        )
    table.print()


@app.command()
def show(schedule: Id, server: Server = DEFAULT_SERVER, output: Output = Format.TABLE) -> None:
    """Show a schedule: its next firings, its last runs, what it skipped and why."""
    with Client(server) as client:
        _print_one(client.schedule(schedule), output)


@app.command()
def pause(schedule: Id, reason: Reason = "", server: Server = DEFAULT_SERVER, output: Output = Format.TABLE) -> None:
    """Make no firings until it is resumed."""
    with Client(server) as client:
        _print_one(client.order_schedule(schedule, "pause", reason), output)


@app.command()
def resume(schedule: Id, reason: Reason = "", server: Server = DEFAULT_SERVER, output: Output = Format.TABLE) -> None:
    """Make firings again. None of the pause is made up; `backfill` does so."""
    with Client(server) as client:
        _print_one(client.order_schedule(schedule, "resume", reason), output)


@app.command()
def delete(schedule: Id, server: Server = DEFAULT_SERVER, output: Output = Format.TABLE) -> None:
    """Remove a schedule. Runs that it has started go on."""
    with Client(server) as client:
        _print_one(client.delete_schedule(schedule), output)


@app.command("run-now")
def run_now(schedule: Id, server: Server = DEFAULT_SERVER, output: Output = Format.TABLE) -> None:
    """Start a run at once, paused or busy as it may be."""
    with Client(server) as client:
        _print_one(client.order_schedule(schedule, "run-now"), output)


@app.command()
def backfill(
    schedule: Id,
    first: Annotated[str, typer.Option("--from", help="As 2026-03-01T00:00:00Z.")],
    last: Annotated[str, typer.Option("--until", help="As 2026-03-02T00:00:00Z.")],
    server: Server = DEFAULT_SERVER,
    output: Output = Format.TABLE,
) -> None:
    """Make the firings of a range of time that have no run yet, 1,000 at most."""
    with Client(server) as client:
        _print_one(client.backfill_schedule(schedule, first, last), output)


def _document(path: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(path.read_text("utf-8-sig"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise typer.BadParameter(f"{path} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise typer.BadParameter(f"{path} holds no mapping: a schedule has fields such as id, definition and cron")
    return {str(name): _plain(value) for name, value in found.items()}


def _plain(value: object) -> object:
    """As JSON has it: YAML reads moments of its own accord."""
    if isinstance(value, dict):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return value.isoformat() if isinstance(value, date) else value


def _print_one(schedule: dict[str, Any], output: Format) -> None:
    if output is Format.JSON:
        print_json(schedule)
        return
    moments = {"created", "waiting", "skipped"}
    rows: list[Sequence[object]] = [
        (name.replace("_", " "), when(value) if name in moments else short(value) if isinstance(value, dict) else value)
        for name, value in schedule.items()
        if not isinstance(value, list) and name != "freshness"
    ]
    rows += [("next", when(moment)) for moment in schedule.get("next", [])]
    rows += [("run", f"{firing['run']} of {when(firing['at'])}") for firing in schedule.get("recent", [])]
    rows += [("on its way", order) for order in schedule.get("orders", [])]
    Table(("field", "value"), rows).print()
