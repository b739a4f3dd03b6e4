"""`tiercel run`: what an operator does with runs that are under way."""

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import typer

from tiercel.cli.conditions import kept_line
from tiercel.cli.options import REFUSED, Format, Output, Server
from tiercel.cli.run import RunArgument, print_outcome
from tiercel.cli.run_looking import app
from tiercel.cli.show import Table, note, print_json
from tiercel.cli.values import pairs, parser
from tiercel.client import DEFAULT_SERVER, Client

__all__ = ["app"]

Reason = Annotated[str, typer.Option(help="Why; it is kept in the run's history.")]
Wait = Annotated[float, typer.Option(min=0, max=60, help="Seconds to wait for the run's homes to answer.")]
Tasks = Annotated[list[str] | None, typer.Option("--task", help="Only this task; may be given several times.")]
Outcome = Literal["completed", "failed", "retry"]
TaskArgument = Annotated[str, typer.Argument(metavar="TASK", help="The task's name, as pick, pack.box or ship[3].label.")]


def _order(run: str, verb: str, fields: dict[str, Any], wait: float, server: str, output: Format) -> None:
    with Client(server) as client:
        outcome = client.order(
            run, verb, wait_s=wait, **{name: value for name, value in fields.items() if value not in ("", [], None)}
        )
    print_outcome(outcome, output)
    told: Any = outcome.get("condition") or {}
    kept = told.get("kept") if verb in ("rollback", "rerun") and output is Format.TABLE else None
    if kept:
        note(kept_line(kept))


@app.command()
def pause(
    run: RunArgument,
    task: Tasks = None,
    reason: Reason = "",
    wait: Wait = 2.0,
    server: Server = DEFAULT_SERVER,
    output: Output = Format.TABLE,
) -> None:
    """Start nothing new in a run until it is resumed. What agents have in hand goes on."""
    _order(run, "pause", {"tasks": task, "reason": reason}, wait, server, output)


@app.command()
def resume(
    run: RunArgument, task: Tasks = None, wait: Wait = 2.0, server: Server = DEFAULT_SERVER, output: Output = Format.TABLE
) -> None:
    """Let a paused run go on exactly where it was."""
    _order(run, "resume", {"tasks": task}, wait, server, output)


@app.command()
def terminate(
    run: RunArgument, reason: Reason = "", wait: Wait = 2.0, server: Server = DEFAULT_SERVER, output: Output = Format.TABLE
) -> None:
    """Stop a run at once, without cleaning up. Work in agents' hands is abandoned; `cancel` is the gentle way."""
    _order(run, "terminate", {"reason": reason}, wait, server, output)


@app.command()
def signal(
    run: RunArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The signal that a task waits for, or will.")],
    payload: Annotated[str, typer.Option(help="What the task gets as its output: JSON if it parses, else text.")] = "",
    wait: Wait = 2.0,
    server: Server = DEFAULT_SERVER,
    output: Output = Format.TABLE,
) -> None:
    """Send a signal to the task that waits for it."""
    _order(run, "signal", {"name": name, "payload": _value(payload)}, wait, server, output)


@app.command()
def update(
    run: RunArgument,
    task: TaskArgument,
    parameter: Annotated[list[str], typer.Option("--set", help="NAME=VALUE; JSON if it parses, else text.")],
    wait: Wait = 2.0,
    server: Server = DEFAULT_SERVER,
    output: Output = Format.TABLE,
) -> None:
    """Give a task that has not begun other parameters."""
    parse = parser(None)
    parameters = {name: parse(name, text) for name, text in pairs(parameter, "--set").items()}
    _order(run, "update", {"task": task, "parameters": parameters}, wait, server, output)


@app.command()
def priority(
    run: RunArgument,
    value: Annotated[int, typer.Argument(metavar="PRIORITY", min=0, max=9, help="9 goes first, 0 last.")],
    wait: Wait = 2.0,
    server: Server = DEFAULT_SERVER,
    output: Output = Format.TABLE,
) -> None:
    """Change whose tasks are handed out first."""
    _order(run, "prioritise", {"priority": value}, wait, server, output)


