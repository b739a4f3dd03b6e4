"""Documents over HTTP, in front of a running cloud with a site."""

import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.cloud.test_rule_api import command
from tests.whole import Whole, whole

pytestmark = pytest.mark.asyncio(loop_scope="module")
DOCUMENTS = "/api/v1/documents"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Whole]:
    async with whole(tmp_path_factory.mktemp("documents"), "harbour") as running:
        yield running


async def test_a_document_is_put_read_patched_and_deleted(system: Whole) -> None:
    """With its version as ETag; a stale one is refused, and the history keeps all versions."""
    at = f"{DOCUMENTS}/shared/prices"
    first = await system.client.put(at, json={"b": 1, "a": 2}, headers={"If-None-Match": "*"})
    assert (first.status_code, first.headers["etag"], first.json()["source"]) == (200, '"1"', "home")
    patch = await system.client.patch(at, json={"b": None}, headers={"If-Match": '"1"'})
    assert patch.json()["value"] == {"a": 2}
    stale = await system.client.put(at, json=3, headers={"If-Match": '"1"'})
    assert (stale.status_code, stale.json()["code"]) == (412, "version_conflict")
    assert [each["id"] for each in (await system.client.get(DOCUMENTS, params={"prefix": "shared/"})).json()["items"]] == [
        "shared/prices"
    ]
    assert (await system.client.delete(at)).status_code == 204
    assert (await system.client.get(at)).json()["code"] == "document_unknown"
    history = (await system.client.get("/api/v1/document-history/shared/prices")).json()["items"]
    assert [(each["version"], each["deleted"]) for each in history] == [(1, False), (2, False), (3, True)]


async def test_a_document_of_a_site_is_decided_there(system: Whole) -> None:
    """The API waits for the answer, good or bad."""
    at = f"{DOCUMENTS}/site/harbour/dock"
    done = await system.client.put(at, json=1, params={"wait": "20"})
    assert (done.status_code, done.json()["version"], done.json()["pending"]) == (200, 1, [])
    stale = await system.client.put(at, json=2, params={"wait": "20", "expected_version": "7"})
    assert (stale.status_code, stale.json()["code"]) == (412, "version_conflict")


@pytest.mark.parametrize(("name", "status"), [("elsewhere/a", 422), ("site/nowhere/a", 404)])
async def test_what_cannot_be_a_document_is_refused(system: Whole, name: str, status: int) -> None:
    """An id of no kind, and a site that nobody knows."""
    assert (await system.client.put(f"{DOCUMENTS}/{name}", json=1)).status_code == status


async def test_documents_from_the_command_line(system: Whole) -> None:
    """Put, read, listed; an expected version that is not there is refused."""
    await command(system, "document", "put", "shared/limits", '{"max": 3}', "--expected", "0")
    assert json.loads(await command(system, "document", "get", "shared/limits"))["value"] == {"max": 3}
    assert len(json.loads(await command(system, "document", "list", "shared/limits"))) == 1
    assert "shared/limits has version 1" in await command(
        system, "document", "put", "shared/limits", "1", "--expected", "7", code=1
    )
