"""The documents of runs, written by their tasks and by people, over real sockets."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.command_line import command
from tests.test_agent_documents import channel_to, documents_of
from tests.whole import PATIENCE_S, Whole, until, whole
from tiercel import TaskContext
from tiercel.errors import DocumentRefused, DocumentUnavailable

pytestmark = pytest.mark.asyncio(loop_scope="module")
HELD = {
    "pick": {"capability": "pick", "with": {"item": "box"}},
    "hold": {"wait": {"signal": "go"}, "needs": ["pick"]},
    "ship": {"capability": "ship", "needs": ["hold"]},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Whole]:
    async with whole(tmp_path_factory.mktemp("context"), "harbour") as running:
        agent = running.agent("r1", capacity=4)

        @agent.capability("pick")
        async def pick(item: str, context: TaskContext) -> int:
            notes = context.documents.run("notes")
            await notes.put({"picked": [item], "by": context.agent})
            return (await notes.patch({"open": True}, expected=1)).version

        @agent.capability("ship")
        def ship(context: TaskContext) -> Any:
            """In a thread."""
            return context.documents.blocking.run("notes").get().value

        await running.join("harbour", agent)
        yield running


def at(run: str, name: str = "notes") -> str:
    return f"/api/v1/documents/run/{run}/{name}"


async def held(system: Whole) -> str:
    """A run that has picked, and waits."""
    run = await system.start_run(HELD)

    async def has_picked() -> bool:
        return (await system.client.get(at(run), params={"min_version": "2"})).status_code == 200

    await until(has_picked)
    return run


async def go(system: Whole, run: str) -> dict[str, Any]:
    await system.client.post(f"/api/v1/workflows/{run}/signal", json={"name": "go"}, params={"wait": "30"})
    return await system.ended(run)


async def test_tasks_of_a_run_share_documents(system: Whole) -> None:
    """What one has written another reads; it is kept after the end, and changes no more."""
    run = await held(system)
    ended = await go(system, run)
    outputs = {task["id"]: task.get("output") for task in ended["tasks"]}
    assert outputs["pick"] == 2
    assert outputs["ship"] == {"picked": ["box"], "by": "r1", "open": True}
    kept = (await system.client.get(at(run))).json()
    assert (kept["home"], kept["version"], kept["author"], kept["value"]["open"]) == ("harbour", 2, "agent:r1", True)
    refused = await system.client.put(at(run), json=1, params={"wait": "20"})
    assert (refused.status_code, refused.json()["code"]) == (409, "run_ended")
    assert refused.json()["detail"].endswith("(completed): what it had is kept, and document notes changes no more")
    async with channel_to(system) as channel:
        documents = documents_of(system, channel)
        assert (await documents.run("notes", run).get()).value["picked"] == ["box"]
        with pytest.raises(DocumentRefused, match="it has ended"):
            await documents.run("notes", run).put(1)
        with pytest.raises(DocumentUnavailable, match="not kept here"):
            await documents.run("notes", "nowhere").get()
        with pytest.raises(DocumentRefused, match="of which run"):
            documents.run("notes")


async def test_people_edit_what_a_run_has_written_down(system: Whole) -> None:
    """Compared as any other document, decided by the run's home, and in the run's history."""
    run = await held(system)
    assert (await system.client.put(at(run), json=1, params={"expected_version": "1", "wait": "20"})).status_code == 412
    patched = await system.client.patch(at(run), json={"open": False}, params={"wait": "20", "author": "ben", "edit": "x1"})
    again = await system.client.patch(at(run), json={"open": False}, params={"wait": "20", "author": "ben", "edit": "x1"})
    assert [(each.status_code, each.json()["version"]) for each in (patched, again)] == [(200, 3), (200, 3)]
    begun = await system.client.post(at(run, "todo/first"), json=["a"], params={"wait": "20"})
    assert (begun.status_code, begun.json()["version"], begun.headers["etag"]) == (200, 1, '"1"')
    assert (await system.client.post(at(run, "todo/first"), json=1, params={"wait": "20"})).json()["code"] == "version_conflict"
    assert (await system.client.put(at(run), json=1, params={"level": "strong"})).json()["code"] == "invalid_terms"
    listed = (await system.client.get(f"/api/v1/documents/run/{run}")).json()["items"]
    assert [each["id"] for each in listed] == [f"run/{run}/notes", f"run/{run}/todo/first"]
    assert (await system.client.delete(at(run, "todo/first"), params={"wait": "20"})).status_code == 204
    assert (await system.client.get(at(run, "todo/first"))).json()["code"] == "document_unknown"
    ended = await go(system, run)
    assert next(task["output"] for task in ended["tasks"] if task["id"] == "ship")["open"] is False
    told = [entry for entry in await system.history(run) if entry["kind"] == "ContextChanged"]
    assert [(entry["event"]["name"], entry["event"]["version"]) for entry in told] == [
        ("notes", 1),
        ("notes", 2),
        ("notes", 3),
        ("todo/first", 1),
        ("todo/first", 2),
    ]


async def test_former_versions_are_in_the_history_of_the_run(system: Whole) -> None:
    """With their values, while it goes on and after its end."""
    run = await held(system)
    for number in range(3, 6):
        await system.client.put(at(run), json=number, params={"wait": "20"})
    for _ in range(2):
        former = [(await system.client.get(at(run), params={"version": number})).json() for number in (1, 4)]
        assert [(each["value"], each["latest"]) for each in former] == [({"picked": ["box"], "by": "r1"}, 5), (4, 5)]
        first = (await system.client.get(f"/api/v1/document-history/run/{run}/notes", params={"limit": 3})).json()
        rest = (await system.client.get(f"/api/v1/document-history/run/{run}/notes", params={"cursor": first["next"]})).json()
        assert ([each["version"] for each in first["items"] + rest["items"]], rest["next"]) == ([5, 4, 3, 2, 1], "")
        await go(system, run)
    restored = await command(system, "document", "restore", f"run/{run}/notes", "--version", "1", code=1)
    assert "ended" in restored


async def test_they_are_watched_at_the_cloud_and_at_the_site(system: Whole) -> None:
    """As any other document."""
    run = await held(system)
    polled = asyncio.ensure_future(system.client.get(at(run), params={"watch": "2", "wait": "60"}))
    async with channel_to(system) as channel:
        told = documents_of(system, channel).run("notes", run).watch(from_version=1)
        assert (await asyncio.wait_for(anext(told), PATIENCE_S)).version == 2
        await system.client.put(at(run), json=3, params={"wait": "20"})
        seen = await asyncio.wait_for(anext(told), PATIENCE_S)
        assert (seen.id, seen.version, seen.value) == (f"run/{run}/notes", 3, 3)
        await told.aclose()
    assert (await polled).json()["version"] == 3
    shown = json.loads(await command(system, "document", "watch", f"run/{run}/", "--limit", "1"))
    assert (shown["id"], shown["version"]) == (f"run/{run}/notes", 3)
    listed = json.loads(await command(system, "document", "list", f"run/{run}/"))
    assert [each["version"] for each in listed] == [3]


async def test_what_has_no_run_has_no_documents(system: Whole) -> None:
    """Said in words."""
    assert (await system.client.get(at("nowhere"))).json()["code"] == "run_unknown"
    assert (await system.client.put(at("nowhere"), json=1)).json()["code"] == "run_unknown"
    unplaced = await system.start_run({"a": {"capability": "nobody"}})
    assert (await system.client.put(at(unplaced), json=1)).json()["code"] == "run_unplaced"
    assert (await system.client.get("/api/v1/documents/run/a")).json()["code"] == "run_unknown"


async def test_the_first_edit_is_shown_before_its_home_has_answered(system: Whole) -> None:
    """The site is away: whoever looks sees no document yet, but what is on its way to it; afterwards it has its value."""
    run = await held(system)
    assert (await system.client.get(at(run, "plan"))).status_code == 404
    await system.stop("harbour")
    asked = await system.client.put(at(run, "plan"), json={"x": 1}, params={"wait": "0", "edit": "e1", "author": "ben"})
    assert asked.status_code == 202
    shown = (await system.client.get(at(run, "plan"))).json()
    assert (shown["version"], shown["value"], shown["pending"]) == (0, None, asked.json()["pending"])
    assert [(each["edit"], each["value"], each["author"]) for each in shown["pending"]] == [("e1", {"x": 1}, "ben")]
    assert (await system.client.get(at(run, "other"))).status_code == 404
    await system.restart("harbour")

    async def is_decided() -> bool:
        view = (await system.client.get(at(run, "plan"))).json()
        return (view["version"], view["value"], view["pending"]) == (1, {"x": 1}, [])

    await until(is_decided)
