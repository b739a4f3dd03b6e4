"""`tiercel up`, as a person starts and stops it: a real system of real processes."""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from deploy import health
from deploy.cluster import processes_of
from tests.free_ports import free_port, free_ports
from tiercel.client import Client
from tiercel.tls import Tls

TIERCEL = [sys.executable, "-c", "from tiercel.cli.main import main; main()"]
PATIENCE_S = 100.0
LOOPBACK = ("127.0.0.1", "::ffff:127.0.0.1", "::1")


class Up:
    """One `tiercel up` with one site, and all it prints."""

    def __init__(self, data: Path, ports: list[int], *more: str) -> None:
        self.api = f"http://127.0.0.1:{ports[0]}"
        options = [
            "--data",
            str(data),
            "--api-port",
            str(ports[0]),
            "--sync-port",
            str(ports[1]),
            "--site",
            f"harbour={ports[2]}",
            *more,
        ]
        self.process = subprocess.Popen([*TIERCEL, "up", *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.printed = ""
        self.family: set[psutil.Process] = set()

    def await_line(self, text: str) -> None:
        """Read until it has printed this."""
        assert self.process.stdout is not None
        deadline = time.monotonic() + PATIENCE_S
        while text not in self.printed:
            assert time.monotonic() < deadline, f"no {text!r} in: {self.printed}"
            if select.select([self.process.stdout], [], [], 1.0)[0]:
                chunk = os.read(self.process.stdout.fileno(), 65_536)
                assert chunk, f"it ended: {self.printed}"
                self.printed += chunk.decode()
        self.family |= set(psutil.Process(self.process.pid).children(recursive=True))

    def end(self, number: int) -> int:
        """Send the signal and wait; its exit code."""
        self.process.send_signal(number)
        output, _ = self.process.communicate(timeout=PATIENCE_S)
        self.printed += output.decode()
        return self.process.returncode


@contextmanager
def running(data: Path, ports: list[int], *more: str) -> Iterator[Up]:
    up = Up(data, ports, *more)
    try:
        yield up
    finally:
        with suppress(psutil.NoSuchProcess):
            for process in psutil.Process(up.process.pid).children(recursive=True):
                process.kill()
        up.process.kill()
        up.process.communicate()


def run_directories(home: Path) -> list[Path]:
    return list(home.glob("tiercel-*"))


@pytest.fixture
def run_home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runtime directory of the test's own, short enough for sockets."""
    home = Path(f"/tmp/tu{os.getpid() % 10_000}")
    home.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home))
    yield home
    for path in sorted(home.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    home.rmdir()


@pytest.mark.timeout(300)
def test_it_starts_says_what_runs_and_leaves_nothing(tmp_path: Path, run_home: Path) -> None:
    """A system starts, works, survives kill -9 of a node, keeps a second one out, and on Ctrl-C leaves no process behind."""
    ports = free_ports(3)
    with running(tmp_path / "data", ports) as up:
        up.await_line("All sites are linked.")
        assert f"API {up.api}" in up.printed
        assert f"gateway for yours: 127.0.0.1:{ports[2]}" in up.printed
        (directory,) = run_directories(run_home)
        itself = f"site status --socket {directory / 'harbour.sock'}"
        assert f"tiercel {itself}" in up.printed
        subprocess.run([*TIERCEL, *itself.split()], capture_output=True, check=True)
        assert not listens_beyond_loopback(up.family)

        second = subprocess.run([*TIERCEL, "up", "--data", str(tmp_path / "data")], capture_output=True, text=True, check=False)
        assert second.returncode == 1
        assert f"is in use by process {up.process.pid}" in second.stderr

        with Client(up.api) as client:
            say = {"capability": "json.render", "with": {"value": 1}}
            definition: dict[str, object] = {"name": "hello", "version": "1.0.0", "tasks": {"say": say}}
            run = client.start(definition)["id"]
            assert client.run(run, wait_s=60)["run"]["state"] == "completed"

        edge = names(up.family)["ray::EdgeActor"]
        edge.kill()
        up.await_line(f"harbour: process {edge.pid} died; Ray restarted it")
        assert up.end(signal.SIGINT) == 0
        assert "Nothing runs any more" in up.printed
        assert [process for process in up.family if process.is_running()] == []
        assert processes_of(directory) == set()
        assert run_directories(run_home) == []


@pytest.mark.timeout(300)
def test_with_tls_every_port_but_the_api_asks_who_is_there(tmp_path: Path, run_home: Path) -> None:
    """Cloud, site and agents work together by certificates of a CA that it made; without one, neither port says a word."""
    ports = free_ports(3)
    data = tmp_path / "data"
    with running(data, ports, "--tls") as up:
        up.await_line("All sites are linked.")
        with Client(up.api) as client:
            say = {"capability": "json.render", "with": {"value": 1}}
            definition: dict[str, object] = {"name": "hello", "version": "1.0.0", "tasks": {"say": say}}
            run = client.start(definition)["id"]
            assert client.run(run, wait_s=60)["run"]["state"] == "completed"
        for address, node in ((f"127.0.0.1:{ports[1]}", "cloud"), (f"127.0.0.1:{ports[2]}", "harbour")):
            assert "does not answer" in health.main(address)
            folder = data / "tls" / node
            tls = Tls(folder / "ca.crt", folder / "tls.crt", folder / "tls.key")
            assert health.main(address, tls) == ""
        agents = sorted(path.name for path in (data / "tls" / "harbour.agents").iterdir())
        assert agents == ["harbour-1", "harbour-2"]
        assert up.end(signal.SIGINT) == 0
        assert [process for process in up.family if process.is_running()] == []


@pytest.mark.timeout(300)
def test_a_site_of_three_boxes_goes_on_without_any_of_them(tmp_path: Path, run_home: Path) -> None:
    """Over TLS: it says where all boxes are; the one that leads is killed, another leads, Ray starts it again, and what is asked
    for meanwhile is done. On Ctrl-C nothing is left."""
    first = free_port(6)
    ports = [*free_ports(2), first]
    with running(tmp_path / "data", ports, "--nodes", "3", "--peer-port", str(first + 3), "--tls") as up:
        up.await_line(" leads, in term ")
        assert f"gateways for yours: {','.join(f'127.0.0.1:{first + at}' for at in range(3))}" in up.printed
        leader = up.printed.partition("harbour: box ")[2][0]
        (directory,) = run_directories(run_home)
        for box in "abc":
            shown = subprocess.run(
                [*TIERCEL, "site", "status", "--socket", str(directory / f"harbour-{box}.sock")], capture_output=True, check=True
            )
            assert f"127.0.0.1:{first + 3}" in shown.stdout.decode()
        pid = int(up.printed.partition(f"box {leader}, process ")[2].partition(":")[0])
        psutil.Process(pid).kill()
        with Client(up.api) as client:
            say = {"capability": "json.render", "with": {"value": 1}}
            definition: dict[str, object] = {"name": "hello", "version": "1.0.0", "tasks": {"say": say}}
            run = client.start(definition)["id"]
            assert client.run(run, wait_s=60)["run"]["state"] == "completed"
        up.await_line(f"harbour-{leader}: process {pid} died; Ray restarted it")
        assert {path.name for path in (tmp_path / "data" / "tls").iterdir()} >= {f"harbour-{box}" for box in "abc"}
        assert up.end(signal.SIGINT) == 0
        assert [process for process in up.family if process.is_running()] == []
        assert run_directories(run_home) == []


@pytest.mark.timeout(300)
def test_ctrl_c_while_it_starts(tmp_path: Path, run_home: Path) -> None:
    """Interrupted in the middle of the start, it leaves nothing behind either."""
    with running(tmp_path / "data", free_ports(3)) as up:
        up.await_line("Starting Ray")
        deadline = time.monotonic() + PATIENCE_S
        while "raylet" not in names(up.family):
            assert time.monotonic() < deadline
            up.family |= set(psutil.Process(up.process.pid).children(recursive=True))
        assert up.end(signal.SIGINT) == 0
        assert [process for process in up.family if process.is_running()] == []
        assert run_directories(run_home) == []


def names(processes: set[psutil.Process]) -> dict[str, psutil.Process]:
    """One living process of each name."""
    found: dict[str, psutil.Process] = {}
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            found[process.name()] = process
    return found


def listens_beyond_loopback(processes: set[psutil.Process]) -> list[str]:
    """Listening sockets that other machines can reach."""
    found = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            for socket_ in process.net_connections("tcp"):
                if socket_.status == psutil.CONN_LISTEN and str(socket_.laddr[0]) not in LOOPBACK:
                    found.append(f"{process.name()} on {socket_.laddr[0]}")
    return found
