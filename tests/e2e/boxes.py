"""A system whose one site is three boxes: three processes, three disks, and agents that know all three addresses."""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc

from agents.config import HostConfig
from edge.driver import EdgeConfig
from edge.group.values import Box
from tests.e2e.children import Child
from tests.e2e.node import Service
from tests.e2e.system import PATIENCE_S, System
from tests.free_ports import free_port
from tiercel.v1 import members_pb2, members_pb2_grpc

SITE, NAMES = "harbour", ("a", "b", "c")
ADDED = "d"
ANSWER_S = 5.0


class Boxes(System):
    """`edges` are the boxes, by name."""

    def __init__(self, directory: Path, *, lease_ms: int = 20_000) -> None:
        self.peers = {name: f"127.0.0.1:{free_port()}" for name in (*NAMES, ADDED)}
        self.gateways = {name: f"127.0.0.1:{free_port()}" for name in (*NAMES, ADDED)}
        self.names: tuple[str, ...] = NAMES
        super().__init__(directory, SITE, lease_ms=lease_ms)
        self.edges = {name: self.child(name, lease_ms) for name in NAMES}

    def child(self, name: str, lease_ms: int = 20_000, *, joins: bool = False) -> Child:
        """A box as a process, not yet started."""
        log_file = self.directory / "logs" / f"{SITE}-{name}.log"
        log_file.parent.mkdir(exist_ok=True)
        return Child(f"{SITE} {name}", Service(self.box(name, lease_ms, joins=joins), log_file))

    def box(self, name: str, lease_ms: int = 20_000, *, joins: bool = False) -> EdgeConfig:
        """What a box is told."""
        config = EdgeConfig(SITE, self.data(f"{SITE}-{name}"), self.run_dir, self.proxies[SITE].address, lease_ms=lease_ms)
        peers = {each: self.peers[each] for each in (*NAMES, *([name] if joins else ()))}
        box = Box(name, peers, self.gateways[name], joins=joins)
        return replace(config, listen=self.gateways[name], box=box)

    @property
    def nodes(self) -> tuple[str, ...]:
        """Whoever has a log."""
        return ("cloud", *(f"{SITE}-{name}" for name in self.names))

    def log_of(self, node: str) -> Path:
        """The database of a node's log; of the site, the first box's."""
        return super().log_of(f"{SITE}-{NAMES[0]}" if node == SITE else node)

    def members(self, name: str) -> dict[str, Any]:
        """The group as a box sees it; {} if it does not answer."""
        with grpc.insecure_channel(f"unix:{self.run_dir / f'{SITE}-{name}.sock'}") as channel:
            try:
                reply = members_pb2_grpc.GroupAdminStub(channel).Members(members_pb2.MemberQuery(), timeout=ANSWER_S)
            except grpc.RpcError:
                return {}
        found: dict[str, Any] = json.loads(reply.json)
        return found

    def change(self, asked: str, what: str, node: str, address: str = "") -> str:
        """Ask a box for a change; what it was not done for, if so."""
        change = members_pb2.MemberChange(what=what, node=node, address=address, wait_ms=60_000)
        with grpc.insecure_channel(f"unix:{self.run_dir / f'{SITE}-{asked}.sock'}") as channel:
            changed = members_pb2_grpc.GroupAdminStub(channel).Change(change, timeout=PATIENCE_S)
        return changed.problem

    def term(self) -> int:
        """The latest that any box knows."""
        return max((int(found["term"]) for found in map(self.members, self.names) if found), default=0)

    def leader(self, *, but: str = "", after: int = 0) -> str:
        """Which box leads, once one does; not `but`, and in a term behind `after`."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            said = [self.members(name) for name in self.names]
            leads = [
                found["node"]
                for found in said
                if found and found["role"] == "leader" and found["node"] != but and found["term"] > after
            ]
            if leads:
                return str(max(leads, key=lambda node: next(found["term"] for found in said if found and found["node"] == node)))
            assert time.monotonic() < deadline, f"nobody leads: {said}; {self.deaths()}"
            time.sleep(0.05)

    def _host(self, site: str) -> HostConfig:
        host = super()._host(site)
        return HostConfig(
            **{field: getattr(host, field) for field in host.__struct_fields__ if field != "gateway"},
            gateway=",".join(self.gateways[name] for name in NAMES),
        )
