"""Epochs outlive the events that gave them: on a real disk, after a snapshot and a cut of the log, from the snapshot alone."""

import asyncio
from pathlib import Path
from typing import Any

from coordination.leading import LeaderElected
from coordination.lease_events import ResourcesLeased
from edge.executor import Executor
from sync.retention.driver import Retention
from sync.retention.policy import Policy
from tests.whole import until, whole
from tiercel import FencedResource, TaskContext

LED = {"protocol": "leader", "group": {"name": "cranes", "capability": "lift"}, "ttl": "30s", "lock_delay": "5s"}
TASK: dict[str, Any] = {"lift": {"capability": "lift", "resources": ["crane"], "coordination": LED}}
AT_ONCE_DAYS = 1e-9


async def test_epochs_outlive_a_cut_of_the_log(tmp_path: Path) -> None:
    """No event that named them is left: the resource's next epoch is above the last, the leader leads on under its own, for as
    long and with the delay that its definition said; and what both fences on disk have seen lets them through."""
    async with whole(tmp_path, "harbour") as system:
        agent = system.agent("ann", kind="robot", capacity=2)

        @agent.capability("lift")
        async def lift(task: TaskContext) -> dict[str, int]:
            for name, epoch in task.leases.items():
                FencedResource(tmp_path / f"{name.replace('/', '-')}.fence").admit(epoch)
            return dict(task.leases)

        def core() -> Executor:
            return system.edges["harbour"].executor

        await system.join("harbour", agent)
        first = (await system.ended(await system.start_run(TASK)))["tasks"][0]["output"]
        term, highest = core().leading.groups["cranes"].term, core().home.leases.epochs.highest
        edge = system.edges["harbour"]
        now_ms = lambda: edge.loop.clock.now().wall_ms + 1_000  # noqa: E731
        policy = Policy(keep_days=AT_ONCE_DAYS, no_archive=True)

        async def is_cut() -> bool:
            done = await asyncio.to_thread(Retention(edge.log, policy, now_ms, edge.loop.new_floor_from_thread).run)
            assert not done.problem
            rows = await asyncio.wrap_future(edge.log.read(lambda reader: reader.all_events(reader.cut, 10_000)))
            return not {LeaderElected.kind, ResourcesLeased.kind} & {row.kind for row in rows}

        await until(is_cut)
        await system.stop("harbour")
        await system.restart("harbour")
        assert (core().leading.groups["cranes"].term, core().home.leases.epochs.highest) == (term, highest)
        assert (term.leader, term.ttl_ms, term.lock_delay_ms) == ("ann", 30_000, 5_000)
        second = (await system.ended(await system.start_run(TASK)))["tasks"][0]["output"]
    assert second["leader/cranes"] == first["leader/cranes"] == term.epoch
    assert second["crane"] > first["crane"] == highest
