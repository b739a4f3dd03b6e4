"""The command `tiercel` as people and scripts run it, against an API on a loopback port.

Most commands run in this process, for starting one takes longer than what it does; a process of its own has what is about
processes: following until a signal, what is imported, what is installed.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from cloud.dependencies.requests import waits_of
from cloud.views import TaskView
from sync.log import EventLog
from sync.values import NodeId
from tests.cloud.memory_planner import MemoryPlanner, served
from tiercel.cli.main import main

COMMAND = [sys.executable, "-c", "from tiercel.cli.main import main; main()"]
DEFINITION = """\
name: pick
version: "1"
inputs:
  order: {type: string}
  quantity: {type: integer}
tasks: {a: {}, b: {}}
"""
Api = tuple[str, MemoryPlanner]


@pytest.fixture
def api() -> Iterator[Api]:
    with served() as found:
        yield found


@pytest.fixture
def definition(tmp_path: Path) -> str:
    path = tmp_path / "pick.yaml"
    path.write_text(DEFINITION)
    return str(path)


def environment(server: str) -> dict[str, str]:
    return {**os.environ, "TIERCEL_SERVER": server, "COLUMNS": "200"}


def tiercel(server: str, *args: str, code: int = 0) -> tuple[str, str]:
    """Run the command, check its exit code, and return what it printed."""
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        for name, value in environment(server).items():
            patch.setenv(name, value)
        patch.setattr(sys, "argv", ["tiercel", *args])
        with pytest.raises(SystemExit) as ended:
            main()
    assert (ended.value.code or 0) == code, out.getvalue() + err.getvalue()
    return out.getvalue(), err.getvalue()


def in_a_process(server: str, *args: str, code: int = 0) -> tuple[str, str]:
    """As `tiercel`, in a process of its own."""
    done = subprocess.run([*COMMAND, *args], env=environment(server), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout, done.stderr


def answer(server: str, *args: str, code: int = 0) -> Any:
    """What the command prints for programs: JSON on stdout, and nothing else."""
    return json.loads(tiercel(server, *args, "-o", "json", code=code)[0])


def finish(planner: MemoryPlanner, run: str, state: str) -> None:
    asyncio.run_coroutine_threadsafe(planner.finish(run, state), planner.loop).result(10)


# Runs


def test_a_file_is_registered_and_started(api: Api, definition: str) -> None:
    """A file, again the same file, and its name start runs; the definition says how inputs are read."""
    server, planner = api
    typed = ("--input", "order=0042", "--input", "quantity=3", "--label", "who=me", "--priority", "7", "--fairness-key", "ann")
    assert answer(server, "run", "start", definition, *typed) == {"id": "r1", "state": "active", "definition": "pick@1"}
    assert answer(server, "run", "start", definition)["id"] == "r2"
    assert answer(server, "run", "start", "pick", "--input", "order=7")["id"] == "r3"
    assert json.loads(bytes(planner.known["r1"].inputs)) == {"order": "0042", "quantity": 3}
    assert json.loads(bytes(planner.known["r3"].inputs)) == {"order": "7"}
    run = planner.known["r1"].run
    assert (run.labels, run.priority, run.fairness_key) == ({"who": "me"}, 7, "ann")
    assert (planner.known["r2"].run.priority, planner.known["r2"].run.fairness_key) == (4, "")


def test_a_run_is_started_after_others(api: Api, definition: str) -> None:
    """Each `--after` is one wait; a kind that there is not is refused before anything is asked."""
    server, planner = api
    answer(server, "run", "start", definition, "--after", "r7/pick:end", "--after", "r8")
    waits = waits_of(planner.asked[0].after)
    assert [(str(wait.awaited), wait.kind) for wait in waits] == [("r7/pick", "after_end"), ("r8", "after_success")]
    _, err = tiercel(server, "run", "start", definition, "--after", "r7:soon", code=2)
    assert "allowed: success, failure, end" in err


def test_depending_takes_what_to_wait_for_or_what_to_remove(api: Api) -> None:
    """One of the two, and not both."""
    server, _ = api
    for args in ((), ("--on", "r1", "--remove", "d1"), ("--remove", "d1", "--task", "a")):
        assert "Usage" in tiercel(server, "run", "depend", "r2", *args, code=2)[1]


def test_other_content_under_a_version_is_refused(api: Api, definition: str) -> None:
    """The server's refusal is told in its words, and the exit code says that it was one."""
    server, planner = api
    tiercel(server, "definition", "register", definition)
    Path(definition).write_text(DEFINITION.replace("b: {}", "c: {}"))
    out, err = tiercel(server, "run", "start", definition, code=1)
    assert out == ""
    assert "pick@1 is registered with other content" in err
    assert planner.known == {}


