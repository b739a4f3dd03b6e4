"""Forks over HTTP and from the command line, before a running system; and over several sites and restarts, in memory."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from cloud.control.requests import ForkRequest
from cloud.forking.service import new_run
from cloud.inputs import StartRuns
from cloud.port import Started
from cloud.task_pictures import first_shown, rows_of, task_views
from tests.cloud.control import Control
from tests.whole import Whole, whole
from tests.workflow.plans import plan_of
from tiercel import Agent

pytestmark = pytest.mark.asyncio(loop_scope="module")
RUNS = "/api/v1/workflows"
COMMAND = [sys.executable, "-c", "from tiercel.cli.main import main; main()"]
STEPS: dict[str, Any] = {
    "one": {"capability": "count", "with": {"n": "${{ inputs.n }}"}},
    "two": {"capability": "count", "with": {"n": "${{ tasks.one.output.n + 1 }}"}, "needs": ["one"]},
    "three": {"capability": "count", "with": {"n": "${{ tasks.two.output.n + inputs.n }}"}, "needs": ["two"]},
}
N = {"n": {"type": "integer"}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Whole]:
    async with whole(tmp_path_factory.mktemp("forking"), "harbour") as running:
        await running.join("harbour", counter(running))
        yield running


def counter(system: Whole) -> Agent:
    agent = system.agent("counter-1", kind="service", capacity=64)

    @agent.capability("count")
    async def count(n: int, size: int = 0) -> dict[str, Any]:
        return {"n": n, "text": "x" * size}

    @agent.capability("weigh")
    async def weigh(what: dict[str, Any]) -> int:
        return len(what["text"])

    return agent


async def fork(system: Whole, run: str, status: int = 201, /, *, key: str = "", **body: Any) -> dict[str, Any]:
    headers = {"Idempotency-Key": key} if key else {}
    answer = await system.client.post(f"{RUNS}/{run}/fork", json=body, headers=headers)
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


def agents_of(view: dict[str, Any]) -> dict[str, str]:
    return {task["id"]: task.get("agent", "") for task in view["tasks"]}


async def test_a_run_is_forked_from_a_task_on(system: Whole) -> None:
    """What was done before is taken over with its output; only what follows is done, with other inputs if they are given."""
    old = await system.start_run(STEPS, inputs={"n": 1}, declared=N)
    await system.ended(old)
    started = await fork(system, old, from_task="three", inputs={"n": 10})
    assert (started["forked_from"], started["begins_at"], started["taken_over"]) == (old, "three", 2)
    view = await system.ended(started["id"])
    assert (view["run"]["state"], view["run"]["forked_from"], view["inputs"]) == ("completed", old, {"n": 10})
    assert agents_of(view) == {"one": "", "two": "", "three": "counter-1"}
    assert [task["output"]["n"] for task in view["tasks"]] == [1, 2, 12]
    assert [task.get("source") for task in view["tasks"]] == [f"fork:{old}", f"fork:{old}", None]
    adopted = next(e for e in await system.history(started["id"]) if e["kind"] == "FragmentAdopted")
    assert adopted["event"]["origin"]["taken_over"][0] == {"task": "one", "state": "completed"}
    assert (await system.ended(old))["run"]["state"] == "completed"


async def test_a_fork_without_a_task_is_the_whole_run_once_more(system: Whole) -> None:
    """With the old inputs and labels, unless others are given."""
    old = await system.start_run(STEPS, inputs={"n": 1}, declared=N)
    await system.ended(old)
    started = await fork(system, old, labels={"why": "again"})
    view = await system.ended(started["id"])
    assert set(agents_of(view).values()) == {"counter-1"}
    assert view["run"]["labels"] == {"why": "again"}


async def test_large_outputs_are_taken_over_by_name(system: Whole) -> None:
    """They lie where they lay, and the fork's tasks read them."""
    big = {"capability": "count", "with": {"n": 7, "size": 600_000}}
    after = {"capability": "weigh", "with": {"what": "${{ tasks.big.output }}"}, "needs": ["big"]}
    middle = {"capability": "count", "with": {"n": 1}, "needs": ["big"]}
    old = await system.start_run({"big": big, "middle": middle, "after": after})
    before = await system.ended(old)
    view = await system.ended((await fork(system, old, from_task="after"))["id"])
    assert view["run"]["state"] == "completed", view
    assert view["tasks"][0]["blob"] == before["tasks"][0]["blob"]
    assert view["tasks"][2]["output"] == before["tasks"][2]["output"] == 600_000


