"""`tiercel log`: is what was written still what is there?"""

import importlib
from pathlib import Path
from typing import Annotated, Any

import typer

from tiercel.cli import log_files
from tiercel.cli.options import REFUSED, Format, Output, Server, noun
from tiercel.cli.show import Table, print_json
from tiercel.client import DEFAULT_SERVER, Client

app = noun("Check that a log holds what was written to it; archive and cut what is old.")


@app.callback()
def log() -> None:
    """Check that a log holds what was written to it; archive and cut what is old."""


@app.command()
def verify(
    path: Annotated[
        Path | None, typer.Argument(help="A log file, or a directory of logs, of nodes that are stopped.", exists=True)
    ] = None,
    archive: Annotated[
        Path | None,
        typer.Option(help="Where the archives of a log at PATH are: check them too, and that they join.", exists=True),
    ] = None,
    server: Server = DEFAULT_SERVER,
    output: Output = Format.TABLE,
) -> None:
    """Check every hash chain: of the cloud's log through the API, or of the logs at PATH. Exit code 1 unless all are whole."""
    if path is None and archive is not None:
        raise typer.BadParameter("archives are checked against a log file: give its PATH too", param_hint="--archive")
    if path is None:
        with Client(server) as client:
            entries = client.verify()
    else:
        entries = [entry for file in log_files.logs_at(path) for entry in _verify_offline(file)]
        if archive is not None and all(entry["ok"] for entry in entries):
            entries += log_files.offline(
                lambda p: [e for file in log_files.logs_at(path) for e in p.verify_archives(file, archive)]
            )
    if output is Format.JSON:
        print_json(entries)
    else:
        columns = list(dict.fromkeys(name for entry in entries for name in entry if name != "in_use"))
        table = Table(columns)
        for entry in entries:
            word = "ok" if entry.get("ok") else "not checked" if entry.get("in_use") else "damaged"
            table.rows.append([word if name == "ok" else entry.get(name, "") for name in columns])
        table.print()
    if not all(entry.get("ok") for entry in entries):
        raise typer.Exit(REFUSED)


def _verify_offline(path: Path) -> list[dict[str, Any]]:
    """Let the platform check the file: the SDK knows nothing of how logs are kept, so the import is by name."""
    try:
        platform, errors = importlib.import_module("sync.log"), importlib.import_module("sync.log_errors")
    except ModuleNotFoundError as error:
        typer.echo("tiercel: checking a log file needs the platform: pip install tiercel-platform", err=True)
        raise typer.Exit(REFUSED) from error
    try:
        report = platform.verify(path)
    except errors.LogLocked as error:
        problem = f"{error}; a running node checks its own log: `tiercel log verify` without a path asks the cloud"
        return [{"log": str(path), "stream": "", "events": 0, "ok": False, "in_use": True, "problem": problem}]
    except errors.LogError as error:
        return [{"log": str(path), "stream": "", "events": 0, "ok": False, "problem": str(error)}]
    events = {stream: head.seq for stream, head in report.heads.items()} or {"": 0}
    return [{"log": str(path), "stream": stream, "events": count, "ok": True, "problem": ""} for stream, count in events.items()]


for _name, _command in (
    ("status", log_files.status),
    ("archive", log_files.archive),
    ("prune", log_files.prune),
    ("compact", log_files.compact),
    ("show-archive", log_files.show_archive),
):
    app.command(_name)(_command)
