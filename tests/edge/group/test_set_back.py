"""Data directories of boxes that are put back from old copies: one box, and all of them."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from coordination.group.founding import SET_BACK, Refusal
from coordination.group.storing import put_set_back
from deploy.proxy import CuttingProxy
from edge.driver import EdgeConfig
from edge.group import driver
from edge.group.driver import GroupNode, edge_node
from edge.group.values import Box
from sync.actors import NodeThread
from sync.commit import Commit
from sync.log import EventLog
from sync.values import NodeId
from tests.edge.group.boxes import Site, eventually, site
from tests.edge.group.test_main import socket, typed
from tests.free_ports import free_ports
from tests.sync.chained import commit
from tiercel.v1 import members_pb2

ECHO = {"echo": {"capability": "echo", "with": {"text": "hello"}}}


async def worked(boxes: Site, count: int = 1) -> list[str]:
    """So many runs, done."""
    runs = [await boxes.started(ECHO) for _ in range(count)]
    for run in runs:
        assert (await boxes.ended(run))["run"]["state"] == "completed"
    return runs


async def all_show(boxes: Site, name: str, words: str) -> None:
    """Wait until each box says so of another one: who met it, and who was told."""
    async with asyncio.timeout(60):
        while True:
            views = [await running.node.members() for running in boxes.running.values()]
            if all(words in seen.problem for view in views for seen in view.members if seen.node == name):
                return
            await asyncio.sleep(0.05)


async def stopped(boxes: Site) -> None:
    await asyncio.gather(*(boxes.stop(name) for name in boxes.names))


@pytest.mark.usefixtures("calm")
@pytest.mark.asyncio
async def test_a_box_that_is_set_back_is_refused_and_an_operator_sees_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The box ends with what has happened and what helps; the others go on, all show it as refused, and they take it out."""
    monkeypatch.setattr(driver, "DESCRIBE_EVERY_S", 0.5)
    async with site(tmp_path) as boxes:
        leader = (await boxes.leader()).box.node
        old = next(name for name in "abc" if name != leader)
        at = ("--socket", socket(boxes, leader))
        await boxes.stop(old)
        shutil.copytree(tmp_path / old, tmp_path / "copy")
        await boxes.start(old)
        await boxes.known()
        admin = boxes.running[leader].node.admin
        await admin.change(members_pb2.MemberChange(what="add", node="d", address=boxes.peers["d"]))
        reached = (await boxes.running[leader].node.member.status()).last
        await eventually(lambda: (seen := boxes.running[old].node.standing) is not None and seen.applied >= reached)
        await boxes.stop(old)
        shutil.rmtree(tmp_path / old)
        shutil.move(tmp_path / "copy", tmp_path / old)
        await boxes.start(old)
        with pytest.raises(Refusal, match="its data directory is an old copy") as refused:
            await asyncio.wait_for(asyncio.shield(boxes.running[old].task), 60)
        assert (refused.value.code, refused.value.is_ours) == (SET_BACK, True)
        del boxes.running[old]
        words = f"member {old} of the group harbour holds less than it has acknowledged or voted on"
        await all_show(boxes, old, words)
        shown = await typed("edge", "group", "status", *at)
        assert words in shown.stderr
        assert "refused" in shown.stdout
        again = await typed(
            *(
                "edge",
                "start",
                "--site",
                "harbour",
                "--node",
                old,
                "--data",
                str(tmp_path / old),
                "--run-dir",
                str(boxes.run_dir),
            ),
            *("--peers", ",".join(f"{name}={boxes.peers[name]}" for name in "abc"), "--listen", boxes.gateways[old]),
        )
        assert again.exit_code == 1
        assert words in again.stderr
        assert "Traceback" not in again.stderr
        assert (await admin.change(members_pb2.MemberChange(what="remove", node=old))).problem == ""


def test_a_box_with_a_verdict_does_not_say_that_it_serves(tmp_path: Path) -> None:
    """What its disk says keeps it from taking part: its process does not come up, and says why."""
    path = tmp_path / "a" / "edge.db"
    event_log = EventLog.open(path, NodeId("harbour"), member="a")
    event_log.work(lambda base: base.join_group()).result(30)
    commit(event_log, Commit(beside=[put_set_back("member a of the group harbour holds less than it had")]))
    event_log.close()
    peers = dict(zip("abc", (f"127.0.0.1:{port}" for port in free_ports(3)), strict=True))
    box = Box("a", peers, f"127.0.0.1:{free_ports(1)[0]}")
    config = EdgeConfig("harbour", path.parent, tmp_path, "127.0.0.1:1", box.advertise, box=box)
    with pytest.raises(Refusal, match="holds less than it had"):
        NodeThread(lambda: edge_node(config), name="harbour")


@pytest.fixture
def line() -> Iterator[tuple[str, CuttingProxy]]:
    """Where the cloud takes sites, and what leads there."""
    address = f"127.0.0.1:{free_ports(1)[0]}"
    with CuttingProxy(address) as proxy:
        yield address, proxy


@pytest.mark.asyncio
async def test_all_boxes_that_are_set_back_fetch_from_the_cloud_what_they_lack(
    tmp_path: Path, line: tuple[str, CuttingProxy]
) -> None:
    """They agree among themselves, so only the cloud can tell: the first leader takes no agents and no work before it has heard
    it, and what it fetches back all boxes have."""
    links, proxy = line
    async with site(tmp_path, "", first_link_wait_s=60.0, cloud=proxy.address) as boxes:
        boxes.names, boxes.links = "abc", links
        await boxes.start_cloud()
        agent = boxes.agent("a1")
        agent.capability("echo")(lambda text: {"text": text})
        await started(boxes)
        boxes.join(agent)
        await worked(boxes)
        await stopped(boxes)
        for name in "abc":
            shutil.copytree(tmp_path / name, tmp_path / f"copy-{name}")
        await started(boxes)
        await worked(boxes, 3)
        held = held_by(await boxes.leader())
        await stopped(boxes)
        proxy.cut()
        for name in "abc":
            shutil.rmtree(tmp_path / name)
            shutil.move(tmp_path / f"copy-{name}", tmp_path / name)
        await started(boxes)
        nodes = [running.node for running in boxes.running.values()]
        await eventually(lambda: any(node.leading is not None for node in nodes))
        await asyncio.sleep(1.0)
        assert not any(node.doors.gateway is not None and node.doors.gateway.accepting for node in nodes)
        assert max(map(held_by, nodes)) < held
        proxy.heal()
        await boxes.leader()
        await eventually(lambda: min(map(held_by, nodes)) >= held)
        await worked(boxes)
        assert not any(node.leading is not None and node.leading.halted for node in nodes)


async def started(boxes: Site) -> None:
    for name in boxes.names:
        await boxes.start(name)


def held_by(node: GroupNode) -> int:
    """How many events it has."""
    return node.log.read(lambda reader: reader.pos).result(30)
