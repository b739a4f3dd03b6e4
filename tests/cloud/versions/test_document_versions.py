"""Former versions of documents are read from the log, in front of a running cloud with a site."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from sync.documents.book import ANY_VERSION, HISTORY_KEPT
from sync.documents.inputs import EditDocument
from sync.retention.policy import Policy
from tests.command_line import command
from tests.whole import Whole, whole

pytestmark = pytest.mark.asyncio(loop_scope="module")
DOCUMENTS, HISTORY = "/api/v1/documents", "/api/v1/document-history"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Whole]:
    async with whole(tmp_path_factory.mktemp("versions"), "harbour") as running:
        yield running


async def put(system: Whole, document: str, *values: Any) -> None:
    for value in values:
        answer = await system.client.put(f"{DOCUMENTS}/{document}", json=value, params={"wait": "30"})
        assert answer.status_code == 200, answer.text


async def put_many(system: Whole, document: str, count: int) -> None:
    """Versions with their numbers as values, many in one commit."""
    edits = (EditDocument(0, document, f"{document}-{n}", "put", b"%d" % n, ANY_VERSION, "ben") for n in range(1, count + 1))
    await asyncio.gather(*[system.cloud.documents.edit(edit, 60) for edit in edits])


async def version(system: Whole, document: str, number: int) -> Any:
    answer = await system.client.get(f"{DOCUMENTS}/{document}", params={"version": number})
    return answer.json() if answer.status_code == 200 else (answer.status_code, answer.json()["code"])


async def pages(system: Whole, document: str, limit: int, cursor: str = "") -> list[list[dict[str, Any]]]:
    """The pages of the history from there on, the newest first."""
    told: list[list[dict[str, Any]]] = []
    while True:
        asked = {"values": "true", "limit": str(limit), "cursor": cursor}
        page = (await system.client.get(f"{HISTORY}/{document}", params=asked)).json()
        told.append(page["items"])
        cursor = page["next"]
        if not cursor:
            return told


@pytest.mark.parametrize("document", ["shared/prices", "site/harbour/tide"])
async def test_every_version_has_its_value(system: Whole, document: str) -> None:
    """Of documents of the cloud and of a site; one that was deleted has none."""
    await put(system, document, {"a": 1}, {"a": 2})
    await system.client.delete(f"{DOCUMENTS}/{document}", params={"wait": "30"})
    await put(system, document, {"a": 4})
    former = [await version(system, document, number) for number in (1, 2, 3, 4)]
    assert [(each["value"], each["deleted"], each["latest"]) for each in former] == [
        ({"a": 1}, False, 4),
        ({"a": 2}, False, 4),
        (None, True, 4),
        ({"a": 4}, False, 4),
    ]
    assert await version(system, document, 5) == (404, "version_unknown")
    told = await pages(system, document, 3)
    assert [[each["version"] for each in page] for page in told] == [[4, 3, 2], [1]]
    assert [each["value"] for page in told for each in page] == [{"a": 4}, None, {"a": 2}, {"a": 1}]


async def test_what_is_older_than_the_history_in_memory_is_found(system: Whole) -> None:
    """In the log, among the events of other documents."""
    count = HISTORY_KEPT + 300
    await put(system, "shared/before", 0)
    await asyncio.gather(put_many(system, "shared/many", count), put_many(system, "shared/others", 50))
    assert (await version(system, "shared/many", 1))["value"] == 1
    assert (await version(system, "shared/many", 299))["value"] == 299
    assert (await version(system, "shared/many", count))["value"] == count
    told = await pages(system, "shared/many", 100, f"{count - HISTORY_KEPT + 41}")
    assert [each["value"] for page in told for each in page] == list(range(count - HISTORY_KEPT + 40, 0, -1))


async def test_what_cannot_be_is_refused_in_words(system: Whole) -> None:
    """No document, no version, no cursor."""
    await put(system, "shared/one", 1)
    assert await version(system, "shared/nothing", 1) == (404, "document_unknown")
    assert (await system.client.get(f"{DOCUMENTS}/shared/one", params={"version": "x"})).status_code == 422
    assert (await system.client.get(f"{HISTORY}/shared/one", params={"cursor": "x"})).status_code == 422
    assert (await system.client.get(f"{HISTORY}/shared/one", params={"values": "1", "limit": "101"})).status_code == 422


async def test_a_former_value_is_put_again_from_the_command_line(system: Whole) -> None:
    """As a new version; what differs is shown before."""
    document = "shared/plan"
    await put(system, document, {"a": 1, "b": 1}, {"a": 2, "c": 1})
    assert json.loads(await command(system, "document", "get", document, "--version", "1"))["value"] == {"a": 1, "b": 1}
    assert (await command(system, "document", "diff", document, "1", "2")).splitlines() == ["~ a: 1 -> 2", "- b: 1", "+ c: 1"]
    restored = json.loads(await command(system, "document", "restore", document, "--version", "1"))
    assert (restored["version"], restored["value"]) == (3, {"a": 1, "b": 1})
    listed = json.loads(await command(system, "document", "history", document, "--values", "--limit", "2"))
    assert ([each["version"] for each in listed["items"]], listed["next"]) == ([3, 2], "2")
    await command(system, "document", "delete", document)
    assert json.loads(await command(system, "document", "restore", document, "--version", "2"))["version"] == 5
    assert "was deleted" in await command(system, "document", "restore", document, "--version", "4", code=1)


async def test_values_that_have_left_the_log_are_said_to_be_archived(tmp_path: Path) -> None:
    """With the reason; who made the version and when is kept, and so is the present value."""
    async with whole(tmp_path) as system:
        await put_many(system, "shared/old", HISTORY_KEPT + 10)
        system.cloud.retention.policy = Policy(1e-9, tmp_path / "archive")
        await system.client.post("/api/v1/retention:run", params={"wait": 60})
        await put(system, "shared/old", "new")
        answer = await system.client.get(f"{DOCUMENTS}/shared/old", params={"version": 500})
        assert (answer.status_code, answer.json()["code"]) == (410, "version_archived")
        assert "has left the log" in answer.json()["detail"]
        assert await version(system, "shared/old", 2) == (410, "version_archived")
        newest, second = (await pages(system, "shared/old", 2))[0]
        assert (newest["value"], newest["archived"]) == ("new", False)
        assert (second["value"], second["archived"], second["author"]) == (None, True, "ben")
        told = [each["version"] for page in await pages(system, "shared/old", 100) for each in page]
        assert told == list(range(HISTORY_KEPT + 11, 11, -1))
