"""`tiercel cloud`: the planner and its API as a process of its own, for a machine or container without Ray."""

from pathlib import Path
from typing import Annotated

import typer

from cloud.admission import RUNS_ACTIVE_MAX
from cloud.driver import CloudConfig, GlobalPlanner
from sync.actors import run_node, run_until_signalled
from sync.blobs import STORE_BYTES_MAX
from sync.identity.files import CA_KEY, LEAF_DAYS, TLS_DIR_HELP, TlsFiles, tls_files
from sync.listen import check_address
from sync.log_errors import LogError
from sync.log_lines import configure_logging
from sync.retention.policy import ARCHIVE_HELP, KEEP_DAYS_HELP, NO_ARCHIVE_HELP, RESEED_AFTER_DAYS, RESEED_HELP, Policy

INSECURE = "listen on addresses that other machines can reach, without authentication"
NO_RENEW = "do not renew the cloud's own certificate when a third of its life is left, though it has the CA"
CA_DIR = (
    "directory of the CA (tiercel cert init): the cloud signs and renews the certificates of sites; default: ca in --data, if "
    "there is one"
)
CERT_DAYS_MIN = 1 / 24
LISTEN_JOIN = "address of a port where sites get their first certificate for a token (tiercel site token create)"


def command(
    data: Annotated[Path, typer.Option(help="directory of the log")] = Path(".tiercel/cloud"),
    api: Annotated[str, typer.Option(help="address of the API")] = "127.0.0.1:8003",
    listen: Annotated[str, typer.Option(help="address that the edges dial")] = "127.0.0.1:7443",
    blobs_max: Annotated[float, typer.Option(min=0, help="GiB of large values that are kept")] = STORE_BYTES_MAX / (1 << 30),
    insecure: Annotated[bool, typer.Option("--insecure", help=INSECURE)] = False,
    tls_dir: Annotated[Path | None, typer.Option(help=TLS_DIR_HELP)] = None,
    tls_ca: Annotated[Path | None, typer.Option(help="whom to trust, in PEM; default: ca.crt in --tls-dir")] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="our certificate; default: tls.crt in --tls-dir")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="its key; default: tls.key in --tls-dir")] = None,
    api_tls_cert: Annotated[Path | None, typer.Option(help="the API's certificate, in PEM: the API is HTTPS")] = None,
    api_tls_key: Annotated[Path | None, typer.Option(help="its key")] = None,
    ca_dir: Annotated[Path | None, typer.Option(help=CA_DIR)] = None,
    listen_join: Annotated[str, typer.Option(help=LISTEN_JOIN)] = "",
    cert_days: Annotated[float, typer.Option(min=CERT_DAYS_MIN, help="so long certificates are valid that it signs")] = LEAF_DAYS,
    no_renew: Annotated[bool, typer.Option("--no-renew", help=NO_RENEW)] = False,
    public_url: Annotated[str, typer.Option(help="how others reach the API: links in notifications begin so")] = "",
    keep_ended_days: Annotated[float, typer.Option(help=KEEP_DAYS_HELP)] = 0.0,
    archive_dir: Annotated[Path | None, typer.Option(help=ARCHIVE_HELP)] = None,
    no_archive: Annotated[bool, typer.Option("--no-archive", help=NO_ARCHIVE_HELP)] = False,
    reseed_after_days: Annotated[float, typer.Option(help=RESEED_HELP)] = RESEED_AFTER_DAYS,
    runs_active_max: Annotated[
        int, typer.Option(min=1, help="so many runs are active at once, the others wait for their turn")
    ] = RUNS_ACTIVE_MAX,
) -> None:
    """Run the cloud: the planner, its API and the links of all sites. Ctrl-C stops it."""
    configure_logging(None)
    try:
        archive = archive_dir.resolve() if archive_dir is not None else None
        retention = Policy(keep_ended_days, archive, no_archive, reseed_after_days)
        tls = tls_files(tls_dir, tls_ca, tls_cert, tls_key)
        if (api_tls_cert is None) != (api_tls_key is None):
            raise ValueError("--api-tls-cert and --api-tls-key are given together")
        check_address(api, insecure=insecure)
        check_address(listen, insecure=insecure or tls is not None)
        if listen_join:
            check_address(listen_join, insecure=insecure or tls is not None)
        if insecure:
            who = "the API does" if tls else "connections do"
            typer.echo(f"WARNING: --insecure: {who} not ask who calls; whoever reaches it can run work", err=True)
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        host, _, port = api.rpartition(":")
        config = CloudConfig(
            data.resolve(),
            host,
            int(port),
            listen,
            insecure=insecure,
            blobs_bytes_max=int(blobs_max * (1 << 30)),
            runs_active_max=runs_active_max,
            public_url=public_url,
            retention=retention,
            tls=tls,
            ca_dir=ca_dir or _own_ca(data, tls),
            cert_days=cert_days,
            listen_join=listen_join,
            renews=not no_renew,
            api_tls=(api_tls_cert, api_tls_key) if api_tls_cert and api_tls_key else None,
        )
        run_node(run_until_signalled(lambda: GlobalPlanner(config)))
    except (LogError, ValueError, OSError, RuntimeError) as error:
        typer.echo(f"tiercel cloud: {error}", err=True)
        raise typer.Exit(1) from None


def _own_ca(data: Path, tls: TlsFiles | None) -> Path | None:
    """A CA that was made in the cloud's own directory."""
    return data / "ca" if tls is not None and (data / "ca" / CA_KEY).exists() else None
