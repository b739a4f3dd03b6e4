"""What an agent does with assignments, seen from the other end of the wire."""

import asyncio
import contextvars
import json
import logging
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.sdk.gateway import ONCE, PHYSICAL, REPEATABLE, Effect, Gateway, assignment, serving
from tiercel import Agent, RetryableError, TaskContext, TerminalError, work
from tiercel.v1 import agent_pb2

NewAgent = Callable[..., Agent]


async def test_a_failure_says_what_it_means(gateway: Gateway, new_agent: NewAgent, caplog: pytest.LogCaptureFixture) -> None:
    """Code, whether and when to try again, and whether anybody can mend it travel; the log calls the attempt by the same name."""
    agent = new_agent()

    @agent.capability("fail")
    def fail(task: TaskContext, kind: str) -> None:
        task.log.warning("about to fail")
        if kind == "later":
            raise RetryableError("erp is down", code="circuit_open", retry_after_ms=4_000)
        raise TerminalError("no permission", code="forbidden", recoverable=kind == "mendable")

    with caplog.at_level(logging.INFO, "tiercel"):
        async with serving(agent, gateway):
            connection = await gateway.welcomed()
            kinds = ["later", "mendable", "lost"]
            await connection.assign(*[assignment("fail", i, with_={"kind": kind}) for i, kind in enumerate(kinds)])
            results = await connection.results(3)
    said = [r.failure for r in sorted(results, key=lambda r: r.key.task)]
    assert [(f.code, f.retryable, f.recoverable, f.retry_after_ms) for f in said] == [
        ("circuit_open", True, True, 4_000),
        ("forbidden", False, True, 0),
        ("forbidden", False, False, 0),
    ]
    assert [f.correlation_id for f in said] == ["r1/task-0/1", "r1/task-1/1", "r1/task-2/1"]
    assert "r1/task-0/1: failed (circuit_open): erp is down" in caplog.text
    own = [record for record in caplog.records if record.name == "tiercel.task"]
    assert {record.correlation_id for record in own} == {f.correlation_id for f in said}  # type: ignore[attr-defined]
    assert all(record.getMessage().endswith("/1: about to fail") for record in own)


@pytest.mark.parametrize("effect", [REPEATABLE, ONCE, PHYSICAL])
async def test_every_kind_of_function_is_run(gateway: Gateway, new_agent: NewAgent, effect: Effect) -> None:
    """Coroutines that wait or not, functions in threads and in the loop all answer with their JSON."""
    agent = new_agent()

    @agent.capability("at-once")
    async def at_once(n: int) -> int:
        return n + 1

    @agent.capability("waits")
    async def waits(n: int) -> int:
        await asyncio.sleep(0.01)
        return n + 1

    @agent.capability("thread")
    def in_thread(n: int) -> dict[str, object]:
        return {"n": n + 1, "main": threading.current_thread() is threading.main_thread()}

    @agent.capability("inline", inline=True)
    def inline(n: int) -> dict[str, object]:
        return {"n": n + 1, "main": threading.current_thread() is threading.main_thread()}

    async with serving(agent, gateway):
        connection = await gateway.welcomed()
        names = ["at-once", "waits", "thread", "inline"]
        await connection.assign(*[assignment(name, i, effect, with_={"n": i}) for i, name in enumerate(names)])
        results = sorted(await connection.results(4), key=lambda result: result.key.task)
    outputs = [json.loads(result.output) for result in results]
    assert outputs == [1, 2, {"n": 3, "main": False}, {"n": 4, "main": True}]
    assert [result.key.epoch for result in results] == [1] * 4


async def test_an_agent_registers_what_it_is(gateway: Gateway, new_agent: NewAgent) -> None:
    """Register holds name, kind, capabilities, capacity, labels and nothing in hand."""
    agent = new_agent("robot-7", kind="robot", capacity=3, labels={"hall": "2"})
    agent.capability("b")(lambda: None)
    agent.capability("a")(lambda: None)
    async with serving(agent, gateway):
        register = (await gateway.connection()).register
    assert register.agent == "robot-7"
    assert register.agent_kind == agent_pb2.AGENT_KIND_ROBOT
    assert list(register.capabilities) == ["a", "b"]
    assert register.capacity == 3
    assert dict(register.labels) == {"hall": "2"}
    assert list(register.holding) == []
    assert register.boot


