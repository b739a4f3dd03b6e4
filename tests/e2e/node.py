"""One node in a process of its own.

It writes "serving" to its stdout once it does, stops in order at SIGTERM, and ends at once when its stdin does: a test that was
killed leaves nothing behind.
"""

import ctypes
import logging
import os
import resource
import signal
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from agents.config import HostConfig
from cloud.driver import CloudConfig, GlobalPlanner
from edge.driver import EdgeConfig
from edge.group.driver import edge_node
from sync.actors import NodeThread

CLONE_NEWNET = 0x40000000


@dataclass(frozen=True, slots=True)
class Service:
    """What to serve, where it logs, how large a file it may write (0: any size), in which network namespace (a path)."""

    config: CloudConfig | EdgeConfig | HostConfig
    log_file: Path
    file_bytes_max: int = 0
    namespace: str = ""


class Serving(Protocol):
    """What has begun to serve."""

    def stop(self) -> bool: ...


def live(service: Service) -> None:
    """Serve until told otherwise; never returns. What keeps the node from serving is told in one line on stderr: status 1."""
    if service.namespace:
        _enter(service.namespace)  # Before there is another thread: each is in the namespace of the one that began it.
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    if service.file_bytes_max:
        _soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (service.file_bytes_max, hard))
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: stopping.set())
    try:
        serving = _serve(service)
    except Exception as error:  # noqa: BLE001 - The test reads what it was.
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(1)
    print("serving", flush=True)
    stopping.wait()
    os._exit(0 if serving.stop() else 3)


def _serve(service: Service) -> Serving:
    """As the actors of each tier do it, without Ray."""
    config, log_file = service.config, service.log_file
    match config:
        case HostConfig():
            from agents.host import AgentHost  # noqa: PLC0415 - The nodes know nothing of it.

            logging.basicConfig(filename=log_file, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
            return AgentHost(config, exit_on_failure=True)
        case EdgeConfig():
            return NodeThread(lambda: edge_node(config), name=config.site, log_file=log_file, exit_on_failure=True)
        case CloudConfig():
            return NodeThread(lambda: GlobalPlanner(config), name="cloud", log_file=log_file, exit_on_failure=True)


def _enter(namespace: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    with open(namespace, "rb") as file:  # noqa: PTH123 - a descriptor of /proc
        if libc.setns(file.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter {namespace}")


def _end_with_stdin() -> None:
    os.read(0, 1)
    os._exit(4)
