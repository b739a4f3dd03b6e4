"""What can happen to the tokens that agents and sites join with, as facts. A token itself is nowhere: only its SHA-256 (hex)."""

from workflow.events import Event, register


class AgentTokenMade(Event, frozen=True):
    """Whoever shows the token is this agent of this site, and offers these capabilities at most (none named: any), until
    `expires_ms` (UTC), in `uses` processes at most (0: in any number). In the cloud's stream for the site it holds there."""

    sha256: str
    site: str
    agent: str
    capabilities: list[str]
    at_ms: int
    expires_ms: int
    uses: int = 0


class AgentTokenRevoked(Event, frozen=True):
    """It opens nothing any more."""

    sha256: str


class AgentTokenUsed(Event, frozen=True):
    """At the site: a process of the agent (`boot`) has joined with it. Recorded of tokens whose uses are counted."""

    sha256: str
    boot: str


class SiteTokenMade(Event, frozen=True):
    """Whoever shows the token gets one certificate for this site, under these names and addresses beside those that every site's
    has, until `expires_ms` (UTC). Of the cloud's own stream."""

    sha256: str
    site: str
    hosts: list[str]
    at_ms: int
    expires_ms: int


class SiteTokenUsed(Event, frozen=True):
    """A certificate has been signed for it: for the public key with this SHA-256 (hex), asked for from `peer`. It is kept, so
    that who asks again with his key gets the same: the first answer may have been lost on its way."""

    sha256: str
    key_sha256: str
    certificate: bytes
    peer: str
    at_ms: int


class SiteTokenRevoked(Event, frozen=True):
    """It opens nothing any more, a second time neither."""

    sha256: str


class SiteCertificatesRevoked(Event, frozen=True):
    """The cloud refuses whatever certificate of this site was signed before `before_ms` (UTC)."""

    site: str
    before_ms: int
    reason: str


register(
    AgentTokenMade, AgentTokenRevoked, AgentTokenUsed, SiteTokenMade, SiteTokenUsed, SiteTokenRevoked, SiteCertificatesRevoked
)