async def test_the_context_tells_about_the_task(gateway: Gateway, new_agent: NewAgent) -> None:
    """A parameter of this type gets the context; the idempotency key leaves out attempts, and counts what is done anew."""
    agent = new_agent()

    @agent.capability("look")
    def look(task: TaskContext) -> dict[str, object]:
        return {"key": task.idempotency_key, "attempt": task.attempt, "epoch": task.epoch, "agent": task.agent}

    async with serving(agent, gateway):
        connection = await gateway.welcomed()
        await connection.assign(assignment("look", 2, attempt=3, epoch=9))
        result = await connection.result()
        assert json.loads(result.output) == {"key": "r1/task-2", "attempt": 3, "epoch": 9, "agent": "picker-1"}
        anew = assignment("look", 2, attempt=4, epoch=9)
        anew.generation = 2
        await connection.assign(anew)
        assert json.loads((await connection.result()).output)["key"] == "r1/task-2#3"


async def test_failures_say_what_they_are(gateway: Gateway, new_agent: NewAgent) -> None:
    """Terminal, retryable and any other exception; wrong parameters, no capability, no JSON: each has its code."""
    agent = new_agent(capacity=8)

    @agent.capability("fail")
    async def fail(kind: str) -> Any:
        match kind:
            case "terminal":
                raise TerminalError("no such item", code="unknown_sku")
            case "retryable":
                raise RetryableError("the shelf is busy")
            case "weather":
                raise OSError("the wire is cut")
        return {1, 2}

    async with serving(agent, gateway):
        connection = await gateway.welcomed()
        kinds = ["terminal", "retryable", "weather", "set"]
        await connection.assign(
            *[assignment("fail", i, with_={"kind": kind}) for i, kind in enumerate(kinds)],
            assignment("fail", 4, with_={"typo": 1}),
            assignment("fly", 5),
        )
        results = await connection.results(6)
    failures = [(r.failure.code, r.failure.retryable) for r in sorted(results, key=lambda r: r.key.task)]
    assert failures == [
        ("unknown_sku", False),
        ("retryable", True),
        ("OSError", True),
        ("output_not_json", False),
        ("validation", False),
        ("unknown_capability", False),
    ]
    messages = [r.failure.message for r in results]
    assert "'fail' raised OSError: the wire is cut" in messages[2]
    assert "'fail' returned what JSON cannot hold" in messages[3]
    assert "missing 'kind'; unknown 'typo'; it takes (kind: str)" in messages[4]
    assert "no capability 'fly'; it has fail" in messages[5]


@pytest.mark.parametrize("runs", ["loop", "inline", "thread"])
async def test_nothing_that_a_function_does_ends_the_agent(gateway: Gateway, new_agent: NewAgent, runs: str) -> None:
    """sys.exit, text that is no Unicode, a message without end, an object that cannot be read: each fails its own task."""
    agent = new_agent()

    class Unreadable(dict[str, int]):
        def items(self) -> Any:
            raise LookupError("not now")

    def do(kind: str) -> Any:
        match kind:
            case "exit":
                sys.exit("no way on")
            case "half":
                raise OSError("cannot read caf\udce9.txt " + "x" * 100_000)
            case "surrogate":
                return "caf\udce9"
        return Unreadable(a=1)

    async def do_in_loop(kind: str) -> Any:
        return do(kind)

    agent.capability("do", inline=runs == "inline")(do_in_loop if runs == "loop" else do)
    async with serving(agent, gateway):
        connection = await gateway.welcomed()
        kinds = ["exit", "half", "surrogate", "unreadable"]
        await connection.assign(*[assignment("do", n, with_={"kind": kind}) for n, kind in enumerate(kinds)])
        results = sorted(await connection.results(4), key=lambda result: result.key.task)
    assert [result.failure.code for result in results] == ["SystemExit", "OSError", "output_not_json", "output_not_json"]
    assert "cannot read caf?.txt" in results[1].failure.message
    assert len(results[1].failure.message) == 4000


@pytest.mark.parametrize("parameters", [b"{", b"[1]", b'{"a": NaN}'])
async def test_parameters_that_are_no_object_are_refused(gateway: Gateway, new_agent: NewAgent, parameters: bytes) -> None:
    """What the gateway sends is checked too: a task fails, the agent goes on."""
    agent = new_agent()
    agent.capability("a", inline=True)(lambda: 1)
    async with serving(agent, gateway):
        connection = await gateway.welcomed()
        bad = assignment("a")
        bad.parameters = parameters
        await connection.assign(bad, assignment("a", 1))
        first, second = await connection.results(2)
    assert first.failure.code == "validation"
    assert second.output == b"1"


