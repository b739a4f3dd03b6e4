"""Agents watch the documents of their site, over real sockets, cut off or not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
import pytest_asyncio

from sync.documents.book import ANY_VERSION
from sync.documents.inputs import EditDocument
from sync.documents.terms import Terms
from sync.levels import Level
from tests.test_agent_documents import channel_to, documents_of
from tests.whole import PATIENCE_S, Whole, whole
from tiercel import TaskContext
from tiercel.documents import Document
from tiercel.errors import DocumentRefused

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Whole]:
    async with whole(tmp_path_factory.mktemp("watching"), "harbour") as running:
        agent = running.agent("r1", capacity=8)

        @agent.capability("follow")
        async def follow(document: str, count: int, context: TaskContext) -> list[Any]:
            """Until so many versions were seen."""
            seen: list[Any] = []
            async for known in context.documents.watch(document, from_version=0):
                seen.append([known.version, known.value])
                if known.version >= count:
                    break
            return seen

        @agent.capability("look_on")
        def look_on(document: str, context: TaskContext) -> list[int]:
            """In a thread, until nothing comes any more."""
            return [known.version for known in context.documents.blocking.watch(document, wait_s=0.2)]

        await running.join("harbour", agent)
        yield running


async def next_of(told: AsyncIterator[Document]) -> Document:
    return await asyncio.wait_for(anext(told), PATIENCE_S)


async def cut(system: Whole) -> None:
    """The site's link goes down, and stays so."""
    node = system.edges["harbour"]
    node.ports.dial = _no_line  # type: ignore[method-assign]
    node.exchange.drop_all("cut for a test")
    async with asyncio.timeout(PATIENCE_S):
        while node.exchange.links:  # noqa: ASYNC110 - Nobody could ring a bell for it.
            await asyncio.sleep(0.01)


def heal(system: Whole) -> None:
    del system.edges["harbour"].ports.dial


def _no_line() -> Any:
    raise OSError("the line is cut")


async def test_a_capability_follows_a_document(system: Whole) -> None:
    """Each version of its site's document, in order."""
    async with channel_to(system) as channel:
        documents = documents_of(system, channel)
        run = await system.start_run({"f": {"capability": "follow", "with": {"document": "site/harbour/belt", "count": 4}}})
        for number in range(1, 5):
            await documents.put("site/harbour/belt", number)
    ended = await system.ended(run)
    seen = ended["tasks"][0]["output"]
    assert [version for version, _ in seen] == list(range(seen[0][0], 5))
    assert all(version == value for version, value in seen)


async def test_a_function_in_a_thread_watches(system: Whole) -> None:
    """It ends when nothing comes for so long."""
    async with channel_to(system) as channel:
        await documents_of(system, channel).put("site/harbour/crane", 1)
    ended = await system.ended(
        await system.start_run({"l": {"capability": "look_on", "with": {"document": "site/harbour/crane"}}})
    )
    assert ended["tasks"][0]["output"] == [1], ended


async def test_watching_goes_on_while_the_site_is_cut_off(system: Whole) -> None:
    """What the site decides is told at once; of a strong document nothing is, until the cloud has it."""
    strict, loose = "site/harbour/strict", "site/harbour/loose"
    node = system.edges["harbour"]
    begun = EditDocument(0, strict, "s1", "put", b"1", ANY_VERSION, "ben", Terms(Level("strong")))
    assert await node.reads.edit(begun, 20) == 1
    async with channel_to(system) as channel:
        documents = documents_of(system, channel)
        async with aclosing(documents.watch("site/harbour/", from_version=None)) as all_told:
            known: dict[str, int] = {}
            while strict not in known:
                shown = await next_of(all_told)
                known[shown.id] = shown.version
            # Decided and recorded here, and cut off before the cloud can have it: it does not count.
            putting = asyncio.ensure_future(node.reads.edit(begun._replace(edit="s2", value=b"2"), 60))
            while node.book.get(strict).version < 2:  # noqa: ASYNC110 - Nobody rings.
                await asyncio.sleep(0)
            await cut(system)
            await documents.put(loose, 1)
            shown = await next_of(all_told)
            assert (shown.id, shown.version, shown.source) == (loose, 1, "home")
            heal(system)
            shown = await next_of(all_told)
            assert (shown.id, shown.version, shown.value) == (strict, 2, 2)
            assert await putting == 2


async def test_a_watch_goes_on_after_the_site_was_started_again(system: Whole) -> None:
    """Behind what was seen: what came meanwhile is told, and nothing twice."""
    document = "shared/lights"
    await system.client.put(f"/api/v1/documents/{document}", json=1)
    run = await system.start_run({"f": {"capability": "follow", "with": {"document": document, "count": 3}}})
    async with asyncio.timeout(PATIENCE_S):
        while not system.edges["harbour"].feed.watchers:  # noqa: ASYNC110 - Nobody rings.
            await asyncio.sleep(0.01)
    await system.stop("harbour")
    for number in (2, 3):
        await system.client.put(f"/api/v1/documents/{document}", json=number)
    await system.restart("harbour")
    ended = await system.ended(run)
    seen = [version for version, _ in ended["tasks"][0]["output"]]
    assert seen[-1] == 3
    assert seen == sorted(set(seen))


async def test_what_cannot_be_watched_is_refused(system: Whole) -> None:
    """Not by strangers, not what is kept elsewhere, not what is no document."""
    async with channel_to(system) as channel:
        for agent, document, words in (
            ("stranger", "shared/a", "no session"),
            ("r1", "site/airport/a", "not kept at harbour"),
            ("r1", "nowhere", "no id of a document"),
        ):
            async with aclosing(documents_of(system, channel, agent).watch(document)) as told:
                with pytest.raises(DocumentRefused, match=words):
                    await next_of(told)
