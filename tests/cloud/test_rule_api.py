"""Standing rules over HTTP and from the command line, in front of a running cloud with a site."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.cloud.receiver import receiving
from tests.command_line import command
from tests.whole import Whole, until, whole
from tiercel import TerminalError

pytestmark = pytest.mark.asyncio(loop_scope="module")
RULES = "/api/v1/rules"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Whole]:
    async with whole(tmp_path_factory.mktemp("rules"), "harbour") as running:
        agent = running.agent("worker-1", kind="service", capacity=8)

        @agent.capability("break")
        async def fail() -> None:
            raise TerminalError("the belt is torn", code="torn")

        @agent.capability("count")
        async def count() -> int:
            return 1

        await running.join("harbour", agent)
        yield running


async def add(system: Whole, status: int = 201, **rule: Any) -> dict[str, Any]:
    answer = await system.client.post(RULES, json=rule)
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def start(system: Whole, tasks: dict[str, Any], **labels: str) -> str:
    name = f"story-{abs(hash(str(tasks))) % 10**12}"
    body = {"definition": {"name": name, "version": "1", "tasks": tasks}, "labels": labels}
    answer = await system.client.post("/api/v1/workflows", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def test_a_rule_pauses_and_tells_and_another_starts_a_run(system: Whole) -> None:
    """Of the runs with the label alone; what it did is in the history, under its name."""
    mend = {"name": "mend", "version": "1", "inputs": {"of": {"type": "string"}}, "tasks": {"a": {"capability": "count"}}}
    await system.client.post("/api/v1/definitions", json=mend)
    async with receiving() as receiver:
        scope = {"labels": {"line": "4"}}
        await add(system, name="tell", on="task.failed", when="event.code == 'torn'", do={"notify": receiver.url}, scope=scope)
        started = {"start": {"definition": "mend", "inputs": {"of": "${{ run.id }}"}}}
        await add(system, name="mend", on="run.failed", do=started, scope=scope)
        other = await start(system, {"a": {"capability": "break"}}, line="5")
        run = await start(system, {"a": {"capability": "break"}}, line="4")
        await system.ended(other)
        await system.ended(run)

        async def has_come() -> bool:
            runs = (await system.client.get("/api/v1/workflows")).json()["items"]
            return len(receiver.letters) == 1 and any(each["definition"] == "mend@1" for each in runs)

        await until(has_come)
    assert (
        receiver.letters[0].body["message"]
        == f"standing rule tell: task.failed in run {run}, task a, code torn: the belt is torn"
    )
    assert receiver.letters[0].body["run"] == run
    names = [entry["event"]["name"] for entry in await system.history(run) if entry["kind"] == "RuleFired"]
    assert names[:1] == ["tell"]
    shown = (await system.client.get(f"{RULES}/tell")).json()
    assert (shown["fired"], shown["sites"], shown["rule"]["scope"]) == (1, ["harbour"], scope)
    assert (await system.client.get(f"{RULES}/mend")).json()["fired"] == 1
    for name in ("tell", "mend"):
        assert (await system.client.delete(f"{RULES}/{name}")).status_code == 200
    assert (await system.client.get(f"{RULES}/tell")).status_code == 404


async def test_a_rule_that_keeps_failing_is_visible(system: Whole) -> None:
    """In the list, with its last error."""
    await add(system, name="wrong", on="task.completed", when="event.nothing == 1", do="pause")
    await system.ended(await start(system, {"a": {"capability": "count"}}))

    async def is_known() -> bool:
        return bool((await system.client.get(f"{RULES}/wrong")).json().get("errors"))

    await until(is_known)
    (listed,) = (await system.client.get(RULES)).json()["items"]
    assert "nothing" in listed["error"]
    assert "nothing" in await command(system, "rule", "list")
    await system.client.delete(f"{RULES}/wrong")


async def test_what_a_rule_skips_is_what_happened(system: Whole) -> None:
    """A task that waits for a person is skipped, and the run goes on."""
    await add(system, name="on", on="task.incident", do="skip")
    tasks = {
        "a": {"capability": "break", "recovery": ["incident"]},
        "b": {"capability": "count", "needs": [{"task": "a", "after": "end"}]},
    }
    picture = await system.ended(await start(system, tasks))
    assert {task["id"]: task["state"] for task in picture["tasks"]} == {"a": "skipped", "b": "completed"}
    assert (await system.client.get("/api/v1/sites/harbour/diff")).json()["different"] == []
    await system.client.delete(f"{RULES}/on")


async def test_wrong_rules_are_refused(system: Whole) -> None:
    """With the place; what it would start must be registered, and a name is taken once."""
    wrong = await add(system, 422, name="r", on="task.fail", do="pause")
    assert wrong["problems"][0].startswith("<request>:1: on: unknown event of a task 'fail'")
    unknown = await add(system, 404, name="r", on="task.failed", do={"start": {"definition": "nothing"}})
    assert unknown["code"] == "definition_unknown"
    await add(system, name="r", on="task.failed", do="pause")
    await add(system, name="r", on="task.failed", do="pause")
    assert (await add(system, 409, name="r", on="task.failed", do="cancel"))["code"] == "rule_exists"
    assert (await system.client.post(RULES, content=b"\xff", headers={"Content-Type": "text/yaml"})).status_code == 400
    await system.client.delete(f"{RULES}/r")


async def test_the_command_line_adds_shows_and_removes(system: Whole, tmp_path: Path) -> None:
    """From a YAML file, where `on` is a text."""
    path = tmp_path / "night.yaml"
    path.write_text('name: night\non: run.failed\ndo: {escalate: "role:night"}\nscope: {definition: pick}\n')
    assert "escalate role:night" in await command(system, "rule", "add", str(path))
    shown = await command(system, "rule", "show", "night")
    assert "on: run.failed" in shown.replace("'on'", "on")
    found = json.loads(await command(system, "rule", "list", "-o", "json"))
    assert [(each["name"], each["rule"]["scope"]) for each in found] == [("night", {"definition": "pick"})]
    assert "night" in await command(system, "rule", "remove", "night")
    assert "there is no standing rule night" in await command(system, "rule", "remove", "night", code=1)
    path.write_text("name: night\non: run.faild\ndo: pause\n")
    assert f"{path}:2: on: unknown event of a run 'faild'" in await command(system, "rule", "add", str(path), code=1)
