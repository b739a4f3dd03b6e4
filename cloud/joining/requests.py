"""The bodies of requests for tokens, and what can be wrong with them."""

import ipaddress
import re

import msgspec

from sync.identity.names import AGENT_CHARACTERS_MAX, server_name
from sync.values import site_name_problem
from workflow.token_events import AgentTokenMade, SiteTokenMade

TTL_MS_MAX = 3_650 * 86_400_000
SITE_TTL_MS_MAX = 30 * 86_400_000
USES_MAX = 1_000
CAPABILITIES_MAX = 1_000
HOSTS_MAX = 50
REASON_CHARACTERS_MAX = 200
HOST_CHARACTERS_MAX = 253
_HOST = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
OURS = server_name("")
"""Under names that end so, nodes know each other: a certificate gets its own, and no other."""


class AgentTokenRequest(msgspec.Struct, forbid_unknown_fields=True):
    """For which agent of which site, what it may offer (none: anything), how long (ms), in how many processes."""

    site: str
    agent: str
    capabilities: list[str] = []
    ttl_ms: int = 90 * 86_400_000
    uses: int = 0

    def problems(self) -> list[str]:
        """What is wrong with it."""
        found = [wrong] if (wrong := site_name_problem(self.site)) is not None else []
        if not 1 <= len(self.agent) <= AGENT_CHARACTERS_MAX:
            found.append(f"agent: it has 1 to {AGENT_CHARACTERS_MAX} characters")
        found += _lasting(self.ttl_ms, TTL_MS_MAX)
        if not 0 <= self.uses <= USES_MAX:
            found.append(f"uses: 1 to {USES_MAX:,}, or 0 for any number")
        if len(self.capabilities) > CAPABILITIES_MAX:
            found.append(f"capabilities: at most {CAPABILITIES_MAX:,}")
        return found

    def made(self, sha256: str) -> AgentTokenMade:
        """The event, without its times."""
        return AgentTokenMade(sha256, self.site, self.agent, sorted(set(self.capabilities)), 0, 0, self.uses)


class SiteTokenRequest(msgspec.Struct, forbid_unknown_fields=True):
    """For which site, the names and addresses under which its gateway is dialled, how long (ms)."""

    site: str
    hosts: list[str] = []
    ttl_ms: int = 86_400_000

    def problems(self) -> list[str]:
        """What is wrong with it."""
        found = [wrong] if (wrong := site_name_problem(self.site)) is not None else []
        found += [wrong for host in self.hosts[:HOSTS_MAX] if (wrong := host_problem(host))]
        if len(self.hosts) > HOSTS_MAX:
            found.append(f"hosts: at most {HOSTS_MAX}")
        return found + _lasting(self.ttl_ms, SITE_TTL_MS_MAX)

    def made(self, sha256: str) -> SiteTokenMade:
        """The event, without its times."""
        return SiteTokenMade(sha256, self.site, list(dict.fromkeys(self.hosts)), 0, 0)


class RevocationRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Why a site is shut out; shown to it, and kept."""

    reason: str = ""

    def problems(self) -> list[str]:
        """What is wrong with it."""
        return [f"reason: at most {REASON_CHARACTERS_MAX} characters"] if len(self.reason) > REASON_CHARACTERS_MAX else []


def host_problem(host: str) -> str:
    """Why a certificate must not be for this name or address; empty if it may."""
    if is_address(host):
        return ""
    if len(host) > HOST_CHARACTERS_MAX or not _HOST.fullmatch(host):
        return f"hosts: {host[:80]!r} is neither an address nor a name of small letters, digits, - and dots"
    return f"hosts: {host!r}: names that end in {OURS} are those of nodes" if host.endswith(OURS) else ""


def is_address(host: str) -> bool:
    """Is it an IP address?"""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _lasting(ttl_ms: int, most_ms: int) -> list[str]:
    if 1_000 <= ttl_ms <= most_ms:
        return []
    return [f"ttl_ms: a token holds for 1 second to {most_ms // 86_400_000:,} days"]
