"""Ports of this machine for nodes of tests."""

import contextlib
import random
import socket


def free_port() -> int:
    """A port below those that the system gives to outgoing connections, so that nobody takes it while its node is restarted."""
    chance = random.SystemRandom()
    while True:
        port = chance.randrange(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def free_ports(count: int) -> list[int]:
    """Several, all different."""
    found: set[int] = set()
    while len(found) < count:
        found.add(free_port())
    return sorted(found)
