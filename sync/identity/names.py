"""Identities as certificates carry them: one URI among the subject's alternative names (the form that SPIFFE uses, too).

`tiercel://node/cloud`, `tiercel://node/harbour`, `tiercel://agent/harbour/crane-1`. Whoever is called so is what the certificate
says and never what a message says.
"""

from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import quote, unquote

CLOUD = "cloud"
NODE, AGENT, CAPABILITY = "tiercel://node/", "tiercel://agent/", "tiercel://capability/"
AGENT_CHARACTERS_MAX = 200


class Identity(NamedTuple):
    """A node (`agent` is empty, `site` is its name, for the cloud `cloud`) or an agent of a site."""

    site: str
    agent: str = ""

    @property
    def uri(self) -> str:
        """As in a certificate."""
        return f"{AGENT}{self.site}/{quote(self.agent, safe='')}" if self.agent else f"{NODE}{self.site}"

    @property
    def words(self) -> str:
        """As in a sentence."""
        if self.agent:
            return f"agent {self.agent} of site {self.site}"
        return "the cloud" if self.site == CLOUD else f"site {self.site}"

    @property
    def reissue(self) -> str:
        """What an operator types for a new certificate."""
        if self.agent:
            return f"tiercel cert issue --site {self.site} --agent {self.agent}"
        return "tiercel cert issue --node cloud" if self.site == CLOUD else f"tiercel cert issue --site {self.site}"

    @property
    def again(self) -> str:
        """What a node does whose certificate has ended, so that it cannot renew it."""
        if self.site == CLOUD:
            return self.reissue
        return f"{self.reissue}; or join again: tiercel site token create --site {self.site}, and tiercel edge join"


def identity_of(uri: str) -> Identity | None:
    """The identity that a URI names; None if it names none of ours."""
    if uri.startswith(NODE):
        name = uri.removeprefix(NODE)
        return Identity(name) if name and "/" not in name else None
    if uri.startswith(AGENT):
        site, _, agent = uri.removeprefix(AGENT).partition("/")
        return Identity(site, unquote(agent)) if site and agent and "/" not in agent else None
    return None


def identity_among(names: Iterable[str]) -> Identity | None:
    """The one identity among a certificate's names; None if there is none, or more than one: then it would be ambiguous."""
    found = {identity for name in names if (identity := identity_of(name)) is not None}
    return found.pop() if len(found) == 1 else None


def capability_uri(name: str) -> str:
    """As a certificate binds its agent to a capability."""
    return f"{CAPABILITY}{quote(name, safe='')}"


def capabilities_among(names: Iterable[str]) -> frozenset[str]:
    """What a certificate binds its agent to; empty if it binds it to nothing."""
    return frozenset(unquote(name.removeprefix(CAPABILITY)) for name in names if name.startswith(CAPABILITY))


def server_name(node: str) -> str:
    """The DNS name under which a node's certificate is checked, however its address is written."""
    return f"{node}.tiercel"
