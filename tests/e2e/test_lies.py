"""What comes from outside may be wrong, too large or a lie: it is refused with a reason, and nobody else notices."""

import json

import grpc
import httpx
import pytest

from agents.config import AgentDescription, HostConfig
from tests.e2e.children import Child
from tests.e2e.conftest import Build
from tests.e2e.node import Service
from tests.e2e.raw import RawAgent
from tests.e2e.system import System
from tests.e2e.work import open_gate, start_gated
from tiercel.answers import ApiError
from tiercel.v1 import agent_pb2, events_pb2

pytestmark = pytest.mark.timeout(300)

MALFORMED = "name: bad\nversion: 1.0.0\ntasks:\n  one: {capability: x\n  two: {capability: y}\n"
CYCLIC = """name: bad
version: 1.0.0
tasks:
  one: {capability: x, needs: [three]}
  two: {capability: x, needs: [one]}
  three: {capability: x, needs: [two]}
"""
ONE_TASK = """
name: one-task
version: {version}
inputs: {{value: {{}}}}
tasks:
  only: {{capability: {capability}, with: {{made: "${{{{ inputs.value }}}}"}}, effect: repeatable{site}}}
"""


GOODS = {"text": "00000000"}


def start_task(system: System, capability: str, *, site: str = "", value: object = None) -> str:
    """A run of one task, which needs the capability."""
    version = f"1.0.{abs(hash((capability, site)))}"
    system.client.register(ONE_TASK.format(version=version, capability=capability, site=site and f", site: {site}"))
    return system.client.start(f"one-task@{version}", {"value": value})["id"]


def task_of(system: System, run: str) -> dict[str, object]:
    return dict(system.patiently(lambda: system.client.run(run))["tasks"][0])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (MALFORMED, ["order.yaml:5: "]),
        (CYCLIC, ["order.yaml:4: tasks.one.needs: ", "circle: one -> three -> two -> one"]),
        (CYCLIC.replace("[three]", "[tree]"), ["order.yaml:4: tasks.one.needs[0]: unknown task 'tree'", "did you mean 'three'"]),
        (CYCLIC.replace("needs: [three]", "neds: []"), ["order.yaml:4: tasks.one", "neds"]),
    ],
)
def test_a_bad_definition_is_refused_with_the_line(build: Build, text: str, expected: list[str]) -> None:
    """422, and each problem names file, line and path and says what is wrong; nothing is registered."""
    system = build()
    system.cloud.start().await_serving()
    with pytest.raises(ApiError) as caught:
        system.client.register(text, source="order.yaml")
    assert (caught.value.status, caught.value.code) == (422, "invalid_definition")
    assert [part for part in expected if part not in "\n".join(caught.value.problems)] == [], caught.value.problems
    assert system.client.definitions() == []


def test_an_unknown_capability_is_waited_for(build: Build) -> None:
    """The run says which capability it waits for, anywhere or at the site it names, and goes on when such an agent appears."""
    system = build("harbour").start()
    anywhere, there = start_task(system, "weigh", value=GOODS), start_task(system, "weigh", site="harbour", value=GOODS)
    system.await_true(lambda: system.state(there) == "active", "harbour has adopted the run that names it")
    view = system.client.run(anywhere)
    assert (view["run"]["state"], view["waits_for"]) == ("pending", "task only: an agent with capability weigh; no site has one")
    assert (task_of(system, there)["state"], task_of(system, there)["waits_for"]) == (
        "ready",
        "an agent with weigh: none at harbour",
    )
    scales = newcomer(system, "weigh")
    try:
        assert system.await_ended([anywhere, there]) == {anywhere: "completed", there: "completed"}
    finally:
        scales.halt()


def newcomer(system: System, capability: str) -> Child:
    """A second agent host at harbour, with one agent."""
    agent = AgentDescription(id="newcomer", capabilities=(capability,))
    config = HostConfig(
        gateway=f"unix:{system.gateway('harbour')}",
        data_dir=system.work("harbour") / "newcomer",
        agents=(agent,),
        functions={capability: "python:tests.e2e.capabilities.weigh"},
    )
    config.data_dir.mkdir()
    return Child("newcomer", Service(config, system.directory / "logs" / "newcomer.log")).start().await_serving()