async def test_a_batch_is_answered_by_one_message(gateway: Gateway, new_agent: NewAgent) -> None:
    """A hundred assignments that finish at once are a hundred results in one message, without a task for each."""
    agent = new_agent(capacity=100)
    tasks = set()

    @agent.capability("note")
    async def note(n: int) -> int:
        tasks.add(asyncio.current_task())
        return n

    async with serving(agent, gateway):
        connection = await gateway.welcomed()
        await connection.assign(*[assignment("note", n, with_={"n": n}) for n in range(100)])
        message = await connection.hear("results")
    assert [result.output for result in message.results.items] == [str(n).encode() for n in range(100)]
    assert len(tasks) == 1


async def test_a_coroutine_is_stopped_by_a_cancel(gateway: Gateway, new_agent: NewAgent) -> None:
    """It sees CancelledError where it waits, may clean up, and the attempt is reported as cancelled."""
    agent = new_agent()
    cleaned = asyncio.Event()

    @agent.capability("long")
    async def long() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            cleaned.set()

    async with serving(agent, gateway):
        connection = await gateway.welcomed()
        item = assignment("long", 0, ONCE)
        await connection.assign(item)
        await connection.cancel(item)
        result = await connection.result()
    assert result.cancelled
    assert cleaned.is_set()


async def test_a_function_in_a_thread_is_asked_to_stop(gateway: Gateway, new_agent: NewAgent) -> None:
    """It sees `cancelled`; when it raises TaskCancelled the attempt is cancelled, and its reason is the gateway's."""
    agent = new_agent()
    reasons: list[str] = []

    @agent.capability("long")
    def long(task: TaskContext) -> None:
        task.wait_cancelled(3600)
        reasons.append(task.reason)
        task.raise_if_cancelled()

    async with serving(agent, gateway):
        connection = await gateway.welcomed()
        item = assignment("long")
        await connection.assign(item)
        await connection.cancel(item, reason="order withdrawn")
        assert (await connection.result()).cancelled
    assert reasons == ["order withdrawn"]


async def test_work_that_finished_after_a_cancel_says_so(gateway: Gateway, new_agent: NewAgent) -> None:
    """What happened, happened: the real outcome is reported, not the cancel."""
    agent = new_agent()

    @agent.capability("long")
    def long(task: TaskContext) -> str:
        task.wait_cancelled(3600)
        return "placed anyway"

    async with serving(agent, gateway):
        connection = await gateway.welcomed()
        item = assignment("long")
        await connection.assign(item)
        await connection.cancel(item)
        assert (await connection.result()).output == b'"placed anyway"'


async def test_work_that_waits_for_a_thread_is_cancelled_at_once(gateway: Gateway, new_agent: NewAgent) -> None:
    """Nothing has begun, so nobody needs to be asked; and it does not begin later."""
    agent = new_agent(threads=1)
    begun: list[int] = []
    go_on = threading.Event()

    @agent.capability("work")
    def work(n: int) -> int:
        begun.append(n)
        go_on.wait(30)
        return n

    async with serving(agent, gateway):
        connection = await gateway.welcomed()
        items = [assignment("work", n, with_={"n": n}) for n in range(3)]
        await connection.assign(*items)
        await connection.cancel(items[1])
        first = await connection.result()
        go_on.set()
        others = await connection.results(2)
    assert (first.key.task, first.cancelled) == (1, True)
    assert [result.key.task for result in others] == [0, 2]
    assert begun == [0, 2]


@pytest.mark.parametrize(("effect", "retryable"), [(REPEATABLE, True), (ONCE, False), (PHYSICAL, False)])
async def test_a_timeout_stops_the_work(gateway: Gateway, new_agent: NewAgent, effect: Effect, retryable: bool) -> None:
    """It fails as `timeout`; only what may be repeated is retryable, because half of it may have happened."""
    agent = new_agent()

    @agent.capability("long")
    async def long() -> None:
        await asyncio.sleep(3600)

    async with serving(agent, gateway):
        connection = await gateway.welcomed()
        await connection.assign(assignment("long", 0, effect, timeout_ms=20))
        failure = (await connection.result()).failure
    assert (failure.code, failure.retryable) == ("timeout", retryable)
    assert "timeout of 20 ms" in failure.message


async def test_physical_work_stops_when_the_lease_runs_out(gateway: Gateway, new_agent: NewAgent) -> None:
    """The gateway falls silent: the robot stops by its own clock, other work goes on."""
    agent = new_agent()
    stopped: dict[str, asyncio.Event] = {"move": asyncio.Event(), "think": asyncio.Event()}

    @agent.capability("work")
    async def work(name: str) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            stopped[name].set()

    async with serving(agent, gateway):
        connection = await gateway.welcomed(lease_ms=300, heartbeat_ms=100_000)
        await connection.assign(
            assignment("work", 0, PHYSICAL, with_={"name": "move"}), assignment("work", 1, with_={"name": "think"})
        )
        result = await connection.result()
        assert (result.failure.code, result.failure.retryable) == ("lease_expired", False)
        assert stopped["move"].is_set()
        assert not stopped["think"].is_set()


