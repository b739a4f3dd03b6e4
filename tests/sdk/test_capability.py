"""What a function's signature tells the agent."""

from typing import Any

import pytest

from tiercel import TaskContext
from tiercel.backoff import Backoff
from tiercel.capability import Runs, capability_of
from tiercel.lease import STOP_SHARE, Lease


def plain(task: TaskContext, sku: str, quantity: int = 1) -> None: ...


def quoted(sku: str, task: "TaskContext") -> None: ...


def unresolvable(sku: "NoSuchType", task: "TaskContext") -> None: ...  # type: ignore[name-defined]  # noqa: F821


def open_ended(sku: str, *, task: TaskContext, **rest: Any) -> None: ...


async def awaited(sku: str) -> None: ...


def positional(sku: str, /) -> None: ...


def variadic(*skus: str) -> None: ...


@pytest.mark.parametrize("function", [plain, quoted, unresolvable, open_ended])
def test_the_context_is_found_by_its_annotation(function: Any) -> None:
    """Wherever the parameter stands, however the annotation is written."""
    assert capability_of("pick", function, inline=False).context == "task"


def test_parameters_are_checked_before_the_call() -> None:
    """Missing and unknown names are said together with what the function takes; the context is not the task's to give."""
    pick = capability_of("pick", plain, inline=False)
    assert pick.problem({"sku": "a"}) == ""
    assert pick.problem({"sku": "a", "quantity": 2}) == ""
    takes = "it takes (sku: str, quantity: int = 1)"
    assert pick.problem({"quantity": 1}) == f"capability 'pick': missing 'sku'; {takes}"
    assert pick.problem({"sku": "a", "b": 1, "task": 2}) == f"capability 'pick': unknown 'b', 'task'; {takes}"
    anything = capability_of("pick", open_ended, inline=False)
    assert anything.problem({"sku": "a", "colour": "red"}) == ""
    assert "unknown 'task'" in anything.problem({"sku": "a", "task": 1})


def test_where_a_function_runs_follows_from_its_kind() -> None:
    """async def in the loop, def in a thread, or in the loop if it says that it does not block."""
    assert capability_of("a", awaited, inline=False).runs is Runs.LOOP
    assert capability_of("a", plain, inline=False).runs is Runs.THREAD
    assert capability_of("a", plain, inline=True).runs is Runs.INLINE


@pytest.mark.parametrize(
    ("name", "function", "inline", "message"),
    [
        ("a", positional, False, "passed by name, 'sku: str' takes none"),
        ("a", variadic, False, "passed by name"),
        ("a", awaited, True, "inline is for def"),
        ("", plain, False, "needs a name"),
    ],
)
def test_what_cannot_work_is_refused_at_once(name: str, function: Any, inline: bool, message: str) -> None:
    """When it is declared, not when the first task comes."""
    with pytest.raises(TypeError, match=message):
        capability_of(name, function, inline=inline)


def test_waits_grow_and_stay_below_their_limit() -> None:
    """Full jitter: each wait is drawn from a window that grows up to three seconds; success begins anew."""
    backoff = Backoff()
    for _ in range(3):
        waits = [backoff.next_s() for _ in range(200)]
        assert waits[0] <= 0.05
        assert all(0 <= wait <= 3.0 for wait in waits)
        assert max(waits) > 2.0
        backoff.reset()


def test_a_lease_runs_from_the_sending_of_what_was_acknowledged() -> None:
    """Acknowledgements out of order never shorten it; physical work stops before its end."""
    clock = [100.0]
    lease = Lease(lambda: clock[0])
    assert (lease.stopped, lease.overdue()) == (True, True)
    lease.lease_ms = 10_000
    lease.renew(100.0)
    lease.renew(98.0)
    assert lease.stop_in_s() == pytest.approx(10 * STOP_SHARE)
    clock[0] = 108.9
    assert (lease.stopped, lease.overdue()) == (False, False)
    lease.renew(101.0)
    clock[0] = 109.9
    assert (lease.stopped, lease.overdue()) == (False, False)
    clock[0] = 110.1
    assert (lease.stopped, lease.overdue()) == (True, False)
    clock[0] = 111.1
    assert (lease.stopped, lease.overdue()) == (True, True)
