"""What the API advises reaches a person at a terminal as commands that exist."""

import ast
import re
import shlex
from pathlib import Path

import pytest

import cloud
from tiercel.cli.advice import in_commands
from tiercel.cli.main import app, say

REQUEST = re.compile(r"\b(GET|POST|PUT|PATCH|DELETE) /")


def advising() -> list[str]:
    """All texts of the cloud that advise a request; what is filled in is `r1`."""
    found: list[str] = []
    for path in sorted(Path(str(cloud.__file__)).parent.rglob("*.py")):
        tree = ast.parse(path.read_text())
        documents = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                found.append("".join(str(part.value) if isinstance(part, ast.Constant) else "r1" for part in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documents | inside:
                found.append(node.value)
    return [text for text in found if REQUEST.search(text)]


def test_every_request_that_is_advised_has_a_command() -> None:
    """No text of the API names a path to whoever uses the command line."""
    texts = advising()
    assert len(texts) >= 5
    assert [said for text in texts if "/api/" in (said := in_commands(text))] == []


def test_the_commands_that_are_advised_exist() -> None:
    """Each can be asked for its help."""
    commands = {command for text in advising() for command in re.findall(r"`tiercel ([^`]+)`", in_commands(text))}
    assert len(commands) >= 3
    for command in sorted(commands):
        words = [word for word in shlex.split(command) if word.islower() and word != "r1"]
        assert app([*words, "--help"], prog_name="tiercel", standalone_mode=False) in (None, 0), command


def test_a_run_keeps_its_id() -> None:
    """The advice names the run that was asked for."""
    assert in_commands("look at GET /api/v1/workflows/r1-2.3 or wait") == "look at `tiercel run get r1-2.3` or wait"


def test_a_method_without_its_path_is_a_command_too() -> None:
    """What puts a document, of a run or of none."""
    assert (
        in_commands("there is no document a/b: PUT creates it") == "there is no document a/b: `tiercel document put` creates it"
    )
    assert in_commands("its tasks put it, or PUT does") == "its tasks put it, or `tiercel document put` does"


def test_an_error_is_printed_with_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """On its first line and on those of its single mistakes."""
    say("register it with POST /api/v1/definitions", ["look at GET /api/v1/workflows for those that are"])
    printed = capsys.readouterr().err
    assert "`tiercel definition register FILE`" in printed
    assert "`tiercel run list`" in printed
