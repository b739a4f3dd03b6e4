"""What the API asks of tokens for agents."""

from typing import NamedTuple

from workflow.token_events import AgentTokenMade


class MakeAgentToken(NamedTuple):
    """Let a token hold from here on, for `ttl_ms` from the moment that it is decided."""

    token: int
    made: AgentTokenMade
    ttl_ms: int


class RevokeAgentToken(NamedTuple):
    """Let it hold no longer; `id` is what the list shows."""

    token: int
    id: str
