"""`tiercel retention`: what the cloud keeps, and what it has cut."""

from typing import Annotated, Any

import typer

from tiercel.cli.options import Format, Output, Server, noun
from tiercel.cli.show import Table, note, print_json
from tiercel.cli.text import when
from tiercel.client import DEFAULT_SERVER, Client

app = noun("See what the cloud keeps of runs that have ended, and let what is older go.")


@app.callback()
def retention() -> None:
    """See what the cloud keeps of runs that have ended, and let what is older go."""


@app.command()
def show(server: Server = DEFAULT_SERVER, output: Output = Format.TABLE) -> None:
    """Show the policy, what the log holds, and what has left it."""
    with Client(server) as client:
        _print(client.retention(), output)


@app.command()
def run(
    wait: Annotated[float, typer.Option(min=0, max=60, help="Seconds to wait for the end of the pass.")] = 30.0,
    server: Server = DEFAULT_SERVER,
    output: Output = Format.TABLE,
) -> None:
    """Archive and cut what is no longer kept now, instead of at the next time (every six hours)."""
    with Client(server) as client:
        _print(client.run_retention(wait_s=wait), output)


def _print(found: dict[str, Any], output: Format) -> None:
    if output is Format.JSON:
        print_json(found)
        return
    days = found["keep_ended_days"]
    where = found["archive_dir"] or "not archived"
    policy = f"{days:g} days, then {where}" if days else "everything"
    oldest = when(found["oldest"]) if found["oldest"] else ""
    Table(
        ("kept", "events", "bytes", "oldest", "cut to"), [(policy, found["events"], found["bytes"], oldest, found["cut"])]
    ).print()
    if (last := found["last"]) is not None:
        held = f"; next held back by: {last['held_by']}" if last["held_by"] else ""
        note(f"last pass {when(last['at'])}: {last['events']} events and {last['blobs']} blobs have left{held}")
        if last["problem"]:
            note(f"it stopped: {last['problem']}")
    for site in found["will_be_reseeded"]:
        note(f"{site} lacks what was cut: it will be re-seeded when it is back")
    if found["running"]:
        note("a pass is under way")
    table = Table(("cut", "events", "from", "to", "archive"))
    for each in found["segments"]:
        table.rows.append((when(each["cut"]), each["events"], when(each["oldest"]), when(each["newest"]), each["file"]))
    if table.rows:
        table.print()
