"""`tiercel edge start` and `tiercel edge group`, as an operator types them."""

import asyncio
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edge.main import command
from tests.edge.group.boxes import Site, site


@dataclass(frozen=True)
class Result:
    """What came of a command."""

    exit_code: int
    stdout: str
    stderr: str


async def typed(*words: str) -> Result:
    """What comes of it, in a process of its own."""
    program = (sys.executable, "-c", "from tiercel.cli.main import main; main()")
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*program, *words, stdout=pipe, stderr=pipe)
    said, complained = await process.communicate()
    return Result(process.returncode or 0, said.decode(), complained.decode())


def socket(boxes: Site, name: str) -> str:
    return str(boxes.run_dir / f"harbour-{name}.sock")


@pytest.mark.usefixtures("calm")
@pytest.mark.asyncio
async def test_an_operator_sees_the_group_and_makes_another_lead(tmp_path: Path) -> None:
    """Whichever box is asked; what cannot be done is said with its reason, and exit code 1."""
    async with site(tmp_path) as boxes:
        leader = (await boxes.leader()).box.node
        await boxes.known()
        follower = next(name for name in boxes.running if name != leader)
        seen = json.loads(
            (await typed("edge", "group", "status", "--socket", socket(boxes, follower), "--output", "json")).stdout
        )
        assert (seen["leader"], seen["role"], seen["node"]) == (leader, "follower", follower)
        assert {member["node"]: member["kind"] for member in seen["members"]} == dict.fromkeys("abc", "voter")
        table = await typed("edge", "group", "status", "--socket", socket(boxes, leader))
        assert "leads" in table.stdout
        assert "large values" in table.stdout
        assert boxes.gateways[leader] in table.stdout
        moved = await typed("edge", "group", "transfer", follower, "--socket", socket(boxes, leader))
        assert (moved.exit_code, moved.stdout) == (0, f"{follower} leads the site harbour\n")
        assert (await boxes.leader(but=leader)).box.node == follower
        refused = await typed("edge", "group", "transfer", follower, "--socket", socket(boxes, leader))
        assert (refused.exit_code, refused.stderr) == (1, f"tiercel edge group: {follower} leads already\n")
        shown = await typed("site", "status", "--socket", socket(boxes, follower))
        assert shown.exit_code == 0
        assert "link to" in shown.stdout
        of_follower = await typed("site", "status", "--socket", socket(boxes, leader))
        assert f"box {leader} does not lead: what the site does is told by {follower}" in of_follower.stderr
        assert "link to" not in of_follower.stdout


@pytest.mark.usefixtures("calm")
@pytest.mark.asyncio
async def test_a_fourth_box_is_added_and_the_leader_removed(tmp_path: Path) -> None:
    """A learner that nobody has started stays one, and is a voter when it is asked for again; a leader that is removed hands
    over first."""
    async with site(tmp_path) as boxes:
        leader = (await boxes.leader()).box.node
        at = ("--socket", socket(boxes, leader))
        early = await typed("edge", "group", "add", f"d={boxes.peers['d']}", "--wait", "0.2", *at)
        assert early.exit_code == 1
        assert "has not been heard: start it with --join" in early.stderr
        await boxes.start("d", "abcd", joins=True)
        assert (await typed("edge", "group", "add", f"d={boxes.peers['d']}", *at)).stdout == "d is a voter of the site harbour\n"
        removed = await typed("edge", "group", "remove", leader, *at)
        assert removed.exit_code == 0, removed.stderr
        following = await boxes.leader(but=leader)
        assert [member.node for member in (await following.members()).members] == [each for each in "abcd" if each != leader]


@pytest.mark.usefixtures("calm")
@pytest.mark.asyncio
async def test_a_box_without_its_disk_ends_and_says_what_helps(tmp_path: Path) -> None:
    """In one sentence, and no stack of errors."""
    async with site(tmp_path) as boxes:
        await boxes.leader()
        await boxes.stop("c")
        peers = ",".join(f"{name}={boxes.peers[name]}" for name in "abc")
        where = ("--data", str(tmp_path / "new"), "--run-dir", str(boxes.run_dir), "--cloud", boxes.links)
        ended = await typed("edge", "start", "--site", "harbour", "--node", "c", "--peers", peers, *where)
    assert ended.exit_code == 1
    said = ended.stderr.splitlines()[-1]
    assert said.startswith("tiercel edge: member c of the group harbour is not the one that the group knows under this name")
    assert said.endswith("tiercel edge group remove c, and add the box under a name that was never used, with --join")
    assert "founding.py" not in ended.stderr


@pytest.mark.asyncio
async def test_a_box_that_is_not_there_is_said_to_be(tmp_path: Path) -> None:
    """No stack of errors."""
    refused = await typed("edge", "group", "status", "--socket", str(tmp_path / "none.sock"))
    assert refused.exit_code == 1
    assert "no node answers at" in refused.stderr


@pytest.mark.parametrize("first", [("start",), ()])
def test_a_bad_group_is_refused_before_anything_is_made(tmp_path: Path, first: tuple[str, ...]) -> None:
    """`start` and the bare command are the same."""
    words = [*first, "--site", "harbour", "--node", "a", "--peers", "a=127.0.0.1:1,b=127.0.0.1:2", "--data", str(tmp_path / "d")]
    refused = CliRunner().invoke(command, words)
    assert refused.exit_code == 1
    assert "1, 3 or 5 nodes" in refused.stderr
    assert not (tmp_path / "d").exists()
