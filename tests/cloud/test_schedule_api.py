"""Schedules over HTTP and from the command line, in front of a running cloud with a site."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.whole import Whole, until, whole

pytestmark = pytest.mark.asyncio(loop_scope="module")
SCHEDULES = "/api/v1/schedules"
COMMAND = [sys.executable, "-c", "from tiercel.cli.main import main; main()"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Whole]:
    async with whole(tmp_path_factory.mktemp("schedules"), "harbour") as running:
        agent = running.agent("counter-1", kind="service", capacity=64)

        @agent.capability("count")
        async def count(n: int = 1) -> dict[str, int]:
            return {"n": n}

        await running.join("harbour", agent)
        for name, where in (("stock", {}), ("there", {"site": "harbour"}), ("elsewhere", {"site": "airport"})):
            task = {"capability": "count", "with": {"n": "${{ inputs.n }}"}, **where}
            inputs = {"n": {"type": "integer", "default": 1}}
            document = {"name": name, "version": "1", "inputs": inputs, "tasks": {"a": task}}
            answer = await running.client.post("/api/v1/definitions", json=document)
            assert answer.status_code == 201, answer.text
        yield running


async def create(system: Whole, id: str, **fields: Any) -> dict[str, Any]:
    answer = await system.client.post(SCHEDULES, json={"id": id, "definition": "stock", "cron": "0 2 * * *", **fields})
    assert answer.status_code == 201, answer.text
    assert answer.headers["Location"] == f"{SCHEDULES}/{id}"
    created: dict[str, Any] = answer.json()
    return created


async def get(system: Whole, id: str) -> dict[str, Any]:
    view: dict[str, Any] = (await system.client.get(f"{SCHEDULES}/{id}")).json()
    return view


async def test_a_schedule_starts_runs_by_itself(system: Whole) -> None:
    """Every second, with its inputs and labels; asked for again, the very same schedule is there already."""
    fields = {"cron": None, "every": "1s", "overlap": "allow", "inputs": {"n": 7}, "labels": {"team": "a"}}
    created = await create(system, "often", **fields)
    assert (created["state"], created["starts"], created["every"]) == ("active", "stock@1", "1s")
    assert await create(system, "often", **fields) == {**created, "next": (await get(system, "often"))["next"]}

    async def has_fired() -> bool:
        return int((await get(system, "often")).get("fired", 0)) >= 2

    await until(has_fired)
    run = (await get(system, "often"))["recent"][0]["run"]
    picture = await system.ended(run)
    assert (picture["inputs"], picture["run"]["labels"]) == ({"n": 7}, {"team": "a", "schedule": "often"})
    assert (await system.client.delete(f"{SCHEDULES}/often")).status_code == 200
    assert (await system.client.get(f"{SCHEDULES}/often")).status_code == 404


async def test_a_schedule_is_paused_resumed_and_run_by_hand(system: Whole) -> None:
    """Each answer shows the schedule as it is then."""
    await create(system, "nightly", timezone="Europe/Berlin")
    paused = (await system.client.post(f"{SCHEDULES}/nightly:pause", params={"reason": "tide"})).json()
    assert (paused["state"], paused["reason"], paused.get("next", [])) == ("paused", "tide", [])
    ran = (await system.client.post(f"{SCHEDULES}/nightly:run-now")).json()
    assert (await system.ended(ran["recent"][-1]["run"]))["run"]["state"] == "completed"
    resumed = (await system.client.post(f"{SCHEDULES}/nightly:resume")).json()
    assert (resumed["state"], len(resumed["next"])) == ("active", 5)
    listed = (await system.client.get(SCHEDULES)).json()["items"]
    assert "nightly" in [item["id"] for item in listed]


async def test_a_run_by_hand_is_started_once_for_its_key(system: Whole) -> None:
    """Asked four times at once and once more it starts one run; the key stands for that request alone."""
    await create(system, "handy")
    headers = {"Idempotency-Key": "by-hand-1"}
    answers = await asyncio.gather(*(system.client.post(f"{SCHEDULES}/handy:run-now", headers=headers) for _ in range(4)))
    answers.append(await system.client.post(f"{SCHEDULES}/handy:run-now", headers=headers))
    assert [answer.json()["fired"] for answer in answers] == [1] * 5
    await create(system, "handier")
    other = await system.client.post(f"{SCHEDULES}/handier:run-now", headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_schedules_are_listed_in_pages(system: Whole) -> None:
    """By id, each once, with its next firing alone."""
    for name in ("page-a", "page-b", "page-c"):
        await create(system, name)
    found, cursor = list[dict[str, Any]](), "page"
    while cursor:
        page = (await system.client.get(SCHEDULES, params={"limit": 2, "cursor": cursor})).json()
        assert len(page["items"]) <= 2
        found, cursor = found + page["items"], page["next"]
    assert [item["id"] for item in found if item["id"].startswith("page")] == ["page-a", "page-b", "page-c"]
    assert {len(item["next"]) for item in found if item["state"] == "active"} == {1}
    assert (await system.client.get(SCHEDULES, params={"limit": 201})).json()["code"] == "invalid_parameter"


async def test_a_backfill_makes_each_firing_once(system: Whole) -> None:
    """Three nights before the schedule was there; asked for again there is nothing left, nor is there in what is to come."""
    await create(system, "filled")
    today = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
    body = {"from": (today - timedelta(days=4)).isoformat(), "until": (today - timedelta(days=1)).isoformat()}
    both = await asyncio.gather(*(system.client.post(f"{SCHEDULES}/filled:backfill", json=body) for _ in range(2)))
    assert sorted(answer.status_code for answer in both) == [200, 409]
    runs = [firing["run"] for firing in (await get(system, "filled"))["recent"]]
    assert len(set(runs)) == 3
    for run in runs:
        await system.ended(run)
    again = await system.client.post(f"{SCHEDULES}/filled:backfill", json=body)
    assert (again.status_code, again.json()["code"]) == (409, "nothing_to_backfill")
    future = {"from": (today + timedelta(days=1)).isoformat(), "until": (today + timedelta(days=9)).isoformat()}
    assert (await system.client.post(f"{SCHEDULES}/filled:backfill", json=future)).json()["code"] == "nothing_to_backfill"


async def test_a_backfill_is_bounded_and_understood(system: Whole) -> None:
    """Too many firings, a range that is none, a body that is none."""
    await create(system, "bounded", cron="* * * * *")
    for body, status, code in (
        ({"from": "2026-01-01T00:00:00Z", "until": "2026-01-02T00:00:00Z"}, 422, "too_many_firings"),
        ({"from": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}, 422, "invalid_range"),
        ({"from": "yesterday", "until": "2026-01-01T00:00:00Z"}, 422, "invalid_range"),
        ({"from": "2026-01-02T00:00:00Z"}, 422, "invalid_request"),
    ):
        answer = await system.client.post(f"{SCHEDULES}/bounded:backfill", json=body)
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert (await system.client.post(f"{SCHEDULES}/bounded:backfill", content=b"{")).status_code == 400


@pytest.mark.parametrize(
    ("fields", "status", "said"),
    [
        ({"cron": "0 25 * * *"}, 422, "cron: '0 25 * * *' is not understood: Bad hour"),
        ({"definition": "nothing"}, 404, "definition nothing is not registered (known: elsewhere@1, stock@1, there@1)"),
        ({"inputs": {"n": "many"}}, 422, "inputs.n"),
        ({"site": "airport"}, 404, "site airport has never linked to the cloud (known: harbour)"),
        ({"site": "harbour", "definition": "elsewhere"}, 422, "task a of elsewhere@1 belongs to site airport"),
    ],
)
async def test_what_cannot_work_is_refused(system: Whole, fields: dict[str, Any], status: int, said: str) -> None:
    """With what was found and what is allowed; nothing is kept."""
    answer = await system.client.post(SCHEDULES, json={"id": "wrong", "definition": "stock", "cron": "0 2 * * *", **fields})
    assert answer.status_code == status, answer.text
    assert said in answer.text.replace("\\n", "\n")
    assert (await system.client.get(f"{SCHEDULES}/wrong")).json()["code"] == "schedule_unknown"


async def test_an_id_is_taken_once(system: Whole) -> None:
    """Another schedule under it is refused."""
    await create(system, "taken")
    other = await system.client.post(SCHEDULES, json={"id": "taken", "definition": "stock", "cron": "1 2 * * *"})
    assert (other.status_code, other.json()["code"]) == (409, "schedule_exists")
    assert (await system.client.post(f"{SCHEDULES}/nobody:pause")).json()["code"] == "schedule_unknown"


async def test_a_schedule_of_a_site_is_decided_there(system: Whole) -> None:
    """It fires at the site, orders travel there, and the cloud shows the runs as its own log never began them."""
    created = await create(system, "local", definition="there", cron=None, every="1s", overlap="allow", site="harbour")
    assert created["site"] == "harbour"

    async def has_fired() -> bool:
        return int((await get(system, "local")).get("fired", 0)) >= 2

    await until(has_fired)
    run = (await get(system, "local"))["recent"][0]["run"]
    picture = await system.ended(run)
    assert (picture["run"]["sites"], picture["fragments"][0]["epoch"]) == (["harbour"], 1)
    history = await system.history(run)
    assert {entry["stream"] for entry in history if entry["kind"] != "RunEnded"} == {"harbour@1"}
    ordered = await system.client.post(f"{SCHEDULES}/local:pause")
    assert ordered.status_code == 202

    async def is_paused() -> bool:
        view = await get(system, "local")
        return bool(view["state"] == "paused" and "orders" not in view)

    await until(is_paused)
    assert (await system.client.delete(f"{SCHEDULES}/local")).status_code == 202

    async def is_gone() -> bool:
        return (await system.client.get(f"{SCHEDULES}/local")).status_code == 404

    await until(is_gone)
    assert "local" not in system.edges["harbour"].executor.schedules.book.known


async def tiercel(system: Whole, *args: str, code: int = 0) -> str:
    """Run the command as a process of its own."""
    environment = {**os.environ, "TIERCEL_SERVER": str(system.client.base_url), "COLUMNS": "200"}
    done = await asyncio.to_thread(
        subprocess.run, [*COMMAND, "schedule", *args], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


async def test_the_command_line_does_all_of_it(system: Whole, tmp_path: Path) -> None:
    """Created from a file and options, listed, shown, paused, resumed, run, filled, removed."""
    path = tmp_path / "weekly.yaml"
    path.write_text("id: weekly\ndefinition: stock\ncron: 0 6 * * MON\nvalid_from: 2026-01-01T00:00:00Z\ninputs: {n: 3}\n")
    created = json.loads(await tiercel(system, "create", str(path), "--timezone", "Europe/Berlin", "-o", "json"))
    assert (created["timezone"], created["inputs"], created["valid_from"]) == ("Europe/Berlin", {"n": 3}, "2026-01-01T00:00:00Z")
    assert "weekly" in await tiercel(system, "list")
    assert json.loads(await tiercel(system, "list", "-o", "json"))
    assert "Europe/Berlin" in await tiercel(system, "show", "weekly")
    assert "tide" in await tiercel(system, "pause", "weekly", "--reason", "tide")
    assert json.loads(await tiercel(system, "resume", "weekly", "-o", "json"))["state"] == "active"
    assert json.loads(await tiercel(system, "run-now", "weekly", "-o", "json"))["fired"] == 1
    filled = await tiercel(
        system, "backfill", "weekly", "--from", "2026-01-01T00:00:00Z", "--until", "2026-01-31T00:00:00Z", "-o", "json"
    )
    assert json.loads(filled)["fired"] == 5
    typed = [
        "--id",
        "daily",
        "--definition",
        "stock",
        "--every",
        "1d",
        "--valid-until",
        "2030-01-01T00:00:00Z",
        "--jitter",
        "30s",
    ]
    kept = json.loads(await tiercel(system, "create", *typed, "--input", "n=4", "-o", "json"))
    assert (kept["inputs"], kept["valid_until"], kept["jitter"]) == ({"n": 4}, "2030-01-01T00:00:00Z", "30s")
    await tiercel(system, "delete", "weekly")
    assert "there is no schedule weekly" in await tiercel(system, "show", "weekly", code=1)
