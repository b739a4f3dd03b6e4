"""Documents of several writers over HTTP, from the command line and by agents, in front of a running cloud with a site."""

import asyncio
import json
from collections.abc import AsyncIterator

import grpc
import pytest
import pytest_asyncio

from sync.documents.book import ANY_VERSION
from sync.documents.inputs import EditDocument
from sync.documents.reading import Asked, StalenessExceeded
from sync.watching.unseen import Watched
from tests.command_line import command
from tests.whole import Whole, whole
from tiercel.documents import Channel, Documents
from tiercel.errors import DocumentRefused

pytestmark = pytest.mark.asyncio(loop_scope="module")
DOCUMENTS = "/api/v1/documents"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Whole]:
    async with whole(tmp_path_factory.mktemp("merging"), "harbour") as running:
        yield running


async def begin(system: Whole, name: str, value: object, **terms: str) -> str:
    """A document that the site has heard of."""
    begun = await system.client.post(f"{DOCUMENTS}/shared/{name}", json=value, params={"resolver": "lww", **terms})
    assert begun.status_code == 200, begun.text
    await system.edges["harbour"].reads.get(f"shared/{name}", Asked(version=1), wait_s=20)
    return f"{DOCUMENTS}/shared/{name}"


async def settled(system: Whole, at: str, version: int) -> dict[str, object]:
    """The document at the cloud once it has this version."""
    for _ in range(2_000):
        seen: dict[str, object] = (await system.client.get(at)).json()
        if int(str(seen["version"])) >= version:
            return seen
        await asyncio.sleep(0.01)
    raise AssertionError(f"{at} never has version {version}")


async def test_cloud_and_site_write_and_what_loses_comes_back(system: Whole) -> None:
    """Both are answered at once; who had not seen the other is on record, shown beside it, and restored by a person."""
    at, reads = await begin(system, "plan", {"a": 0, "b": 0}), system.edges["harbour"].reads
    seen = (await system.client.get(at)).json()
    assert (seen["terms"]["resolver"], seen["terms"]["multi_writer"], seen["source"]) == ("lww", True, "replica")
    context = json.dumps(seen["merging"]["context"])
    there = EditDocument(0, "shared/plan", "h1", "merge", b'{"a":1}', ANY_VERSION, "ben")
    assert await reads.edit(there, 20) == await reads.edit(there, 20) == 2
    assert reads.dot_of("h1") == "harbour:1"
    await settled(system, at, 2)
    edited = await system.client.patch(at, json={"a": 2}, params={"context": context})
    merging = edited.json()["merging"]
    assert edited.headers["etag"] == f'"{merging["tag"]}"'
    assert [(each["value"], each["shown"]) for each in merging["concurrent"][0]["writes"]] == [(2, True), (1, False)]
    (conflict,) = (await system.client.get("/api/v1/conflicts", params={"subject": "shared/plan"})).json()["items"]
    assert (conflict["rule"], conflict["field"]) == ("lww", "a")
    assert (await system.client.post(f"/api/v1/conflicts/{conflict['id']}/restore", json={"by": "eve"})).status_code == 200
    restored = (await system.client.get(at)).json()
    assert (restored["value"], restored["merging"]["concurrent"]) == ({"a": 1, "b": 0}, [])


async def test_what_nobody_can_promise_of_it_is_refused(system: Whole) -> None:
    """A version that it must have, a strong read, and a level that is not eventual."""
    at, reads = await begin(system, "loose", {"a": 0}), system.edges["harbour"].reads
    compared = await system.client.put(at, json={"a": 1}, headers={"If-Match": '"1"'})
    assert (compared.status_code, compared.json()["code"]) == (422, "expected_refused")
    strong = await system.client.get(at, params={"consistency": "strong"})
    assert (strong.status_code, strong.json()["code"]) == (503, "staleness_exceeded")
    assert (await system.client.get(at, params={"consistency": "strong", "degrade": "eventual"})).json()["degraded"]
    with pytest.raises(StalenessExceeded, match="several writers"):
        await reads.get("shared/loose", Asked("strong"))
    refused = await system.client.post(f"{DOCUMENTS}/shared/x", json={}, params={"resolver": "lww", "level": "strong"})
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_parameter")
    wrong = await system.client.post(
        f"{DOCUMENTS}/shared/x", json={}, params={"resolver": "semantic", "rules": '{"a":"cel,run.id"}'}
    )
    assert "it may read mine and theirs" in wrong.text
    elsewhere = await system.client.put(f"{DOCUMENTS}/site/harbour/x", json={}, params={"resolver": "lww", "wait": "20"})
    assert (elsewhere.status_code, elsewhere.json()["code"]) == (422, "invalid_terms")


