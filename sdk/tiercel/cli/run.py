"""`tiercel run`: start, look, watch, cancel."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from itertools import count
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from tiercel.answers import Command, HistoryEntry, Problem, Progress, Run, RunRequest, RunSummary, Started
from tiercel.cli.conditions import condition_lines, explained_lines
from tiercel.cli.definition import register_file
from tiercel.cli.options import INTERRUPTED, REFUSED, Format, Output, Server, noun
from tiercel.cli.show import Table, link, note, print_json, run_table, state, task_table
from tiercel.cli.text import age, short, when
from tiercel.cli.values import awaited, batches, inputs_file, pairs, parser, worded
from tiercel.cli.watching import Screen, watch_run, watch_runs
from tiercel.client import DEFAULT_SERVER, Client

PAGE = 1_000

app = noun("Start runs, look at them, watch them, steer them, cancel them.")
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="The id of the run.")]
_Outcome = TypeVar("_Outcome")


@app.command()
def start(
    target: Annotated[str, typer.Argument(metavar="FILE_OR_REF", help="A definition file, or name[@version].")],
    input: Annotated[list[str] | None, typer.Option("--input", help="NAME=VALUE; JSON if it parses, else text.")] = None,
    inputs: Annotated[
        Path | None, typer.Option("--inputs-file", help="JSON object: one run. JSON array or CSV: a run per item.")
    ] = None,
    label: Annotated[list[str] | None, typer.Option("--label", help="NAME=TEXT, to find the run by.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Follow it until it ends.")] = False,
    priority: Annotated[
        int | None, typer.Option(min=0, max=9, help="Of runs that wait for a free place, 9 goes first and 0 last.")
    ] = None,
    fairness_key: Annotated[str, typer.Option("--fairness-key", help="Runs that wait take turns by key, as of tenants.")] = "",
    after: Annotated[
        list[str] | None,
        typer.Option(
            "--after",
            metavar="RUN[/TASK][:KIND]",
            help="Begin only after this: its success, failure or end. With conditions and values: the JSON of the API.",
        ),
    ] = None,
    consistency: Annotated[
        str,
        typer.Option("--consistency", metavar="LEVEL[,NAME=VALUE...]", help="strong, eventual, or bounded,versions=50,time=30s."),
    ] = "",
    autonomy: Annotated[
        str,
        typer.Option(
            "--autonomy", metavar="WORD[,NAME=VALUE...]", help="While cut off: continue, finish_released, hold, compensate."
        ),
    ] = "",
    idempotency_key: Annotated[
        str, typer.Option("--idempotency-key", help="Asked again under the same key, nothing is started twice.")
    ] = "",
    server: Server = DEFAULT_SERVER,
    output: Output = Format.TABLE,
) -> None:
    """Start a run, or one per line of an inputs file. A definition file is registered first."""
    asked: RunRequest = {"labels": pairs(label or [], "--label")}
    if priority is not None:
        asked["priority"] = priority
    if fairness_key:
        asked["fairness_key"] = fairness_key
    if after:
        asked["after"] = [awaited(text, "--after") for text in after]
    if consistency:
        asked["consistency"] = worded(consistency, "level", "--consistency")
    if autonomy:
        asked["autonomy"] = worded(autonomy, "when_cut", "--autonomy")
    typed = pairs(input or [], "--input")
    with Client(server) as client:
        ref, document = _definition(client, target, needed=bool(typed or inputs))
        parse = parser(document)
        common = {name: parse(name, text) for name, text in typed.items()}
        rows, several = inputs_file(inputs, parse) if inputs is not None else ([{}], False)
        rows = [{**row, **common} for row in rows]
        if several:
            _start_many(client, ref, rows, asked, idempotency_key, watch, output)
        else:
            _start_one(client, ref, {**asked, "inputs": rows[0]}, idempotency_key, watch, output)


def _definition(client: Client, target: str, *, needed: bool) -> tuple[str, dict[str, Any] | None]:
    """What to start, and its document if inputs are to be read by it."""
    path = Path(target)
    if path.is_file():
        definition = register_file(client, path)
        return definition["ref"], definition["document"]
    if path.suffix.lower() in (".yaml", ".yml", ".json") or "/" in target:
        raise typer.BadParameter(f"there is no file {target}", param_hint="FILE_OR_REF")
    return target, client.definition(target)["document"] if needed else None


def _start_one(
    client: Client,
    ref: str,
    asked: RunRequest,
    key: str,
    watch: bool,
    output: Format,
) -> None:
    started = client.start(ref, **asked, idempotency_key=key)
    if watch:
        if output is Format.TABLE:
            note(f"started {started['id']} ({started['definition']})")
        _follow(client, started["id"], output)
    elif output is Format.JSON:
        print_json(started)
    else:
        _started_table([started]).print()


def _start_many(
    client: Client,
    ref: str,
    rows: list[dict[str, object]],
    asked: RunRequest,
    key: str,
    watch: bool,
    output: Format,
) -> None:
    items = list[Started]()
    for number, group in zip(count(1), batches(rows), strict=False):
        runs: list[RunRequest] = [{**asked, "inputs": row} for row in group]
        # Each request has a key of its own: the same key would stand for the same runs.
        items += client.start_batch(ref, runs, idempotency_key=f"{key}#{number}" if key else "")
    ids = [item["id"] for item in items if "error" not in item]
    refused = len(items) - len(ids)
    ended = list[RunSummary]()
    if watch and ids:
        for index, item in enumerate(items, 1):
            if "error" in item:
                note(f"run {index} was refused: {_why(item['error'])}")
        ended = _until_left(lambda screen: watch_runs(client, ids, screen.show), output, f"{len(ids)} runs go on")
        if output is Format.JSON:
            print_json(ended)
    elif output is Format.JSON:
        print_json(items)
    else:
        _started_table(items).print()
    if refused or any(run["state"] != "completed" for run in ended):
        raise typer.Exit(REFUSED)


def _started_table(items: Sequence[Started]) -> Table:
    table = Table(("id", "definition", "state", "detail"))
    for item in items:
        if "error" in item:
            table.rows.append(("", "", "refused", _why(item["error"])))
        else:
            table.rows.append((item["id"], item["definition"], item["state"], ""))
    return table


def _why(problem: Problem) -> str:
    return "; ".join([problem["detail"], *problem.get("problems", [])])


def print_run(view: Run, output: Format) -> None:
    """The whole picture of a run."""
    if output is Format.JSON:
        print_json(view)
        return
    run_table([view["run"]]).print()
    if view["run"].get("forked_from"):
        typer.echo(f"forked from {view['run']['forked_from']}")
    if view.get("as_of"):
        typer.echo(f"as it was at {when(view['as_of'])}")
    if view.get("waits_for"):
        typer.echo(f"waits for {short(view['waits_for'], 500)}")
    if progress := view.get("progress"):
        typer.echo(_progress_line(progress))
    for line in condition_lines(view):
        typer.echo(line)
    typer.echo(f"inputs {short(view['inputs'], 500)}\n")
    task_table(view["tasks"]).print()
    if view.get("fragments"):
        typer.echo("")
        table = Table(("site", "state", "epoch", "version", "link", "known as of"))
        for part in view["fragments"]:
            fresh = f"{when(part['freshness']['as_of'])}, {age(part['freshness']['staleness_ms'])} old"
            table.rows.append((part["site"], part["state"], part["epoch"], part["version"], link(part["link"]), fresh))
        table.print()


def _progress_line(progress: Progress) -> str:
    parts = [f"{progress['percent']} % after {age(progress['duration_ms'])}"]
    if progress["pending"]:
        parts.append(f"{progress['pending']} not begun")
    if progress["current"]:
        parts.append(f"at {short(', '.join(progress['current']), 200)}")
    if progress["remaining_ms"] > 0:
        parts.append(f"about {age(progress['remaining_ms'])} left")
    if progress["retries"]:
        parts.append(f"{progress['retries']} retries")
    return "; ".join(parts)


@app.command()
def explain(run: RunArgument, server: Server = DEFAULT_SERVER, output: Output = Format.TABLE) -> None:
    """Say why a run does not go on: what each task waits for, and who or what can help."""
    with Client(server) as client:
        found = client.explain(run)
    if output is Format.JSON:
        print_json(found)
        return
    for line in explained_lines(found):
        typer.echo(line)


@app.command()
def totals(server: Server = DEFAULT_SERVER, output: Output = Format.TABLE) -> None:
    """Show how the ended runs went, of all definitions and of each: how many succeeded, how long they took."""
    with Client(server) as client:
        found = client.run_totals()
    if output is Format.JSON:
        print_json(found)
        return
    table = Table(("definition", "ended", "succeeded", "failed", "cancelled", "duration", "tasks", "tasks failed", "retries"))
    for item in found:
        succeeded = f"{item['success_rate']:.1%}" if item["completed"] + item["failed"] else ""
        duration = f"{age(item['duration_ms'])} ± {age(item['duration_deviation_ms'])}" if item["completed"] else ""
        counts = item["tasks_completed"], item["tasks_failed"], item["retries"]
        table.rows.append(
            (item["definition"] or "all", item["ended"], succeeded, item["failed"], item["cancelled"], duration, *counts)
        )
    table.print()


@app.command()
def watch(run: RunArgument, server: Server = DEFAULT_SERVER, output: Output = Format.TABLE) -> None:
    """Follow a run until it ends. Ctrl-C leaves the watching; the run goes on."""
    with Client(server) as client:
        _follow(client, run, output)


def _follow(client: Client, run: str, output: Format) -> None:
    left = f"run {run} goes on: `tiercel run watch {run}` follows it again"
    view = _until_left(lambda screen: watch_run(client, run, screen.show), output, left)
    if output is Format.JSON:
        print_json(view)
    if view["run"]["state"] != "completed":
        raise typer.Exit(REFUSED)


@app.command()
def history(
    run: RunArgument,
    after: Annotated[int, typer.Option(min=0, help="Skip what was shown before: the number of the last one.")] = 0,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 10_000,
    server: Server = DEFAULT_SERVER,
    output: Output = Format.TABLE,
) -> None:
    """Show all that happened in a run, event by event."""
    entries = list[HistoryEntry]()
    with Client(server) as client:
        while len(entries) < limit:
            page = client.history(run, after=after, limit=min(limit - len(entries), PAGE))
            entries += page["items"]
            after = page["next"]
            if not after:
                break
    if output is Format.JSON:
        print_json(entries)
        return
    table = Table(("time", "stream", "seq", "epoch", "event", "content"))
    for entry in entries:
        content = {name: value for name, value in entry["event"].items() if name != "named"}
        named: Any = entry["event"].get("named") or {}
        what = entry["kind"], short({**content, **named}, 100)
        table.rows.append((when(entry["time"]), entry["stream"], entry["seq"], entry["epoch"], *what))
    table.print()
    if after:
        note(f"there is more: --after {after} shows what follows")


@app.command()
def cancel(
    run: RunArgument,
    reason: Annotated[str, typer.Option(help="Why; it is kept in the run's history.")] = "",
    wait: Annotated[float, typer.Option(min=0, max=60, help="Seconds to wait for the run's home to answer.")] = 2.0,
    server: Server = DEFAULT_SERVER,
    output: Output = Format.TABLE,
) -> None:
    """Cancel a run. Where its site is cut off, the site decides as soon as it hears of it."""
    with Client(server) as client:
        outcome = client.cancel(run, reason=reason, wait_s=wait)
    print_outcome(outcome, output)


def print_outcome(outcome: Run | Command, output: Format) -> None:
    """What came of an order: the run as it is now, or the command that its homes have not answered yet."""
    if output is Format.JSON:
        print_json(outcome)
    elif "kind" in outcome:
        _note_command(outcome)
        Table(("command", "run", "state"), [(outcome["command"], outcome["run"], outcome["state"])]).print()
    else:
        Table(("run", "state"), [(outcome["run"]["id"], state(outcome["run"]))]).print()


def _note_command(command: Command) -> None:
    homes = ", ".join(command["homes"])
    where = f"{homes} (link {link(command['link'])})" if "link" in command else homes
    if command["state"] == "pending":
        note(f"{where} has not answered yet: the run goes on there until it has; command {command['command']}")
    else:
        note(f"{where}: {command['state']}; the run ends when its attempts in hand have; command {command['command']}")


def _until_left(following: Callable[[Screen], Coroutine[Any, Any, _Outcome]], output: Format, left: str) -> _Outcome:
    """Run what follows runs; Ctrl-C ends the following and nothing else."""
    try:
        with Screen(output) as screen:
            return asyncio.run(following(screen))
    except KeyboardInterrupt:
        note(left)
        raise typer.Exit(INTERRUPTED) from None
