"""`tiercel log` for the files of stopped nodes: what they hold, what may leave them, and what is in their archives."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from tiercel.cli.options import REFUSED, Format, Output
from tiercel.cli.show import Table, print_json
from tiercel.cli.text import short, when

Data = Annotated[
    Path, typer.Argument(metavar="DATA", help="A log file, or a directory of logs, of nodes that are stopped.", exists=True)
]
Days = Annotated[float, typer.Option("--keep-ended-days", min=0, help="Days that events, and runs that have ended, are kept.")]


def logs_at(path: Path) -> list[Path]:
    """The log files at a path."""
    found = sorted(path.rglob("*.db")) if path.is_dir() else [path]
    if not found:
        raise typer.BadParameter(f"there is no log (*.db) in {path}", param_hint="DATA")
    return found


def offline(work: Callable[[Any], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Let the platform work on files: the SDK knows nothing of how logs are kept, so the import is by name."""
    try:
        platform, errors = importlib.import_module("sync.retention.service"), importlib.import_module("sync.log_errors")
    except ModuleNotFoundError as error:
        typer.echo("tiercel: working on log files needs the platform: pip install tiercel-platform", err=True)
        raise typer.Exit(REFUSED) from error
    try:
        return work(platform)
    except (errors.LogError, OSError, ValueError) as error:
        typer.echo(f"tiercel: {error}", err=True)
        raise typer.Exit(REFUSED) from error


def status(
    data: Data,
    keep_ended_days: Days = 0.0,
    reseed_after_days: Annotated[
        float, typer.Option("--reseed-after-days", min=0, help="Days that events wait for a site that is away; 0: for ever.")
    ] = 0.0,
    output: Output = Format.TABLE,
) -> None:
    """Show what logs hold, how far they were cut, and how many events may go at that age."""
    found = offline(lambda platform: [platform.status(path, keep_ended_days, reseed_after_days) for path in logs_at(data)])
    if output is Format.JSON:
        print_json(found)
        return
    table = Table(("log", "node", "events", "bytes", "oldest", "cut to", "may go", "held back by", "last archive"))
    for each in found:
        sizes = each["events"], each["bytes"], when(each["oldest"]) if each["oldest"] else ""
        held_by = "; ".join((*filter(None, (each["held_by"],)), *map("{} will be re-seeded".format, each["will_be_reseeded"])))
        table.rows.append((each["log"], each["node"], *sizes, each["cut"], each["may_go"], held_by, each["last_archive"]))
    table.print()


def archive(
    data: Data,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where the archives go.")],
    keep_ended_days: Days,
    output: Output = Format.TABLE,
) -> None:
    """Archive events that are no longer kept, verify the archive, and cut them from the logs."""
    _print_cuts(offline(lambda platform: [platform.prune(path, keep_ended_days, directory) for path in logs_at(data)]), output)


def prune(
    data: Data,
    keep_ended_days: Days,
    no_archive: Annotated[bool, typer.Option("--no-archive", help="Yes, they shall be gone for good.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Cut events that are no longer kept from the logs, without an archive: they are gone."""
    if not no_archive:
        raise typer.BadParameter("what is cut is gone: say so, or use `tiercel log archive`", param_hint="--no-archive")
    _print_cuts(offline(lambda platform: [platform.prune(path, keep_ended_days, None) for path in logs_at(data)]), output)


def compact(data: Data, output: Output = Format.TABLE) -> None:
    """Give the room of what was cut back to the disk. Needs as much room again while it runs."""
    found = offline(lambda platform: [platform.compact(path) for path in logs_at(data)])
    if output is Format.JSON:
        print_json(found)
        return
    Table(("log", "bytes before", "bytes"), [(each["log"], each["bytes_before"], each["bytes"]) for each in found]).print()


def show_archive(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An archive (*.segment).", exists=True, dir_okay=False)],
    run: Annotated[str, typer.Option(help="Only the events of this run.")] = "",
    output: Output = Format.TABLE,
) -> None:
    """Show the events of an archive, which is verified while it is read."""
    events = importlib.import_module("workflow.events") if importlib.util.find_spec("workflow") else None
    entries = offline(lambda platform: platform.archived_events(file, run))
    for entry in entries:
        entry["event"] = _fields(events, entry["kind"], entry.pop("payload"))
    if output is Format.JSON:
        print_json(entries)
        return
    table = Table(("time", "run", "stream", "seq", "event", "content"))
    for entry in entries:
        what = entry["kind"], short(entry["event"], 100)
        table.rows.append((when(entry["time"]), entry["run"], entry["stream"], entry["seq"], *what))
    table.print()


def _fields(events: Any, kind: str, payload: bytes) -> dict[str, Any]:
    try:
        event = events.decode(kind, payload) if events is not None else None
    except Exception as error:  # noqa: BLE001 - Written by a later program: that it is there can be shown all the same.
        return {"unreadable": str(error)}
    return {name: _plain(getattr(event, name)) for name in getattr(event, "__struct_fields__", ())}


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value if isinstance(value, str | int | float | bool | list | dict | type(None)) else str(value)


def _print_cuts(found: list[dict[str, Any]], output: Format) -> None:
    if output is Format.JSON:
        print_json(found)
        return
    table = Table(("log", "segments", "events", "held back by", "blobs deleted", "archives"))
    for each in found:
        table.rows.append(
            (each["log"], each["segments"], each["events"], each["held_by"], each["blobs"], ",".join(each["archives"]))
        )
    table.print()
