"""What each box keeps is its own affair: a follower's log and blobs do not grow for ever."""

import asyncio
from pathlib import Path

import pytest

from edge.group.driver import GroupNode
from sync.log_errors import LogCorrupt
from sync.retention.policy import Policy
from tests.edge.group.boxes import eventually, site

pytestmark = pytest.mark.asyncio


async def cut_of(node: GroupNode) -> int:
    """Up to which position a box has cut its log."""
    return await asyncio.wrap_future(node.log.read(lambda reader: reader.cut))


async def test_followers_cut_their_logs_and_lead_with_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The leader's snapshots let every box cut, each by its own policy; one that has cut comes to lead and goes on."""
    monkeypatch.setattr("sync.retention.driver.START_S", 0.2)
    monkeypatch.setattr("sync.retention.driver.EVERY_S", 0.3)
    async with site(tmp_path, retention=Policy(keep_days=1e-6, no_archive=True)) as boxes:
        await boxes.start_cloud()
        agent = boxes.agent("crane-1")
        agent.capability("lift")(lambda crate: crate)
        boxes.join(agent)
        tasks = {f"t{n}": {"capability": "lift", "with": {"crate": n}} for n in range(20)}
        assert (await boxes.ended(await boxes.started(tasks)))["run"]["state"] == "completed"
        nodes = [running.node for running in boxes.running.values()]
        async with asyncio.timeout(60):
            while not all([await cut_of(node) for node in nodes]):  # noqa: ASYNC110 - Asked of logs, which tell nobody.
                await asyncio.sleep(0.1)
        leader = await boxes.leader()
        await boxes.stop(leader.box.node)
        await boxes.leader()
        assert (await boxes.ended(await boxes.started(tasks)))["run"]["state"] == "completed"


async def test_a_box_with_a_damaged_log_goes_and_the_others_go_on(tmp_path: Path) -> None:
    """It says so and ends: a supervisor may start it again, and it does not lead until a person has looked."""
    async with site(tmp_path) as boxes:
        leader = await boxes.leader()
        follower = next(name for name, running in boxes.running.items() if running.node is not leader)
        gone = boxes.running.pop(follower)
        gone.node._damage("event 7 of stream harbour@1 is not what its hash says")
        with pytest.raises(LogCorrupt, match="event 7"):
            await gone.task
        await eventually(lambda: leader.doors.gateway is not None)
        assert (await boxes.leader()) is leader
