"""`tiercel run`: which runs there are, what one is like or was like, what it can be taken back to, and new ones like it."""

from collections.abc import Sequence
from typing import Annotated

import typer

from tiercel.answers import RunSummary
from tiercel.cli.options import Format, Output, Server
from tiercel.cli.run import PAGE, RunArgument, app, print_outcome, print_run
from tiercel.cli.show import Table, note, print_json, run_table
from tiercel.cli.text import short, when
from tiercel.cli.values import pairs, parser
from tiercel.client import DEFAULT_SERVER, Client

__all__ = ["app"]

MOMENT = "as 2026-11-25T20:15:00Z, or in ms since 1970 (UTC)"
At = Annotated[str, typer.Option("--at", help=f"As it was at this moment: {MOMENT}.")]
Version = Annotated[int | None, typer.Option(min=0, help="As it was at this version of its fragment.")]


@app.command("list")
def list_runs(
    state: Annotated[str, typer.Option(help="pending, active, paused, completed, failed or cancelled.")] = "",
    definition: Annotated[str, typer.Option(help="NAME@VERSION, or NAME for all its versions.")] = "",
    site: Annotated[str, typer.Option(help="Runs with a part at this site.")] = "",
    label: Annotated[list[str] | None, typer.Option("--label", help="NAME=TEXT; of several all must hold.")] = None,
    parent: Annotated[str, typer.Option(help="Runs that tasks of this run asked for.")] = "",
    created_after: Annotated[str, typer.Option(help=f"From this moment on: {MOMENT}.")] = "",
    created_before: Annotated[str, typer.Option(help="Before this moment.")] = "",
    ended_after: Annotated[str, typer.Option(help="From this moment on.")] = "",
    ended_before: Annotated[str, typer.Option(help="Before this moment.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    cursor: Annotated[str, typer.Option(help="Go on behind this run, as the JSON of the API's `next` says.")] = "",
    server: Server = DEFAULT_SERVER,
    output: Output = Format.TABLE,
) -> None:
    """List runs, the newest first: all, or those that are wanted."""
    wanted = {"definition": definition, "site": site, "parent": parent}
    wanted |= {"created_after": created_after, "created_before": created_before}
    wanted |= {"ended_after": ended_after, "ended_before": ended_before}
    labels = pairs(label or [], "--label")
    runs = list[RunSummary]()
    with Client(server) as client:
        while len(runs) < limit:
            page = client.runs(state=state, limit=min(limit - len(runs), PAGE), cursor=cursor, labels=labels, **wanted)
            runs += page["items"]
            cursor = page["next"]
            if not cursor:
                break
    if output is Format.JSON:
        print_json(runs)
        return
    run_table(runs).print()
    if cursor:
        note(f"there may be more than these {limit}: --limit shows more, --cursor {cursor} those that follow")


@app.command()
def get(
    run: RunArgument,
    at: At = "",
    version: Version = None,
    consistency: Annotated[str, typer.Option(help="strong, bounded or eventual; without it, as the cloud knows it.")] = "",
    max_staleness: Annotated[str, typer.Option(help="Not older than this, such as 2s.")] = "",
    min_version: Annotated[int | None, typer.Option(help="From this version on.", min=0)] = None,
    server: Server = DEFAULT_SERVER,
    output: Output = Format.TABLE,
) -> None:
    """Show a run: its tasks, where they are, what it waits for; as it is, or as it was."""
    if at and version is not None:
        raise typer.BadParameter("give one of --at and --version", param_hint="--at")
    at_least = "" if min_version is None else str(min_version)
    asked = {"consistency": consistency, "max_staleness": max_staleness, "min_version": at_least}
    fresh = {name: said for name, said in asked.items() if said}
    if fresh and (at or version is not None):
        option = "--" + next(iter(fresh)).replace("_", "-")
        raise typer.BadParameter("it says how fresh the present must be; --at and --version show the past", param_hint=option)
    with Client(server) as client:
        view = client.run(run, at=at, version=-1 if version is None else version, fresh=fresh)
    print_run(view, output)


app.command("show", help="The same as `get`.")(get)


@app.command()
def checkpoints(run: RunArgument, server: Server = DEFAULT_SERVER, output: Output = Format.TABLE) -> None:
    """List what a run can be taken back to: the last tasks that were completed, and the checkpoints with a name."""
    with Client(server) as client:
        found = client.checkpoints(run)
    if output is Format.JSON:
        print_json(found)
        return
    table = Table(("time", "site", "version", "after task", "name", "back by", "run", "in hands", "held", "not undone"))
    for item in found["items"]:
        hands = ", ".join(f"{held['task']} ({held['agent']}, attempt {held['attempt']})" for held in item.get("attempts", []))
        held = ", ".join(f"{each['count']} {each['resource']} ({each['task']})" for each in item.get("resources", []))
        back = f"--steps {item['steps']}" if item.get("steps") else ""
        state = f"{item['path']}, {item['percent']} %" if item["path"] else "archived"
        what = item.get("task", ""), item.get("name", ""), back, state
        row: Sequence[object] = (when(item["time"]), item["site"], item["version"], *what, short(hands, 200), short(held, 200))
        row = (*row, short(", ".join(item.get("stays", [])), 200))
        table.rows.append(row)
    table.print()
    if found.get("note"):
        note(found["note"])


@app.command()
def fork(
    run: RunArgument,
    from_task: Annotated[str, typer.Option("--from", help="Begin with this task; what was done before is taken over.")] = "",
    input: Annotated[
        list[str] | None, typer.Option("--input", help="NAME=VALUE instead of the old one; JSON, else text.")
    ] = None,
    label: Annotated[list[str] | None, typer.Option("--label", help="NAME=TEXT; instead of all the old ones.")] = None,
    idempotency_key: Annotated[
        str, typer.Option("--idempotency-key", help="Asked again under the same key, nothing is started twice.")
    ] = "",
    server: Server = DEFAULT_SERVER,
    output: Output = Format.TABLE,
) -> None:
    """Start a new run like this one, which stays as it is: from a task on, or from the beginning."""
    typed, labels = pairs(input or [], "--input"), pairs(label, "--label") if label else None
    with Client(server) as client:
        document = client.definition(client.run(run)["run"]["definition"])["document"] if typed else None
        parse = parser(document)
        inputs = {name: parse(name, text) for name, text in typed.items()}
        started = client.fork(run, from_task=from_task, inputs=inputs, labels=labels, idempotency_key=idempotency_key)
    if output is Format.JSON:
        print_json(started)
        return
    columns = "id", "definition", "state", "forked from", "begins at", "taken over"
    begins = started.get("begins_at", "") or "the beginning"
    row = started["id"], started["definition"], started["state"], started["forked_from"], begins, started.get("taken_over", 0)
    Table(columns, [row]).print()
    if started.get("detail"):
        note(started["detail"])


@app.command()
def command(
    command: Annotated[str, typer.Argument(metavar="COMMAND", help="The command's id, as the answer to an order names it.")],
    server: Server = DEFAULT_SERVER,
    output: Output = Format.TABLE,
) -> None:
    """Show what has become of an order: pending, accepted, done or refused by the homes of its run."""
    with Client(server) as client:
        print_outcome(client.command(command), output)