async def test_a_physical_function_in_a_thread_sees_the_end_of_its_lease(gateway: Gateway, new_agent: NewAgent) -> None:
    """Even while the agent's event loop hangs: the context looks at the clock itself."""
    agent = new_agent()
    begun, seen = threading.Event(), threading.Event()

    @agent.capability("move")
    def move(task: TaskContext) -> None:
        begun.set()
        while not task.wait_cancelled(0.01):
            pass
        seen.set()
        task.raise_if_cancelled()

    @agent.capability("hang", inline=True)
    def hang_loop() -> bool:
        begun.wait(30)
        return seen.wait(30)

    async with serving(agent, gateway):
        connection = await gateway.welcomed(lease_ms=500, heartbeat_ms=100_000)
        await connection.assign(assignment("move", 0, PHYSICAL), assignment("hang", 1))
        results = {result.key.task: result for result in await connection.results(2)}
    assert results[1].output == b"true"
    assert results[0].failure.code == "lease_expired"


async def test_physical_work_does_not_begin_under_a_lease_that_is_over(gateway: Gateway, new_agent: NewAgent) -> None:
    """An order that was delayed on its way is not begun when nobody can stop it any more."""
    agent = new_agent()
    begun: list[int] = []
    agent.capability("move", inline=True)(lambda: begun.append(1))
    async with serving(agent, gateway):
        connection = await gateway.welcomed(lease_ms=200, heartbeat_ms=100_000)
        await asyncio.sleep(0.5)
        await connection.assign(assignment("move", 0, PHYSICAL))
        failure = (await connection.result()).failure
    assert (failure.code, failure.retryable, begun) == ("not_started", True, [])


async def test_progress_travels_coalesced(gateway: Gateway, new_agent: NewAgent) -> None:
    """A thousand reports of one moment are one message with the last of them."""
    agent = new_agent()
    go_on = threading.Event()

    @agent.capability("long")
    def long(task: TaskContext) -> None:
        for step in range(1001):
            task.progress(step / 1000, f"step {step}")
        go_on.wait(30)

    async with serving(agent, gateway):
        connection = await gateway.welcomed()
        await connection.assign(assignment("long"))
        messages = 1
        report = (await connection.hear("progress")).progress.items[0]
        while report.fraction < 1:
            report = (await connection.hear("progress")).progress.items[0]
            messages += 1
        go_on.set()
        await connection.result()
    assert report.note == "step 1000"
    assert messages < 100


async def test_tasks_do_not_see_each_others_context(gateway: Gateway, new_agent: NewAgent) -> None:
    """A context variable that one attempt sets is not there for the next one of the batch."""
    agent = new_agent()
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="clean")

    @agent.capability("touch")
    async def touch(n: int) -> str:
        before = variable.get()
        variable.set(f"dirty {n}")
        return before

    async with serving(agent, gateway):
        connection = await gateway.welcomed()
        await connection.assign(*[assignment("touch", n, with_={"n": n}) for n in range(3)])
        outputs = [result.output for result in await connection.results(3)]
    assert outputs == [b'"clean"'] * 3


async def test_more_than_it_can_hold_is_declined(gateway: Gateway, new_agent: NewAgent) -> None:
    """Up to twice the capacity is run, for a gateway that gave up on work which still runs; the rest is not begun."""
    agent = new_agent(capacity=2)

    @agent.capability("long")
    async def long() -> None:
        await asyncio.sleep(3600)

    async with serving(agent, gateway):
        connection = await gateway.welcomed()
        await connection.assign(*[assignment("long", n) for n in range(20)])
        declined = await connection.results(16)
    assert [result.key.task for result in declined] == list(range(4, 20))
    assert {(result.failure.code, result.failure.retryable) for result in declined} == {("not_started", True)}


async def test_a_gateway_that_acknowledges_nothing_is_left(
    gateway: Gateway, new_agent: NewAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results that nobody takes must not fill the memory: the session ends, and what was done is kept."""
    monkeypatch.setattr(work, "UNACKNOWLEDGED_MAX", 8)
    agent = new_agent(capacity=2)
    agent.capability("note", inline=True)(lambda: 1)
    async with serving(agent, gateway):
        connection = await gateway.welcomed()
        await connection.assign(*[assignment("note", n) for n in range(20)])
        register = (await gateway.connection()).register
    assert [key.task for key in register.holding] == list(range(8))
