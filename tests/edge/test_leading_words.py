"""Words of leaders over a real connection to a real gateway: what does not count is told by code, and nothing comes of it."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.edge.test_bids import agent
from tests.whole import Whole, until, whole
from tiercel.v1 import agent_pb2

pytestmark = pytest.mark.asyncio(loop_scope="module")
LED: dict[str, Any] = {"protocol": "leader", "group": {"name": "cranes", "capability": "lift"}, "wait": "1m"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Whole]:
    async with whole(tmp_path_factory.mktemp("words"), "harbour") as running:
        yield running


async def test_words_that_do_not_count_are_told_by_code(system: Whole) -> None:
    """Of an epoch of before, of who does not lead, of another group, for an heir who is none; the leader is told that it leads
    on, its next plan counts, and the counts are seen at the cloud."""
    async with agent(system, "anna", "leads") as anna, agent(system, "ben", "leads") as ben:
        run = await system.start_run({"a": {"capability": "lift", "coordination": LED}})
        (request,) = (await anna.hear_next("lead_requests")).items
        words = [
            (anna, "old_epoch", "cranes", request.epoch - 1, "ben"),
            (anna, "not_a_member", "cranes", request.epoch, "typo"),
            (anna, "leads_already", "cranes", request.epoch, "anna"),
            (anna, "group_unknown", "docks", request.epoch, "ben"),
            (ben, "not_leader", "cranes", request.epoch, "ben"),
        ]
        for caller, code, group, epoch, successor in words:
            await caller.say(leader_word=agent_pb2.LeaderWord(group=group, epoch=epoch, successor=successor))
            (reply,) = (await caller.hear_next("lead_replies")).items
            assert (reply.group, reply.epoch, reply.number, [each.code for each in reply.refused]) == (group, epoch, 0, [code])
            if caller is anna and group == "cranes":
                told = await anna.hear("leadership")
                assert (told.leader, told.epoch) == ("anna", request.epoch)
        item = agent_pb2.LeadAssignment(task=request.tasks[0].id, agent="ben")
        plan = agent_pb2.LeadPlan(group="cranes", epoch=request.epoch, number=request.number, items=[item])
        await anna.say(lead_plans=agent_pb2.LeadPlans(items=[plan]))
        (assignment,) = (await ben.hear_next("assignments")).items
        await ben.say(results=agent_pb2.Results(items=[agent_pb2.TaskResult(key=assignment.key, output=b"1")]))
        await ben.hear_next("result_acks")
        await system.ended(run)

        async def is_counted() -> bool:
            refused = (await system.client.get(f"/api/v1/workflows/{run}/coordination")).json()["refused"].get("harbour", {})
            return all(refused.get(f"word_{code}") == 1 for _, code, *_ in words)

        await until(is_counted)
