"""A leader in a process of its own says who does what, over real sockets; when it is killed, another leads."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.command_line import command
from tests.elsewhere import Elsewhere
from tests.whole import Whole, until, whole

pytestmark = pytest.mark.asyncio(loop_scope="module")

PLANNER = """
@agent.lead("cranes")
def plan(lead: Lead) -> dict[str, str | None]:
    assert {one.agent for one in lead.followers} == {"ann", "ben", "cleo"}
    return {task.id: "cleo" for task in lead.tasks}
"""
LED: dict[str, Any] = {"protocol": "leader", "group": {"name": "cranes", "agents": ["ann", "ben", "cleo"]}, "wait": "20s"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Whole, Elsewhere]]:
    folder: Path = tmp_path_factory.mktemp("leaders")
    async with whole(folder, "harbour") as running:
        agents = Elsewhere(folder, f"unix:{running.edges['harbour'].config.socket}")
        agents.start("ann", PLANNER, 'labels={"priority": "5"}')
        agents.start("ben", "")
        agents.start("cleo", "")

        async def all_here() -> bool:
            found = (await running.client.get("/api/v1/agents")).json()["items"]
            return {agent["id"] for agent in found if agent["state"] == "available"} >= {"ann", "ben", "cleo"}

        await until(all_here)
        try:
            yield running, agents
        finally:
            await agents.close()


def led(**changes: Any) -> dict[str, Any]:
    return {"lift": {"capability": "work", "coordination": {**LED, **changes}}}


async def test_the_leaders_function_decides(system: tuple[Whole, Elsewhere]) -> None:
    """The one that comes first in rank leads; its plan is carried out, and the history says who led."""
    running, _ = system
    run = await running.start_run(led())
    ended = await running.ended(run)
    assert (ended["run"]["state"], ended["tasks"][0]["output"]) == ("completed", "cleo"), ended
    (awarded,) = [entry["event"] for entry in await running.history(run) if entry["kind"] == "TaskAwarded"]
    assert (awarded["protocol"], awarded["agent"]) == ("leader", "cleo")


async def test_when_the_leader_is_killed_another_leads(system: tuple[Whole, Elsewhere]) -> None:
    """kill -9: after its lease the next one leads under a higher epoch; without an opinion it leaves the work to the site."""
    running, agents = system
    before = running.edges["harbour"].loop.driver.core.leading.groups["cranes"].term  # type: ignore[attr-defined]
    assert before.leader == "ann"
    agents.kill("ann")
    ended = await running.ended(await running.start_run(led(wait="30s")))
    after = running.edges["harbour"].loop.driver.core.leading.groups["cranes"].term  # type: ignore[attr-defined]
    assert (ended["run"]["state"], after.leader in ("ben", "cleo")) == ("completed", True), ended
    assert after.epoch > before.epoch


async def test_who_leads_is_seen_at_the_cloud_and_on_the_command_line(system: tuple[Whole, Elsewhere]) -> None:
    """The group, its site, its leader and the epoch of the term; of another site there are none."""
    running, _ = system
    (group,) = (await running.client.get("/api/v1/groups", params={"site": "harbour"})).json()["items"]
    term = running.edges["harbour"].loop.driver.core.leading.groups["cranes"].term  # type: ignore[attr-defined]
    assert (group["group"], group["site"], group["leader"], group["epoch"]) == ("cranes", "harbour", term.leader, term.epoch)
    assert (await running.client.get("/api/v1/groups", params={"site": "airport"})).json()["items"] == []
    shown = (await command(running, "agent", "groups")).splitlines()
    assert shown[1].split()[:4] == ["cranes", "harbour", term.leader, str(term.epoch)]