async def test_a_fork_is_started_once_under_its_key(system: Whole) -> None:
    """The same answer again; another request under the key, or another run, is refused."""
    old = await system.start_run(STEPS, inputs={"n": 1}, declared=N)
    await system.ended(old)
    first = await fork(system, old, key="k1", from_task="two")
    assert await fork(system, old, key="k1", from_task="two") == first
    assert (await fork(system, old, 422, key="k1", from_task="three"))["code"] == "idempotency_key_reused"
    assert (await fork(system, first["id"], 422, key="k1", from_task="two"))["code"] == "idempotency_key_reused"


async def test_many_runs_are_forked_at_once(system: Whole) -> None:
    """Those that are named, though they have ended; each once under a key, and what is refused is refused alone."""
    old = [await system.start_run(STEPS, inputs={"n": n}, declared=N) for n in (1, 2)]
    for run in old:
        await system.ended(run)
    body = {"verb": "fork", "filter": {"ids": [*old, "nowhere"]}, "arguments": {"from_task": "three"}}
    done = (await system.client.post(f"{RUNS}:bulk", json=body, headers={"Idempotency-Key": "many"})).json()
    assert (done["matched"], done["accepted"], done["refused"]) == (3, 2, 1)
    forks = {item["run"]: item["detail"].removeprefix("forked as ") for item in done["items"] if item["state"] == "accepted"}
    for run in old:
        assert (await system.ended(forks[run]))["run"]["forked_from"] == run
    assert (await system.client.post(f"{RUNS}:bulk", json=body, headers={"Idempotency-Key": "many"})).json() == done
    body["filter"] = {"ids": old, "labels": {"team": "none"}}
    assert (await system.client.post(f"{RUNS}:bulk", json=body)).json()["items"] == []


async def test_what_cannot_be_forked_is_said(system: Whole) -> None:
    """The task, the input or the field, and what is allowed."""
    old = await system.start_run(STEPS, inputs={"n": 1}, declared=N)
    refused = await fork(system, old, 422, from_task="four")
    assert (refused["code"], refused["detail"].endswith("has no task 'four'; it has: one, two, three")) == ("fork_refused", True)
    assert (await fork(system, old, 422, inputs={"n": "many"}))["code"] == "invalid_inputs"
    assert (await fork(system, old, 422, task="two"))["problems"][0].endswith("allowed: from_task, inputs, labels")
    assert (await fork(system, "nowhere", 404))["code"] == "run_unknown"


