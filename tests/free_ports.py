"""Ports of this machine for nodes of tests."""

import contextlib
import random
import socket
from collections import deque

_GIVEN: deque[int] = deque(maxlen=4_000)
"""Those of late: a port that is free may be meant for a node that has not started yet."""


def free_port() -> int:
    """A port below those that the system gives to outgoing connections, so that nobody takes it while its node is restarted."""
    chance = random.SystemRandom()
    while True:
        port = chance.randrange(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in _GIVEN:
                _GIVEN.append(port)
                return port


def free_ports(count: int) -> list[int]:
    """Several, all different."""
    return sorted(free_port() for _ in range(count))
