"""`tiercel run add`: tasks that the definition has not, for one run."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from tiercel.cli.options import Format, Output, Server
from tiercel.cli.run import RunArgument, print_outcome
from tiercel.cli.run_control import Wait
from tiercel.cli.run_dependencies import app
from tiercel.cli.yaml_text import read_yaml
from tiercel.client import DEFAULT_SERVER, Client

__all__ = ["app"]


@app.command()
def add(
    run: RunArgument,
    file: Annotated[str, typer.Argument(metavar="FILE", help="YAML or JSON: `tasks`, as in a definition; - reads the input.")],
    link: Annotated[
        list[str] | None,
        typer.Option("--link", metavar="TASK=NEED[,NEED]", help="A task of the run, not begun yet, waits for these too."),
    ] = None,
    by: Annotated[str, typer.Option(help="Who adds them; it is kept in the run's history.")] = "",
    wait: Wait = 2.0,
    server: Server = DEFAULT_SERVER,
    output: Output = Format.TABLE,
) -> None:
    """Add tasks to a run that is under way. Its definition stays as it is."""
    tasks, links = added(text_of(file), file), linked(link or [])
    with Client(server) as client:
        outcome = client.order(run, "add", wait_s=wait, tasks=tasks, by=by, links=links)
    print_outcome(outcome, output)


def added(text: str, source: str) -> dict[str, Any]:
    """The tasks in the text. Raises BadParameter, which names the place."""
    try:
        found = read_yaml(text)
    except yaml.YAMLError as error:
        raise typer.BadParameter(f"{source} is neither YAML nor JSON: {error}", param_hint="FILE") from None
    if isinstance(found, dict) and found.keys() == {"tasks"}:
        found = found["tasks"]
    if not isinstance(found, dict) or not found or not all(isinstance(name, str) for name in found):
        what = type(found).__name__ if not isinstance(found, dict) else ", ".join(map(str, found)) or "an empty mapping"
        raise typer.BadParameter(f"{source} holds {what}; allowed: `tasks`, a mapping of id -> task", param_hint="FILE")
    return found


def linked(texts: list[str]) -> dict[str, list[str]]:
    """Who is to wait for what. Raises BadParameter."""
    links: dict[str, list[str]] = {}
    for text in texts:
        task, is_given, needs = text.partition("=")
        names = [need for need in needs.split(",") if need]
        if not task or not is_given or not names:
            raise typer.BadParameter(f"{text!r} is no link; allowed: TASK=NEED, or TASK=NEED,NEED", param_hint="--link")
        links.setdefault(task, []).extend(names)
    return links


def text_of(file: str) -> str:
    """What a file holds, or the input. Raises BadParameter."""
    if file == "-":
        return sys.stdin.read()
    try:
        return Path(file).read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{file} cannot be read: {error}", param_hint="FILE") from None
