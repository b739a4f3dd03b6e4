"""Who may speak with a member: real sockets, certificates, and those who pretend."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import grpc
import pytest

from coordination.group.founding import Refusal
from coordination.group.framing import cut_frames, to_hello
from coordination.group.values import GroupConfig
from coordination.raft.values import Change, Message, Say
from sync.identity import main as certificates
from sync.identity.files import TlsFiles, files_in
from sync.identity.names import Identity
from sync.log_errors import LogError
from tests.coordination.group.boxes import Boxes, eventually, group
from tests.whole import lay_certs
from tiercel.v1 import group_pb2, group_pb2_grpc


async def conversation(boxes: Boxes, name: str, *said: group_pb2.GroupMessage, tls: TlsFiles | None = None) -> list[Any]:
    """What a member answers to a stranger who dials it and says that, with a certificate or without."""
    address, named = f"127.0.0.1:{boxes.ports[name]}", (("grpc.ssl_target_name_override", "harbour.tiercel"),)
    dialled = grpc.aio.insecure_channel(address)
    if tls is not None:
        credentials = grpc.ssl_channel_credentials(*(file.read_bytes() for file in (tls.ca, tls.key, tls.cert)))
        dialled = grpc.aio.secure_channel(address, credentials, options=named)
    async with dialled as channel:
        call = group_pb2_grpc.GroupServiceStub(channel).Converse()
        for message in said:
            await call.write(message)
        await call.done_writing()
        return [answer async for answer in call]


async def test_a_box_that_lost_its_disk_is_refused_and_ends(tmp_path: Path) -> None:
    """It would vote again where it has voted. The others count it, go on, and say what helps; it ends with the same words."""
    async with group(tmp_path) as boxes:
        written = await boxes.write(b"one")
        box, _ = await boxes.leadership()
        lost = next(name for name in "abc" if name != box.config.member)
        await boxes.stop(lost)
        shutil.rmtree(tmp_path / lost)
        wiped = boxes.start(lost)
        with pytest.raises(Refusal, match=f"member {lost} of the group harbour is not the one"):
            await asyncio.wait_for(asyncio.shield(wiped.task), 60)
        await eventually(lambda: box.member.status().refused.get("lost_disk"))
        await boxes.stop(lost)
        written += await boxes.write(b"two")
        assert await boxes.same() == written


async def test_another_group_of_the_same_name_is_refused(tmp_path: Path) -> None:
    """Its members found a group of their own, and none of what they say is ever taken by a member of this one."""
    async with group(tmp_path / "one") as boxes, group(tmp_path / "two") as others:
        written = await boxes.write(b"ours")
        await others.write(b"theirs", b"theirs, too")
        box, _ = await boxes.leadership()
        term = box.member.status().term
        greeting = others.running["b" if box.config.member != "b" else "c"].member.founding.greeting
        message = Message(Say.APPEND, greeting.member, box.config.member, term + 9)
        (frame,) = cut_frames([message])
        said = group_pb2.GroupMessage(hello=to_hello(greeting)), group_pb2.GroupMessage(frame=frame)
        (answer,) = await conversation(boxes, box.config.member, *said)
        assert answer.refused.code == "another_group"
        assert box.member.status().refused["another_group"] == 1
        assert box.member.status().term == term
        written += await boxes.write(b"still ours")
        assert await boxes.same() == written


async def test_noise_ends_the_line_and_nothing_else(tmp_path: Path) -> None:
    """No hello, a frame that is no message, messages of somebody else: each is refused by its reason."""
    async with group(tmp_path) as boxes:
        written = await boxes.write(b"one")
        box, _ = await boxes.leadership()
        name = box.config.member
        other = next(boxes.running[each].member.founding.greeting for each in "abc" if each != name)
        hello = group_pb2.GroupMessage(hello=to_hello(other))
        (frame,) = cut_frames([Message(Say.HEARTBEAT, "somebody", name, 99)])
        for said in (
            (group_pb2.GroupMessage(frame=group_pb2.GroupFrame(data=b"x")),),
            (hello, group_pb2.GroupMessage(frame=group_pb2.GroupFrame(data=b"\xc1"))),
            (hello, group_pb2.GroupMessage(frame=frame)),
        ):
            assert (await conversation(boxes, name, *said))[-1].WhichOneof("kind") == "refused"
        assert box.member.status().refused == {"hello": 1, "message": 2}
        written += await boxes.write(b"two")
        assert await boxes.same() == written


async def test_members_know_each_other_by_the_certificate_of_their_site(tmp_path: Path) -> None:
    """With it they are a group; another site's, an agent's or none is refused before a word is heard."""
    certs = lay_certs(tmp_path / "certs")
    ours = files_in(certs / "harbour")
    airport = certificates.issue(certs / "ca", certs / "airport", Identity("airport"))
    crane = certificates.issue(certs / "ca", certs / "crane", Identity("harbour", "crane-1"))
    async with group(tmp_path, tls=ours) as boxes:
        written = await boxes.write(b"one")
        assert await boxes.same() == written
        box, _ = await boxes.leadership()
        greeting = next(boxes.running[name].member.founding.greeting for name in "abc" if name != box.config.member)
        hello = group_pb2.GroupMessage(hello=to_hello(greeting))
        for files in (airport, crane):
            with pytest.raises(grpc.aio.AioRpcError, match="this port is for the members of site harbour"):
                await conversation(boxes, box.config.member, hello, tls=files)
        with pytest.raises(grpc.aio.AioRpcError):
            await conversation(boxes, box.config.member, hello)
        (answer,) = await conversation(boxes, box.config.member, hello, tls=ours)
        assert answer.WhichOneof("kind") == "hello"


async def test_a_log_of_its_own_founds_no_group_with_others(tmp_path: Path) -> None:
    """The others have nothing of it. Alone it may found one, keeps what it has, and others join it."""
    boxes = Boxes(tmp_path, "a")
    log_of_one = tmp_path / "b" / "edge.db"
    log_of_one.parent.mkdir()
    boxes.lay_plain(log_of_one, b"of a site of one node")
    refused = boxes.start("b", "abc")
    with pytest.raises(LogError, match="holds a log of its own, and no group's"):
        await asyncio.wait_for(asyncio.shield(refused.task), 60)
    await boxes.stop("b")
    boxes.start("b", "b", listen=f"127.0.0.1:{boxes.ports['b']}")
    box, leadership = await boxes.leadership(among="b")
    assert leadership.log.load().pos == 1
    assert [payload for _pos, payload, _hash in box.rows()] == [b"of a site of one node"]
    boxes.start("c", "bc", joins=True)
    await box.member.change(Change("learn", "c"), address=f"127.0.0.1:{boxes.ports['c']}")
    assert await boxes.same("b", "c") == [b"of a site of one node"]
    for name in "bc":
        await boxes.stop(name)


async def test_two_or_four_found_no_group(tmp_path: Path) -> None:
    """It is said before anything is written that would have to be taken back."""
    boxes = Boxes(tmp_path, "abcd")
    assert isinstance(boxes.config("a"), GroupConfig)
    box = boxes.start("a")
    with pytest.raises(LogError, match="founded by 1, 3 or 5 members, not by 4"):
        await asyncio.wait_for(asyncio.shield(box.task), 60)
    await boxes.stop("a")
