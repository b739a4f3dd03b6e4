"""Coroutines that are stepped by hand behave as in a task of their own."""

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tiercel.stepping import Stepper

Body = Callable[[], Coroutine[Any, Any, Any]]


async def outcome(body: Body) -> Any:
    """What `body` ends with, stepped by hand; raises what it raises."""
    loop = asyncio.get_running_loop()
    stepper, ended = Stepper(loop), loop.create_future()

    def settle(value: Any, error: BaseException | None) -> None:
        if error is None:
            ended.set_result(value)
        else:
            ended.set_exception(RuntimeError("ended") if isinstance(error, StopIteration) else error)

    with stepper.stepping():
        stepper.start(body(), settle)
    try:
        return await ended
    finally:
        stepper.close()


async def at_once() -> str:
    return "done"


async def sleeps() -> str:
    for _ in range(3):
        await asyncio.sleep(0)
    await asyncio.sleep(0.001)
    return "done"


async def gathers() -> tuple[str, str]:
    return await asyncio.gather(at_once(), sleeps())


async def in_a_group() -> list[str]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(sleeps()) for _ in range(3)]
    return [task.result() for task in tasks]


async def times_out() -> str:
    try:
        async with asyncio.timeout(0.001):
            await asyncio.sleep(3600)
    except TimeoutError:
        return "timed out"
    return "never"


async def times_out_now() -> str:
    try:
        async with asyncio.timeout(0):
            await asyncio.sleep(3600)
    except TimeoutError:
        return "timed out"
    return "never"


async def waits_for_one_that_is_done() -> str:
    future = asyncio.get_running_loop().create_future()
    future.set_result("done")
    return str(await future)


async def waits_for_one_that_fails() -> str:
    future = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(future.set_exception, ValueError("bad"))
    try:
        await future
    except ValueError as error:
        return f"caught {error}"
    return "never"


async def fails_in_a_group() -> str:
    async def fail() -> None:
        raise ValueError("bad")

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
            await asyncio.sleep(3600)
    except ExceptionGroup as group_error:
        return str(group_error.exceptions[0])
    return "never"


async def shares_a_future() -> list[str]:
    """Two wait for one future: the mark that one of them puts on it must not irritate the other."""
    future = asyncio.get_running_loop().create_future()

    async def wait() -> str:
        return str(await future)

    waiting = asyncio.create_task(wait())
    asyncio.get_running_loop().call_later(0.001, future.set_result, "done")
    return [await future, await waiting]


async def raises() -> None:
    raise LookupError("nothing there")


async def raises_later() -> None:
    await asyncio.sleep(0)
    raise LookupError("nothing there")


@pytest.mark.parametrize(
    "body",
    [
        at_once,
        sleeps,
        gathers,
        in_a_group,
        times_out,
        times_out_now,
        waits_for_one_that_is_done,
        waits_for_one_that_fails,
        fails_in_a_group,
        shares_a_future,
    ],
)
async def test_the_outcome_is_that_of_a_task(body: Body) -> None:
    """Whatever a coroutine waits for, and whatever asyncio tools it uses."""
    assert await outcome(body) == await asyncio.create_task(body())


@pytest.mark.parametrize("body", [raises, raises_later])
async def test_errors_are_reported(body: Body) -> None:
    """An exception is handed to `settle`, from the first step as from a later one."""
    with pytest.raises(LookupError, match="nothing there"):
        await outcome(body)


async def test_the_current_task_is_the_same_throughout() -> None:
    """A coroutine sees one task, not the one that read the batch, and that task is given back afterwards."""
    mine = asyncio.current_task()

    async def look() -> tuple[Any, Any]:
        first = asyncio.current_task()
        await asyncio.sleep(0)
        return first, asyncio.current_task()

    first, later = await outcome(look)
    assert first is later
    assert first is not mine
    assert asyncio.current_task() is mine


async def test_context_variables_are_its_own() -> None:
    """What it sets is there after it waited, and nowhere else."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")

    async def touch() -> tuple[str, str]:
        before = variable.get()
        variable.set("mine")
        await asyncio.sleep(0)
        return before, variable.get()

    assert await outcome(touch) == ("unset", "mine")
    assert variable.get() == "unset"


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
async def test_a_cancel_reaches_what_it_waits_for(turns: int) -> None:
    """At whatever turn of the loop the task is cancelled: what was awaited is cancelled, cleanup runs, once."""
    loop = asyncio.get_running_loop()
    stepper, ended, seen = Stepper(loop), loop.create_future(), []
    waits_for = loop.create_future()

    async def wait() -> None:
        try:
            await waits_for
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    with stepper.stepping():
        task = stepper.start(wait(), lambda _, error: ended.set_result(error))
    assert task is not None
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    assert isinstance(await ended, asyncio.CancelledError)
    assert waits_for.cancelled()
    assert seen == ["cancelled"]
    stepper.close()


async def test_one_that_cancels_its_own_task_does_not_harm_the_next() -> None:
    """The spare that it was lent is thrown away."""
    loop = asyncio.get_running_loop()
    stepper, settled = Stepper(loop), []

    async def cancel_myself() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()

    ended = loop.create_future()
    with stepper.stepping():
        stepper.start(cancel_myself(), lambda *outcome: settled.append(outcome))
        stepper.start(sleeps(), lambda value, error: ended.set_result((value, error)))
    assert settled == [(None, None)]
    assert await ended == ("done", None)
    stepper.close()


async def test_many_suspend_in_one_batch() -> None:
    """Each that waits gets a task of its own; those that do not share the spare."""
    loop = asyncio.get_running_loop()
    stepper, values, all_ended = Stepper(loop), list[int](), asyncio.Event()

    async def body(n: int) -> int:
        if n % 2:
            await asyncio.sleep(0.001 * (n % 7))
        return n

    def settle(value: int, _: BaseException | None) -> None:
        values.append(value)
        if len(values) == 200:
            all_ended.set()

    with stepper.stepping():
        tasks = [stepper.start(body(n), settle) for n in range(200)]
    await all_ended.wait()
    assert sorted(values) == list(range(200))
    assert len({task for task in tasks if task is not None}) == 100
    stepper.close()
