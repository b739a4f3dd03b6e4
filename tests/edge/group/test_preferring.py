"""A site of three boxes in one process, over real sockets, of which one is preferred."""

from dataclasses import replace
from pathlib import Path

import pytest

from coordination.group.values import GroupConfig, Preferring
from edge.driver import EdgeConfig
from edge.group import driver
from edge.group.values import Box
from tests.edge.group.boxes import Site, eventually, site
from tiercel.v1 import members_pb2

pytestmark = pytest.mark.asyncio
QUICK = Preferring(look_s=0.1, here_s=0.5, every_s=0.5)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Preference waits for moments; a leader is missed after a second at the earliest."""
    usual = driver.group_config

    def quicker(config: EdgeConfig, box: Box) -> GroupConfig:
        return replace(usual(config, box), election_ticks=20, preferring=QUICK)

    monkeypatch.setattr(driver, "group_config", quicker)
    monkeypatch.setattr(driver, "DESCRIBE_EVERY_S", 0.2)


async def led_by(boxes: Site, name: str) -> bool:
    """Once it is."""

    def leads() -> bool:
        gateway = boxes.running[name].node.doors.gateway
        return gateway is not None and gateway.accepting

    return bool(await eventually(leads))


@pytest.mark.usefixtures("quick")
async def test_the_preferred_box_leads_unless_an_operator_says_so(tmp_path: Path) -> None:
    """c leads by priority; ordered to a, the site stays there and says why; when a is stopped, c leads again."""
    async with site(tmp_path, priorities={"b": 5, "c": 9}) as boxes:
        assert await led_by(boxes, "c")
        leader = boxes.running["c"].node
        assert {member.node: member.priority for member in (await leader.members()).members} == {"a": 0, "b": 5, "c": 9}
        done = await leader.admin.change(members_pb2.MemberChange(what="transfer", node="a"))
        assert done.problem == ""
        assert await led_by(boxes, "a")
        ordered = boxes.running["a"].node

        async def why() -> str:
            return (await ordered.members()).preferring

        words = ""
        while not words:
            words = await why()
        assert words.startswith("c is preferred and does not lead yet: an operator has made a lead, which holds for another")
        await boxes.stop("a")
        assert await led_by(boxes, "c")
