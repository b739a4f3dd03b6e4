"""`tiercel definition`: files are checked here or by the server, versions are listed, and definitions are compared."""

import json
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from tests.cloud.memory_planner import MemoryPlanner, served
from tiercel.cli.difference import differences
from tiercel.cli.main import main
from tiercel.client import definition_s

DEFINITION = """\
name: pick
version: "1"
tasks: {a: {capability: x, timeout: 30s}, b: {capability: y}}
"""
Api = tuple[str, MemoryPlanner]


@pytest.fixture
def api() -> Iterator[Api]:
    with served() as found:
        yield found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "pick.yaml"
    path.write_text(DEFINITION)
    return path


@pytest.fixture
def no_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but the SDK is installed."""
    monkeypatch.setattr("tiercel.cli.definition.CHECKS", "tests.nothing")


@pytest.fixture
def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package offers the platform's check."""
    package = tmp_path / "site" / "checks-1.0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: checks\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[tests.checks]\ndefinition = workflow.schema:check\n")
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setattr("tiercel.cli.definition.CHECKS", "tests.checks")


def tiercel(server: str, *args: object, code: int = 0) -> str:
    """Run `tiercel definition`; all that it printed."""
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as out, redirect_stderr(out):
        patch.setenv("TIERCEL_SERVER", server)
        patch.setattr(sys, "argv", ["tiercel", "definition", *map(str, args)])
        with pytest.raises(SystemExit) as ended:
            main()
    assert (ended.value.code or 0) == code, out.getvalue()
    return out.getvalue()


@pytest.mark.usefixtures("platform")
def test_a_file_is_checked_without_a_server(file: Path) -> None:
    """Where the platform is installed, a check needs no server; faults have file and line."""
    nowhere = "http://127.0.0.1:9"
    assert "pick@1" in tiercel(nowhere, "validate", file)
    file.write_text(DEFINITION.replace("timeout", "timout"))
    refused = tiercel(nowhere, "validate", file, code=1)
    assert f"{file}:3: tasks.a.timout: unknown field 'timout'; did you mean 'timeout'?" in refused
    old = {"name": "x", "version": "1", "tasks": {"A": {"action": "y", "dependencies": [], "retry_count": 1}}, "author": "ann"}
    file.write_text(json.dumps(old))
    said = tiercel(nowhere, "validate", file)
    assert "x@1 was brought to today's form: 2.0.0 -> today" in said
    assert "left out: author" in said


@pytest.mark.usefixtures("no_platform")
def test_a_file_is_checked_by_the_server(api: Api, file: Path) -> None:
    """Where only the SDK is installed the server is asked, and registers nothing."""
    server, planner = api
    assert "pick@1" in tiercel(server, "validate", file)
    assert not planner.registered
    file.write_text("[]")
    assert "name: is missing" in tiercel(server, "validate", file, code=1)


@pytest.mark.usefixtures("no_platform")
def test_versions_are_listed_and_compared(api: Api, file: Path) -> None:
    """Each version is listed; what differs is told by its place, between versions or with a file."""
    server, _ = api
    tiercel(server, "register", file)
    file.write_text(DEFINITION.replace('"1"', '"2"').replace("30s", "1m").replace(", b: {capability: y}", ""))
    tiercel(server, "register", file)
    listed = json.loads(tiercel(server, "versions", "pick", "-o", "json"))
    assert [(each["ref"], each["tasks"]) for each in listed] == [("pick@1", 2), ("pick@2", 1)]
    expected = ['- tasks.b: {"capability": "y"}', '~ tasks.a.timeout: "30s" -> "1m"', '~ version: "1" -> "2"']
    assert sorted(tiercel(server, "diff", "pick@1", "pick@2").splitlines()) == expected
    assert tiercel(server, "diff", "pick@2", file).strip() == "no difference"
    assert json.loads(tiercel(server, "diff", "pick@1", file, "-o", "json"))[0]["sign"] in "~-"
    assert "ghost" in tiercel(server, "versions", "ghost", code=1)


def test_differences_are_told_by_place() -> None:
    """Fields are compared one by one, lists as wholes; documents of other kinds differ as wholes."""
    found = differences({"a": 1, "b": {"c": [1]}, "d": 0}, {"a": 1, "b": {"c": [2]}, "e": None})
    assert [str(each) for each in found] == ["~ b.c: [1] -> [2]", "- d: 0", "+ e: null"]
    assert [str(each) for each in differences([], {})] == ["~ all: [] -> {}"]
    assert list(differences({}, {})) == []


def test_a_large_file_says_what_is_under_way(api: Api, tmp_path: Path) -> None:
    """Its size, and how long it may take: the server is given that long to answer."""
    path = tmp_path / "large.json"
    tasks = {f"t{n}": {"capability": "x", "description": "d" * 2_000} for n in range(1_000)}
    path.write_text(json.dumps({"name": "large", "version": "1", "tasks": tasks}))
    told = tiercel(api[0], "register", path)
    assert "large.json has 2.0 MiB: reading and checking it, which takes 50 s at most" in told
    assert "large@1" in told
    assert definition_s(30 << 20) == 300
