"""Agents read and edit documents at their site, over real sockets."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio

from tests.whole import PATIENCE_S, Whole, until, whole
from tiercel import TaskContext
from tiercel.documents import Channel, Documents
from tiercel.errors import DocumentRefused, DocumentStale, DocumentUnavailable, RetryableError

pytestmark = pytest.mark.asyncio(loop_scope="module")
STOCK = "site/harbour/stock"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Whole]:
    async with whole(tmp_path_factory.mktemp("agents"), "harbour") as running:
        agent = running.agent("r1", capacity=2)

        @agent.capability("count")
        async def count(by: int, context: TaskContext) -> int:
            """Counts in a document, and fails once behind it: the attempt that does it again does not count again."""
            before = await context.documents.get(STOCK)
            total = (before.value or {"picked": 0})["picked"] + by
            edited = await context.documents.put(STOCK, {"picked": total})
            if context.attempt == 1:
                raise RetryableError("the line broke")
            return edited.version

        @agent.capability("look")
        def look(document: str, context: TaskContext) -> Any:
            """In a thread."""
            return context.documents.blocking.get(document, wait_s=20).value

        await running.join("harbour", agent)
        yield running


def documents_of(system: Whole, channel: grpc.aio.Channel, agent: str = "r1") -> Documents:
    gateway = Channel()
    gateway.use(channel)
    return Documents(gateway, agent, asyncio.get_running_loop())


def channel_to(system: Whole) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(f"unix:{system.edges['harbour'].config.socket}")


async def test_an_attempt_that_does_a_task_again_does_not_edit_again(system: Whole) -> None:
    """The edit has the task's name, so the second attempt is answered what the first made: version 1."""
    retried = {"count": {"capability": "count", "with": {"by": 3}, "retry": {"max_attempts": 3, "delay": "10ms"}}}
    ended = await system.ended(await system.start_run(retried))
    assert ended["run"]["state"] == "completed", ended
    seen = (await system.client.get(f"/api/v1/documents/{STOCK}", params={"consistency": "strong"})).json()
    assert (seen["version"], seen["value"], seen["author"]) == (1, {"picked": 3}, "agent:r1")


async def test_functions_in_threads_read_documents(system: Whole) -> None:
    """And what an operator has put at the cloud is read at the site."""
    await system.client.put("/api/v1/documents/shared/limit", json=[7])
    ended = await system.ended(await system.start_run({"look": {"capability": "look", "with": {"document": "shared/limit"}}}))
    assert ended["tasks"][0]["output"] == [7], ended


async def test_edits_are_compared_and_refused_with_a_reason(system: Whole) -> None:
    """As over the API; the errors are of types of their own."""
    async with channel_to(system) as channel:
        documents = documents_of(system, channel)
        assert (await documents.put("site/harbour/dock", {"a": 1, "b": 2}, expected=0)).version == 1
        assert (await documents.patch("site/harbour/dock", {"b": None}, expected=1)).version == 2
        with pytest.raises(DocumentRefused, match="expected") as refused:
            await documents.put("site/harbour/dock", 5, expected=1)
        assert (refused.value.code, refused.value.version) == ("version_conflict", 2)
        assert (await documents.get("site/harbour/dock")).value == {"a": 1}
        assert "site/harbour/dock" in await documents.list("site/")
        assert (await documents.delete("site/harbour/dock")).version == 3
        assert not (await documents.get("site/harbour/dock")).exists


async def test_what_an_agent_overwrites_unseen_is_a_conflict(system: Whole) -> None:
    """It says which version it has seen; the site records what came since, and the cloud's feed has it."""
    async with channel_to(system) as channel:
        documents = documents_of(system, channel)
        for value in (1, 2):
            await documents.put("site/harbour/gate", value)
        assert (await documents.put("site/harbour/gate", 3, base=1)).version == 3

    async def found() -> list[dict[str, Any]]:
        page = await system.client.get("/api/v1/conflicts", params={"subject": "site/harbour/gate"})
        return list(page.json()["items"])

    await until(lambda: _any(found()))
    (conflict,) = await found()
    assert (conflict["rule"], conflict["recorded_by"], conflict["stands"]["by"]) == ("last_at_home", "harbour", "agent:r1")
    assert (conflict["stands"]["value"], conflict["loses"]["value"]) == (3, 2)


