"""The entry of the command `tiercel`: what it is, and what its exit codes mean."""

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from tiercel.answers import ApiError, ServerUnreachable
from tiercel.cli.advice import in_commands
from tiercel.cli.commands import Commands
from tiercel.cli.options import EXIT_CODES, REFUSED, UNREACHABLE
from tiercel.cli.text import clean

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog=EXIT_CODES,
)


@app.callback()
def tiercel(
    show_version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    """Durable workflows over cloud, edge and agents."""
    if show_version:
        typer.echo(f"tiercel {version('tiercel-sdk')}")
        raise typer.Exit


def main() -> None:
    """Run the command line; ends the process."""
    try:
        app(prog_name="tiercel")
    except ApiError as error:
        said = [problem for problem in error.problems if problem not in error.detail]
        say(f"{error} ({error.status} {error.code})", said)
        sys.exit(REFUSED)
    except ServerUnreachable as error:
        say(f"{error}", ["is it running? `tiercel up` starts one; --server or TIERCEL_SERVER names another"])
        sys.exit(UNREACHABLE)


def say(line: str, more: list[str]) -> None:
    """One error, in plain words and with the commands that help; several mistakes on a line each."""
    first, *others = line.split("\n")
    typer.echo(f"tiercel: {clean(in_commands(first))}", err=True)
    for detail in (*others, *more):
        typer.echo(f"  {clean(in_commands(detail))}", err=True)
