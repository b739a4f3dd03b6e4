"""`tiercel run move`: a run goes on at another site."""

from typing import Annotated

import typer

from tiercel.cli.options import Format, Output, Server
from tiercel.cli.run import RunArgument
from tiercel.cli.run_planning import app
from tiercel.cli.show import Table, note, print_json
from tiercel.client import DEFAULT_SERVER, Client

__all__ = ["app"]

To = Annotated[str, typer.Option("--to", metavar="SITE", help="To this site; without it, to whichever suits best.")]
Reason = Annotated[str, typer.Option(help="Why; it is kept.")]
Force = Annotated[bool, typer.Option("--force", help="Take it from a site that does not answer; needs --reason.")]
Seconds = Annotated[float, typer.Option("--wait", min=0, max=60, help="Seconds to wait for it to arrive.")]


@app.command()
def move(
    run: RunArgument,
    to: To = "",
    reason: Reason = "",
    force: Force = False,
    wait: Seconds = 2.0,
    server: Server = DEFAULT_SERVER,
    output: Output = Format.TABLE,
) -> None:
    """Let a run go on at another site, with all that it has done. What agents have in hand is finished first."""
    with Client(server) as client:
        found = client.move(run, to, reason, force=force, wait_s=wait)
    if output is Format.JSON:
        print_json(found)
        return
    Table(("run", "state", "sites", "epoch"), [(run, found["state"], ", ".join(found["sites"]), found["epoch"])]).print()
    if found["detail"]:
        note(found["detail"])
