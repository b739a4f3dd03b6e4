"""Actions of installed packages: real distributions in a folder of their own, found by their metadata."""

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from agents.actions import catalogue, discover
from agents.config import HostConfig
from agents.main import actions
from agents.registry import Registry
from tests.agents.attempts import context
from tiercel import TerminalError
from tiercel.capability import Runs, capability_of

LABELS = """
from tiercel import TaskContext
from tiercel.action import Action

def print_one(task: TaskContext, order: str, copies: int = 1) -> dict:
    return {"printed": [f"{order}/{n}" for n in range(copies)], "key": task.idempotency_key}

async def weigh_one(item: str) -> dict:
    return {"grams": len(item)}

SCHEMA = {
    "type": "object",
    "required": ["order"],
    "properties": {"order": {"type": "string", "pattern": "^O-"}, "copies": {"type": "integer", "minimum": 1}},
}
print_label = Action("print_label", print_one, effect="physical", parameters=SCHEMA, description="Print a label.")
weigh = Action("weigh", weigh_one, effect="repeatable", parameters={"type": "object"})
"""
ENTRIES = {"print_label": "labels_for_tests:print_label", "weigh": "labels_for_tests:weigh"}

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Lay a distribution out as pip does: a module, and dist-info with entry points, in a folder on sys.path."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    modules = []

    def install(name: str, module: str, source: str, entries: dict[str, str]) -> None:
        (folder / f"{module}.py").write_text(source)
        info = folder / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = [f"{entry} = {value}" for entry, value in entries.items()]
        (info / "entry_points.txt").write_text("\n".join(["[tiercel.actions]", *lines, ""]))
        importlib.invalidate_caches()
        modules.append(module)

    yield install
    for module in modules:
        sys.modules.pop(module, None)


def registry(tmp_path: Path) -> Registry:
    return Registry(HostConfig(gateway="unix:/x", data_dir=tmp_path, agents=()))


def test_an_installed_action_is_offered(install: Install, tmp_path: Path) -> None:
    """A package that names actions adds them to every host, as capabilities like any other."""
    install("labels", "labels_for_tests", LABELS, ENTRIES)
    chosen = registry(tmp_path).choose("clerk", ["print_label", "weigh", "csv.parse"])
    assert chosen["print_label"](task=context(), order="O-1", copies=2)["printed"] == ["O-1/0", "O-1/1"]
    assert capability_of("weigh", chosen["weigh"], inline=False).runs is Runs.LOOP
    offered = capability_of("print_label", chosen["print_label"], inline=False)
    assert (offered.context, set(offered.required)) == ("task", {"order"})


@pytest.mark.parametrize(
    ("given", "said"), [({"order": "X"}, "order: "), ({"order": "O-1", "copies": 0}, "copies: "), ({"copies": 1}, "order")]
)
def test_its_schema_is_held(install: Install, tmp_path: Path, given: dict[str, Any], said: str) -> None:
    """Parameters that do not satisfy the schema fail for good, and the function is not called."""
    install("labels", "labels_for_tests", LABELS, ENTRIES)
    with pytest.raises(TerminalError, match=said) as caught:
        registry(tmp_path).choose("clerk", ["print_label"])["print_label"](task=context(), **given)
    assert caught.value.code == "validation"


BROKEN = {
    "raises": ("raise RuntimeError('no licence')", "raises", "RuntimeError: no licence"),
    "missing": ("", "missing", "AttributeError"),
    "no_action": ("no_action = print", "no_action", "not a tiercel.action.Action"),
    "other_name": ("from tiercel.action import Action\nother_name = Action('x', print)", "other_name", "the names must be one"),
    "bad_effect": (
        "from tiercel.action import Action\nbad_effect = Action('bad_effect', print, effect='maybe')",
        "bad_effect",
        "'maybe'",
    ),
    "bad_schema": (
        "from tiercel.action import Action\ndef f(a: int): ...\nbad_schema = Action('bad_schema', f, parameters={'type': 7})",
        "bad_schema",
        "ValidationError",
    ),
}


@pytest.mark.parametrize("kind", list(BROKEN))
def test_a_broken_package_stops_nobody(install: Install, tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """What is wrong with it is logged and listed; the others work, and an agent that names it goes without it."""
    source, attribute, said = BROKEN[kind]
    install("broken", f"{kind}_for_tests", source, {kind: f"{kind}_for_tests:{attribute}"})
    install("labels", "labels_for_tests", LABELS, ENTRIES)
    host = registry(tmp_path)
    assert said in host.broken[kind]
    assert host.broken[kind].startswith("broken 1.0: ")
    assert f"the action {kind} cannot be used" in caplog.text
    assert sorted(host.choose("clerk", [kind, "weigh"])) == ["weigh"]


def test_a_name_is_given_once(install: Install, tmp_path: Path) -> None:
    """A package takes no name from Tiercel or from another package: it is said, and the first stays."""
    mine = "from tiercel.action import Action\ndef f() -> dict: return {}\nhttp = Action('http', f)\nweigh = Action('weigh', f)\n"
    install("labels", "labels_for_tests", LABELS, ENTRIES)
    install("mine", "mine_for_tests", mine, {"http": "mine_for_tests:http", "weigh": "mine_for_tests:weigh"})
    host = registry(tmp_path)
    assert host.broken == {
        "http (mine 1.0)": "http is provided already",
        "weigh (mine 1.0)": "labels 1.0 provides weigh already",
    }
    assert host.choose("a", ["http"])["http"].__name__ == "request"


def test_they_are_listed(install: Install) -> None:
    """Every action has its effect, its parameters and what it does, those of Tiercel as well; broken ones say why."""
    install("labels", "labels_for_tests", LABELS, ENTRIES)
    install("broken", "raises_for_tests", "raise RuntimeError('no licence')", {"raises": "raises_for_tests:x"})
    views = {view.name: view for view in catalogue()}
    assert (views["print_label"].effect, views["print_label"].source) == ("physical", "labels 1.0")
    assert views["print_label"].parameters["required"] == ["order"]
    for name in ("http", "api_call", "file_operation", "database_query", "csv.parse", "file.write"):
        assert views[name].description
        assert views[name].effect
        assert views[name].parameters["type"] == "object"
    assert "task" not in views["http"].parameters["properties"]
    assert set(views["file_operation"].parameters["properties"]["operation"]["enum"]) >= {"read", "copy", "move", "delete"}
    assert discover().broken == {"raises": "broken 1.0: RuntimeError: no licence"}

    app = typer.Typer()
    app.command()(actions)
    shown = CliRunner().invoke(app, ["-o", "json"])
    assert {each["name"] for each in json.loads(shown.output)} == views.keys()
    broken = CliRunner().invoke(app, ["--broken"])
    assert broken.exit_code == 1
    assert "no licence" in broken.output
