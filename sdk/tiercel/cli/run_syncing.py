"""`tiercel run sync`: where the agents of a run wait for each other."""

from typing import Annotated, Any

import typer

from tiercel.cli.options import REFUSED, Format, Output, Server, noun
from tiercel.cli.run import RunArgument
from tiercel.cli.run_moving import app
from tiercel.cli.show import Table, note, print_json
from tiercel.cli.text import when
from tiercel.client import DEFAULT_SERVER, Client

__all__ = ["app"]

PointArgument = Annotated[str, typer.Argument(metavar="POINT", help="The name of the sync point.")]
AgentArgument = Annotated[str, typer.Argument(metavar="AGENT", help="The id of the agent.")]
Wait = Annotated[float, typer.Option(min=0, max=60, help="Seconds to wait for the run's home.")]

points = noun("See where the agents of a run wait for each other, and for whom.")
app.add_typer(points, name="sync")


@points.command("list")
def list_points(run: RunArgument, server: Server = DEFAULT_SERVER, output: Output = Format.TABLE) -> None:
    """List the sync points of a run: who is there, who is missing, since when, until when."""
    with Client(server) as client:
        found = client.sync_points(run)
    if output is Format.JSON:
        print_json(found)
        return
    _table(found["items"]).print()
    for wait in found["waits"]:
        tasks = f" with {', '.join(wait['tasks'])} in hand" if wait.get("tasks") else ""
        whom = ", ".join(wait.get("parties", [])) or f"{wait['lacking']} more"
        note(f"{wait['agent']} waits at {wait['point']} since {when(wait['since'])}{tasks} for {whom}")


@points.command()
def arrive(
    run: RunArgument,
    point: PointArgument,
    agent: AgentArgument,
    wait: Annotated[float, typer.Option(min=0, max=60, help="Seconds to wait for the others.")] = 0.0,
    generation: Annotated[int, typer.Option(min=0, help="Only in this generation of a cyclic point.")] = 0,
    arrival: Annotated[str, typer.Option(help="Its name: sent again under the same name it is no second arrival.")] = "",
    server: Server = DEFAULT_SERVER,
    output: Output = Format.TABLE,
) -> None:
    """Say that an agent is at a sync point. Exit code 1 if the point is broken."""
    with Client(server) as client:
        _print(client.arrive(run, point, agent, wait_s=wait, generation=generation, arrival=arrival), output)


@points.command()
def withdraw(
    run: RunArgument,
    point: PointArgument,
    agent: AgentArgument,
    wait: Wait = 2.0,
    generation: Annotated[int, typer.Option(min=0, help="Only in this generation; refused if it is over.")] = 0,
    server: Server = DEFAULT_SERVER,
    output: Output = Format.TABLE,
) -> None:
    """Say that an agent waits at a sync point no longer."""
    with Client(server) as client:
        _print(client.withdraw(run, point, agent, wait_s=wait, generation=generation), output)


@points.command()
def reset(
    run: RunArgument,
    point: PointArgument,
    reason: Annotated[str, typer.Option(help="Why; those who wait are told.")] = "",
    wait: Wait = 2.0,
    server: Server = DEFAULT_SERVER,
    output: Output = Format.TABLE,
) -> None:
    """Break a sync point for all who wait there, and let it begin anew."""
    with Client(server) as client:
        _print(client.reset_sync_point(run, point, reason=reason, wait_s=wait), output)


def _print(found: dict[str, Any], output: Format) -> None:
    if output is Format.JSON:
        print_json(found)
    else:
        _table([found]).print()
        if found.get("command"):
            note(f"{found['home']} has not answered yet: command {found['command']} reaches it when it can be reached")
    if found["state"] == "broken":
        raise typer.Exit(REFUSED)


def _table(found: list[dict[str, Any]]) -> Table:
    table = Table(("point", "state", "generation", "here", "missing", "gone", "since", "deadline", "detail"))
    for each in found:
        here = each.get("parties") or [_party(party) for party in each.get("here", [])]
        missing = ",".join(each.get("missing", [])) or (f"{each['lacking']} more" if each.get("lacking") else "")
        times = when(each.get("since", 0) or each.get("ended", 0)), when(each.get("deadline", 0))
        detail = f"{each['code']}: {each['reason']}" if each.get("code") else each.get("reason", "")
        gone = ",".join(each.get("gone", []))
        table.rows.append((each["point"], each["state"], each["generation"], ",".join(here), missing, gone, *times, detail))
    return table


def _party(party: dict[str, Any]) -> str:
    return f"{party['agent']} for {party['place']}" if party.get("place") else str(party["agent"])
