"""Ports of this machine for nodes of tests."""

import contextlib
import random
import socket
from collections import deque

_GIVEN: deque[int] = deque(maxlen=4_000)
"""Those of late: a port that is free may be meant for a node that has not started yet."""


def free_port(row: int = 1) -> int:
    """A port below those that the system gives to outgoing connections, so that nobody takes it while its node is restarted; the
    first of a row of so many. No port is given twice."""
    chance = random.SystemRandom()
    while True:
        first = chance.randrange(20_000, 32_000)
        ports = range(first, first + row)
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for each in ports:
                stack.enter_context(socket.socket()).bind(("127.0.0.1", each))
            if not set(ports) & set(_GIVEN):
                _GIVEN.extend(ports)
                return first


def free_ports(count: int) -> list[int]:
    """Several, all different."""
    return sorted(free_port() for _ in range(count))
