"""Agents in processes of their own decide questions of a run, over real sockets."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.elsewhere import Elsewhere
from tests.whole import Whole, until, whole

pytestmark = pytest.mark.asyncio(loop_scope="module")

INSPECTOR = """
@agent.vote("inspection")
def judge(proposal: Proposal) -> str | None:
    assert proposal.details == {"batch": 7} and proposal.question == "Is batch 7 good?"
    return %r
"""
LATER = """
@agent.vote()
async def judge(proposal: Proposal) -> str | None:
    raise RuntimeError("the camera is broken")
"""


def inspected(**changes: Any) -> dict[str, dict[str, Any]]:
    vote = {"question": "Is batch ${{ 7 }} good?", "voters": ["ann", "ben", "cleo"], "topic": "inspection", **changes}
    return {"inspect": {"vote": {"deadline": "20s", **vote}, "with": {"batch": 7}}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Whole]:
    folder = tmp_path_factory.mktemp("votes")
    async with whole(folder, "harbour") as running:
        agents = Elsewhere(folder, f"unix:{running.edges['harbour'].config.socket}")
        agents.start("ann", INSPECTOR % "accept")
        agents.start("ben", INSPECTOR % "accept")
        agents.start("cleo", INSPECTOR % "reject")
        agents.start("dan", LATER)

        async def all_here() -> bool:
            found = (await running.client.get("/api/v1/agents")).json()["items"]
            return {agent["id"] for agent in found if agent["state"] == "available"} >= {"ann", "ben", "cleo", "dan"}

        await until(all_here)
        try:
            yield running
        finally:
            await agents.close()


async def test_three_inspectors_decide(system: Whole) -> None:
    """Two of three is a majority; the output has every vote, the cloud's history has the question and the result."""
    run = await system.start_run(inspected(quorum=3))
    ended = await system.ended(run)
    output = ended["tasks"][0]["output"]
    assert ended["run"]["state"] == "completed", ended
    assert (output["accepted"], output["option"], output["reason"], output["rule"]) == (True, "accept", "decided", "majority")
    assert output["votes"] == {"ann": "accept", "ben": "accept", "cleo": "reject"}
    history = (await system.client.get(f"/api/v1/workflows/{run}/history")).json()["items"]
    assert [entry["kind"] for entry in history if entry["kind"].startswith("Vote")] == ["VoteAsked", "VoteClosed"]


async def test_one_voice_against_is_enough_where_all_must_agree(system: Whole) -> None:
    """The run fails, and says who was against it."""
    ended = await system.ended(await system.start_run(inspected(rule="unanimous")))
    assert ended["run"]["state"] == "failed"
    assert ended["tasks"][0]["error"].startswith("rejected: by unanimous (")
    assert "cleo: reject" in ended["tasks"][0]["error"]


async def test_who_cannot_tell_abstains(system: Whole) -> None:
    """A function that raises is an abstention, and counts for the quorum."""
    asked = inspected(voters=["dan", "ann"], quorum=2, on_reject="complete")
    output = (await system.ended(await system.start_run(asked)))["tasks"][0]["output"]
    assert output["votes"] == {"ann": "accept", "dan": None}
    assert (output["option"], output["ended"]) == ("accept", "all")


async def test_agents_choose_one_of_them_to_do_the_work(system: Whole) -> None:
    """Without an opinion of their own they choose the least loaded; the award that the cloud holds has every vote."""
    chosen = {"protocol": "consensus", "wait": "20s", "group": ["ann", "ben", "cleo"], "quorum": 3}
    run = await system.start_run({"work": {"capability": "work", "coordination": chosen}})
    ended = await system.ended(run)
    assert (ended["run"]["state"], ended["tasks"][0]["output"]) == ("completed", "ann"), ended
    (awarded,) = [entry for entry in await system.history(run) if entry["kind"] == "TaskAwarded"]
    assert awarded["event"]["protocol"] == "consensus", awarded
