"""`tiercel approval` and `tiercel incident`: what waits for a person, and the person's word on it."""

from typing import Annotated, Any, Literal

import typer

from tiercel.cli.options import Format, Output, Server, noun
from tiercel.cli.run import RunArgument, print_outcome
from tiercel.cli.run_control import TaskArgument, Wait
from tiercel.cli.show import Table, print_json
from tiercel.cli.text import short, when
from tiercel.cli.values import parser
from tiercel.client import DEFAULT_SERVER, Client

approvals = noun("See what waits for a person's decision, and decide.")
incidents = noun("See what waits for a person's help, and resolve it.")

By = Annotated[str, typer.Option(help="Who decides.")]
DecidingRole = Annotated[str, typer.Option("--role", help="The role in which, where `role:NAME` is asked.")]
Comment = Annotated[str, typer.Option(help="Why; it is kept in the run's history.")]
Hash = Annotated[str, typer.Option("--hash", help="Of the request that was read; without it, the one that is open now.")]


@approvals.command("list")
def list_approvals(server: Server = DEFAULT_SERVER, output: Output = Format.TABLE) -> None:
    """List the open requests of all runs, the oldest first."""
    with Client(server) as client:
        found = client.approvals()
    if output is Format.JSON:
        print_json(found)
        return
    table = Table(("run", "task", "request", "asked", "deadline", "who may decide", "given", "hash"))
    for each in found:
        given = f"{len(each['given'])}/{each['count']}"
        who = ",".join(each["by"]) or "anybody"
        times = when(each["asked"]), when(each["deadline"])
        table.rows.append((each["run"], each["task"], short(each["request"]), *times, who, given, each["hash"]))
    table.print()


@approvals.command()
def approve(
    run: RunArgument,
    task: TaskArgument,
    by: By,
    role: DecidingRole = "",
    comment: Comment = "",
    hash: Hash = "",
    wait: Wait = 2.0,
    server: Server = DEFAULT_SERVER,
    output: Output = Format.TABLE,
) -> None:
    """Say yes to a request."""
    said = {"by": by, "comment": comment, "hash": hash, "approved": True}
    _decide(run, task, said | ({"role": role} if role else {}), wait, server, output)


@approvals.command()
def reject(
    run: RunArgument,
    task: TaskArgument,
    by: By,
    role: DecidingRole = "",
    comment: Comment = "",
    hash: Hash = "",
    wait: Wait = 2.0,
    server: Server = DEFAULT_SERVER,
    output: Output = Format.TABLE,
) -> None:
    """Say no to a request."""
    said = {"by": by, "comment": comment, "hash": hash, "approved": False}
    _decide(run, task, said | ({"role": role} if role else {}), wait, server, output)


def _decide(run: str, task: str, said: dict[str, Any], wait: float, server: str, output: Format) -> None:
    with Client(server) as client:
        if not said["hash"]:
            said["hash"] = next((a["hash"] for a in client.approvals() if (a["run"], a["task"]) == (run, task)), "")
        outcome = client.order(run, "decide", wait_s=wait, task=task, **said)
    print_outcome(outcome, output)


@incidents.command("list")
def list_incidents(server: Server = DEFAULT_SERVER, output: Output = Format.TABLE) -> None:
    """List the tasks that go on only when a person says how."""
    with Client(server) as client:
        found = client.incidents()
    if output is Format.JSON:
        print_json(found)
        return
    table = Table(("run", "task", "site", "state", "attempt", "why", "what a person can do"))
    for each in found:
        why = f"{each['code']}: {short(each['message'])}"
        where = each["site"], each["state"], each["attempt"]
        table.rows.append((each["run"], each["task"], *where, why, ", ".join(each["allowed"])))
    table.print()


@incidents.command()
def resolve(
    run: RunArgument,
    task: TaskArgument,
    outcome: Annotated[
        Literal["completed", "failed", "retry", "skip"], typer.Option("--as", help="completed, failed, retry or skip.")
    ],
    by: Annotated[str, typer.Option(help="Who says so.")] = "",
    result: Annotated[str, typer.Option(help="The task's output if it is completed: JSON if it parses, else text.")] = "",
    message: Annotated[str, typer.Option(help="Why it failed or is skipped.")] = "",
    wait: Wait = 2.0,
    server: Server = DEFAULT_SERVER,
    output: Output = Format.TABLE,
) -> None:
    """Say how a task goes on that waits for a person."""
    fields: dict[str, Any] = {"task": task}
    if outcome == "skip":
        fields |= {"reason": message} if message else {}
    else:
        fields |= {"outcome": outcome, "by": by, "message": message}
        fields |= {"output": parser(None)("", result)} if result else {}
    with Client(server) as client:
        done = client.order(run, "skip" if outcome == "skip" else "settle", wait_s=wait, **fields)
    print_outcome(done, output)
