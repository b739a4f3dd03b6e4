"""`tiercel edge`: one site as a process of its own, for a machine or container without Ray."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from coordination.group.founding import Refusal
from edge.driver import EdgeConfig
from edge.enrolling.main import command as join_cloud
from edge.group.driver import edge_node
from edge.group.main import command as group
from edge.group.values import ELECTION_MS, Asked, box_of
from sync.actors import run_node, run_until_signalled
from sync.blobs import STORE_BYTES_MAX
from sync.identity.files import TLS_DIR_HELP, tls_files
from sync.listen import check_address
from sync.log_errors import LogError
from sync.log_lines import configure_logging
from sync.retention.policy import ARCHIVE_HELP, KEEP_DAYS_HELP, NO_ARCHIVE_HELP, Policy
from sync.values import site_name_problem
from workflow.durations import parse_duration, show_duration

RESOURCE_UNITS_MAX = 1_000_000
LOCK_DELAY_MS_MAX = 3_600_000
FIRST_LINK_WAIT = (
    "seconds that a start waits for the cloud before the site goes on without it; longer is safer after a restored copy: what "
    "it lacks can be fetched back only before the site has written anything new"
)
RESOURCE = (
    "how many units the site has of a resource, as in forklift=2; may be repeated; of those not named there is one. One that "
    "cannot refuse an older holder gets a delay, as in forklift=2,lock_delay=30s: after a holder was lost, nobody gets it for so "
    "long"
)
LISTEN_TOKENS = "address of a second port of the gateway, for agents with a token instead of a certificate; needs --tls-dir"
NO_RENEW = "do not have the cloud renew our certificate when a third of its life is left"
NODE = "which of --peers this node is, in a site of several"
PEERS = "all nodes of the site, this one too: name=host:port, with commas between; 3 or 5 of them bear the loss of 1 or 2"
JOIN = "wait to be taken into the group that --peers names (tiercel edge group add) instead of founding one; on an empty disk"
PEER_LISTEN = "where to take connections of the other nodes; default: this node's address among --peers"
ADVERTISE = "address at which agents reach this node, host:port; default: --listen"
ELECTION_TIMEOUT = (
    "milliseconds after which a silent leader is replaced, 100 to 10000; of a site of several nodes, the same on each"
)
PRIORITY = "of a site of several nodes, the one with the highest leads while it is well, 0 to 100; of equal ones any"
INSECURE = "listen on addresses that other machines can reach, without authentication"


class _Edge(TyperGroup):
    """`tiercel edge` runs a site, unless the first word is a command."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args if args and args[0] in self.commands else ["run", *args])