def test_an_agent_that_lies_changes_nothing(build: Build) -> None:
    """Results for tasks that others hold, that nobody holds or that do not exist are acknowledged and forgotten."""
    system = build("harbour").start()
    run = start_gated(system, "truth")
    lies = [
        agent_pb2.TaskResult(key=key(run, 0, 1, 2 << 20 | 1), output=b'"lie"'),
        agent_pb2.TaskResult(key=key(run, 0, 1), failure=agent_pb2.TaskFailure(code="lie", message="lie")),
        agent_pb2.TaskResult(key=key(run, 0, 1), cancelled=True),
        agent_pb2.TaskResult(key=key(run, 0, 9), output=b'"lie"'),
        agent_pb2.TaskResult(key=key(run, 1, 0), output=b'"lie"'),  # Not begun yet.
        agent_pb2.TaskResult(key=key(run, 1, 1), output=b'"lie"'),
        agent_pb2.TaskResult(key=key(run, 4_000_000_000, 4_000_000_000, 2**63), output=b'"lie"'),
        agent_pb2.TaskResult(key=key("r9999-000001", 0, 1), output=b'"lie"'),
        agent_pb2.TaskResult(key=key("", 0, 1), output=b'"lie"'),
        agent_pb2.TaskResult(key=key(run, 0, 1), blob=events_pb2.BlobRef(sha256=b"short", size=1)),
        agent_pb2.TaskResult(key=key(run, 0, 1), blob=events_pb2.BlobRef(sha256=bytes(32), size=2**63)),
        agent_pb2.TaskResult(key=key(run, 0, 1)),
        agent_pb2.TaskResult(output=b'"lie"'),
    ]
    with RawAgent(system.gateway("harbour"), "liar") as liar:
        for lie in lies:
            liar.report(lie)
            assert list(liar.hear("result_acks").result_acks.items) == [lie.key]
    assert task_of(system, run)["state"] == "running"
    open_gate(system, "truth")
    assert system.await_ended([run]) == {run: "completed"}
    assert [task.get("output") for task in system.client.run(run)["tasks"]] == ["truth", {"line": f"{run}/after 1"}]
    assert "lie" not in json.dumps(system.client.history(run)["items"])
    system.await_equal()


def key(run: str, task: int, attempt: int, epoch: int = 0) -> agent_pb2.AttemptKey:
    return agent_pb2.AttemptKey(run=run, task=task, attempt=attempt, epoch=epoch)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (agent_pb2.TaskResult(output=b"\xff no JSON"), "invalid_output"),
        (agent_pb2.TaskResult(output=b'{"open": '), "invalid_output"),
        (agent_pb2.TaskResult(output=b""), "invalid_output"),
        (agent_pb2.TaskResult(output=b'"%s"' % bytes([120]) * 40_000), "result_too_large"),
        (agent_pb2.TaskResult(), "no_outcome"),
        (agent_pb2.TaskResult(blob=events_pb2.BlobRef(sha256=bytes(32), size=10)), "blob_missing"),
    ],
)
def test_an_answer_that_is_none_fails_its_task(build: Build, answer: agent_pb2.TaskResult, code: str) -> None:
    """What is no result of ours fails the attempt with a code that says so; the site and its other agents go on."""
    system = build("harbour").start()
    with RawAgent(system.gateway("harbour"), "babbler", "babble") as babbler:
        run = start_task(system, "babble", site="harbour")
        for _ in range(3):
            answer.key.CopyFrom(babbler.hear_assignment().key)
            babbler.report(answer)
            system.await_true(lambda: code in str(task_of(system, run).get("error")), f"the run tells {code}")
            if system.state(run) == "failed":
                break
        assert system.await_ended([run]) == {run: "failed"}
    done = start_task(system, "bulk.weigh", site="harbour", value=GOODS)
    assert system.await_ended([done]) == {done: "completed"}
    system.await_equal()


def test_a_frame_beyond_the_limit_ends_only_its_session(build: Build) -> None:
    """More than 4 MB in one message of an agent is refused by the transport; the site serves on."""
    system = build("harbour").start()
    run = start_gated(system, "open")
    with RawAgent(system.gateway("harbour"), "flood") as flood:
        flood.report(agent_pb2.TaskResult(key=key(run, 0, 1), output=b"1" * (5 << 20)))
        with pytest.raises(grpc.RpcError) as caught:
            flood.hear("result_acks")
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    open_gate(system, "open")
    assert system.await_ended([run]) == {run: "completed"}


def test_a_body_beyond_the_limit_is_refused(build: Build) -> None:
    """More than 8 MiB is 413, whether the client says so beforehand or not; the API serves on."""
    system = build()
    system.cloud.start().await_serving()
    url = f"{system.client.base_url}/api/v1/workflows"
    large = b'{"definition": "x", "inputs": {"value": "%s"}}' % (b"x" * (9 << 20))
    for body in (large, iter([large[: 5 << 20], large[5 << 20 :]])):
        answer = httpx.post(url, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 413
        assert (answer.headers["Content-Type"], answer.json()["code"]) == ("application/problem+json", "body_too_large")
    assert system.client.definitions() == []


def test_a_run_that_no_link_could_carry_is_refused(build: Build) -> None:
    """Inputs that are too large for an event are refused at the door: the links carry on for all others."""
    system = build("harbour").start()
    with pytest.raises(ApiError) as caught:
        start_task(system, "bulk.weigh", site="harbour", value={"text": "0" * (5 << 20)})
    assert (caught.value.status, caught.value.code) == (422, "invalid_inputs")
    assert "inputs and labels have 5,2" in caught.value.problems[0]
    done = start_task(system, "bulk.weigh", site="harbour", value=GOODS)
    assert system.await_ended([done]) == {done: "completed"}
