"""A site of several boxes over TLS: every box has a certificate of the site, and who has another is no member."""

from pathlib import Path

import grpc
import pytest

from sync.identity import main as certificates
from sync.identity.files import tls_files
from sync.identity.names import Identity, server_name
from tests.edge.group.boxes import SITE, eventually, site
from tiercel.tls import Tls
from tiercel.v1 import blob_pb2_grpc, events_pb2, members_pb2, members_pb2_grpc

pytestmark = pytest.mark.asyncio


async def test_boxes_and_agents_know_each_other_by_their_certificates(tmp_path: Path) -> None:
    """An agent finds the leader, its large result gets to a majority, and a follower passes an operator's order on: all over TLS.
    An agent's certificate opens no door between the boxes, nor does none."""
    certificates.init(tmp_path / "ca")
    for name, identity in (("site", Identity(SITE)), ("cloud", Identity("cloud")), ("crane", Identity(SITE, "crane-1"))):
        certificates.issue(tmp_path / "ca", tmp_path / name, identity)
    files = tls_files(tmp_path / "site", None, None, None)
    async with site(tmp_path, tls=files) as boxes:
        await boxes.start_cloud(tls_files(tmp_path / "cloud", None, None, None))
        crane = tmp_path / "crane"
        tls = Tls(crane / "ca.crt", crane / "tls.crt", crane / "tls.key", server_name(SITE))
        agent = boxes.agent("crane-1", tls=tls)
        agent.capability("make")(lambda: "x" * 200_000)
        boxes.join(agent)
        run = await boxes.started({"make": {"capability": "make"}})
        while True:
            leader = await boxes.leader()
            follower = next(running.node for running in boxes.running.values() if running.node is not leader)
            changed = await follower.admin.change(members_pb2.MemberChange(what="transfer", node=follower.box.node))
            if not changed.problem:
                break
        assert changed.done == f"{follower.box.node} leads the site {SITE}"
        assert (await boxes.ended(run))["run"]["state"] == "completed"
        held = [len(list((running.node.blobs.directory).glob("[0-9a-f][0-9a-f]/*"))) for running in boxes.running.values()]
        assert sum(held) >= 2
        ca, pair = (crane / "ca.crt").read_bytes(), ((crane / "tls.key").read_bytes(), (crane / "tls.crt").read_bytes())
        assert "agent crane-1" in await _refusal(boxes.peers["a"], grpc.ssl_channel_credentials(ca, *pair))
        assert await _refusal(boxes.peers["a"], None)
        await eventually(lambda: follower.standing is not None)


async def _refusal(address: str, credentials: grpc.ChannelCredentials | None) -> str:
    """What a member says to somebody who is none."""
    options = (("grpc.ssl_target_name_override", server_name(SITE)),)
    opened = grpc.aio.insecure_channel(address) if credentials is None else grpc.aio.secure_channel(address, credentials, options)
    async with opened as channel:
        said = []
        for call in (
            members_pb2_grpc.MemberServiceStub(channel).Change(members_pb2.MemberChange(what="remove", node="a"), timeout=10),
            blob_pb2_grpc.BlobServiceStub(channel).Stat(events_pb2.BlobRef(sha256=bytes(32), size=1), timeout=10),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call
            said.append(f"{refused.value.code().name}: {refused.value.details()}")
        return " ".join(said) if all(said) else ""