def test_one_run_per_line_of_a_file(api: Api, definition: str, tmp_path: Path) -> None:
    """Each line of a CSV starts a run, what is refused is said, and then the exit code is 1."""
    server, planner = api
    orders = tmp_path / "orders.csv"
    orders.write_text("order,refuse\n0001,false\n0002,true\n0003,false\n")
    key = ("--idempotency-key", "today")
    items = answer(server, "run", "start", definition, "--inputs-file", str(orders), *key, code=1)
    assert [item.get("id") for item in items] == ["r1", None, "r2"]
    out, _ = tiercel(server, "run", "start", definition, "--inputs-file", str(orders), *key, code=1)
    assert "inputs.refuse: must be false" in out
    assert [json.loads(bytes(view.inputs))["order"] for view in planner.known.values()] == ["0001", "0003"]


def test_a_run_is_shown(api: Api, definition: str) -> None:
    """Tables show tasks, fragments and what is waited for; JSON is the API's own answer."""
    server, planner = api
    run = answer(server, "run", "start", definition)["id"]
    planner.known[run].tasks.append(TaskView("x", "failed", error="\x1b[2J gone\nand over"))
    out, _ = tiercel(server, "run", "get", run)
    assert "waits for [red]an agent that can weld[/red]" in out
    assert "\N{REPLACEMENT CHARACTER}[2J gone and over" in out
    assert "harbour  active  2" in out
    assert "\n0 % after 9 s; 1 not begun; at t0; about 12 s left; 2 retries\n" in out
    assert answer(server, "run", "get", run)["tasks"][0] == {
        "id": "t0",
        "state": "running",
        "site": "harbour",
        "attempt": 1,
        "agent": "picker-1",
    }


def test_totals_of_ended_runs_are_shown(api: Api) -> None:
    """Of all definitions in the first line, then of each."""
    server, _ = api
    out, _ = tiercel(server, "run", "totals")
    _, whole, one = (" ".join(line.split()) for line in out.splitlines())
    assert whole == "all 2 50.0% 1 0 9 s ± 0 ms 3 1 2"
    assert one == "pick@1 2 50.0% 1 0 9 s ± 0 ms 3 1 2"
    assert answer(server, "run", "totals")[1]["success_rate"] == 0.5


def test_runs_are_listed(api: Api, definition: str) -> None:
    """A list says if there is more than it shows."""
    server, _ = api
    for _ in range(3):
        tiercel(server, "run", "start", definition)
    assert [run["id"] for run in answer(server, "run", "list")] == ["r1", "r2", "r3"]
    assert answer(server, "run", "list", "--state", "failed") == []
    out, err = tiercel(server, "run", "list", "--limit", "2")
    assert [line.split()[0] for line in out.splitlines()] == ["id", "r1", "r2"]
    assert "--limit" in err


def test_runs_are_listed_by_what_is_wanted(api: Api, definition: str) -> None:
    """By labels, and by the spans in which they began; what is wanted wrongly is refused in the API's words."""
    for team in "ab":
        tiercel(api[0], "run", "start", definition, "--input", "order=o-1", "--label", f"team={team}")
    listed, _ = tiercel(api[0], "run", "list", "--label", "team=b", "--created-before", "1700000000001", "-o", "json")
    assert [run["id"] for run in json.loads(listed)] == ["r2"]
    listed, _ = tiercel(api[0], "run", "list", "--created-after", "2023-11-14T22:13:20.001Z", "-o", "json")
    assert json.loads(listed) == []
    _, refused = tiercel(api[0], "run", "list", "--state", "done", code=1)
    assert "state: 'done' is none; allowed: pending, active" in refused


def test_a_run_is_shown_as_it_was(api: Api, definition: str) -> None:
    """`show` is `get`, and says for when it speaks."""
    tiercel(api[0], "run", "start", definition, "--input", "order=o-1")
    shown, _ = tiercel(api[0], "run", "show", "r1", "--at", "2023-11-14T22:13:20Z", "-o", "json")
    assert json.loads(shown)["as_of"] == 1_700_000_000_000
    assert "as it was at 20" in tiercel(api[0], "run", "get", "r1", "--version", "3")[0]
    tiercel(api[0], "run", "get", "r1", "--version", "3", "--at", "5", code=2)


