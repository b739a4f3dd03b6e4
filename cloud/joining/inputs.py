"""What is asked of tokens, by the API and by sites that join."""

from typing import NamedTuple

from workflow.token_events import AgentTokenMade, SiteTokenMade


class MakeAgentToken(NamedTuple):
    """Let a token hold from here on, for `ttl_ms` from the moment that it is decided."""

    token: int
    made: AgentTokenMade
    ttl_ms: int


class RevokeAgentToken(NamedTuple):
    """Let it hold no longer; `id` is what the list shows."""

    token: int
    id: str


class MakeSiteToken(NamedTuple):
    """As MakeAgentToken."""

    token: int
    made: SiteTokenMade
    ttl_ms: int


class RevokeSiteToken(NamedTuple):
    """As RevokeAgentToken."""

    token: int
    id: str


class ShutOutSite(NamedTuple):
    """Refuse the certificates that a site has by now, and all tokens for it."""

    token: int
    site: str
    reason: str


class UseSiteToken(NamedTuple):
    """A site wants the certificate that has been signed for its key (SHA-256, hex), asked for from `peer`. The answer is the one
    that it gets: this, or what it was to get before; or a Problem."""

    token: int
    sha256: str
    site: str
    key_sha256: str
    certificate: bytes
    peer: str
