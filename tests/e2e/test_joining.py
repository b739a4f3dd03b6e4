"""A site joins as an operator has it join: `tiercel cert`, `cloud`, `site token`, `edge join` and `edge`, each a process."""

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from sync.identity import main as certificates
from sync.identity.names import Identity
from sync.identity.signing.main import request_for
from tests.command_line import COMMAND
from tests.free_ports import free_port
from tests.test_site_joining import asked

PATIENCE_S = 90.0
KILLS = 3


class Operator:
    """Somebody at a terminal, in a directory; what he starts is ended with `close`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run_dir = Path(tempfile.mkdtemp(prefix="tcl-", dir="/tmp"))  # Socket paths end at 107 bytes.
        self.api, self.links, self.joining = (f"127.0.0.1:{free_port()}" for _ in range(3))
        self.started: list[subprocess.Popen[str]] = []

    def types(self, *words: str, **environment: str) -> str:
        """What the command says; it must not fail."""
        done = subprocess.run(
            [*COMMAND, *words],
            cwd=self.folder,
            env=self._environment(environment),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def starts(self, name: str, *words: str, **environment: str) -> "subprocess.Popen[str]":
        """Something that goes on; what it says is in NAME.log."""
        with (self.folder / f"{name}.log").open("a") as log:
            process = subprocess.Popen(
                [*COMMAND, *words], cwd=self.folder, env=self._environment(environment), stdout=log, stderr=log, text=True
            )
        self.started.append(process)
        return process

    def starts_cloud(self) -> "subprocess.Popen[str]":
        where = ("--api", self.api, "--listen", self.links, "--listen-join", self.joining)
        return self.starts("cloud", "cloud", "--data", "data", *where, "--tls-dir", "tls/cloud", "--ca-dir", "ca")

    def said(self, name: str) -> str:
        """All that was said under a name."""
        return (self.folder / f"{name}.log").read_text()

    def awaits(self, holds: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not holds():
            assert time.monotonic() < deadline, f"it is not so that {what}"
            time.sleep(0.1)

    def serves(self) -> bool:
        """Does the cloud answer?"""
        return self._try("run", "list")

    def linked(self) -> bool:
        """Is the site linked?"""
        sites = json.loads(self.types("site", "list", "-o", "json"))
        return [site["link"]["state"] for site in sites] == ["up"]

    def close(self) -> None:
        for process in reversed(self.started):
            process.kill()
            process.wait()
        shutil.rmtree(self.run_dir)

    def _try(self, *words: str) -> bool:
        command, environment = [*COMMAND, *words], self._environment({})
        return subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False).returncode == 0

    def _environment(self, more: dict[str, str]) -> dict[str, str]:
        return {**os.environ, "TIERCEL_SERVER": f"http://{self.api}", **more}


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Operator]:
    operator = Operator(tmp_path)
    operator.types("cert", "init", "--ca-dir", "ca")
    operator.types("cert", "issue", "--ca-dir", "ca", "--node", "cloud", "--out", "tls/cloud")
    yield operator
    operator.close()


def test_a_site_joins_by_hand_and_is_linked(operator: Operator) -> None:
    """What each command says is what the next needs; the token is in no list of processes and in no log."""
    operator.starts_cloud()
    operator.awaits(operator.serves, "the cloud serves")
    token = operator.types("site", "token", "create", "--site", "harbour", "--host", "gateway.harbour.example").strip()
    joining = ("edge", "join", "--cloud", operator.joining, "--site", "harbour", "--out", "tls/harbour")
    *_, typed = operator.types(*joining, TIERCEL_JOIN_TOKEN=token).strip().splitlines()
    assert typed == f"tiercel edge --site harbour --cloud {operator.links} --tls-dir tls/harbour"
    operator.starts("edge", *typed.split()[1:], "--data", "edge", "--run-dir", str(operator.run_dir))
    operator.awaits(operator.linked, "the site is linked")
    (listed,) = json.loads(operator.types("site", "token", "list", "-o", "json"))
    assert listed["used_by"] == "127.0.0.1"
    assert "127.0.0.1" in operator.types("site", "token", "list")
    assert token.partition(".")[0] not in operator.said("cloud") + operator.said("edge")
    operator.types("site", "token", "revoke", listed["id"])
    assert json.loads(operator.types("site", "token", "list", "-o", "json")) == []


def test_a_cloud_that_is_killed_meanwhile_signs_once(operator: Operator) -> None:
    """kill -9 again and again while a site joins and asks again: in the end it has the one certificate that was signed for it,
    and another edge with its token gets none."""
    cloud = operator.starts_cloud()
    operator.awaits(operator.serves, "the cloud serves")
    token = operator.types("site", "token", "create", "--site", "harbour").strip()
    (operator.folder / "token").write_text(token)
    joining = ("edge", "join", "--cloud", operator.joining, "--site", "harbour", "--token-file", "token", "--wait", "80")
    joined = operator.starts("join", *joining, "--out", "tls/harbour")
    for _ in range(KILLS):
        cloud.kill()
        cloud.wait()
        cloud = operator.starts_cloud()
        operator.awaits(operator.serves, "the cloud serves")
    assert joined.wait(PATIENCE_S) == 0, operator.said("join")
    found = certificates.read(operator.folder / "tls/harbour/tls.crt")
    assert found.identity == Identity("harbour")
    other = operator.starts("other", *joining, "--out", "tls/other")
    assert other.wait(PATIENCE_S) == 1
    assert "was used for another key" in operator.said("other")
    assert not (operator.folder / "tls/other/tls.crt").exists()
    assert len(json.loads(operator.types("site", "token", "list", "-o", "json"))) == 1


async def test_what_a_cloud_has_answered_it_knows_after_kill_9(operator: Operator) -> None:
    """Killed the moment that a certificate has left, again and again: whoever asks with his key gets the same bytes, and nobody
    else gets one, for what leaves was on the disk before."""
    for _ in range(KILLS):
        cloud = operator.starts_cloud()
        operator.awaits(operator.serves, "the cloud serves")
        token = operator.types("site", "token", "create", "--site", "harbour").strip()
        request = request_for(certificates.new_key())
        first = (await asked(operator.joining, operator.folder / "ca", token, request)).certificate
        cloud.kill()
        cloud.wait()
        cloud = operator.starts_cloud()
        operator.awaits(operator.serves, "the cloud serves")
        assert (await asked(operator.joining, operator.folder / "ca", token, request)).certificate == first
        with pytest.raises(grpc.aio.AioRpcError, match="was used for another key"):
            await asked(operator.joining, operator.folder / "ca", token, request_for(certificates.new_key()))
        cloud.kill()
        cloud.wait()
