"""What a client asks of the tokens that agents, and sites, join with."""

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from tiercel.client import Client

AGENTS, SITES = "/api/v1/agent-tokens", "/api/v1/site-tokens"
JSON = {"Content-Type": "application/json"}


class TokenClient(Client):
    """A Client that makes, lists and revokes tokens, too: of agents (`AGENTS`), or of sites (`SITES`)."""

    def create_agent_token(
        self, site: str, agent: str, capabilities: Sequence[str], ttl_ms: int, uses: int = 0
    ) -> dict[str, Any]:
        """Make one; `token` of the answer is shown this once. `uses` of 0: in any number of processes."""
        asked = {"site": site, "agent": agent, "capabilities": list(capabilities), "ttl_ms": ttl_ms, "uses": uses}
        return self._request("POST", AGENTS, content=json.dumps(asked).encode(), headers=JSON)

    def create_site_token(self, site: str, hosts: Sequence[str], ttl_ms: int) -> dict[str, Any]:
        """Make one; `token` of the answer is shown this once. `hosts`: how the site's gateway is dialled, beside loopback."""
        asked = {"site": site, "hosts": list(hosts), "ttl_ms": ttl_ms}
        return self._request("POST", SITES, content=json.dumps(asked).encode(), headers=JSON)

    def tokens(self, kind: str) -> list[dict[str, Any]]:
        """Those that hold or have expired, without the tokens themselves."""
        return self._items(kind)

    def revoke_site(self, site: str, reason: str = "") -> dict[str, Any]:
        """Have the cloud refuse the certificates and tokens that a site has by now."""
        body = json.dumps({"reason": reason}).encode()
        return self._request("POST", f"/api/v1/sites/{quote(site, safe='')}/revocation", content=body, headers=JSON)

    def revoke_token(self, kind: str, id: str) -> dict[str, Any]:
        """Let one hold no longer; what it was."""
        return self._request("DELETE", f"{kind}/{quote(id, safe='')}")
