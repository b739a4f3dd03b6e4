"""What a client asks of the tokens that agents join with."""

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from tiercel.client import Client

PATH = "/api/v1/agent-tokens"
JSON = {"Content-Type": "application/json"}


class TokenClient(Client):
    """A Client that makes, lists and revokes tokens, too."""

    def create_token(self, site: str, agent: str, capabilities: Sequence[str], ttl_ms: int, uses: int = 0) -> dict[str, Any]:
        """Make one; `token` of the answer is shown this once. `uses` of 0: in any number of processes."""
        asked = {"site": site, "agent": agent, "capabilities": list(capabilities), "ttl_ms": ttl_ms, "uses": uses}
        return self._request("POST", PATH, content=json.dumps(asked).encode(), headers=JSON)

    def tokens(self) -> list[dict[str, Any]]:
        """Those that hold or have expired, without the tokens themselves."""
        return self._items(PATH)

    def revoke_token(self, id: str) -> dict[str, Any]:
        """Let one hold no longer; what it was."""
        return self._request("DELETE", f"{PATH}/{quote(id, safe='')}")
