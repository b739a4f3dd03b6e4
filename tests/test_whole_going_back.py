"""Going back across two real sites, from the API: what an agent at one of them does anew, agents of the other do anew."""

from pathlib import Path
from typing import Any

import pytest

from tests.whole import Whole, whole
from tiercel import TerminalError

pytestmark = pytest.mark.asyncio

STORY: dict[str, Any] = {
    "pick": {"capability": "pick", "effect": "repeatable"},
    "pack": {
        "capability": "pack",
        "effect": "repeatable",
        "needs": ["pick"],
        "with": {"of": "${{ tasks.pick.output }}"},
        "compensate": {"capability": "unpack", "effect": "repeatable", "with": {"of": "${{ tasks.pick.output }}"}},
    },
    "label": {"capability": "label", "effect": "repeatable", "needs": ["pack"], "with": {"of": "${{ tasks.pack.output }}"}},
    "aside": {"capability": "pack", "effect": "repeatable", "needs": ["label"], "with": {"of": 0}},
}


async def join(system: Whole, done: list[tuple[str, int]], broken: set[str]) -> None:
    """An agent at each site. It notes what it was given, and gives the number of what it has done so far."""
    for site, capabilities in (("harbour", ("pick", "label")), ("airport", ("pack", "unpack"))):
        agent = system.agent(f"agent-{site}", capacity=4)
        for name in capabilities:
            agent.capability(name)(work(name, done, broken))
        await system.join(site, agent)


def work(name: str, done: list[tuple[str, int]], broken: set[str]) -> Any:
    async def do(of: int = -1) -> int:
        if name in broken:
            raise TerminalError(f"{name} is out of order")
        done.append((name, of))
        return len(done)

    return do


async def test_a_run_goes_back_at_all_its_sites(tmp_path: Path) -> None:
    """A failure at one site cancels the other's part; retried, both go on. Done anew from its first task, everything is undone
    and done anew with the new values, and cloud and sites agree."""
    done: list[tuple[str, int]] = []
    broken = {"label"}
    async with whole(tmp_path, "harbour", "airport") as system:
        await join(system, done, broken)
        run = await system.start_run(STORY)
        assert (await system.ended(run))["run"]["state"] == "failed"
        broken.clear()
        answer = await system.client.post(f"/api/v1/workflows/{run}/retry", json={})
        assert answer.status_code in (200, 202), answer.text
        picture = await system.ended(run)
        assert picture["run"]["state"] == "completed", picture
        assert done == [("pick", -1), ("pack", 1), ("label", 2), ("pack", 0)]
        done.clear()
        answer = await system.client.post(f"/api/v1/workflows/{run}/rerun", json={"task": "pick"})
        assert answer.status_code in (200, 202), answer.text
        assert (await system.ended(run))["run"]["state"] == "completed"
        assert sorted(name for name, _ in done) == ["label", "pack", "pack", "pick", "unpack"]
        values = dict(done)
        assert values["unpack"] == 1, "the compensation reads what the first picking gave"
        order = [name for name, _ in done]
        assert ("pack", order.index("pick") + 1) in done
        assert order.index("unpack") < order.index("pack") < order.index("label")
        for site in ("harbour", "airport"):
            diff = (await system.client.get(f"/api/v1/sites/{site}/diff")).json()
            assert (diff["different"], diff["behind"]) == ([], 0)
