"""Secrets are resolved where the work is, and their values go nowhere."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.sdk.gateway import ONCE, Gateway, assignment, serving
from tiercel import Agent, TaskContext, TerminalError
from tiercel.errors import SecretUnavailable
from tiercel.secrets import Secrets, redact

NewAgent = Callable[..., Agent]
VALUE = "hunter2-s3cr3t"


def secrets_file(path: Path, text: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(text)
    return path


async def test_a_secret_is_resolved_and_stays_off_the_wire(
    gateway: Gateway, new_agent: NewAgent, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The function gets the value; outputs, errors, progress, the journal and the log have the reference."""
    agent = new_agent(secrets=secrets_file(tmp_path / "secrets", f"erp = {VALUE}\n"))
    got: list[object] = []

    @agent.capability("call")
    def call(task: TaskContext, token: str, options: dict[str, list[str]], fail: str = "") -> dict[str, str]:
        got.append((token, options))
        task.progress(0.5, f"sent {token}")
        task.wait_cancelled(0.2)
        if fail == "terminal":
            raise TerminalError(f"401 for {token}")
        if fail:
            raise OSError(f"cannot reach https://erp/?token={token}")
        return {"url": f"https://erp/?token={token}", token: "key"}

    parameters = {"token": "secret://erp", "options": {"headers": ["secret://erp"]}}
    with caplog.at_level(logging.DEBUG):
        async with serving(agent, gateway):
            connection = await gateway.welcomed()
            await connection.assign(
                assignment("call", 0, ONCE, with_=parameters),
                assignment("call", 1, ONCE, with_=parameters | {"fail": "terminal"}),
                assignment("call", 2, with_=parameters | {"fail": "weather"}),
            )
            results = sorted(await connection.results(3), key=lambda result: result.key.task)
            assert "secret://erp" in (await connection.hear("progress")).progress.items[0].note
    assert got == [(VALUE, {"headers": [VALUE]})] * 3
    assert json.loads(results[0].output) == {"url": "https://erp/?token=secret://erp", "secret://erp": "key"}
    assert results[1].failure.message == "401 for secret://erp"
    assert "token=secret://erp" in results[2].failure.message
    assert not any(VALUE.encode() in message for message in connection.raw)
    assert VALUE.encode() not in (tmp_path / "picker-1.journal").read_bytes()
    assert VALUE not in caplog.text


async def test_a_secret_that_is_not_there_fails_the_task(gateway: Gateway, new_agent: NewAgent) -> None:
    """The failure names the secret and where it was looked for."""
    agent = new_agent()
    agent.capability("call", inline=True)(lambda token: token)
    async with serving(agent, gateway):
        connection = await gateway.welcomed()
        await connection.assign(assignment("call", 0, with_={"token": "secret://no-such"}))
        failure = (await connection.result()).failure
    assert (failure.code, failure.retryable) == ("secret_unavailable", False)
    assert failure.message == "secret 'no-such' is not in the environment as TIERCEL_SECRET_NO_SUCH"


def test_the_environment_comes_after_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is the site's word; what it lacks may come from the environment."""
    secrets = Secrets(secrets_file(tmp_path / "secrets", '{"a": "from file"}'))
    monkeypatch.setenv("TIERCEL_SECRET_A", "from environment")
    monkeypatch.setenv("TIERCEL_SECRET_ERP_TOKEN_2", "from environment")
    parameters, used = secrets.resolve({"x": "secret://a", "y": "secret://erp-token.2", "z": 1})
    assert parameters == {"x": "from file", "y": "from environment", "z": 1}
    assert used == {"from file": "secret://a", "from environment": "secret://erp-token.2"}


def test_a_rotated_secret_needs_no_restart(tmp_path: Path) -> None:
    """The file is read again when it changed."""
    path = secrets_file(tmp_path / "secrets", "# of the ERP\n\na=old\n")
    secrets = Secrets(path)
    assert secrets.resolve({"x": "secret://a"})[0] == {"x": "old"}
    path.write_text("a=newer")
    assert secrets.resolve({"x": "secret://a"})[0] == {"x": "newer"}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    """The message says what to do about it."""
    path = secrets_file(tmp_path / "secrets", "a=1")
    path.chmod(mode)
    with pytest.raises(SecretUnavailable, match="chmod 600"):
        Secrets(path).resolve({"x": "secret://a"})


@pytest.mark.parametrize("text", ["just-a-value-hunter2", '{"a": hunter2}', "\udcff"])
def test_a_file_that_is_not_understood_is_not_quoted(tmp_path: Path, text: str) -> None:
    """It may be all secret."""
    path = secrets_file(tmp_path / "secrets", "")
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(SecretUnavailable) as refused:
        Secrets(path).resolve({"x": "secret://a"})
    assert "hunter2" not in str(refused.value)
    assert str(path) in str(refused.value)


def test_a_secret_inside_another_leaves_no_rest() -> None:
    """The longer one is put back first."""
    used = {"abc": "secret://short", "abcdef": "secret://long", "": "secret://empty"}
    assert redact({"abcdef!": ["abc", 1, None]}, used) == {"secret://long!": ["secret://short", 1, None]}


async def test_what_is_in_a_blob_is_data(gateway: Gateway, new_agent: NewAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    """Text that looks like a reference is not resolved when it came from another task's output; the parameter beside it is."""
    monkeypatch.setenv("TIERCEL_SECRET_ERP", VALUE)
    agent = new_agent()
    agent.capability("look", inline=True)(lambda document, token: [document, token == VALUE])
    reference = gateway.blobs.add(b'"secret://erp"')
    async with serving(agent, gateway):
        connection = await gateway.welcomed()
        await connection.assign(assignment("look", 0, with_={"document": reference, "token": "secret://erp"}))
        result = await connection.result()
    assert json.loads(result.output) == ["secret://erp", True]
