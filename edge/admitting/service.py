"""The check of who an agent is, when it registers and for as long as its session lasts."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edge.joining import AgentTokens, UseToken
from sync.actors import Loop
from sync.identity.expiry import outlived
from sync.identity.service import bearer_of, ends_ms_of, impostor
from tiercel.v1 import agent_pb2


@dataclass(frozen=True, slots=True)
class Pass:
    """By what a session was let in: the SHA-256 of a token, or the end of a certificate (UTC ms, 0: without one)."""

    token: str = ""
    ends_ms: int = 0


class Door:
    """What is said to be is checked against the connection, and no field of a message is believed."""

    def __init__(self, site: str, tokens: Callable[[], AgentTokens], loop: Loop) -> None:
        """`tokens` are those of the core that is in use: it may be folded anew."""
        self._site, self._tokens, self._loop = site, tokens, loop

    def bearer(self, sha256: str) -> str:
        """What is wrong with a token, empty if nothing."""
        return self._tokens().problem(sha256, _now_ms())

    async def refusal(self, context: Any, register: agent_pb2.Register) -> str:
        """Why who registers is not who the connection says; empty if he is. A use of a token is counted when it is durable."""
        if not (sha256 := bearer_of(context)):
            return impostor(context, self._site, register.agent, register.capabilities)
        offered = frozenset(register.capabilities)
        said = await self._loop.ask(lambda token: UseToken(token, sha256, register.agent, offered, register.boot))
        return str(said)

    def ticket(self, context: Any) -> Pass:
        """By what the connection was let in."""
        return Pass(token) if (token := bearer_of(context)) else Pass(ends_ms=ends_ms_of(context))

    def stale(self, shown: Pass) -> str:
        """Why a session must end now although it was rightly begun; empty if it may go on."""
        if shown.token:
            return self.bearer(shown.token)
        return outlived(shown.ends_ms, _now_ms())


def _now_ms() -> int:
    return int(time.time() * 1000)
