"""`tiercel run depend` and `dependencies`: runs that wait for other runs."""

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
    reason: Annotated[str, typer.Option(help="Why it is removed; it is kept in the run's history.")] = "",
    wait: Annotated[float, typer.Option(min=0, max=60, help="Seconds to wait for the run's homes to answer.")] = 2.0,
    server: Server = DEFAULT_SERVER,
    output: Output = Format.TABLE,
) -> None:
    """Let a run, or one of its tasks, begin only after another run or a task of that one."""
    if bool(on) == bool(remove):
        raise typer.BadParameter("give one of them: what to wait for, or what to wait for no longer", param_hint="--on, --remove")
    if remove and task:
        raise typer.BadParameter("a dependency is removed by its id alone", param_hint="--task")
    with Client(server) as client:
        if remove:
            found = [client.remove_dependency(run, each, reason=reason) for each in remove]
        else:
            found = client.depend(run, [{**awaited(text, "--on"), "task": task} for text in on or []], wait_s=wait)
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


def _table(found: list[dict[str, Any]]) -> Table:
    table = Table(("id", "waiting", "for", "kind", "state", "since", "detail"))
    for each in found:
        on = each["on"]
        kind, detail = each["kind"].replace("_", " "), each.get("detail", "")
        state = f"{each['state']} ({on['state']})" if each["state"] == "waiting" and on.get("state") else each["state"]
        named = _point(each["run"], each.get("task", "")), _point(on["run"], on.get("task", ""))
        table.rows.append((each["id"], *named, kind, state, when(each["since"]), detail))
    return table


def _point(run: str, task: str) -> str:
    return f"{run}/{task}" if task else run
