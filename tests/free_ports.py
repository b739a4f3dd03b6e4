"""Ports of this machine for nodes of tests."""

import contextlib
import random
import socket


def free_port(row: int = 1) -> int:
    """A port below those that the system gives to outgoing connections, so that nobody takes it while its node is restarted; the
    first of a row of so many."""
    chance = random.SystemRandom()
    while True:
        port = chance.randrange(20_000, 32_000)
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for each in range(port, port + row):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", each))
            return port


def free_ports(count: int) -> list[int]:
    """Several, all different."""
    found: set[int] = set()
    while len(found) < count:
        found.add(free_port())
    return sorted(found)
