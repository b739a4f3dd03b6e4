"""What the cloud shows of agents' tokens: never a token itself, but once to whoever had it made. Times are UTC ms."""

import msgspec

from cloud.joining.core import ID_CHARACTERS, AgentTokens
from workflow.token_events import AgentTokenMade


class AgentTokenView(msgspec.Struct, omit_defaults=True):
    """For whom it is, how long, and whether its site has been told. `used` of `uses` (absent: not counted)."""

    id: str
    site: str
    agent: str
    capabilities: list[str]
    made: int
    expires: int
    told: bool
    uses: int = 0
    used: int = 0
    token: str = ""


def token_view(part: AgentTokens, made: AgentTokenMade, token: str = "") -> AgentTokenView:
    """One of them; with `token` it is shown, once."""
    return AgentTokenView(
        id=made.sha256[:ID_CHARACTERS],
        site=made.site,
        agent=made.agent,
        capabilities=made.capabilities,
        made=made.at_ms,
        expires=made.expires_ms,
        told=made.sha256 in part.told.get(made.site, ()),
        uses=made.uses,
        used=len(part.used.get(made.sha256, ())),
        token=token,
    )
