"""A secret is a reference everywhere but in the agent that uses it: its value is looked for in every byte that Tiercel leaves."""

import json
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import Build
from tests.e2e.system import System
from tests.e2e.work import link
from tiercel.answers import ApiError

pytestmark = pytest.mark.timeout(300)

VALUE = "k9-Zürich-s3cr3t-0815"
ENCODINGS = (VALUE.encode(), json.dumps(VALUE)[1:-1].encode(), VALUE.encode("utf-16-le"), VALUE.encode().hex().encode())
WITH_SECRET = """
name: with-secret
version: 1.0.0
inputs:
  token: {type: string, secret: true}
tasks:
  use: {capability: secret.use, with: {token: "${{ inputs.token }}"}, effect: repeatable, site: harbour}
  fixed: {capability: secret.use, with: {token: "secret://erp/token"}, effect: once, site: harbour, needs: [use]}
  unknown: {capability: secret.use, with: {token: "secret://no-such"}, site: harbour, needs: [fixed], retry: {max_attempts: 1}}
"""


def leaks(directory: Path, apart_from: Path) -> list[str]:
    """Files that hold the value in any form."""
    files = [path for path in directory.rglob("*") if path.is_file() and path != apart_from and path.name != "seen.log"]
    assert {"cloud.db", "edge.db", "harbour.log", "harbour-extra.journal"} <= {path.name for path in files}
    return [str(path) for path in files for data in [path.read_bytes()] if any(form in data for form in ENCODINGS)]


def answers(system: System, run: str) -> bytes:
    """Everything that the API tells of the run and of the rest."""
    paths = (
        *(f"workflows/{run}", f"workflows/{run}/history?limit=1000", "workflows", "definitions", "definitions/with-secret@1.0.0"),
        *("agents", "sites", "sites/harbour/diff"),
    )
    found = [httpx.get(f"{system.client.base_url}/api/v1/{path}") for path in paths]
    assert {answer.status_code for answer in found} == {200}
    return b"\n".join(answer.content for answer in found)


def test_a_secret_reaches_its_capability_and_nothing_else(build: Build) -> None:
    """It is in no event, replica, journal, database, log or answer, even if the capability repeats it; but it arrives."""
    system = build("harbour").start()
    secrets = system.work("harbour") / "secrets"
    secrets.write_text(f"erp/token={VALUE}\n")
    system.client.register(WITH_SECRET)
    run = system.client.start("with-secret", {"token": "secret://erp/token"})["id"]
    assert system.await_ended([run]) == {run: "failed"}  # By the last task, whose secret nobody has.
    told = answers(system, run)
    assert not any(form in told for form in ENCODINGS)
    tasks = {task["id"]: task for task in system.client.run(run)["tasks"]}
    assert tasks["use"]["output"] == {"length": len(VALUE), "echo": "token was secret://erp/token"}
    assert "no-such" in tasks["unknown"]["error"]
    seen = (system.work("harbour") / "ledger" / "seen.log").read_text().splitlines()
    assert seen == [f"{run}/use {VALUE}", f"{run}/fixed {VALUE}"]
    for kill in (system.hosts["harbour"], system.edges["harbour"], system.cloud):
        kill.kill()
    system.await_true(lambda: link(system, "harbour") == "up", "all is back")
    assert leaks(system.directory, secrets) == []  # As kill -9 leaves it, with the write-ahead logs.
    system.stop()
    assert leaks(system.directory, secrets) == []


def test_a_literal_where_a_secret_belongs_is_refused(build: Build) -> None:
    """The refusal does not repeat it, and neither does the cloud write it anywhere."""
    system = build("harbour").start()
    system.client.register(WITH_SECRET)
    with pytest.raises(ApiError) as caught:
        system.client.start("with-secret", {"token": VALUE})
    assert caught.value.status == 422
    assert VALUE not in f"{caught.value.detail}{caught.value.problems}"
    assert "secret://" in "".join(caught.value.problems)
    system.stop()
    assert leaks(system.directory, system.work("harbour") / "secrets") == []