command = typer.Typer(cls=_Edge, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
command.command("join")(join_cloud)
command.add_typer(group, name="group")


@command.command("start", epilog="A site of several nodes: see docs/groups.md.")
@command.command("run", epilog="A new site gets its certificate with `tiercel edge join`.")
def run(
    site: Annotated[str, typer.Option(help="the site's name")],
    cloud: Annotated[str, typer.Option(help="address of the cloud")] = "127.0.0.1:7443",
    data: Annotated[Path | None, typer.Option(help="directory of the log; default .tiercel/SITE")] = None,
    listen: Annotated[str, typer.Option(help="address of the agents' gateway; default: only the Unix socket")] = "",
    listen_tokens: Annotated[str, typer.Option(help=LISTEN_TOKENS)] = "",
    run_dir: Annotated[
        Path | None, typer.Option(help="short directory for sockets; default /run/user/UID/tiercel or /tmp")
    ] = None,
    first_link_wait: Annotated[float, typer.Option(help=FIRST_LINK_WAIT)] = 1.0,
    blobs_max: Annotated[float, typer.Option(min=0, help="GiB of large values that are kept")] = STORE_BYTES_MAX / (1 << 30),
    resource: Annotated[list[str] | None, typer.Option(help=RESOURCE)] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help=INSECURE)] = False,
    tls_dir: Annotated[Path | None, typer.Option(help=TLS_DIR_HELP)] = None,
    tls_ca: Annotated[Path | None, typer.Option(help="whom to trust, in PEM; default: ca.crt in --tls-dir")] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="our certificate; default: tls.crt in --tls-dir")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="its key; default: tls.key in --tls-dir")] = None,
    no_renew: Annotated[bool, typer.Option("--no-renew", help=NO_RENEW)] = False,
    node: Annotated[str, typer.Option(help=NODE)] = "",
    peers: Annotated[str, typer.Option(help=PEERS)] = "",
    join: Annotated[bool, typer.Option("--join", help=JOIN)] = False,
    peer_listen: Annotated[str, typer.Option(help=PEER_LISTEN)] = "",
    advertise: Annotated[str, typer.Option(help=ADVERTISE)] = "",
    election_timeout: Annotated[int, typer.Option(help=ELECTION_TIMEOUT)] = ELECTION_MS,
    priority: Annotated[int, typer.Option(help=PRIORITY)] = 0,
    keep_ended_days: Annotated[float, typer.Option(help=KEEP_DAYS_HELP)] = 0.0,
    archive_dir: Annotated[Path | None, typer.Option(help=ARCHIVE_HELP)] = None,
    no_archive: Annotated[bool, typer.Option("--no-archive", help=NO_ARCHIVE_HELP)] = False,
) -> None:
    """Run one site: its executor, the gateway for its agents, its link to the cloud. Ctrl-C stops it."""
    configure_logging(None)
    try:
        retention = Policy(keep_ended_days, archive_dir.resolve() if archive_dir is not None else None, no_archive)
        tls = tls_files(tls_dir, tls_ca, tls_cert, tls_key)
        if (wrong := site_name_problem(site)) is not None:
            raise ValueError(wrong)
        is_secured = insecure or tls is not None
        if listen:
            check_address(listen, insecure=is_secured)
        box = box_of(Asked(node, peers, join, peer_listen, advertise, listen, is_secured, election_timeout, priority))
        if insecure:
            typer.echo("WARNING: --insecure: connections are not authenticated; whoever reaches them can run work", err=True)
        data_dir = (data or Path(".tiercel") / (site if box is None else f"{site}-{box.node}")).resolve()
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        config = EdgeConfig(
            site,
            data_dir,
            run_dir or default_run_dir(),
            cloud,
            listen,
            first_link_wait_s=first_link_wait,
            insecure=insecure,
            blobs_bytes_max=int(blobs_max * (1 << 30)),
            resources=units_of(resource or []),
            lock_delays=lock_delays_of(resource or []),
            retention=retention,
            tls=tls,
            listen_tokens=listen_tokens,
            renews=not no_renew,
            box=box,
        )
        run_node(run_until_signalled(lambda: edge_node(config)))
    except (LogError, Refusal, ValueError, OSError, RuntimeError) as error:
        typer.echo(f"tiercel edge: {error}", err=True)
        raise typer.Exit(1) from None


def units_of(written: Sequence[str]) -> dict[str, int]:
    """Units by resource, from `name=units` or `name=units,lock_delay=30s`. Raises ValueError."""
    return {name: units for name, units, _ in map(_resource_of, written)}


def lock_delays_of(written: Sequence[str]) -> dict[str, int]:
    """The lock-delays (ms) by resource, of those that have one. Raises ValueError."""
    delays = {name: delay_ms for name, _, delay_ms in map(_resource_of, written)}
    return {name: delay_ms for name, delay_ms in delays.items() if delay_ms}


def _resource_of(each: str) -> tuple[str, int, int]:
    name, _, said = each.partition("=")
    count, comma, option = said.partition(",")
    word, _, delay = option.partition("=")
    wrong = (
        f"resource {each!r}: allowed is name=units, 0 to {RESOURCE_UNITS_MAX:,} of them, as in forklift=2, and after it "
        f"lock_delay=TIME, up to {show_duration(LOCK_DELAY_MS_MAX)}, as in forklift=2,lock_delay=30s"
    )
    if not name or not count.isdecimal() or int(count) > RESOURCE_UNITS_MAX or (comma and word != "lock_delay"):
        raise ValueError(wrong)
    try:
        delay_ms = parse_duration(delay) if comma else 0
    except ValueError:
        raise ValueError(wrong) from None
    if not 0 <= delay_ms <= LOCK_DELAY_MS_MAX:
        raise ValueError(wrong)
    return name, int(count), delay_ms


def default_run_dir() -> Path:
    """A short directory of this user's: socket paths end at 107 bytes."""
    user = Path(f"/run/user/{os.getuid()}")
    return user / "tiercel" if user.is_dir() else Path(tempfile.gettempdir()) / f"tiercel-{os.getuid()}"
