"""Agents of the SDK that reach their site over TCP: cloud, site and agent as processes, each with its certificate."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from sync.identity import main as certificates
from sync.identity.names import Identity
from tests.free_ports import free_port

PATIENCE_S = 60.0
AGENT = """
import logging, sys, time
from tiercel import Agent
logging.basicConfig(level=logging.INFO)
agent = Agent("crane-1", journal=sys.argv[2])

@agent.capability("lift")
def lift(crate: int) -> int:
    time.sleep(0.02)
    with open("lifted", "a") as file:
        file.write(f"{crate} ")
    return crate

agent.run(sys.argv[1])
"""


class Processes:
    """The processes of a test. What they write is kept in `folder`, by name."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.running = folder, list[subprocess.Popen[bytes]]()

    def start(self, name: str, *command: str, **environment: str) -> None:
        with (self.folder / f"{name}.log").open("wb") as log:
            environ = {**os.environ, **environment}
            self.running.append(
                subprocess.Popen([sys.executable, *command], stdout=log, stderr=log, cwd=self.folder, env=environ)
            )

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def stop(self) -> None:
        for process in reversed(self.running):
            process.send_signal(signal.SIGTERM)
        for process in self.running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    running = Processes(tmp_path)
    yield running
    running.stop()


def test_an_agent_works_over_tls_and_moves_to_a_new_certificate(processes: Processes) -> None:
    """Its certificate comes by the environment. A new one is used for a new channel while tasks go on, and none is lost; one that
    the site does not take leaves the old channel as it is; a container's question of health goes over TLS, too."""
    folder, api, links, gateway = processes.folder, free_port(), f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    certificates.init(folder / "ca")
    for name, identity in (
        ("cloud", Identity("cloud")),
        ("harbour", Identity("harbour")),
        ("crane", Identity("harbour", "crane-1")),
    ):
        certificates.issue(folder / "ca", folder / name, identity)
    cli = ("-c", "from tiercel.cli.main import main; main()")
    listen = ("--listen", links, "--tls-dir", "cloud", "--data", "c")
    processes.start("cloud.process", *cli, "cloud", "--api", f"127.0.0.1:{api}", *listen)
    with (
        tempfile.TemporaryDirectory(prefix="tcl-", dir="/tmp") as run_dir,
        httpx.Client(base_url=f"http://127.0.0.1:{api}") as client,
    ):
        site = ("--site", "harbour", "--cloud", links, "--listen", gateway, "--tls-dir", "harbour", "--data", "e")
        processes.start("site.process", *cli, "edge", *site, "--run-dir", run_dir)
        names = zip(("CA", "CERT", "KEY"), ("ca.crt", "tls.crt", "tls.key"), strict=True)
        shown = {f"TIERCEL_TLS_{name}": str(folder / "crane" / file) for name, file in names}
        processes.start("agent.process", "-c", AGENT, gateway, str(folder / "crane.journal"), **shown)
        await_true(lambda: "crane-1" in answer(client, "/api/v1/agents"))
        assert health(gateway, folder / "harbour") == ""
        assert "does not answer" in health(gateway, None)

        run = started(client, 200)
        certificates.rotate(folder / "ca", folder / "crane")
        await_true(lambda: "another channel takes over" in processes.log("agent.process"))
        picture = client.get(f"/api/v1/workflows/{run}", params={"wait": 30}, timeout=PATIENCE_S).json()
        assert picture["run"]["state"] == "completed"
        assert sorted(map(int, (folder / "lifted").read_text().split())) == list(range(200))

        certificates.init(folder / "strange")
        strange = certificates.issue(folder / "strange", folder / "other", Identity("harbour", "crane-1"))
        (folder / "crane" / "tls.key").write_bytes(strange.key.read_bytes())
        (folder / "crane" / "tls.crt").write_bytes(strange.cert.read_bytes())
        await_true(lambda: "the last one stays in use" in processes.log("agent.process"))
        again = started(client, 3)
        found = client.get(f"/api/v1/workflows/{again}", params={"wait": 30}, timeout=PATIENCE_S).json()
        assert found["run"]["state"] == "completed"


def started(client: httpx.Client, count: int) -> str:
    tasks = {f"t{n}": {"capability": "lift", "with": {"crate": n}} for n in range(count)}
    definition = {"name": f"lift-{count}", "version": "1", "tasks": tasks}
    made = client.post("/api/v1/workflows", json={"definition": definition})
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


def answer(client: httpx.Client, path: str) -> str:
    with contextlib.suppress(httpx.TransportError):
        return json.dumps(client.get(path).json())
    return ""


def health(address: str, tls: Path | None) -> str:
    command = [sys.executable, "-m", "deploy.health", address, *([str(tls)] if tls else [])]
    return subprocess.run(command, capture_output=True, text=True, check=False).stderr


def await_true(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.1)
