"""Runs that wait for runs at other sites: over HTTP and from the command line, in front of a running cloud with two sites."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.command_line import command
from tests.whole import Whole, until, whole
from tiercel import Agent

pytestmark = pytest.mark.asyncio(loop_scope="module")
RUNS = "/api/v1/workflows"
PICK: dict[str, Any] = {
    "go": {"wait": {"signal": "go"}},
    "pick": {"capability": "pick", "needs": ["go"]},
    "end": {"wait": {"signal": "end"}, "needs": ["pick"]},
}
PACK: dict[str, Any] = {"pack": {"capability": "pack"}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Whole]:
    async with whole(tmp_path_factory.mktemp("between"), "harbour", "airport") as running:
        await running.join("harbour", worker(running, "picker-1", "pick"))
        await running.join("airport", worker(running, "packer-1", "pack"))
        yield running


def worker(system: Whole, name: str, capability: str) -> Agent:
    agent = system.agent(name, kind="robot", capacity=8)

    @agent.capability(capability)
    async def work() -> str:
        return capability

    return agent


async def start(system: Whole, tasks: dict[str, Any], name: str, *, status: int = 201, **more: Any) -> Any:
    """Start a run: its id, or the refusal."""
    definition = {"name": name, "version": "1", "tasks": tasks}
    answer = await system.client.post(RUNS, json={"definition": definition, **more})
    assert answer.status_code == status, answer.text
    return answer.json()["id"] if status == 201 else answer.json()


async def depend(system: Whole, run: str, body: Any, *, status: int = 201) -> Any:
    answer = await system.client.post(f"{RUNS}/{run}/dependencies", json=body, params={"wait": 30})
    assert answer.status_code == status, answer.text
    return answer.json()


async def look(system: Whole, run: str) -> Any:
    answer = await system.client.get(f"{RUNS}/{run}/dependencies")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def state(system: Whole, run: str, task: str) -> str:
    picture = (await system.client.get(f"{RUNS}/{run}")).json()
    return str(next(each["state"] for each in picture["tasks"] if each["id"] == task))


async def await_state(system: Whole, run: str, task: str, wanted: str) -> None:
    async def is_so() -> bool:
        return await state(system, run, task) == wanted

    await until(is_so)


async def signal(system: Whole, run: str, name: str) -> None:
    answer = await system.client.post(f"{RUNS}/{run}/signal", json={"name": name}, params={"wait": 30})
    assert answer.status_code == 200, answer.text


async def test_a_run_waits_for_a_run_at_another_site(system: Whole) -> None:
    """It is pending until the other has ended, says for whom it waits, and then its site does it."""
    first = await start(system, PICK, "pick")
    await await_state(system, first, "go", "waiting")
    second = await start(system, PACK, "pack", after=[{"on": first}])
    explained = (await system.client.get(f"{RUNS}/{second}/explain")).json()
    assert explained["state"] == "pending"
    assert f"{first} (after success), which is active at harbour" in explained["waits_for"]
    (waiting,) = (await look(system, second))["waits_for"]
    assert (waiting["state"], waiting["on"]) == ("waiting", {"run": first, "state": "active"})
    assert [each["run"] for each in (await look(system, first))["waited_for_by"]] == [second]
    await signal(system, first, "go")
    await signal(system, first, "end")
    assert (await system.ended(second))["run"]["state"] == "completed"
    ends = [
        next(entry["time"] for entry in await system.history(run) if entry["kind"] == kind)
        for run, kind in ((first, "FragmentEnded"), (second, "FragmentAdopted"))
    ]
    assert ends[0] <= ends[1]
    (met,) = (await look(system, second))["waits_for"]
    assert (met["state"], met["detail"], met["on"]["state"]) == ("met", f"{first} has completed", "ended")


async def test_a_task_of_a_run_waits_for_a_task_at_another_site(system: Whole) -> None:
    """It is held at its home, which says so; the other task lets it go, long before its run ends."""
    first, second = await start(system, PICK, "pick"), await start(system, PICK, "pick")
    body = [{"task": "pick", "on": f"{first}/pick"}, {"task": "end", "on": {"run": first, "task": "go"}, "kind": "after_end"}]
    items = (await depend(system, second, body))["items"]
    assert [(each["state"], each["held"]) for each in items] == [("waiting", ["harbour"])] * 2
    await signal(system, second, "go")
    await await_state(system, second, "go", "completed")
    assert await state(system, second, "pick") == "ready"
    told = await command(system, "run", "explain", second)
    assert f"pick [hold]: waits for {first}/pick (after success), which is pending at harbour" in told
    await signal(system, first, "go")
    await await_state(system, second, "pick", "completed")
    await signal(system, second, "end")
    assert (await system.ended(second))["run"]["state"] == "completed"
    await system.client.post(f"{RUNS}/{first}/cancel", params={"wait": 30}, json={})


async def test_a_circle_is_refused_with_its_name(system: Whole) -> None:
    """Nothing of the request is kept."""
    first, second = await start(system, PICK, "pick"), await start(system, PICK, "pick")
    await depend(system, second, {"on": first, "task": "pick"})
    refused = await depend(system, first, [{"on": second}], status=409)
    assert (refused["code"], refused["problems"]) == ("dependency_circle", [f"{first} -> {second} -> {second}/pick -> {first}"])
    assert (await look(system, first))["waits_for"] == []
    for run in (second, first):
        await system.client.post(f"{RUNS}/{run}/cancel", params={"wait": 30}, json={})


async def test_wrong_requests_are_refused_with_what_is_allowed(system: Whole) -> None:
    """The place, what was found, and what may stand there."""
    first, second = await start(system, PICK, "pick"), await start(system, PICK, "pick")
    await await_state(system, second, "go", "waiting")
    problem = await depend(system, second, {"on": first, "kind": "after_all"}, status=422)
    assert problem["problems"][0].startswith("kind: Invalid enum value 'after_all'")
    problem = await depend(system, second, [{"on": {"ran": first}}], status=422)
    assert "allowed: run, task" in problem["problems"][0]
    assert (await depend(system, second, {"on": "r-nobody"}, status=404))["code"] == "run_unknown"
    assert (await depend(system, second, {"on": first, "task": "nothing"}, status=404))["code"] == "task_unknown"
    assert (await depend(system, second, {"on": first, "task": "go"}, status=409))["code"] == "task_begun"
    assert (await start(system, PACK, "pack", after=[{"on": "r-nobody"}], status=404))["code"] == "run_unknown"
    gone = await system.client.delete(f"{RUNS}/{second}/dependencies/d-none")
    assert (gone.status_code, gone.json()["code"]) == (404, "dependency_unknown")
    for run in (second, first):
        await system.client.post(f"{RUNS}/{run}/cancel", params={"wait": 30}, json={})


async def test_the_command_line_lets_runs_wait(system: Whole) -> None:
    """Start after others, depend, look, remove."""
    first, second = await start(system, PICK, "pick"), await start(system, PICK, "pick")
    third = json.loads(await command(system, "run", "start", "pack", "--after", f"{first}/go:end", "-o", "json"))["id"]
    assert f"{first}/go (after end)" in await command(system, "run", "get", third)
    made = json.loads(await command(system, "run", "depend", second, "--on", first, "--task", "pick", "-o", "json"))
    assert [each["state"] for each in made] == ["waiting"]
    shown = await command(system, "run", "dependencies", first)
    assert f"{first} is waited for by" in shown
    assert f"{second}/pick" in shown
    assert "waiting (active)" in shown
    assert "removed" in await command(system, "run", "depend", second, "--remove", made[0]["id"])
    assert "removed" in await command(system, "run", "dependencies", second)
    assert "is no kind; allowed: success, failure, end" in await command(
        system, "run", "depend", second, "--on", f"{first}:soon", code=2
    )
    assert "circle" in await command(system, "run", "depend", first, "--on", third, code=1)
    await signal(system, first, "go")
    assert (await system.ended(third))["run"]["state"] == "completed"
    assert "waits for no other run" in await command(system, "run", "dependencies", (await start(system, PACK, "pack")))
    for run in (second, first):
        await system.client.post(f"{RUNS}/{run}/cancel", params={"wait": 30}, json={})


async def test_a_definition_lets_its_runs_wait_for_those_that_inputs_name(system: Whole, tmp_path: Path) -> None:
    """From a file on the command line, and over HTTP: nothing without the input; with it the whole, or a task of it, waits."""
    path = tmp_path / "ship.yaml"
    path.write_text(
        "name: ship\nversion: 1.0.0\ninputs: {previous: {type: string, default: ''}}\n"
        "awaits: [{run: '${{ inputs.previous }}', task: go, kind: end}]\ntasks: {pack: {capability: pack}}\n"
    )
    first = await start(system, PICK, "pick")
    free = json.loads(await command(system, "run", "start", str(path), "-o", "json"))["id"]
    assert (await system.ended(free))["run"]["state"] == "completed"
    waiting = json.loads(await command(system, "run", "start", str(path), "--input", f"previous={first}", "-o", "json"))["id"]
    assert f"{first}/go (after end)" in await command(system, "run", "get", waiting)
    tasks = {"pack": {**PACK["pack"], "awaits": ["${{ inputs.previous }}/go"]}}
    body = {"name": "late", "version": "1", "inputs": {"previous": {"type": "string"}}, "tasks": tasks}
    late = (await system.client.post(RUNS, json={"definition": body, "inputs": {"previous": first}})).json()["id"]
    (known,) = (await look(system, late))["waits_for"]
    assert (known["task"], known["on"]["run"], known["on"]["task"]) == ("pack", first, "go")
    wrong = await system.client.post(RUNS, json={"definition": body, "inputs": {"previous": "r-none"}})
    assert (wrong.status_code, wrong.json()["code"]) == (404, "run_unknown")
    assert "tasks.pack.awaits[0].run: '${{ inputs.previous }}/go'" in wrong.json()["detail"]
    await signal(system, first, "go")
    for run in (waiting, late):
        assert (await system.ended(run))["run"]["state"] == "completed"
    await system.client.post(f"{RUNS}/{first}/cancel", params={"wait": 30}, json={})


async def test_a_hold_travels_when_the_link_is_back(system: Whole) -> None:
    """The answer says that it is on its way; what then waits in vain is skipped."""
    await system.stop("harbour")
    blocker = await start(system, {"never": {"wait": {"signal": "never"}}, "pack": {**PACK["pack"], "needs": ["never"]}}, "block")
    await system.restart("harbour")
    second = await start(system, PICK, "pick")
    await await_state(system, second, "go", "waiting")
    await system.stop("harbour")
    answer = await system.client.post(f"{RUNS}/{second}/dependencies", json={"on": blocker, "task": "pick"}, params={"wait": 0.2})
    assert (answer.status_code, answer.json()["unanswered"]) == (202, ["harbour"])
    await system.restart("harbour")

    async def is_held() -> bool:
        return bool((await look(system, second))["waits_for"][0].get("held") == ["harbour"])

    await until(is_held)
    gone = await system.client.post(f"{RUNS}/{blocker}/cancel", params={"wait": 30}, json={})
    assert gone.status_code == 200
    await await_state(system, second, "pick", "skipped")
    await system.client.post(f"{RUNS}/{second}/cancel", params={"wait": 30}, json={})


async def test_a_value_goes_from_run_to_run_under_a_condition(system: Whole) -> None:
    """Asked for over HTTP and on the command line, seen at the agent, and shown; what is wrong is refused with its place."""
    packer = system.agent("packer-2", kind="robot", capacity=8)
    boxes: list[object] = []

    @packer.capability("weigh")
    async def weigh() -> dict[str, object]:
        return {"kg": 3, "box": {"id": "b7"}}

    @packer.capability("stow")
    async def stow(box: object = None) -> object:
        boxes.append(box)
        return box

    await system.join("airport", packer)
    go: dict[str, Any] = {"go": {"wait": {"signal": "go"}}}
    weighing = await start(system, {**go, "weigh": {"capability": "weigh", "needs": ["go"]}}, "weighing")
    stowing = {**go, "stow": {"capability": "stow", "needs": ["go"]}}
    first, second = await start(system, stowing, "stowing"), await start(system, stowing, "stowing")
    body = {"task": "stow", "on": f"{weighing}/weigh", "when": "output.kg < 5", "select": "output.box.id", "into": "box"}
    made = await depend(system, first, {**body, "schema": {"type": "string"}})
    assert (made["when"], made["into"], made["schema"]) == ("output.kg < 5", "box", {"type": "string"})
    told = await command(
        system, "run", "depend", second, "--on", f"{weighing}/weigh", "--task", "stow", "--when", "output.kg > 5"
    )
    assert "after success, when output.kg > 5" in told
    wrong = await depend(system, second, {**body, "when": "inputs.kg"}, status=422)
    assert "[0].when: 'inputs' is not known here; allowed: outcome, output" in wrong["detail"]
    for run in (first, second, weighing):
        await signal(system, run, "go")
    for run, state_of_task in ((first, "completed"), (second, "skipped")):
        assert (await system.ended(run))["run"]["state"] == "completed"
        assert await state(system, run, "stow") == state_of_task
    assert boxes == ["b7"]
    (shown,) = (await look(system, second))["waits_for"]
    assert (shown["state"], "is false" in shown["detail"]) == ("hopeless", True)


async def test_a_run_is_given_an_input_by_the_run_that_its_definition_awaits(system: Whole) -> None:
    """It may be left out of the request, and is checked like any other."""
    makes = {"name": "makes", "version": "1", "tasks": PACK, "outputs": {"what": "${{ tasks.pack.output }}"}}
    first = (await system.client.post(RUNS, json={"definition": makes})).json()["id"]
    takes = {
        "name": "takes",
        "version": "1",
        "inputs": {"what": {"type": "string"}, "previous": {"type": "string"}},
        "awaits": [{"run": "${{ inputs.previous }}", "select": "output.what", "into": "what"}],
        "tasks": {"see": {"check": "inputs.what == 'pack'"}},
        "outputs": {"seen": "${{ tasks.see.output }}"},
    }
    answer = await system.client.post(RUNS, json={"definition": takes, "inputs": {"previous": first}})
    assert answer.status_code == 201, answer.text
    ended = await system.ended(answer.json()["id"])
    assert (ended["run"]["state"], ended["output"]) == ("completed", {"seen": True})
    missing = await system.client.post(
        RUNS, json={"definition": {**takes, "version": "2", "awaits": []}, "inputs": {"previous": ""}}
    )
    assert (missing.status_code, missing.json()["code"]) == (422, "invalid_inputs")
    none = await system.client.post(RUNS, json={"definition": "takes@1", "inputs": {"previous": ""}})
    assert (none.status_code, none.json()["code"]) == (422, "invalid_inputs")
    assert "no run that is waited for gives it" in none.json()["detail"]
