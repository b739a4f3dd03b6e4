"""The command line of the benches: what it takes, what it refuses, and where its output goes."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench import main as command
from bench.disk import file_system, real_directory
from bench.errors import BenchFailed, NoRealDisk
from bench.options import Options


def test_defaults_are_those_of_the_figures_that_are_promised() -> None:
    """Without options each measurement has the size for which a target is set."""
    assert sizes(command.parse(["steps"]))[:3] == (2_000, 10, "")
    assert sizes(command.parse(["latency"]))[:3] == (100, 10, "")
    assert sizes(command.parse(["fanout"]))[:3] == (0, 1_000, "")
    assert sizes(command.parse(["recovery"])) == (500, 10, "", "edge")
    assert sizes(command.parse(["idle"]))[:3] == (5_000, 0, "")
    assert sizes(command.parse(["engine"]))[:3] == (0, 1_000, "")


def sizes(options: Options) -> tuple[int, int, str, str]:
    return options.runs, options.tasks, options.effect, options.kill


def test_options_are_taken() -> None:
    """What is given replaces what is usual."""
    options = command.parse(["steps", "--runs", "7", "--effect", "once", "--no-ray", "--data", "/var/tmp"])
    assert sizes(options) == (7, 10, "once", "")
    assert (False, Path("/var/tmp"), True) == (options.ray, options.data, options.floors)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["no-such-bench"],
        ["steps", "--runs", "0"],
        ["steps", "--effect", "physical"],
        ["recovery", "--kill", "cloud"],
        ["idle", "--tasks", "3"],
    ],
)
def test_nonsense_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong command line ends with 2 and a usage on stderr; nothing is measured."""
    with pytest.raises(SystemExit) as ended:
        command.parse(arguments)
    output = capsys.readouterr()
    assert (ended.value.code, output.out) == (2, "")
    assert "usage: python -m bench" in output.err


def test_stdout_is_one_line_of_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """Whatever else is printed meanwhile goes to stderr."""

    def measure(options: Options) -> dict[str, object]:
        print("a note")
        os.write(1, b"what a child process says\n")
        return {"tasks_per_s": options.runs}

    monkeypatch.setattr(command, "module_of", lambda _name: SimpleNamespace(measure=measure))
    monkeypatch.setattr(command, "real_directory", lambda _wanted: tmp_path)
    assert command.main(["steps", "--runs", "3", "--no-floors"]) == 0
    output = capfd.readouterr()
    assert json.loads(output.out) == {"name": "steps", "tasks_per_s": 3}
    assert "a note" in output.err
    assert "what a child process says" in output.err


def test_a_failed_measurement_prints_no_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The reason is on stderr, stdout stays empty, the exit code is 1."""

    def measure(_options: Options) -> dict[str, object]:
        raise BenchFailed("2 runs are not completed")

    monkeypatch.setattr(command, "module_of", lambda _name: SimpleNamespace(measure=measure))
    monkeypatch.setattr(command, "real_directory", lambda _wanted: tmp_path)
    assert command.main(["steps"]) == 1
    output = capfd.readouterr()
    assert output.out == ""
    assert "bench steps: 2 runs are not completed" in output.err


def test_a_file_system_in_memory_is_refused() -> None:
    """Where a sync costs nothing there is nothing to measure."""
    memory = Path("/dev/shm")
    if file_system(memory) != "tmpfs":
        pytest.skip("this machine has no /dev/shm in memory")
    with pytest.raises(NoRealDisk, match="name one with --data"):
        real_directory(memory)
