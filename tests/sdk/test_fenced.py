"""A fence in a file: what acted last is remembered whatever is killed, and nothing older acts after it."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.agents.attempts import context
from tiercel import FencedResource
from tiercel.errors import FenceHeld, FenceUnusable, StaleEpoch
from tiercel.fenced import EPOCH_MAX
from tiercel.lease import Lease
from tiercel.v1 import agent_pb2


def test_an_older_epoch_is_refused_by_whoever_opens_the_file(tmp_path: Path) -> None:
    """The refusal says which epoch holds, and that another attempt makes sense; the same epoch may act again."""
    FencedResource(tmp_path / "deep" / "forklift").admit(7)
    again = FencedResource(tmp_path / "deep" / "forklift")
    again.admit(7)
    with pytest.raises(StaleEpoch, match="forklift: epoch 6 is over, 7 holds") as refused:
        again.admit(6)
    assert (refused.value.code, refused.value.retryable, refused.value.highest) == ("stale_epoch", True, 7)
    assert again.highest == 7


@given(st.lists(st.tuples(st.integers(1, 9), st.booleans()), max_size=30))
@settings(deadline=None, max_examples=40)
def test_what_acts_never_falls(acts: list[tuple[int, bool]]) -> None:
    """Over any number of openings, what is let through is what a naive twin lets through."""
    with TemporaryDirectory() as folder:
        fence, done = FencedResource(Path(folder) / "f"), list[int]()
        for epoch, reopens in acts:
            fence = FencedResource(Path(folder) / "f") if reopens else fence
            if epoch >= max(done, default=0):
                fence.admit(epoch)
                done.append(epoch)
            else:
                with pytest.raises(StaleEpoch):
                    fence.admit(epoch)
            assert fence.highest == max(done, default=0)


def test_what_is_no_epoch_is_refused(tmp_path: Path) -> None:
    """Nothing is written of it."""
    fence = FencedResource(tmp_path / "f", name="the gate")
    for wrong in (0, -1, EPOCH_MAX + 1):
        with pytest.raises(ValueError, match="is no epoch: allowed are numbers from 1 on"):
            fence.admit(wrong)
    assert (fence.highest, (tmp_path / "f").exists()) == (0, False)


@pytest.mark.parametrize("damage", [b"", b"7\n", b"tiercel fence 7", b"tiercel fence -7\n", b"\xff\xfe"])
def test_a_damaged_fence_lets_nobody_through(damage: bytes, tmp_path: Path) -> None:
    """Nobody knows who has acted there: a person has to look, and is told where."""
    fence = FencedResource(tmp_path / "f")
    (tmp_path / "f").write_bytes(damage)
    with pytest.raises(FenceUnusable, match="f: its fence in") as refused:
        fence.admit(9)
    assert (refused.value.code, refused.value.recoverable) == ("fence_unusable", True)


def test_nobody_else_is_let_through_while_somebody_acts(tmp_path: Path) -> None:
    """Threads with fences of their own in one file act one after the other, and never one of an older epoch after a newer one."""
    acting, acted, overlaps = [0], list[int](), list[int]()

    def act(epoch: int) -> None:
        fence = FencedResource(tmp_path / "f")
        for _ in range(20):
            try:
                with fence.acting(epoch):
                    acting[0] += 1
                    overlaps.append(acting[0])
                    acted.append(epoch)
                    acting[0] -= 1
            except StaleEpoch:
                return

    threads = [threading.Thread(target=act, args=(epoch,)) for epoch in (3, 1, 2, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(overlaps) == {1}
    assert acted == sorted(acted)
    assert acted[-1] == 4


COUNTS = """
import sys
from tiercel import FencedResource
fence = FencedResource(sys.argv[1])
for epoch in range(fence.highest + 1, 1_000_000):
    fence.admit(epoch)
    print(epoch, flush=True)
