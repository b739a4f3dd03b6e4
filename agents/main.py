"""`tiercel actions`: what agents that Tiercel runs on this machine can do."""

from typing import Annotated

import msgspec
import typer

from agents.actions import catalogue
from tiercel.cli.options import REFUSED, Format, Output
from tiercel.cli.show import Table, print_json


def actions(
    output: Output = Format.TABLE,
    broken: Annotated[
        bool, typer.Option("--broken", help="only those that cannot be used; exit code 1 if there are any")
    ] = False,
) -> None:
    """List the actions that are built in or that installed packages add, and say what is wrong with those that are broken."""
    found = [view for view in catalogue() if view.problem or not broken]
    if output is Format.JSON:
        print_json(msgspec.to_builtins(found))
    else:
        table = Table(("action", "effect", "from", "what it does"))
        table.rows += [(v.name, v.effect, v.source, f"BROKEN: {v.problem}" if v.problem else v.description) for v in found]
        table.print()
    if broken and found:
        raise typer.Exit(REFUSED)
