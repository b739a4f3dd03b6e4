"""A site that was away for longer than the cloud keeps what waits for it: over real logs and gRPC it is told anew what holds."""

from pathlib import Path
from typing import Any

from edge.executor import Executor
from sync.retention.policy import DAY_MS, Policy
from tests.whole import Whole, until, whole
from tiercel import Agent

KEEPS = Policy(keep_days=1.0, no_archive=True, reseed_after_days=30.0)
PICK = {"a": {"capability": "pick", "site": "harbour"}, "b": {"capability": "pick", "site": "harbour", "needs": ["a"]}}
AFTER = {"b": {"capability": "pick", "site": "harbour", "needs": ["a"]}}
RULE = {"on": "run.failed", "do": {"pause": {}}}


def picker(system: Whole) -> Agent:
    agent = system.agent("anna", kind="service", capacity=4)

    @agent.capability("pick")
    async def pick() -> int:
        return 1

    return agent


async def begun(folder: Path, system: Whole) -> str:
    """A site with an agent, and a run that is done."""
    await system.join("harbour", picker(system))
    run = await system.start_run(PICK)
    assert (await system.ended(run))["run"]["state"] == "completed"
    return run


async def cut(system: Whole, *, days: float) -> dict[str, Any]:
    """So many days later the cloud lets go what it may."""
    now_ms = system.cloud.loop.clock.now().wall_ms
    system.cloud.retention.now_ms = lambda: now_ms + int(days * DAY_MS)
    answer = await system.client.post("/api/v1/retention:run", params={"wait": 30})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def standing(system: Whole) -> dict[str, Any]:
    found: dict[str, Any] = (await system.client.get("/api/v1/sites/harbour/sync")).json()
    return found


async def is_taken(system: Whole) -> bool:
    return ((await standing(system))["reseeding"] or {}).get("state") == "taken"


async def diff(system: Whole) -> dict[str, Any]:
    found: dict[str, Any] = (await system.client.get("/api/v1/sites/harbour/diff")).json()
    return found


async def test_a_site_that_was_away_for_too_long_is_told_what_holds(tmp_path: Path) -> None:
    """Runs, a cancel, rules and their removal that it missed reach it in a new incarnation, and the runs come to their ends."""
    async with whole(tmp_path, "harbour", retention=KEEPS) as system:
        await begun(tmp_path, system)
        await add_rule(system, "old")
        await until(lambda: holds_rules(system, ["old"]))
        await system.stop("harbour")
        missed = [await system.start_run(PICK) for _ in range(3)]
        assert (await system.client.post(f"/api/v1/workflows/{missed[0]}/cancel", params={"wait": 0})).status_code == 202
        assert (await system.client.delete("/api/v1/rules/old")).status_code in (200, 204)
        await add_rule(system, "new")
        held = await cut(system, days=20)
        assert held["last"]["held_by"].startswith("harbour has not acknowledged event")
        assert held["will_be_reseeded"] == []
        gone = await cut(system, days=31)
        assert gone["will_be_reseeded"] == ["harbour"]
        await system.restart("harbour")
        await until(lambda: is_taken(system))
        await until(lambda: holds_rules(system, ["new"]))
        states = [(await system.ended(run))["run"]["state"] for run in missed]
        assert states == ["cancelled", "completed", "completed"]
        said = await standing(system)
        assert (said["state"], said["sends"]["stream"]) == ("up", "cloud>harbour@2")
        assert "cloud>harbour@1" in said["reseeding"]["reason"]
        assert (await diff(system))["different"] == []


async def test_a_site_that_has_lost_its_disk_is_given_back_what_the_cloud_knows(tmp_path: Path) -> None:
    """Runs under way, its schedule and its document come back to an empty disk; the old node, if it comes, is refused."""
    async with whole(tmp_path, "harbour", "airport", retention=KEEPS) as system:
        await begun(tmp_path, system)
        waiting = await system.start_run({"a": {"wait": {"signal": "go"}, "site": "harbour"}, **AFTER})
        schedule = {"id": "nightly", "definition": "later", "every": "1d", "site": "harbour"}
        later = {"name": "later", "version": "1", "tasks": PICK}
        assert (await system.client.post("/api/v1/definitions", json=later)).status_code in (200, 201)
        assert (await system.client.post("/api/v1/schedules", json=schedule)).status_code in (200, 201)
        put = await system.client.put("/api/v1/documents/site/harbour/tide", json={"level": 3})
        assert put.status_code in (200, 201, 202), put.text
        await system.client.post("/api/v1/state/sync", json={}, params={"wait": 30})
        await system.stop("harbour")
        await cut(system, days=31)
        (tmp_path / "harbour").rename(tmp_path / "old")
        await system.restart("harbour")
        await until(lambda: is_taken(system))
        said = await standing(system)
        assert (said["sends"]["stream"], said["receives"]["stream"]) == ("cloud>harbour@2", "harbour@2")
        sent = await system.client.post(f"/api/v1/workflows/{waiting}/signal", json={"name": "go"}, params={"wait": 30})
        assert sent.status_code == 200, sent.text
        assert (await system.ended(waiting))["run"]["state"] == "completed"
        assert (await diff(system))["different"] == []
        assert (await system.client.get("/api/v1/documents/site/harbour/tide")).json()["value"] == {"level": 3}
        core = executor(system)
        assert sorted(core.schedules.book.known) == ["nightly"]
        assert core.documents.book.get("site/harbour/tide").version == 1
        await system.stop("harbour")
        (tmp_path / "harbour").rename(tmp_path / "new")
        (tmp_path / "old").rename(tmp_path / "harbour")
        await system.restart("harbour")
        await until(lambda: is_halted(system))
        assert "stream harbour@1 ended" in system.edges["harbour"].halted


async def is_halted(system: Whole) -> bool:
    return bool(system.edges["harbour"].halted)


def executor(system: Whole) -> Executor:
    core = system.edges["harbour"].loop.driver.core
    assert isinstance(core, Executor)
    return core


async def add_rule(system: Whole, name: str) -> None:
    answer = await system.client.post("/api/v1/rules", json={"name": name, **RULE})
    assert answer.status_code == 201, answer.text


async def holds_rules(system: Whole, names: list[str]) -> bool:
    """Are these the standing rules at the site?"""
    core = executor(system)
    return sorted(core.home.standing.plans if core.home.standing is not None else ()) == names
