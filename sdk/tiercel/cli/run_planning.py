"""`tiercel run plan` and `tiercel run edit`: the plan of one run, looked at and changed while it goes on."""

import json
from typing import Annotated, Any

import typer
import yaml

from tiercel.cli.options import Format, Output, Server
from tiercel.cli.run import RunArgument, print_outcome
from tiercel.cli.run_control import Wait
from tiercel.cli.run_growing import app, text_of
from tiercel.cli.show import Table, note, print_json
from tiercel.cli.yaml_text import read_yaml
from tiercel.client import DEFAULT_SERVER, Client

__all__ = ["app"]


@app.command()
def plan(run: RunArgument, server: Server = DEFAULT_SERVER, output: Output = Format.TABLE) -> None:
    """Show the plan of a run: its tasks, what each waits for, and what it was given since the start."""
    with Client(server) as client:
        found = client.plan(run)
    if output is Format.JSON:
        print_json(found)
        return
    for part in found["parts"]:
        needs: dict[str, list[str]] = {}
        for source, target, kind in part.get("edges", []):
            needs.setdefault(target, []).append(source if kind == "success" else f"{source} ({kind})")
        note(f"at {part['site']}, version {part['version']}: tiercel run edit {run} FILE --base {part['version']}")
        table = Table(("task", "state", "waits for", "given since the start"))
        for task in part.get("tasks", []):
            given = ", ".join(f"{name}={json.dumps(value)}" for name, value in task.get("fields", {}).items())
            table.rows.append((task["id"], task["state"], ", ".join(needs.get(task["id"], [])), given))
        table.print()
        if part.get("more"):
            note(f"and {part['more']:,} more tasks")
    if not found["parts"]:
        note(f"run {run} has no home yet: its plan is that of its definition")
    for edit in found.get("pending", []):
        count = len(edit["operations"])
        note(f"{edit['command']}: {count} operations of {edit['by']} are on their way to {edit['site']}, which has not answered")


@app.command()
def edit(
    run: RunArgument,
    file: Annotated[
        str,
        typer.Argument(metavar="FILE", help="A list of operations (add_node, add_edge, put, del_node); - is the input."),
    ],
    base: Annotated[
        int | None, typer.Option(min=0, help="The version that you have seen; without, the edit is made on what is known now.")
    ] = None,
    by: Annotated[str, typer.Option(help="Who edits; it is kept.")] = "",
    wait: Wait = 2.0,
    server: Server = DEFAULT_SERVER,
    output: Output = Format.TABLE,
) -> None:
    """Edit the plan of a run. Where its home has decided otherwise since, that stands: `tiercel conflict list` has the rest."""
    with Client(server) as client:
        outcome: Any = client.edit_plan(run, _operations(text_of(file), file), base=base, by=by, wait_s=wait)
    print_outcome(outcome, output)
    if output is Format.TABLE and "kind" not in outcome:
        note(f"tiercel run plan {run} shows the plan, and the version that the next edit is made on top of")


def _operations(text: str, source: str) -> list[dict[str, Any]]:
    try:
        found = read_yaml(text)
    except yaml.YAMLError as error:
        raise typer.BadParameter(f"{source} is neither YAML nor JSON: {error}", param_hint="FILE") from None
    if isinstance(found, dict) and found.keys() == {"operations"}:
        found = found["operations"]
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        example = '[{"op": "add_edge", "source": "pack", "target": "ship"}]'
        raise typer.BadParameter(f"{source} is no list of operations; allowed: {example}", param_hint="FILE")
    return found
