"""Nodes that begin at once: a process that has imported everything forks them from itself, so a restart takes what Ray's takes.

There are two for as long as the tests run, one for clouds and one for sites, each with a hash seed of its own: replicas must not
care. A nursery also reaps its nodes and tells how each ended.
"""

import atexit
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from functools import cache
from pathlib import Path

from tests.e2e.node import Service, live

READY_S_MAX = 120.0
MESSAGE_BYTES_MAX = 64 * 1024


class Process:
    """A forked node. Its pid is never mistaken for another's, however late it is asked about."""

    def __init__(self, pid: int, connection: socket.socket, stdin: int, stdout: int) -> None:
        self.pid, self.stdout = pid, stdout
        self.status: int | None = None
        self._connection, self._stdin = connection, stdin
        self._ended = threading.Event()
        self._descriptor = os.pidfd_open(pid)

    def signal(self, number: int) -> None:
        """Send a signal, if it still lives."""
        if self.status is None:
            signal.pidfd_send_signal(self._descriptor, number)

    def wait(self, timeout_s: float) -> bool:
        """Has it ended, at the latest after that time?"""
        return self._ended.wait(timeout_s)

    def await_status(self) -> int:
        """How it ended: its exit status, or minus the signal. For one thread alone."""
        self.status = os.waitstatus_to_exitcode(int(self._connection.recv(64)))
        self._ended.set()
        self._connection.close()
        os.close(self._stdin)
        return self.status


class Nursery:
    """The process that forks. Returns from the constructor before it is ready."""

    def __init__(self) -> None:
        self._path = Path(tempfile.mkdtemp(prefix="tcn-", dir="/tmp")) / "s"  # Socket paths end at 107 bytes.
        command = [sys.executable, "-m", "tests.e2e.nursery", str(self._path)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._guard, self._ready = threading.Lock(), False
        atexit.register(self._close)

    def fork(self, service: Service, errors: int) -> Process:
        """A new process of the service; `errors` is a descriptor for its stderr."""
        self._await_ready()
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.connect(str(self._path))
        stdin, keep = os.pipe()
        hear, stdout = os.pipe()
        socket.send_fds(connection, [pickle.dumps(service)], [stdin, stdout, errors])
        os.close(stdin)
        os.close(stdout)
        return Process(int(connection.recv(64)), connection, keep, hear)

    def _await_ready(self) -> None:
        with self._guard:
            if not self._ready:
                assert self._process.stdout is not None
                assert self._process.stdout.readline() == b"ready\n", "the nursery did not start"
                self._ready = True

    def _close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        self._path.unlink(missing_ok=True)
        self._path.parent.rmdir()


@cache
def nurseries() -> tuple[Nursery, Nursery]:
    """That of clouds and that of sites. They begin when they are first needed."""
    return Nursery(), Nursery()


def main(path: str) -> None:
    """Fork what is asked for and tell how it ended, until stdin ends."""
    import agents.host  # noqa: F401, PLC0415 - For those that are forked.

    assert threading.active_count() == 1, "a process with threads must not fork"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(path)
    listener.listen(64)
    print("ready", flush=True)
    children: dict[int, tuple[int, socket.socket]] = {}
    while True:
        readable, _, _ = select.select([0, listener.fileno(), *children], [], [])
        for descriptor in readable:
            if descriptor == 0:
                return
            if descriptor == listener.fileno():
                pid, connection = _fork(listener.accept()[0])
                children[os.pidfd_open(pid)] = (pid, connection)
            else:
                _reap(descriptor, *children.pop(descriptor))


def _fork(connection: socket.socket) -> tuple[int, socket.socket]:
    message, descriptors, _, _ = socket.recv_fds(connection, MESSAGE_BYTES_MAX, 3)
    pid = os.fork()
    if pid == 0:
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number)
        os.closerange(3, 1_024)
        live(pickle.loads(message))
    for descriptor in descriptors:
        os.close(descriptor)
    connection.send(b"%d" % pid)
    return pid, connection


def _reap(descriptor: int, pid: int, connection: socket.socket) -> None:
    _, status = os.waitpid(pid, 0)
    os.close(descriptor)
    connection.send(b"%d" % status)
    connection.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
