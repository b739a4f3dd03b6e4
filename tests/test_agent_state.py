"""What agents write down of themselves: by them alone, read by all, over real sockets."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.test_agent_documents import channel_to, documents_of
from tests.whole import Whole, whole
from tiercel import TaskContext
from tiercel.errors import DocumentRefused, DocumentUnavailable

pytestmark = pytest.mark.asyncio(loop_scope="module")
STATE = "agent/harbour/r1/state"
AT = f"/api/v1/documents/{STATE}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Whole]:
    async with whole(tmp_path_factory.mktemp("states"), "harbour") as running:
        for name in ("r1", "r2"):
            agent = running.agent(name, capacity=2)

            @agent.capability(f"move_{name}")
            async def move(to: str, context: TaskContext) -> Any:
                """Says where it is, and what it knows of r1."""
                mine = context.documents.agent("state")
                await mine.put({"at": to, "full": False})
                await mine.patch({"full": True})
                return [(await mine.get()).value, (await context.documents.agent("state", "r1").get()).value]

            @agent.capability(f"look_{name}")
            def look(context: TaskContext) -> Any:
                """In a thread."""
                return context.documents.blocking.agent("state", "r1").get().value

            await running.join("harbour", agent)
        yield running


async def test_an_agent_writes_its_own_state_and_others_read_it(system: Whole) -> None:
    """At its site, in functions of either kind, and at the cloud, where it is listed with the agent."""
    for name, to in (("r1", "dock"), ("r2", "gate")):
        ended = await system.ended(await system.start_run({"m": {"capability": f"move_{name}", "with": {"to": to}}}))
        assert ended["tasks"][0]["output"] == [{"at": to, "full": True}, {"at": "dock", "full": True}], ended
    ended = await system.ended(await system.start_run({"l": {"capability": "look_r2"}}))
    assert ended["tasks"][0]["output"] == {"at": "dock", "full": True}
    seen = (await system.client.get(AT, params={"min_version": "2", "wait": "60"})).json()
    assert (seen["home"], seen["author"], seen["value"]["at"]) == ("harbour", "agent:r1", "dock")
    agents = (await system.client.get("/api/v1/agents")).json()["items"]
    assert {each["id"]: each["documents"] for each in agents} == {"r1": [STATE], "r2": ["agent/harbour/r2/state"]}


async def test_nobody_else_writes_it(system: Whole) -> None:
    """No other agent, and no person, whatever author is named; the one thing a person may do is take it away."""
    async with channel_to(system) as channel:
        mine, others = documents_of(system, channel), documents_of(system, channel, "r2")
        version = (await mine.put(STATE, 1)).version
        for refused in (others.put(STATE, 2), others.delete(STATE), others.patch(STATE, {})):
            with pytest.raises(DocumentRefused, match="written by agent r1 at its site alone") as error:
                await refused
            assert error.value.code == "not_yours"
        for author in ("ben", "agent:r1"):
            answer = await system.client.put(AT, json=2, params={"author": author, "wait": "20"})
            assert (answer.status_code, answer.json()["code"]) == (403, "not_yours")
        assert ((await mine.get(STATE)).version, (await mine.get(STATE)).value) == (version, 1)
        assert (await system.client.delete(AT, params={"wait": "20"})).status_code == 204
        assert not (await mine.get(STATE)).exists


async def test_what_is_no_state_of_an_agent_is_refused(system: Whole) -> None:
    """A name that says no agent, and a state before the site is known."""
    assert (await system.client.get("/api/v1/documents/agent/harbour/r1")).json()["code"] == "invalid_document_id"
    async with channel_to(system) as channel:
        with pytest.raises(DocumentUnavailable, match="not connected"):
            documents_of(system, channel).agent("state")
