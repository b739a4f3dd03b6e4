"""Documents are watched over HTTP and WebSocket, in front of a running cloud with a site."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from sync.documents.book import ANY_VERSION
from sync.documents.inputs import EditDocument
from sync.documents.reading import Asked
from sync.watching.unseen import Watched
from tests.command_line import command
from tests.whole import PATIENCE_S, Whole, until, whole

pytestmark = pytest.mark.asyncio(loop_scope="module")
DOCUMENTS = "/api/v1/documents"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Whole]:
    async with whole(tmp_path_factory.mktemp("watch"), "harbour") as running:
        yield running


async def put(system: Whole, document: str, value: Any) -> int:
    answer = await system.client.put(f"{DOCUMENTS}/{document}", json=value, params={"wait": "30"})
    assert answer.status_code == 200, answer.text
    return int(answer.json()["version"])


def socket(system: Whole, query: str) -> connect:
    return connect(f"ws://127.0.0.1:{system.api_port}/ws/documents?{query}", max_queue=1)


async def frame(client: ClientConnection) -> dict[str, Any]:
    return dict(json.loads(await asyncio.wait_for(client.recv(), PATIENCE_S)))


async def test_a_long_poll_answers_when_there_is_more(system: Whole) -> None:
    """At once if there is already, else when it comes; and with nothing when the time is over."""
    at = f"{DOCUMENTS}/shared/poll"
    asking = asyncio.ensure_future(system.client.get(at, params={"watch": "0", "wait": "60"}))
    await put(system, "shared/poll", 1)
    first = await asking
    assert (first.status_code, first.json()["version"], first.json()["value"], first.headers["etag"]) == (200, 1, 1, '"1"')
    assert (await system.client.get(at, params={"watch": "0"})).json()["version"] == 1
    unchanged = await system.client.get(at, params={"watch": "1", "wait": "50ms"})
    assert (unchanged.status_code, unchanged.content) == (204, b"")
    await system.client.delete(at)
    gone = (await system.client.get(at, params={"watch": "1", "wait": "30s"})).json()
    assert (gone["version"], gone["deleted"], gone["value"]) == (2, True, None)


async def test_a_socket_tells_each_change_once(system: Whole) -> None:
    """The present one first; of documents named and of those that begin so, at the cloud and at a site."""
    await put(system, "shared/live", 0)
    async with socket(system, "id=shared/live&prefix=site/harbour/") as client:
        assert (await frame(client))["version"] == 1
        for number in range(1, 6):
            await put(system, "shared/live", number)
        told = [await frame(client) for _ in range(5)]
        assert [(each["id"], each["version"], each["value"], each["gap"]) for each in told] == [
            ("shared/live", number + 1, number, False) for number in range(1, 6)
        ]
        await put(system, "site/harbour/live", "dock")
        own = await frame(client)
        assert (own["id"], own["version"], own["value"], own["deleted"]) == ("site/harbour/live", 1, "dock", False)
        await system.client.delete(f"{DOCUMENTS}/shared/live")
        assert (await frame(client))["deleted"]


async def test_who_comes_back_goes_on_behind_what_was_seen(system: Whole) -> None:
    """And is told when it missed versions."""
    for number in range(3):
        await put(system, "shared/again", number)
    async with socket(system, "id=shared/again@1") as client:
        seen = await frame(client)
        assert (seen["version"], seen["value"], seen["gap"]) == (3, 2, True)
    async with socket(system, "id=shared/again@3") as client:
        await put(system, "shared/again", 3)
        seen = await frame(client)
        assert (seen["version"], seen["gap"]) == (4, False)


async def test_a_reader_that_does_not_read_is_told_a_gap_and_the_latest(system: Whole) -> None:
    """What waits for it is bounded, and nobody waits for it."""
    large, count = "x" * 200_000, 60
    async with socket(system, "id=shared/large@0") as client:
        for _ in range(count):
            await put(system, "shared/large", large)
        told = [await frame(client)]
        while told[-1]["version"] < count:
            told.append(await frame(client))
    assert any(each["gap"] for each in told)
    assert len(told) < count
    assert told[-1]["version"] == count


@pytest.mark.parametrize("query", ["", "id=nowhere", "id=shared/a@x", "prefix=" + "a" * 300])
async def test_what_cannot_be_watched_is_refused_in_words(system: Whole, query: str) -> None:
    """The socket is closed with the reason."""
    async with socket(system, query) as client:
        with pytest.raises(ConnectionClosed) as closed:
            await asyncio.wait_for(client.recv(), PATIENCE_S)
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, bool(closed.value.rcvd.reason)) == (1008, True)


async def test_what_cannot_be_polled_is_refused(system: Whole) -> None:
    """A version is a number, and so is the time."""
    at = f"{DOCUMENTS}/shared/poll"
    assert (await system.client.get(at, params={"watch": "x"})).json()["code"] == "invalid_parameter"
    assert (await system.client.get(at, params={"watch": "1", "wait": "2h"})).json()["code"] == "invalid_parameter"


async def test_the_command_line_watches(system: Whole) -> None:
    """From a version on, a line for each change, as many as it was asked for."""
    for number in range(2):
        await put(system, "shared/cli", number)
    watching = asyncio.ensure_future(command(system, "document", "watch", "shared/cli", "--from", "1", "--limit", "2"))

    async def is_watched() -> bool:
        return system.cloud.feed.watchers > 0

    await until(is_watched)
    await put(system, "shared/cli", 2)
    lines = [json.loads(line) for line in (await watching).splitlines()]
    assert [each["version"] for each in lines] == [2, 3]


async def test_a_document_of_several_writers_is_watched_at_each_of_them(system: Whole) -> None:
    """The value that follows from all writes that are known there, whoever wrote."""
    document, reads = "shared/board", system.edges["harbour"].reads
    await system.client.put(f"{DOCUMENTS}/{document}", json={"a": 1}, params={"resolver": "lww"})
    await reads.get(document, Asked(version=1), 30)
    async with socket(system, f"id={document}") as client:
        assert (await frame(client))["value"] == {"a": 1}
        with system.edges["harbour"].feed.watch(Watched({document: None})) as watcher:
            (first,) = await asyncio.wait_for(watcher.next(), PATIENCE_S)
            edit = EditDocument(0, document, "w1", "merge", b'{"b":2}', ANY_VERSION, "ben")
            await reads.edit(edit, 20)
            (second,) = await asyncio.wait_for(watcher.next(), PATIENCE_S)
        assert [json.loads(each.value) for each in (first, second)] == [{"a": 1}, {"a": 1, "b": 2}]
        told = await frame(client)
        assert (told["value"], told["author"], told["gap"]) == ({"a": 1, "b": 2}, "ben", False)
    polled = await system.client.get(f"{DOCUMENTS}/{document}", params={"watch": str(told["version"]), "wait": "50ms"})
    assert polled.status_code == 204
