"""What can happen to the tokens that agents join with, as facts. A token itself is nowhere: only its SHA-256 (hex)."""

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


register(AgentTokenMade, AgentTokenRevoked, AgentTokenUsed)