async def test_the_command_line_forks(system: Whole) -> None:
    """`tiercel run fork RUN --from TASK --input NAME=VALUE`."""
    old = await system.start_run(STEPS, inputs={"n": 1}, declared=N)
    await system.ended(old)
    environment = {**os.environ, "TIERCEL_SERVER": str(system.client.base_url)}
    args = ["run", "fork", old, "--from", "two", "--input", "n=5", "--label", "a=b", "-o", "json"]
    done = await asyncio.to_thread(
        subprocess.run, [*COMMAND, *args], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    view = await system.ended(json.loads(done.stdout)["id"])
    assert [task["output"]["n"] for task in view["tasks"]] == [1, 2, 7]


# Over several sites ----------------------------------------------------------------------------------------------------


def forked(control: Control, run: str, **asked: Any) -> str:
    known = control.planner.runs.get(run)
    assert known is not None
    new = new_run(known, ForkRequest(**asked))
    started = control.ask(lambda token: StartRuns(token, known.plan.ref, [new], None))
    return msgspec.convert(started, list[Started], from_attributes=True)[0].id


@pytest.mark.parametrize("restarts", [False, True])
async def test_a_fork_over_two_sites_hands_nothing_over_that_was_taken_over(restarts: bool) -> None:
    """Each fragment has what it reads from its beginning, also over restarts, and a site whose part is done is done at once."""
    plan = plan_of(
        {
            "pick": {"capability": "pick", "with": {}},
            "pack": {"capability": "pack", "needs": ["pick"], "with": {"what": "${{ tasks.pick.output }}"}},
            "ship": {"capability": "pack", "needs": ["pack"], "with": {"what": "${{ tasks.pick.output }}"}},
            "label": {"capability": "pick", "needs": ["ship"], "with": {"what": "${{ tasks.pack.output }}"}},
            "gate": {"wait": {"signal": "go"}, "needs": ["label"]},
        }
    )
    control = Control()
    control.join("harbour", "pick")
    control.join("airport", "pack")
    (old,) = control.start(plan)
    control.work_all(old)
    run = forked(control, old, from_task="ship")
    if restarts:
        control.restart()
        control.snapshot()
        control.restart()
    control.settle()
    known = control.planner.runs.get(run)
    assert known is not None
    assert known.origin is not None
    assert (known.origin.run, known.origin.seeds) == (old, ())
    airport = control.outposts["airport"]
    assert airport.ready(run) == [plan.index["ship"]]
    assert not any(outpost.ready(run) for name, outpost in control.outposts.items() if name != "airport")
    airport.work(run, plan.index["ship"])
    control.settle()
    replica = control.planner.runs[run].fragment("airport")
    assert replica is not None
    assert replica.save() == airport.closed[run].save()
    harbour = control.outposts["harbour"]
    assert harbour.ready(run) == [plan.index["label"]]
    harbour.work(run, plan.index["label"])
    control.settle()
    handed = {site: control.said_to(site).count((run, "ValueHanded")) for site in control.outposts}
    # Only what was done in the fork: `ship` for the label.
    assert (handed["harbour"], control.planner.runs[run].completed()) == (1, 4)


async def test_what_is_taken_over_needs_no_agents() -> None:
    """A fork is placed though nobody could do any more what was done before."""
    plan = plan_of(
        {
            "pick": {"capability": "pick", "with": {}},
            "pack": {"capability": "pack", "needs": ["pick"], "with": {"what": "${{ tasks.pick.output }}"}},
        }
    )
    control = Control()
    control.join("harbour", "pick", agent="ann")
    control.join("harbour", "pack", agent="bob")
    (old,) = control.start(plan)
    control.settle()
    control.outposts["harbour"].work(old, plan.index["pick"])
    control.settle()
    control.leave("harbour", "left", agent="ann")
    (waiting,) = control.start(plan)
    run = forked(control, old, from_task="pack")
    control.settle()
    assert control.planner.runs[waiting].state() == "pending"
    assert control.outposts["harbour"].ready(run) == [plan.index["pack"]]


async def test_the_picture_of_a_long_history_shows_what_was_taken_over() -> None:
    """Of many rows only those are painted that tell of the tasks shown; the beginning of a fork tells of those taken over."""
    gate = {"wait": {"signal": "go"}, "needs": ["pack"]}
    plan = plan_of({"pick": {"capability": "pick"}, "pack": {"capability": "pick", "needs": ["pick"]}, "gate": gate})
    control = Control()
    control.join("harbour", "pick")
    (old,) = control.start(plan)
    control.work_all(old)
    run = forked(control, old, from_task="pack")
    control.settle()
    known = control.planner.runs[run]
    rows = [row for row in control.log.disk.rows if row.run == run]
    painted = task_views(known, rows_of(rows, first_shown(known)), control.planner.fleet)
    assert painted == task_views(known, rows, control.planner.fleet)
    assert painted[0][0].source == f"fork:{old}"