async def test_former_versions_of_it_are_not_kept(system: Whole) -> None:
    """And whoever asks for one is told so, not that there is no document; at a terminal, too."""
    at = await begin(system, "latest", {"a": 0})
    history = "/api/v1/document-history/shared/latest"
    for path, asked in ((at, {"version": "1"}), (history, {}), (history, {"values": "true"})):
        refused = await system.client.get(path, params=asked)
        assert (refused.status_code, refused.json()["code"]) == (422, "versions_not_kept")
    assert "has several writers" in await command(system, "document", "history", "shared/latest", code=1)


async def test_rules_from_the_command_line(system: Whole) -> None:
    """Begun with a rule for each field, patched, listed and deleted; what a rule does not take is refused."""
    begun = await command(
        *(system, "document", "create", "shared/job", '{"done": ["a"], "speed": "run"}', "--resolver", "semantic"),
        *("--rule", "speed=safety,run,slow,stop", "--rule", "done=union", "--rule", "best=cel,mine > theirs ? mine : theirs"),
    )
    rules = json.loads(begun)["terms"]["rules"]
    assert rules == {"best": "cel,mine > theirs ? mine : theirs", "done": "union", "speed": "safety,run,slow,stop"}
    patched = json.loads(await command(system, "document", "patch", "shared/job", '{"done": ["b", "a"], "best": 1}'))
    assert patched["value"] == {"best": 1, "done": ["a", "b"], "speed": "run"}
    assert "takes one of" in await command(system, "document", "patch", "shared/job", '{"speed": "fly"}', code=1)
    assert len(json.loads(await command(system, "document", "list", "shared/job"))) == 1
    await command(system, "document", "delete", "shared/job")
    assert (await system.client.get(f"{DOCUMENTS}/shared/job")).json()["code"] == "document_unknown"


async def test_an_expression_merges_what_two_have_written(system: Whole) -> None:
    """Cloud and site come to the same value, whoever heard of the other first."""
    rules = json.dumps({"best": "cel,mine > theirs ? mine : theirs"})
    at, reads = await begin(system, "best", {"best": 0}, resolver="semantic", rules=rules), system.edges["harbour"].reads
    context = json.dumps((await system.client.get(at)).json()["merging"]["context"])
    await reads.edit(EditDocument(0, "shared/best", "b1", "merge", b'{"best":7}', ANY_VERSION, "ben"), 20)
    await settled(system, at, 2)
    edited = await system.client.patch(at, json={"best": 5}, params={"context": context})
    assert edited.json()["value"] == {"best": 7}
    shown = await reads.get("shared/best", Asked(version=3), wait_s=20)
    assert shown.value == b'{"best":7}'


async def test_agents_write_at_their_site_and_say_what_they_had_seen(system: Whole) -> None:
    """The answer has the dot; with the context of an older read an edit stands beside what came since."""
    await begin(system, "notes", {"a": 0})
    await system.join("harbour", system.agent("r1"))
    async with grpc.aio.insecure_channel(f"unix:{system.edges['harbour'].config.socket}") as channel:
        gateway = Channel()
        gateway.use(channel)
        documents = Documents(gateway, "r1", asyncio.get_running_loop())
        seen = await documents.get("shared/notes")
        assert seen.merging is not None
        first = await documents.patch("shared/notes", {"a": 1}, context=seen.merging["context"])
        second = await documents.patch("shared/notes", {"a": 2}, context=seen.merging["context"])
        assert (first.dot, second.dot, first.pending) == ("harbour:1", "harbour:2", False)
        beside = await documents.get("shared/notes")
        assert beside.merging is not None
        assert [each["value"] for each in beside.merging["concurrent"][0]["writes"]] == [1, 2]
        with pytest.raises(DocumentRefused, match="several writers") as refused:
            await documents.put("shared/notes", {}, expected=1)
        assert refused.value.code == "expected_refused"
        with pytest.raises(DocumentRefused, match="not known at harbour yet"):
            await documents.put("shared/notes", {}, context={"airport": 9})
        assert "shared/notes" in await documents.list()


async def test_who_watches_is_told_of_what_others_write(system: Whole) -> None:
    """At the cloud of a site's write, with a version that grew; at the site what there is first, then what the cloud writes."""
    at, edge = await begin(system, "watched", {"a": 0}), system.edges["harbour"]
    waiting = asyncio.ensure_future(system.client.get(at, params={"watch": "1", "wait": "30s"}))
    with edge.feed.watch(Watched({"shared/watched": None})) as watcher:
        assert [(news.version, news.value) for news in await watcher.next()] == [(1, b'{"a":0}')]
        await edge.reads.edit(EditDocument(0, "shared/watched", "w1", "merge", b'{"a":1}', ANY_VERSION, "ben"), 20)
        assert [(news.version, news.value, news.gap) for news in await watcher.next()] == [(2, b'{"a":1}', False)]
        told = (await waiting).json()
        assert (told["version"], told["value"]) == (2, {"a": 1})
        assert (await system.client.delete(at)).status_code == 204
        assert [(news.version, news.value) for news in await watcher.next()] == [(3, b"")]
