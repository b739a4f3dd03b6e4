"""What the cloud shows of tokens: never a token itself, but once to whoever had it made. Times are UTC ms."""

import msgspec

from cloud.joining.book import ID_CHARACTERS
from cloud.joining.core import AgentTokens
from cloud.joining.sites import SiteTokens
from workflow.token_events import AgentTokenMade, SiteTokenMade


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


class SiteTokenView(msgspec.Struct, omit_defaults=True):
    """For which site it is, under which names beside the usual ones, and how long. Of one that was used: when (`used`), from
    which address, and for which key (SHA-256 of the public key, hex)."""

    id: str
    site: str
    hosts: list[str]
    made: int
    expires: int
    used: int = 0
    used_by: str = ""
    key_sha256: str = ""
    token: str = ""


class RevocationView(msgspec.Struct):
    """Certificates of this site that were signed before (UTC ms) are refused."""

    site: str
    before: int
    reason: str


def agent_token_view(part: AgentTokens, made: AgentTokenMade, token: str = "") -> AgentTokenView:
    """One of them; with `token` it is shown, once."""
    return AgentTokenView(
        id=made.sha256[:ID_CHARACTERS],
        site=made.site,
        agent=made.agent,
        capabilities=made.capabilities,
        made=made.at_ms,
        expires=made.expires_ms,
        told=made.sha256 in part.held.get(made.site, ()),
        uses=made.uses,
        used=len(part.used.get(made.sha256, ())),
        token=token,
    )


def site_token_view(part: SiteTokens, made: SiteTokenMade, token: str = "") -> SiteTokenView:
    """One of them; with `token` it is shown, once."""
    view = SiteTokenView(made.sha256[:ID_CHARACTERS], made.site, made.hosts, made.at_ms, made.expires_ms, token=token)
    if (used := part.used.get(made.sha256)) is not None:
        view.used, view.used_by, view.key_sha256 = used.at_ms, used.peer, used.key_sha256
    return view
