"""One Ray cluster of this machine alone: on the loopback address, behind a token, and gone without a trace when it stops."""

import contextlib
import logging
import os
import secrets
import signal
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import psutil
import ray
from ray import _raylet
from ray._private import node, ray_constants, worker

LOOPBACK = "127.0.0.1"
OBJECT_STORE_BYTES = 80 << 20
"""About the least that Ray takes. We put nothing into it."""

ENDED_S_MAX = 5.0
"""How long processes get to end by themselves before they are killed."""

_TOKEN_FILE = "RAY_AUTH_TOKEN_PATH"  # noqa: S105 - The name of a variable.


_NEEDLESS = ("start_monitor", "start_log_monitor", "start_api_server")


class ClusterFailed(RuntimeError):
    """Ray did not start, or one of its own processes has ended."""


class Cluster:
    """At most one per process.

    Linux ends Ray's processes when the thread that started them ends, so start it in one that lives as long as the cluster.
    """

    def __init__(self, run_dir: Path, log_file: Path, *, workers: int) -> None:
        """`run_dir` is short, 0700 and removed by whoever made it. `workers` is how many actors there will be."""
        self._run_dir, self._log_file, self._workers = run_dir, log_file, workers
        self._own: set[psutil.Process] = set()
        self._vital: dict[str, psutil.Process] = {}

    def start(self) -> None:
        """Raises ClusterFailed. After any exception, also KeyboardInterrupt, `stop` ends what had begun."""
        # Ray makes its directories readable for all; inside one of ours nobody else reaches them.
        directory = self._run_dir / "r"
        directory.mkdir(mode=0o700)
        with _environment(_settings(self._run_dir)), contextlib.chdir(directory), _signals_kept(), _only_what_is_needed():
            _read_settings_again()
            try:
                ray.init(
                    address="local",
                    _node_ip_address=LOOPBACK,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    num_cpus=self._workers + 1,  # Up to so many processes Ray lets the idle ones live: one is to spare.
                    object_store_memory=OBJECT_STORE_BYTES,
                    _temp_dir=str(directory),
                )
            except (RuntimeError, OSError, ConnectionError, ray.exceptions.RayError) as error:
                raise ClusterFailed(f"Ray did not start: {error}") from error
        self._check()
        self._tell_into(self._log_file)

    def keep_spare(self) -> None:
        """Soon have a process to spare, in which Ray restarts the next actor that dies, in half the time.

        For a task Ray starts a process more than it needs. One that has run a task is never given to an actor, so the
        task's own ends with it, and the other stays. Costs 80 MB.
        """
        _ = ray.remote(num_cpus=0, max_calls=1)(_nothing).remote()

    def lost(self) -> str:
        """The name of a process of Ray's own that has ended, after which the cluster can do nothing; empty if all live."""
        return next((name for name, process in sorted(self._vital.items()) if not _lives(process)), "")

    def stop(self) -> None:
        """No process of the cluster is left when it returns. May be repeated."""
        # Taken before anything ends, for a process that lost its parent is no descendant of ours any more.
        processes = processes_of(self._run_dir) | self._own
        wait_s = ENDED_S_MAX if ray.is_initialized() else 0.0  # Interrupted while it started: nobody tells them to end.
        with contextlib.suppress(Exception), _signals_kept():
            ray.shutdown()
            _read_settings_again()
        end(processes, wait_s)
        end(processes_of(self._run_dir))

    def _check(self) -> None:
        self._own = processes_of(self._run_dir)
        self._vital = {p.name(): p for p in self._own if p.name() in ("gcs_server", "raylet")}
        address = str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call] # Ray types it not.
        if address != LOOPBACK:
            raise ClusterFailed(f"Ray serves on {address} and not on {LOOPBACK}: other machines could reach it, so it is stopped")

    @staticmethod
    def _tell_into(log_file: Path) -> None:
        """What Ray would print between our own lines (a page for each process that ended) goes to the log."""

        def tell(data: dict[str, object], ignore_prefix: bool) -> None:
            with contextlib.suppress(OSError), log_file.open("a") as file:
                lines = data.get("lines")
                file.writelines(f"{line}\n" for line in (lines if isinstance(lines, list) else [lines]))

        vars(worker)["print_to_stdstream"] = tell


def _nothing() -> None:
    pass


def processes_of(run_dir: Path) -> set[psutil.Process]:
    """The processes of the cluster in `run_dir`, also those whose parent has died, with all their descendants."""
    found: set[psutil.Process] = set()
    token = str(run_dir / "token")
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid != os.getpid() and process.environ().get(_TOKEN_FILE) == token:
                found.update((process, *process.children(recursive=True)))
    return found


def end(processes: Iterable[psutil.Process], wait_s: float = 0.0) -> None:
    """Wait for them, then kill those that have not ended by themselves."""
    _, left = psutil.wait_procs(processes, wait_s)
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(left, ENDED_S_MAX)


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _settings(run_dir: Path) -> dict[str, str]:
    token = run_dir / "token"
    file = os.open(token, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(file, "w") as opened:
        opened.write(secrets.token_hex(32))
    direct = [LOOPBACK, "localhost", *filter(None, [os.environ.get("no_proxy") or os.environ.get("NO_PROXY")])]
    return {
        "RAY_AUTH_MODE": "token",
        _TOKEN_FILE: str(token),
        "RAY_AUTH_TOKEN": "",
        "RAY_ADDRESS": "",
        "RAY_USAGE_STATS_ENABLED": "0",
        # Despite its name: 0 keeps Ray on the loopback address, on Linux too. By default it takes the one that others reach.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        # The nodes talk to each other on this machine: a proxy of the environment must stay out of it.
        "no_proxy": ",".join(direct),
    }


@contextlib.contextmanager
def _only_what_is_needed() -> Iterator[None]:
    """Ray also starts an autoscaler, a dashboard without pages and a reader of its own logs: 260 MB, and seconds on a small
    machine, for nothing that a cluster of one machine uses. It has no switch for them."""
    before = {name: vars(node.Node)[name] for name in _NEEDLESS if name in vars(node.Node)}
    for name in before:
        setattr(node.Node, name, lambda *_, **__: None)
    try:
        yield
    finally:
        for name, method in before.items():
            setattr(node.Node, name, method)


def _read_settings_again() -> None:
    """Ray may have been imported, even started, in this process before: it keeps what it read then."""
    ray_constants.ENABLE_RAY_CLUSTER = False
    native: Any = _raylet
    native.Config.initialize("")
    native.AuthenticationTokenLoader.instance().reset_cache()


@contextlib.contextmanager
def _environment(settings: dict[str, str]) -> Iterator[None]:
    """Variables for what is started now; an empty one is taken away. Later children of ours are not Ray's."""
    before = {name: os.environ.get(name) for name in settings}
    try:
        _set_all(settings)
        yield
    finally:
        _set_all({name: value or "" for name, value in before.items()})


def _set_all(values: dict[str, str]) -> None:
    for name, value in values.items():
        if value:
            os.environ[name] = value
        else:
            os.environ.pop(name, None)


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray puts its own reaction to SIGTERM in place of ours."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