def test_history_is_shown(api: Api, definition: str) -> None:
    """Event by event, from where one stopped reading."""
    server, _ = api
    run = answer(server, "run", "start", definition)["id"]
    assert [entry["seq"] for entry in answer(server, "run", "history", run)] == [1, 2, 3, 4, 5]
    out, err = tiercel(server, "run", "history", run, "--limit", "2")
    assert '{"task": "t2"}' in out
    assert "--after 2" in err


def test_a_run_is_cancelled_by_its_home(api: Api, definition: str) -> None:
    """While the home is cut off, the command is shown and nothing is called cancelled."""
    server, planner = api
    run = answer(server, "run", "start", definition)["id"]
    planner.cut_off = True
    out, err = tiercel(server, "run", "cancel", run, "--wait", "0")
    assert "pending" in out
    assert "cancelled" not in out + err
    assert "harbour (link down since" in err
    planner.cut_off = False
    assert "cancelled" in tiercel(server, "run", "cancel", run, "--reason", "sold out")[0]


# Watching


def watching(server: str, *args: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [*COMMAND, *args], env=environment(server), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process


def until(process: subprocess.Popen[str], words: str) -> None:
    """Read its lines until one has the words."""
    assert process.stdout is not None
    for line in process.stdout:
        if words in line:
            return
    raise AssertionError(f"{words!r} was never printed: {process.communicate()}")


@pytest.mark.parametrize(("state", "code"), [("completed", 0), ("failed", 1)])
def test_a_watched_run_gives_the_exit_code(api: Api, definition: str, state: str, code: int) -> None:
    """Watching ends with the run: 0 if it completed, 1 if not; lines tell what happened."""
    server, planner = api
    with watching(server, "run", "start", definition, "--watch") as process:
        until(process, "r1  pick@1  active")
        finish(planner, "r1", state)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == code
    assert f"r1  pick@1  {state}" in out
    assert f"t0  {state}  harbour picker-1" in out


def test_watching_for_programs_prints_the_end_only(api: Api, definition: str) -> None:
    """With JSON output, the one document is the run as it ended."""
    server, _ = api
    view = answer(server, "run", "start", definition, "--input", "instant=true", "--watch")
    assert view["run"]["state"] == "completed"


def test_many_runs_are_watched_at_once(api: Api, definition: str, tmp_path: Path) -> None:
    """All runs of an inputs file are followed until the last has ended."""
    server, planner = api
    orders = tmp_path / "orders.json"
    orders.write_text('[{"instant": true}, {}, {}]')
    with watching(server, "run", "start", definition, "--inputs-file", str(orders), "--watch") as process:
        until(process, "3 runs: 2 active, 1 completed")
        finish(planner, "r2", "completed")
        finish(planner, "r3", "failed")
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert out.splitlines()[-1] == "3 runs: 2 completed, 1 failed; 6 tasks completed"


def test_leaving_is_not_cancelling(api: Api, definition: str) -> None:
    """Ctrl-C ends the watching, says that the run goes on, and it does."""
    server, planner = api
    with watching(server, "run", "start", definition, "--watch") as process:
        until(process, "r1  pick@1  active")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "run r1 goes on" in err
    assert "Traceback" not in err
    assert planner.known["r1"].run.state == "active"


def test_a_watched_server_may_start_again(definition: str) -> None:
    """Who watches through a restart of the server sees the end of the run."""
    with served() as (server, planner):
        run = answer(server, "run", "start", definition)["id"]
        process = watching(server, "run", "watch", run)
        until(process, "active")
    with process, served(int(server.rpartition(":")[2]), planner.known) as (_, again):
        finish(again, run, "completed")
        assert process.communicate(timeout=90)[0].splitlines()[-1] == "r1  pick@1  completed  3/3 tasks"
    assert process.returncode == 0


# What the cloud knows


def test_definitions_are_registered_listed_and_shown(api: Api, definition: str) -> None:
    """Register, list and show a definition."""
    server, _ = api
    assert answer(server, "definition", "register", definition)[0]["ref"] == "pick@1"
    assert tiercel(server, "definition", "list")[0].splitlines()[1] == "pick@1      2"
    assert "order:\n    type: string" in tiercel(server, "definition", "show", "pick")[0]


def test_a_bad_definition_is_refused_by_line(api: Api, tmp_path: Path) -> None:
    """Each problem is a line that names the file."""
    server, _ = api
    path = tmp_path / "bad.yaml"
    path.write_text("[]")
    out, err = tiercel(server, "definition", "register", str(path), code=1)
    assert out == ""
    assert f"{path}:1: name: is missing" in err


def test_the_fleet_is_shown(api: Api) -> None:
    """Agents and sites are listed, and a site that differs from the cloud is an exit code."""
    server, planner = api
    assert "picker-1  harbour  robot  available" in tiercel(server, "agent", "list")[0]
    assert "harbour  active  up since" in tiercel(server, "site", "list")[0]
    assert answer(server, "site", "diff", "harbour")["different"] == []
    planner.cut_off = True
    assert "1 h ahead, 2023-11-1" in tiercel(server, "site", "list")[0]
    assert "different: r1: version 7" in tiercel(server, "site", "diff", "harbour", code=1)[0]


def test_logs_are_verified_at_the_server_and_offline(api: Api, tmp_path: Path) -> None:
    """Without a path the server checks its log; with one, the files of a stopped node are checked here."""
    server, _ = api
    assert answer(server, "log", "verify") == [{"stream": "cloud@1", "events": 12, "ok": True}]
    EventLog.open(tmp_path / "edge.db", NodeId("harbour")).close()
    sound = answer("http://127.0.0.1:1", "log", "verify", str(tmp_path))
    assert [(entry["log"], entry["ok"]) for entry in sound] == [(str(tmp_path / "edge.db"), True)]
    (tmp_path / "other.db").write_bytes(b"no database" * 1_000)
    both = answer("http://127.0.0.1:1", "log", "verify", str(tmp_path), code=1)
    assert [entry["ok"] for entry in both] == [True, False]


# Usage


def test_a_server_that_is_away_has_its_own_exit_code() -> None:
    """3 says that nobody answered, whatever was asked; stdout stays empty."""
    for args in (("run", "list", "-o", "json"), ("run", "watch", "r1")):
        out, err = in_a_process("http://127.0.0.1:1", *args, code=3)
        assert out == ""
        assert "http://127.0.0.1:1 cannot be reached" in err


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("run", "start", "missing.yaml"), "there is no file missing.yaml"),
        (("run", "start", "pick", "--input", "order"), "'order' is not NAME=VALUE"),
        (("run", "start", "pick", "--label", "a=1", "--label", "a=2"), "'a' is given twice"),
        (("run", "stat"), "No such command 'stat'"),
        (("nonsense",), "No such command 'nonsense'"),
        (("run", "rollback", "r1"), "given: none of them; allowed: one of --steps"),
        (("run", "rollback", "r1", "--steps", "1", "--to-time", "7"), "given: --steps, --to-time; allowed: one of"),
        (("run", "settle", "r1", "a", "--as", "done"), "'completed', 'failed', 'retry'"),
        (("incident", "resolve", "r1", "a", "--as", "fixed"), "'completed', 'failed', 'retry', 'skip'"),
        (("run", "bulk", "pause", "--filter", "colour=red"), "colour: nothing to filter by; allowed: state=, definition="),
    ],
)
def test_wrong_usage_is_said_before_anything_is_asked(args: tuple[str, ...], words: str) -> None:
    """2 says that the command line is wrong; the server was not asked."""
    assert words in tiercel("http://127.0.0.1:1", *args, code=2)[1]


