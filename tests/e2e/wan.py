"""A long and lossy way between a site and the cloud: real interfaces, the kernel's own TCP, frames that come late or never.

    cloud, in the namespace of the test          the site, in a namespace of its own
        c0 10.213.N.1 ── c1 ══ Line ══ e1 ── e0 10.213.N.2

A Line reads whole frames at one end and writes them at the other after `delay_s`, but for those that are lost; it does what
`tc netem` does, which few kernels of containers have. Needs root. The site's namespace has no name: it ends with the process that
holds it, and that one with the test, however that ends; what a killed test leaves of the cloud's ends the next Line takes away.
"""

import contextlib
import os
import random
import select
import shutil
import socket
import subprocess
import threading
import time
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Self

SOL_PACKET, PACKET_VNET_HDR, PACKET_OUTGOING = 263, 15, 4
ETH_P_ALL = 3
FRAME_BYTES_MAX = 1 << 17
FRAMES_MAX = 20_000
READY_S_MAX = 10.0


def impossible() -> str:
    """Why there can be no Line on this machine; empty if there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if missing := [tool for tool in ("ip", "unshare", "nsenter") if shutil.which(tool) is None]:
        return f"not installed: {', '.join(missing)}"
    for probe in (("unshare", "--net", "true"), ("ip", "link", "add", "tcl-probe", "type", "veth", "peer", "name", "tcl-probe1")):
        if (tried := subprocess.run(probe, capture_output=True, text=True, check=False)).returncode:
            return f"{' '.join(probe)}: {tried.stderr.strip()}"
    _run("ip link del tcl-probe")
    return ""


class Line:
    """The way of one site, number 1 to 9. `cut` and `heal` have taken effect when they return; losses follow from `seed`."""

    def __init__(self, number: int, *, delay_s: float, loss: float, seed: int) -> None:
        self.cloud_host = f"10.213.{number}.1"
        self._c0, self._c1, self._e0, self._e1 = (f"tclw{number}{end}" for end in ("c0", "c1", "e0", "e1"))
        self._delay_s, self._loss, self._chance = delay_s, loss, random.Random(seed)
        self._open = {self._c1: True, self._e1: True}  # By where a frame enters.
        for left_over in (self._c0, self._e1):
            subprocess.run(["ip", "link", "del", left_over], capture_output=True, check=False)
        self._holder = subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE)
        self.namespace = f"/proc/{self._holder.pid}/ns/net"
        try:
            self._await_namespace()
            self._lay(number)
            self._ends = {name: _frames_of(name) for name in (self._c1, self._e1)}
        except BaseException:
            self._unlay()
            raise
        self._ended = threading.Event()
        self._carrying = threading.Thread(target=self._carry, name=f"line {number}", daemon=True)
        self._carrying.start()

    def cut(self, *, to_cloud: bool = True, to_site: bool = True) -> None:
        """Frames in these directions are lost from now on, all of them; nobody is told."""
        self._open = {self._e1: not to_cloud, self._c1: not to_site}

    def heal(self) -> None:
        """Both directions carry again."""
        self._open = dict.fromkeys(self._open, True)

    def close(self) -> None:
        """Nothing of it is left."""
        self._ended.set()
        self._carrying.join()
        for end in self._ends.values():
            end.close()
        self._unlay()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _lay(self, number: int) -> None:
        inside = f"nsenter --net={self.namespace}"
        cloud_mac, site_mac = (f"02:00:0a:d5:{number:02x}:0{end}" for end in (1, 2))
        for near, far in ((self._c0, self._c1), (self._e0, self._e1)):
            _run(f"ip link add {near} type veth peer name {far}")
            _run(f"ip link set {near} gso_max_segs 1")  # A frame is a packet, so that one loss is one loss.
            _run(f"ip link set {far} arp off up")
        _run(f"ip link set {self._e0} netns {self._holder.pid}")
        _run(f"{inside} ip link set lo up")
        for prefix, end, mac, ours, theirs, theirs_mac in (
            ("", self._c0, cloud_mac, 1, 2, site_mac),
            (inside, self._e0, site_mac, 2, 1, cloud_mac),
        ):
            _run(f"{prefix} ip link set {end} address {mac} up")
            _run(f"{prefix} ip addr add 10.213.{number}.{ours}/24 dev {end}")
            _run(f"{prefix} ip neigh replace 10.213.{number}.{theirs} lladdr {theirs_mac} dev {end} nud permanent")

    def _await_namespace(self) -> None:
        deadline = time.monotonic() + READY_S_MAX
        while Path(self.namespace).readlink() == Path("/proc/self/ns/net").readlink():
            assert time.monotonic() < deadline, "unshare makes no namespace"
            time.sleep(0.005)

    def _unlay(self) -> None:
        assert self._holder.stdin is not None
        self._holder.stdin.close()
        self._holder.wait()
        for end in (self._c0, self._e1):
            subprocess.run(["ip", "link", "del", end], capture_output=True, check=False)

    def _carry(self) -> None:
        """One thread: what has waited long enough goes out, what comes in waits."""
        other = {self._c1: self._ends[self._e1], self._e1: self._ends[self._c1]}
        named = {end: name for name, end in self._ends.items()}
        under_way: deque[tuple[float, socket.socket, bytes]] = deque()
        while not self._ended.is_set():
            wait_s = max(0.0, under_way[0][0] - time.monotonic()) if under_way else 0.1
            for end in select.select(list(named), [], [], min(wait_s, 0.1))[0]:
                frame, address = end.recvfrom(FRAME_BYTES_MAX)
                if address[2] == PACKET_OUTGOING or not self._open[named[end]] or len(under_way) >= FRAMES_MAX:
                    continue
                if self._chance.random() >= self._loss:
                    under_way.append((time.monotonic() + self._delay_s, other[named[end]], frame))
            while under_way and under_way[0][0] <= time.monotonic():
                _, end, frame = under_way.popleft()
                with contextlib.suppress(OSError):  # A queue that is full loses it.
                    end.send(frame)


def _frames_of(interface: str) -> socket.socket:
    """Whole frames of an interface, with the header that says which checksum is still to be computed."""
    frames = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    frames.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    frames.bind((interface, 0))
    return frames


def _run(command: str) -> None:
    done = subprocess.run(command.split(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr.strip()}"
