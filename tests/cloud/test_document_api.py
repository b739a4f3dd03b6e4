"""Documents over HTTP, in front of a running cloud with a site."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from sync.documents.book import ANY_VERSION
from sync.documents.inputs import EditDocument
from sync.documents.reading import Asked, Unavailable
from sync.documents.terms import Terms
from sync.levels import Level
from tests.command_line import command
from tests.whole import Whole, until, whole

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


async def test_levels_are_named_when_a_document_begins(system: Whole) -> None:
    """And shown; they stay, and what is no level is refused."""
    at = f"{DOCUMENTS}/shared/tariff"
    begun = await system.client.post(at, json=1, params={"level": "bounded,versions=3,time=2s"})
    assert (begun.status_code, begun.json()["terms"]) == (
        200,
        {"level": "bounded", "resolver": "home", "versions": 3, "time_ms": 2000},
    )
    assert (await system.client.post(at, json=1)).json()["code"] == "version_conflict"
    assert (await system.client.put(at, json=1, params={"level": "strong"})).json()["code"] == "terms_fixed"
    assert (await system.client.put(at, json=1, params={"level": "firm"})).json()["code"] == "invalid_parameter"


REFUSED_TERMS = [
    ({"levle": "strong"}, "levle: unknown parameter 'levle'; did you mean 'level'?; allowed: level, versions"),
    ({"resolver": "ot", "check": '["value.a < 2"]'}, "check: unknown parameter 'check'; did you mean 'checks'?"),
    ({"level": "strong,whencut=fail"}, "level: unknown bound 'whencut'; did you mean 'when_cut'?"),
    ({"level": "bounded,versions=3,tme=5s"}, "level: unknown bound 'tme'; did you mean 'time'?"),
    ({"level": "strong,versions=3"}, "versions: the level strong has no such bound; allowed: when_cut, level_wait"),
    ({"level": "bounded,versions=3", "level_wait": "1s"}, "level_wait: the level bounded has no such bound"),
    ({"time": "5s"}, "time: the level eventual has no such bound; allowed: none"),
    ({"level": "bounded"}, "level: bounded by what?"),
    ({"rules": '{"a": "max"}'}, "rules: fields have rules if the resolver is semantic, and it is home"),
    ({"checks": '["value.a < 2"]'}, "checks: checks, and edges that close no circle, are for documents of resolver ot"),
    ({"acyclic": "true"}, "acyclic: checks, and edges that close no circle, are for documents of resolver ot"),
    ({"acyclic": "ture"}, "acyclic: 'ture' is none; allowed: true, false"),
    ({"multi_writer": "true"}, "multi_writer: a document has several writers"),
    ({"sites": "harbor"}, "sites: 'harbor' is no site that the cloud knows; known: harbour"),
]


@pytest.mark.parametrize(("said", "line"), REFUSED_TERMS)
@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_terms_that_would_be_left_out_are_refused(system: Whole, method: str, said: dict[str, str], line: str) -> None:
    """Under the name of the parameter, with the nearest spelling; the document has not begun."""
    at = f"{DOCUMENTS}/shared/refused"
    refused = await system.client.request(method, at, json={"a": 1}, params=said)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_parameter")
    assert [line] == [each[: len(line)] for each in refused.json()["problems"]]
    assert (await system.client.get(at)).status_code == 404


async def test_terms_that_can_be_kept_are_kept(system: Whole) -> None:
    """All bounds of a level, beside it or with it, and sites that there are."""
    at, said = f"{DOCUMENTS}/shared/kept", {"level": "strong,when_cut=fail", "level_wait": "2s", "sites": "harbour", "wait": "5"}
    begun = (await system.client.post(at, json=1, params=said)).json()["terms"]
    assert (begun["level"], begun["when_cut"], begun["wait_ms"], begun["sites"]) == ("strong", "fail", 2000, ["harbour"])


async def test_what_exists_on_other_terms_says_so(system: Whole) -> None:
    """To whoever expects that there is none, too; on the same terms it is only there already. At a terminal with a command."""
    create = "document", "create", "shared/there"
    await command(system, *create, "1")
    assert "exists on other terms" in await command(system, *create, "1", "--level", "strong", code=1)
    assert "has version 1, and that it does not exist was expected" in await command(system, *create, "1", code=1)
    assert "`tiercel document put` creates it" in await command(system, "document", "get", "shared/nowhere", code=1)


async def test_reads_say_how_fresh_they_must_be(system: Whole) -> None:
    """What is not inside is refused with the figures, or taken as it is, marked."""
    at = f"{DOCUMENTS}/site/harbour/tide"
    await system.client.put(at, json=1, params={"wait": "20", "level": "strong"})
    strong = await system.client.get(at, params={"consistency": "strong"})
    assert (strong.json()["value"], strong.json()["terms"]["level"]) == (1, "strong")
    assert (await system.client.get(at, params={"max_staleness": "30s"})).status_code == 200
    late = await system.client.get(at, params={"min_version": "7"})
    assert (late.status_code, late.json()["code"]) == (503, "staleness_exceeded")
    taken = (await system.client.get(at, params={"min_version": "7", "degrade": "eventual"})).json()
    assert (taken["version"], taken["degraded"]) == (1, True)


async def test_a_site_reads_and_edits_inside_the_levels(system: Whole) -> None:
    """Strong ones with the cloud, bounded ones under a lease, and what is kept elsewhere not at all."""
    reads = system.edges["harbour"].reads
    for name, level in (("strict", "strong"), ("near", "bounded,versions=5,time=30s")):
        await system.client.put(f"{DOCUMENTS}/shared/{name}", json=1, params={"level": level})
    shown = await reads.get("shared/strict", wait_s=20)
    assert (shown.value, shown.source) == (b"1", "cloud")
    near = await reads.get("shared/near", Asked("bounded", version=1), wait_s=20)
    assert (near.value, near.source) == (b"1", "replica")
    assert reads.lease.covers("shared/near", 1, 5, asyncio.get_running_loop().time())
    wanted = EditDocument(0, "site/harbour/rail", "e1", "put", b"1", ANY_VERSION, "ben", Terms(Level("strong")))
    assert await reads.edit(wanted, 20) == await reads.edit(wanted, 20) == 1
    assert (await reads.get("site/harbour/rail", wait_s=20)).source == "home"
    assert await reads.edit(EditDocument(0, "shared/strict", "e2", "put", b"2", 1, "ben"), 20) == 2
    with pytest.raises(Unavailable):
        await reads.get("site/airport/rail")


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


async def test_the_command_line_begins_patches_and_deletes(system: Whole) -> None:
    """As the API does; what is refused ends with its code."""
    assert await command(system, "document", "create", "shared/cli", '{"a": 1}', "--level", "bounded,versions=3")
    patched = json.loads(await command(system, "document", "patch", "shared/cli", '{"b": 2}', "--expected", "1"))
    assert (patched["version"], patched["value"]) == (2, {"a": 1, "b": 2})
    seen = json.loads(await command(system, "document", "get", "shared/cli", "--consistency", "strong", "--min-version", "2"))
    assert seen["terms"]["versions"] == 3
    once = ("document", "patch", "shared/cli", '{"c": 3}', "--expected", "2", "--edit", "c")
    assert [json.loads(await command(system, *once))["version"] for _ in range(2)] == [3, 3]
    assert "is deleted" in await command(system, "document", "delete", "shared/cli")
    assert len(json.loads(await command(system, "document", "history", "shared/cli"))) == 4


async def test_what_is_not_known_may_have_begun_at_its_site(tmp_path: Path) -> None:
    """So the site is asked; while it is cut off nobody knows, and only what was edited from here is shown, marked."""
    async with whole(tmp_path, "harbour") as system:
        at = f"{DOCUMENTS}/site/harbour/new"
        assert (await system.client.get(at)).json()["code"] == "document_unknown"
        assert (await system.client.get(f"{DOCUMENTS}/site/nowhere/new")).json()["code"] == "document_unknown"
        await system.stop("harbour")

        async def is_cut_off() -> bool:
            return not system.cloud.exchange.links

        await until(is_cut_off)
        unsure = await system.client.get(at)
        assert (unsure.status_code, unsure.json()["code"]) == (503, "staleness_exceeded")
        assert (await system.client.put(at, json=1, params={"wait": "0"})).status_code == 202
        shown = (await system.client.get(at)).json()
        assert (shown["version"], shown["degraded"], len(shown["pending"])) == (0, True, 1)
        said = await command(system, "document", "put", "site/harbour/new", "2", "--edit", "mine", noted=True)
        assert "harbour (link down" in said
        assert "has not decided yet: edit mine is pending" in said