def test_the_help_is_fast_and_says_what_exit_codes_mean() -> None:
    """The help names all commands without importing what they need."""
    script = (
        "import sys; from tiercel.cli.main import app\n"
        "try: app(['--help'])\n"
        "finally: print([m for m in ('ray', 'httpx', 'rich', 'websockets', 'cloud', 'deploy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert all(word in done.stdout for word in ("run", "definition", "agent", "site", "log", "up", "demo", "schema"))
    assert "3 the server cannot be" in done.stdout


def test_installed_packages_add_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function or a Typer named in the entry points is a command; one that cannot be imported is an error of its own."""
    (tmp_path / "extra.py").write_text(
        "import typer\n"
        "def greet(name: str = 'you') -> None:\n    'Greet.'\n    print('hello', name)\n"
        "more = typer.Typer()\n"
        "@more.command()\ndef one() -> None:\n    print('one')\n"
        "@more.command()\ndef two() -> None:\n    print('two')\n"
    )
    metadata = tmp_path / "extra-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: extra\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(
        "[tiercel.commands]\ngreet = extra:greet\nmore = extra:more\nbroken = nowhere:command\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    nobody = "http://127.0.0.1:1"
    assert "Added by extra." in in_a_process(nobody, "--help")[0]
    assert in_a_process(nobody, "greet", "--name", "Ada")[0] == "hello Ada\n"
    assert in_a_process(nobody, "more", "two")[0] == "two\n"
    assert "`broken` (nowhere:command) cannot be loaded" in in_a_process(nobody, "broken", code=1)[1]