@app.command()
def autonomy(
    run: RunArgument,
    when_cut: Annotated[
        Literal["continue", "finish_released", "hold", "compensate"],
        typer.Option("--when-cut", help="What its sites do with it while the cloud cannot be reached."),
    ],
    horizon: Annotated[float, typer.Option(min=0, help="Cut off for so many seconds, they do what --then says. 0: never.")] = 0.0,
    budget: Annotated[int, typer.Option(min=0, help="After so many attempts begun while cut off, too. 0: never.")] = 0,
    then: Annotated[Literal["hold", "compensate"], typer.Option("--then", help="What they do after that.")] = "hold",
    wait: Wait = 2.0,
    server: Server = DEFAULT_SERVER,
    output: Output = Format.TABLE,
) -> None:
    """Change what the sites of a run do with it while they are cut off."""
    fields = {"when_cut": when_cut, "horizon_ms": round(horizon * 1_000), "budget": budget, "then": then}
    _order(run, "autonomy", fields, wait, server, output)


@app.command()
def retry(
    run: RunArgument, task: Tasks = None, wait: Wait = 2.0, server: Server = DEFAULT_SERVER, output: Output = Format.TABLE
) -> None:
    """Begin failed tasks anew, all or those named, with what comes after them."""
    _order(run, "retry", {"tasks": task}, wait, server, output)


@app.command()
def query(
    run: RunArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A query of the run's definition.")],
    server: Server = DEFAULT_SERVER,
    output: Output = Format.TABLE,
) -> None:
    """Ask a run: the value that a query of its definition has now."""
    with Client(server) as client:
        answer = client.query(run, name)
    if output is Format.JSON:
        print_json(answer)
    else:
        typer.echo(json.dumps(answer["value"], ensure_ascii=False))


@app.command()
def skip(
    run: RunArgument,
    task: TaskArgument,
    reason: Reason = "",
    wait: Wait = 2.0,
    server: Server = DEFAULT_SERVER,
    output: Output = Format.TABLE,
) -> None:
    """Go on without a task that has not begun, has failed, or waits for a person."""
    _order(run, "skip", {"task": task, "reason": reason}, wait, server, output)


@app.command()
def rerun(
    run: RunArgument,
    task: TaskArgument,
    reason: Reason = "",
    wait: Wait = 2.0,
    server: Server = DEFAULT_SERVER,
    output: Output = Format.TABLE,
) -> None:
    """Do a task and all that comes after it once more, after undoing what can be undone."""
    _order(run, "rerun", {"task": task, "reason": reason}, wait, server, output)


@app.command()
def rollback(
    run: RunArgument,
    steps: Annotated[int | None, typer.Option(min=1, help="Back by so many completed tasks.")] = None,
    checkpoint: Annotated[str, typer.Option(help="Back to the checkpoint of this name.")] = "",
    version: Annotated[
        int | None, typer.Option(min=0, help="Back to this version of the run at its home, as `run get` shows it.")
    ] = None,
    task: Annotated[str, typer.Option(help="Back to before this task.")] = "",
    to_time: Annotated[
        str, typer.Option("--to-time", help="Back to this moment: as 2026-11-25T20:15:00Z, or in ms since 1970 (UTC).")
    ] = "",
    reason: Reason = "",
    wait: Wait = 2.0,
    server: Server = DEFAULT_SERVER,
    output: Output = Format.TABLE,
) -> None:
    """Take a run back to an earlier state: effects are undone by the tasks' compensations, the latest first."""
    places = {"steps": steps, "checkpoint": checkpoint, "version": version, "task": task, "at": to_time}
    fields: dict[str, Any] = {name: place for name, place in places.items() if place not in ("", None)}
    if len(fields) != 1:
        given = ", ".join("--to-time" if name == "at" else f"--{name}" for name in fields) or "none of them"
        raise typer.BadParameter(
            f"back to where? given: {given}; allowed: one of --steps, --checkpoint, --version, --task, --to-time"
        )
    fields["reason"] = reason
    _order(run, "rollback", fields, wait, server, output)


