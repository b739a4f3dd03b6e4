"""`tiercel run depend` and `dependencies`: runs that wait for other runs."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from tiercel.cli.options import Format, Output, Server
from tiercel.cli.run import RunArgument
from tiercel.cli.run_control import app
from tiercel.cli.show import Table, note, print_json
from tiercel.cli.text import when
from tiercel.cli.values import awaited
from tiercel.client import DEFAULT_SERVER, Client

__all__ = ["app"]


@app.command()
def depend(
    run: RunArgument,
    on: Annotated[
        list[str] | None,
        typer.Option("--on", metavar="RUN[/TASK][:KIND]", help="What it waits for; KIND is success, failure or end."),
    ] = None,
    task: Annotated[str, typer.Option("--task", help="Only this task waits; without it all of the run that has not begun.")] = "",
    remove: Annotated[
        list[str] | None, typer.Option("--remove", metavar="DEPENDENCY", help="Wait no longer: an id that `dependencies` shows.")
    ] = None,
    when: Annotated[
        str, typer.Option(help="CEL over `outcome` and `output` of what it waits for; unless it is true, it waits in vain.")
    ] = "",
    into: Annotated[
        str,
        typer.Option(metavar="NAME", help="The parameter of the task, or input of a run not yet begun, that the output becomes."),
    ] = "",
    select: Annotated[str, typer.Option(help="CEL over the same: the part of the output for --into.")] = "",
    schema: Annotated[Path | None, typer.Option(help="A JSON Schema in a file, which that part must fit.")] = None,
    reason: Annotated[str, typer.Option(help="Why it is removed; it is kept in the run's history.")] = "",
    wait: Annotated[float, typer.Option(min=0, max=60, help="Seconds to wait for the run's homes to answer.")] = 2.0,
    server: Server = DEFAULT_SERVER,
    output: Output = Format.TABLE,
) -> None:
    """Let a run, or one of its tasks, begin only after another run or a task of that one."""
    if bool(on) == bool(remove):
        raise typer.BadParameter("give one of them: what to wait for, or what to wait for no longer", param_hint="--on, --remove")
    if remove and (task or when or into or select or schema):
        raise typer.BadParameter("a dependency is removed by its id alone", param_hint="--remove")
    with Client(server) as client:
        if remove:
            found = [client.remove_dependency(run, each, reason=reason) for each in remove]
        else:
            said = {"when": when, "into": into, "select": select, "schema": _read(schema) if schema else None}
            terms = {word: value for word, value in said.items() if value not in ("", None)}
            asked = [{**awaited(text, "--on"), "task": task, **terms} for text in on or []]
            found = client.depend(run, asked, wait_s=wait)
    if output is Format.JSON:
        print_json(found)
        return
    _table(found).print()
    for each in found:
        if each.get("unanswered"):
            sites = ", ".join(each["unanswered"])
            note(f"{sites} has not answered yet: until it has, what is to wait by {each['id']} may still begin there")


@app.command()
def dependencies(run: RunArgument, server: Server = DEFAULT_SERVER, output: Output = Format.TABLE) -> None:
    """Show what a run waits for, and who waits for it."""
    with Client(server) as client:
        found = client.dependencies(run)
    if output is Format.JSON:
        print_json(found)
        return
    if not found["waits_for"] and not found["waited_for_by"]:
        typer.echo(f"{run} waits for no other run, and none waits for it")
    for title, many in (("waits for", found["waits_for"]), ("is waited for by", found["waited_for_by"])):
        if many:
            typer.echo(f"{run} {title}")
            _table(many).print()


def _read(path: Path) -> object:
    try:
        return json.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise typer.BadParameter(f"{path}: {error}", param_hint="--schema") from error


def _table(found: list[dict[str, Any]]) -> Table:
    table = Table(("id", "waiting", "for", "kind", "state", "since", "detail"))
    for each in found:
        on = each["on"]
        kind, detail = _asked(each), each.get("detail", "")
        state = f"{each['state']} ({on['state']})" if each["state"] == "waiting" and on.get("state") else each["state"]
        named = _point(each["run"], each.get("task", "")), _point(on["run"], on.get("task", ""))
        table.rows.append((each["id"], *named, kind, state, when(each["since"]), detail))
    return table


def _asked(each: dict[str, Any]) -> str:
    """How the awaited has to end, and what is handed over: after success, when output.ok, output.box into box."""
    parts = [each["kind"].replace("_", " "), *([f"when {each['when']}"] if each.get("when") else [])]
    if each.get("into"):
        parts.append(f"{each.get('select') or 'output'} into {each['into']}")
    return ", ".join(parts)


def _point(run: str, task: str) -> str:
    return f"{run}/{task}" if task else run
