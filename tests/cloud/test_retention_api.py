"""Retention in a running cloud with a site: what has ended leaves, what goes on goes on, over the API and the command line."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sync.retention.policy import Policy
from sync.retention.segment import run_events
from tests.whole import Whole, until, whole

RETENTION = "/api/v1/retention"
AT_ONCE_DAYS = 1e-9
WAITING = {
    "a": {"capability": "count"},
    "hold": {"wait": {"signal": "go"}, "needs": ["a"]},
    "b": {"capability": "count", "needs": ["hold"]},
}


async def staffed(system: Whole) -> list[int]:
    """What the agent has done is counted."""
    done: list[int] = []
    agent = system.agent("counter-1", kind="service", capacity=8)

    @agent.capability("count")
    async def count() -> dict[str, int]:
        done.append(1)
        return {"n": 1}

    await system.join("harbour", agent)
    return done


async def run_pass(system: Whole) -> dict[str, Any]:
    answer = await system.client.post(f"{RETENTION}:run", params={"wait": 60})
    assert answer.status_code == 200, answer.text
    view: dict[str, Any] = answer.json()
    assert view["last"]["problem"] == ""
    return view


async def waits(system: Whole, run: str, wanted: str = "hold") -> None:
    async def is_waiting() -> bool:
        tasks = (await system.client.get(f"/api/v1/workflows/{run}")).json()["tasks"]
        return any(task["id"] == wanted and task["state"].startswith("waiting") for task in tasks)

    await until(is_waiting)


async def tiercel(system: Whole, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from tiercel.cli.main import main; main()", *arguments]
    server = {"TIERCEL_SERVER": f"http://127.0.0.1:{system.api_port}"}
    return await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, env={**os.environ, **server})


async def test_without_a_policy_nothing_is_cut(tmp_path: Path) -> None:
    """Keeping everything is the default; a pass is refused, and the refusal says what turns it on."""
    async with whole(tmp_path) as system:
        view = (await system.client.get(RETENTION)).json()
        assert (view["keep_ended_days"], view["cut"], view["segments"], view["last"]) == (0, 0, [], None)
        refused = await system.client.post(f"{RETENTION}:run")
        assert (refused.status_code, refused.json()["code"]) == (409, "retention_off")
        assert "--keep-ended-days" in refused.json()["detail"]


async def test_ended_runs_leave_and_living_ones_go_on(tmp_path: Path) -> None:
    """Cloud and site cut what has ended; a run that waits keeps its state, says where its history begins, and comes to its end,
    after a restart of both; every chain verifies, and the archive has what left."""
    async with whole(tmp_path, "harbour") as system:
        await staffed(system)
        ended = [await system.start_run({"a": {"capability": "count"}}) for _ in range(3)]
        for run in ended:
            await system.ended(run)
        living = await system.start_run(WAITING)
        await waits(system, living)

        system.cloud.retention.policy = Policy(AT_ONCE_DAYS, tmp_path / "archive")
        view = await run_pass(system)
        assert view["cut"] > 0, view
        archived = [row for segment in view["segments"] for row in run_events(tmp_path / "archive" / segment["file"])]
        assert {*ended, living} <= {row.run for row in archived}
        site = system.edges["harbour"]
        site.retention.policy = Policy(AT_ONCE_DAYS, no_archive=True)
        done = await site.retention.run_in_thread(pytest.fail)
        assert (done.problem, bool(done.segments)) == ("", True), done

        gone = await system.client.get(f"/api/v1/workflows/{ended[0]}")
        assert (gone.status_code, gone.json()["code"]) == (404, "run_unknown")
        assert view["segments"][0]["file"] in gone.json()["detail"]
        listed = (await system.client.get("/api/v1/workflows")).json()["items"]
        assert [run["id"] for run in listed] == [living]
        first = (await system.history(living))[0]
        assert (first["kind"], first["event"]["archive"]) == ("HistoryArchived", view["segments"][0]["file"])

        past = await system.client.get(f"/api/v1/workflows/{living}", params={"version": 1})
        assert (past.status_code, past.json()["code"]) == (410, "history_archived"), past.text
        assert first["event"]["archive"] in past.json()["detail"]

    async with whole(tmp_path, "harbour") as system:  # Both start again, from what is left.
        await staffed(system)
        answer = await system.client.post(f"/api/v1/workflows/{living}/signal", json={"name": "go"})
        assert answer.status_code in (200, 202), answer.text
        assert (await system.ended(living))["run"]["state"] == "completed"
        report = (await system.client.get("/api/v1/log/verify")).json()["items"]
        assert report, "there are streams"
        assert all(stream["ok"] for stream in report), report
        assert (await system.client.get("/api/v1/sites")).json()["items"][0]["refused"] == ""


async def cut(system: Whole) -> None:
    """Everything that may leave the logs of the cloud and the site, leaves."""
    system.cloud.retention.policy = Policy(AT_ONCE_DAYS, no_archive=True)
    assert (await run_pass(system))["cut"] > 0
    site = system.edges["harbour"]
    site.retention.policy = Policy(AT_ONCE_DAYS, no_archive=True)
    done = await site.retention.run_in_thread(pytest.fail)
    assert (done.problem, bool(done.segments)) == ("", True), done


async def test_a_run_goes_back_behind_the_cut(tmp_path: Path) -> None:
    """By steps, to a task, to a checkpoint with a name, to a version: the state tells all of it, after a restart of both. What
    the checkpoints were like is gone, and the list says so."""
    async with whole(tmp_path, "harbour") as system:
        await staffed(system)
        run = await system.start_run(WAITING | {"last": {"wait": {"signal": "end"}, "needs": ["b"]}})
        await waits(system, run)
        await order(system, run, "checkpoint", name="base")
        await order(system, run, "signal", name="go")
        await waits(system, run, "last")
        before = (await system.client.get(f"/api/v1/workflows/{run}/checkpoints")).json()
        assert "note" not in before
        await cut(system)

    async with whole(tmp_path, "harbour") as system:
        done = await staffed(system)
        path = f"/api/v1/workflows/{run}"
        after = (await system.client.get(f"{path}/checkpoints")).json()
        assert [known(item) for item in after["items"]] == [known(item) for item in before["items"]]
        assert "has left the log" in after["note"]
        assert {item["name"]: item["time"] > 0 for item in after["items"] if "name" in item} == {"base": True}
        shown = await tiercel(system, "run", "checkpoints", run)
        assert (shown.returncode, "base" in shown.stdout) == (0, True), shown

        past = await system.client.post(f"{path}/rollback", json={"at": before["items"][0]["time"]})
        assert (past.status_code, past.json()["code"]) == (410, "history_archived"), past.text
        version = next(item["version"] for item in before["items"] if item.get("task") == "a")
        ways: list[dict[str, Any]] = [{"steps": 1}, {"task": "b"}, {"checkpoint": "base"}, {"version": version}]
        for number, back in enumerate(ways, 1):
            await order(system, run, "rollback", **back)
            if "steps" not in back and "task" not in back:
                await waits(system, run)
                await order(system, run, "signal", name="go")

            async def is_done_anew(wanted: int = number) -> bool:
                return len(done) == wanted

            await until(is_done_anew)
            await waits(system, run, "last")
        await order(system, run, "signal", name="end")
        assert (await system.ended(run))["run"]["state"] == "completed"


def known(item: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(item.get(field) for field in ("site", "version", "task", "name", "steps"))


async def order(system: Whole, run: str, verb: str, **fields: Any) -> None:
    answer = await system.client.post(f"/api/v1/workflows/{run}/{verb}", json=fields)
    assert answer.status_code in (200, 202), answer.text


async def test_a_site_that_is_away_holds_its_events(tmp_path: Path) -> None:
    """What a site has not acknowledged stays at the cloud, and the answer names the site."""
    async with whole(tmp_path, "harbour") as system:
        await staffed(system)
        await system.ended(await system.start_run({"a": {"capability": "count"}}))
        await system.stop("harbour")

        async def is_away() -> bool:
            sites = (await system.client.get("/api/v1/sites")).json()["items"]
            return bool(sites[0]["link"]["state"] == "down")

        await until(is_away)
        await system.start_run({"a": {"capability": "count"}, "b": {"capability": "count", "needs": ["a"]}})
        system.cloud.retention.policy = Policy(AT_ONCE_DAYS, no_archive=True)
        held_by = (await run_pass(system))["last"]["held_by"]
        assert held_by.startswith("harbour has not acknowledged event"), held_by


async def test_the_command_line_shows_and_runs_it(tmp_path: Path) -> None:
    """`tiercel retention run` cuts, `show` says what was cut, and what it is kept by."""
    async with whole(tmp_path, "harbour") as system:
        await staffed(system)
        run = await system.start_run({"a": {"capability": "count"}})
        await system.ended(run)
        refused = await tiercel(system, "retention", "run")
        assert refused.returncode == 1
        assert "--keep-ended-days" in refused.stderr
        system.cloud.retention.policy = Policy(AT_ONCE_DAYS, tmp_path / "archive")
        done = await tiercel(system, "retention", "run", "-o", "json")
        assert done.returncode == 0, done.stderr
        file = json.loads(done.stdout)["segments"][0]["file"]
        shown = await tiercel(system, "retention", "show")
        assert file in shown.stdout, shown
        lost = await tiercel(system, "run", "history", run)
        assert file in lost.stderr
        events = await tiercel(system, "log", "show-archive", str(tmp_path / "archive" / file), "--run", run, "-o", "json")
        assert events.returncode == 0, events.stderr
        assert "RunEnded" in [event["kind"] for event in json.loads(events.stdout)]
