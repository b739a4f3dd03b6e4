"""The commands `tiercel schema`."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from workflow.definition import json_schema
from workflow.loading import load_definition
from workflow.schema import check, command

OLD = {"name": "Flow", "version": "1", "tasks": {"Pick": {"action": "pick", "dependencies": [], "retry_count": 1}}}


def run(*args: object, code: int = 0) -> Result:
    result = CliRunner().invoke(command, [str(arg) for arg in args])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "flow.json"
    path.write_text(json.dumps(OLD))
    return path


@pytest.mark.parametrize("args", [(), ("show",)])
def test_the_schema_is_printed(args: tuple[str, ...]) -> None:
    """The command prints the published JSON Schema and nothing else."""
    assert json_schema() == json.loads(run(*args).stdout)


def test_the_form_of_files_is_told(old: Path, tmp_path: Path) -> None:
    """Each file has one line with its form, and with the way to today's; what cannot be read gives exit code 1."""
    today = tmp_path / "today.yaml"
    today.write_text("name: x\nversion: '1'\ntasks: {a: {capability: x}}")
    assert run("status", old, today).stdout.splitlines() == [
        f"{old}: form 2.0.0; to today's: 2.0.0 -> today",
        f"{today}: today's form",
    ]
    today.write_text("{")
    assert f"{today}: refused" in run("status", old, today, code=1).output


def test_a_file_is_brought_to_today_and_back(old: Path) -> None:
    """What was there stays beside the file, and comes back when that is asked for."""
    before = old.read_text()
    assert "would be brought: 2.0.0 -> today" in run("migrate", old, "--dry-run").stdout
    assert old.read_text() == before
    run("migrate", old)
    assert list(load_definition(old.read_text()).tasks) == ["pick"]
    assert Path(f"{old}.bak").read_text() == before
    assert "has this form already" in run("migrate", old).stdout
    moved = old.read_text()
    assert "would be as it was before" in run("migrate", old, "--back", "--dry-run").stdout
    assert old.read_text() == moved
    run("migrate", old, "--back")
    assert old.read_text() == before
    assert "is not there" in run("migrate", old, "--back", code=2).output


def test_a_file_goes_to_an_older_form_elsewhere(old: Path, tmp_path: Path) -> None:
    """`--to` names the form and `--out` the file; what the form cannot say is refused, and nothing is written."""
    out = tmp_path / "out.yaml"
    run("migrate", old, "--out", out)
    assert "capability: pick" in out.read_text()
    text = out.read_text()
    run("migrate", out, "--to", "2.0.0", "--out", tmp_path / "back.json")
    assert json.loads((tmp_path / "back.json").read_text())["tasks"]["pick"]["retry_count"] == 1
    assert "form 1.2.0 tries nothing again" in run("migrate", out, "--to", "1.2.0", code=1).output
    assert out.read_text() == text


def test_a_directory_is_brought_to_today(old: Path, tmp_path: Path) -> None:
    """All definitions below it, deeper ones too; other files are passed over."""
    deep = tmp_path / "deep" / "other.yml"
    deep.parent.mkdir()
    deep.write_text(json.dumps(OLD))
    (tmp_path / "notes.json").write_text("[1]")
    (tmp_path / "broken.yaml").write_text("{")
    assert run("migrate-all", tmp_path, "--dry-run").stdout.count("would be brought") == 2
    said = run("migrate-all", tmp_path).stdout
    assert (said.count("2.0.0 -> today"), said.count("passed over")) == (2, 2)
    assert list(load_definition(deep.read_text()).tasks) == list(load_definition(old.read_text()).tasks) == ["pick"]
    (tmp_path / "letter.txt.bak").write_text("not ours")
    assert run("migrate-all", tmp_path, "--back", "--dry-run").stdout.count("would be as it was before") == 2
    assert run("migrate-all", tmp_path, "--back").stdout.count("as it was before") == 2
    assert json.loads(deep.read_text()) == OLD
    assert sorted(path.name for path in tmp_path.rglob("*.bak")) == ["letter.txt.bak"]


def test_a_file_that_would_be_refused_is_not_written(tmp_path: Path) -> None:
    """A document that has an older form, and other faults, stays as it is."""
    path = tmp_path / "flow.json"
    path.write_text(json.dumps(OLD | {"tasks": {"a": {"action": "x", "dependencies": ["nobody"]}}}))
    assert "unknown task 'nobody'" in run("migrate", path, code=1).output
    assert not Path(f"{path}.bak").exists()


def test_a_check_tells_what_was_migrated() -> None:
    """The canonical document, and the steps that led to it."""
    found = check(json.dumps(OLD | {"author": "ann"}), "flow.json")
    assert (found["ref"], found["tasks"], found["migrations"]) == ("flow@1", 1, ["2.0.0 -> today"])
    assert found["left_out"] == ["author"]
    assert found["document"]["tasks"]["pick"]["capability"] == "pick"