async def _any(found: Coroutine[Any, Any, list[dict[str, Any]]]) -> bool:
    return bool(await found)


async def test_an_agent_edits_by_operations(system: Whole) -> None:
    """Of a document that begins so; in a thread as well."""
    at = "/api/v1/documents/site/harbour/berths"
    await system.client.post(at, json={"n": 1}, params={"resolver": "ot", "wait": "20"})
    inc = [{"op": "inc", "node": "", "field": "n", "by": 2}]
    async with channel_to(system) as channel:
        documents = documents_of(system, channel)
        assert (await documents.edit("site/harbour/berths", inc, base=1)).version == 2
        edited = await asyncio.to_thread(documents.blocking.edit, "site/harbour/berths", inc)
        assert (edited.version, (await documents.get("site/harbour/berths")).value) == (3, {"n": 5})
        with pytest.raises(DocumentRefused, match="these are no operations"):
            await documents.edit("site/harbour/berths", [{"op": "fly"}])


async def test_who_has_no_session_gets_nothing(system: Whole) -> None:
    """And what is no document's id, no JSON or no operation is refused in words."""
    async with channel_to(system) as channel:
        with pytest.raises(DocumentRefused, match="no session at site harbour"):
            await documents_of(system, channel, "stranger").get(STOCK)
        with pytest.raises(DocumentRefused, match="no id of a document"):
            await documents_of(system, channel).get("nowhere")
        with pytest.raises(DocumentUnavailable, match="not kept at harbour"):
            await documents_of(system, channel).get("site/airport/x", wait_s=0.1)
        with pytest.raises(DocumentStale, match="asked for"):
            await documents_of(system, channel).get("shared/limit", min_version=99, wait_s=0.1)


async def test_a_site_that_is_cut_off_goes_on_with_its_documents(tmp_path: Path) -> None:
    """Its own are decided at once; edits of shared ones are pending, and decided when the cloud is back."""
    async with whole(tmp_path, "harbour") as system:
        await system.join("harbour", system.agent("r2", capacity=1))
        await system.client.put("/api/v1/documents/shared/plan", json=1)
        async with channel_to(system) as channel:
            documents = documents_of(system, channel, "r2")
            await documents.get("shared/plan", min_version=1, wait_s=PATIENCE_S)
            link = system.edges["harbour"].exchange
            system.edges["harbour"].ports.dial = _no_line  # type: ignore[method-assign]
            link.drop_all("cut for a test")
            async with asyncio.timeout(PATIENCE_S):
                while link.links:  # noqa: ASYNC110 - Nobody could ring a bell for it.
                    await asyncio.sleep(0.01)
            assert (await documents.put(STOCK, 9)).version == 1
            assert (await documents.get(STOCK)).value == 9
            assert (await documents.put("shared/plan", 2, wait_s=0.05)).pending
            assert (await documents.get("shared/plan", consistency="eventual")).pending == 1
            del system.edges["harbour"].ports.dial
            await _seen(documents, "shared/plan", 2)
        seen = await system.client.get(f"/api/v1/documents/{STOCK}", params={"min_version": "1", "wait": "60"})
        assert seen.json()["value"] == 9


async def _seen(documents: Documents, document: str, value: Any) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while (await documents.get(document, consistency="eventual")).value != value:  # noqa: ASYNC110 - Nobody rings.
            await asyncio.sleep(0.02)


def _no_line() -> Any:
    raise OSError("the line is cut")
