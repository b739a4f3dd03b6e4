"""`tiercel edge join`: a new site gets its certificate."""

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from sync.values import site_name_problem

TOKEN = "as `tiercel site token create` showed it; others on this machine see it in the list of processes: rather give a file"  # noqa: S105 - Help.
TOKEN_FILE = "file with the token, - for standard input"  # noqa: S105 - As above.
FINGERPRINT = "of the cloud's CA (tiercel cert show ca.crt), as in sha256:0a1b...; not needed with --ca, or a whole token"
WAIT = "seconds that a cloud is tried again that cannot be reached"


def command(
    cloud: Annotated[str, typer.Option(help="the cloud's port for joining, HOST:PORT (tiercel cloud --listen-join)")],
    site: Annotated[str, typer.Option(help="the site's name")],
    token: Annotated[str, typer.Option(envvar="TIERCEL_JOIN_TOKEN", show_envvar=True, help=TOKEN)] = "",
    token_file: Annotated[str, typer.Option(help=TOKEN_FILE)] = "",
    ca: Annotated[Path | None, typer.Option(help="the cloud's CA, in PEM")] = None,
    ca_fingerprint: Annotated[str, typer.Option(help=FINGERPRINT)] = "",
    out: Annotated[Path | None, typer.Option(help="directory for ca.crt, tls.crt and tls.key; default .tiercel/tls/SITE")] = None,
    wait: Annotated[float, typer.Option(min=0, help=WAIT)] = 30.0,
) -> None:
    """Get a site its first certificate, for a token. Its key is made here and stays here."""
    # What it needs takes a moment to import, and a site that runs needs nothing of it.
    from edge.enrolling.service import Enrolment, JoinRefused, join  # noqa: PLC0415

    try:
        shown = _token(token, token_file)
        if (wrong := site_name_problem(site)) is not None:
            raise ValueError(wrong)
        if not cloud.rpartition(":")[0] or not cloud.rpartition(":")[2].isdigit():
            raise ValueError(f"--cloud {cloud!r}: HOST:PORT, the cloud's port for joining")
        folder = out or Path(".tiercel/tls") / site
        joined = asyncio.run(join(Enrolment(cloud, site, shown, folder, ca, ca_fingerprint), wait))
    except (JoinRefused, ValueError, OSError) as error:
        typer.echo(f"tiercel edge join: {error}", err=True)
        raise typer.Exit(1) from None
    ends = datetime.fromtimestamp(joined.not_after_ms / 1000, UTC)
    typer.echo(f"{folder}: certificate for site {site}, until {ends:%Y-%m-%d %H:%M} UTC. Now:")
    typer.echo(f"tiercel edge --site {site} --cloud {joined.link} --tls-dir {folder}")


def _token(given: str, path: str) -> str:
    """Raises ValueError, OSError."""
    if path:
        given = sys.stdin.read() if path == "-" else Path(path).read_text("utf-8")
    if not given.strip():
        raise ValueError("no token: --token-file FILE, or TIERCEL_JOIN_TOKEN; `tiercel site token create` makes one")
    return given.strip()