"""


def test_a_killed_process_leaves_what_it_let_through(tmp_path: Path) -> None:
    """kill -9 in the middle of acting: the file holds what was let through last, or the next, and is whole."""
    last = 0
    for acts in (5, 17, 40):
        command = [sys.executable, "-c", COUNTS, str(tmp_path / "f")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            for _ in range(acts):
                last = int(child.stdout.readline())
            child.send_signal(signal.SIGKILL)
            last = max([last, *map(int, child.stdout.read().split())])
        assert last <= FencedResource(tmp_path / "f").highest <= last + 1


ACTS = """
import sys
from tiercel import FencedResource
with FencedResource(sys.argv[1]).acting(1):
    print("acting", flush=True)
    sys.stdin.read()
"""


def test_a_successor_is_told_who_does_not_let_it_through(tmp_path: Path) -> None:
    """A holder that is stopped in the middle is named, not waited for in silence; killed, it lets its successor through."""
    fence = FencedResource(tmp_path / "f", timeout_s=0.1)
    command = [sys.executable, "-c", ACTS, str(tmp_path / "f")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "acting\n"
        child.send_signal(signal.SIGSTOP)
        try:
            with pytest.raises(FenceHeld, match=f"f: process {child.pid} acts behind its fence in .* for over 0.1 s") as refused:
                fence.admit(2)
            assert (refused.value.code, refused.value.retryable, fence.highest) == ("fence_held", True, 1)
        finally:
            child.kill()
    fence.admit(2)
    assert fence.highest == 2


async def test_a_coroutine_that_waits_for_a_fence_leaves_the_loop_to_others(tmp_path: Path) -> None:
    """The one that acts is on the same loop: it could never end if the other blocked it. Who gives up leaves nothing."""
    fence, order, begun = FencedResource(tmp_path / "f"), list[str](), asyncio.Event()

    async def act(epoch: int) -> None:
        async with fence.acting_async(epoch):
            order.append(f"{epoch} begins")
            begun.set()
            await asyncio.sleep(0.05)
            order.append(f"{epoch} ends")

    first = asyncio.create_task(act(1))
    await begun.wait()
    given_up, second = asyncio.create_task(act(2)), asyncio.create_task(act(3))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.gather(first, second)
    assert order == ["1 begins", "1 ends", "3 begins", "3 ends"]
    async with fence.acting_async(4):
        with pytest.raises(FenceHeld, match=f"process {os.getpid()} acts"):
            FencedResource(tmp_path / "f", timeout_s=0).admit(5)


def test_one_that_acts_again_and_again_lets_in_who_waits(tmp_path: Path) -> None:
    """Who waits has the turn: the first does not get back in before it, and is stale from there on."""
    acts, begun, over = [0], threading.Event(), list[StaleEpoch]()

    def act_on() -> None:
        fence = FencedResource(tmp_path / "f")
        try:
            while acts[0] < 1_000:
                with fence.acting(1):
                    acts[0] += 1
                    begun.set()
                    time.sleep(0.01)
        except StaleEpoch as stale:
            over.append(stale)

    holder = threading.Thread(target=act_on)
    holder.start()
    begun.wait()
    FencedResource(tmp_path / "f").admit(2)
    holder.join()
    assert [stale.highest for stale in over] == [2]
    assert acts[0] <= 100, "it was let in soon"


def test_a_machine_that_slept_asks_before_it_acts() -> None:
    """What was sent before it slept confirms nothing, even if the lease would still last; what was sent after it does."""
    clock, awake = [100.0], [100.0]
    lease = Lease(lambda: clock[0], lambda: awake[0])
    lease.lease_ms = 60_000
    task = context()
    task._lease = lease
    lease.renew(100.0)
    may = [task.may_act]
    clock[0], awake[0] = 105.0, 102.0  # Three seconds of sleep.
    may.append(task.may_act)
    assert not lease.stopped
    lease.renew(101.0)
    may.append(task.may_act)
    lease.renew(105.0)
    may.append(task.may_act)
    task.cancel("enough")
    assert [*may, task.may_act] == [True, False, False, True, False]


def test_a_task_knows_its_leases() -> None:
    """By the name of the resource, as the site gave them."""
    task = context()
    task._assignment.MergeFrom(agent_pb2.Assignment(leases={"forklift": 7}))
    assert dict(task.leases) == {"forklift": 7}