@app.command()
def checkpoint(
    run: RunArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call the present state.")],
    wait: Wait = 2.0,
    server: Server = DEFAULT_SERVER,
    output: Output = Format.TABLE,
) -> None:
    """Give the present state a name to come back to."""
    _order(run, "checkpoint", {"name": name}, wait, server, output)


@app.command()
def settle(
    run: RunArgument,
    task: TaskArgument,
    outcome: Annotated[Outcome, typer.Option("--as", help="completed, failed, or retry if it had not begun.")],
    by: Annotated[str, typer.Option(help="Who says so.")] = "",
    result: Annotated[str, typer.Option(help="The task's output: JSON if it parses, else text.")] = "",
    message: Annotated[str, typer.Option(help="Why it failed.")] = "",
    wait: Wait = 2.0,
    server: Server = DEFAULT_SERVER,
    output: Output = Format.TABLE,
) -> None:
    """Say what became of an attempt whose outcome is unknown."""
    fields = {"task": task, "outcome": outcome, "by": by, "output": _value(result), "message": message}
    _order(run, "settle", fields, wait, server, output)


@app.command()
def bulk(
    verb: Annotated[str, typer.Argument(metavar="VERB", help="pause, resume, cancel, terminate, prioritise, retry, fork, ...")],
    wanted: Annotated[
        list[str], typer.Option("--filter", help="state=, definition=, site=, id= (several), label.NAME=; all must hold.")
    ],
    argument: Annotated[list[str] | None, typer.Option("--set", help="NAME=VALUE, a field of the order, as reason=tide.")] = None,
    wait: Wait = 2.0,
    idempotency_key: Annotated[
        str, typer.Option("--idempotency-key", help="Asked again under the same key, no run is ordered twice.")
    ] = "",
    server: Server = DEFAULT_SERVER,
    output: Output = Format.TABLE,
) -> None:
    """Order the same for many runs, at most 1,000 at once. Exit code 1 if any refused."""
    parse = parser(None)
    arguments = {name: parse(name, text) for name, text in pairs(argument or [], "--set").items()}
    with Client(server) as client:
        done = client.order_many(verb, _filter(wanted), arguments, wait_s=wait, idempotency_key=idempotency_key)
    if output is Format.JSON:
        print_json(done)
    else:
        rows: list[Sequence[object]] = [
            (item["run"], item["state"], item.get("command", ""), item.get("detail", "")) for item in done["items"]
        ]
        Table(("run", "state", "command", "detail"), rows).print()
        if done["matched"] > len(rows):
            note(f"{done['matched']} runs match: the oldest {len(rows)} were asked; ask again for the rest")
    if done["refused"]:
        raise typer.Exit(REFUSED)


def _filter(items: list[str]) -> dict[str, Any]:
    """`state=paused`, `label.team=a`, `id=r1` (which may come several times)."""
    ids = [item.removeprefix("id=") for item in items if item.startswith("id=")]
    given: dict[str, Any] = pairs([item for item in items if not item.startswith("id=")], "--filter")
    labels = {name.removeprefix("label."): text for name, text in given.items() if name.startswith("label.")}
    wanted = {name: text for name, text in given.items() if not name.startswith("label.")}
    if unknown := wanted.keys() - {"state", "definition", "site"}:
        allowed = "allowed: state=, definition=, site=, id=, label.NAME="
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: nothing to filter by; {allowed}", param_hint="--filter")
    return {**wanted, **({"labels": labels} if labels else {}), **({"ids": ids} if ids else {})}


def _value(text: str) -> object:
    return parser(None)("", text) if text else None
