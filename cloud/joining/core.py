"""The tokens of agents, a Part of the planner. A token is an event of the cloud's own stream, and follows in the stream for its
site: at once if that may be written to, else at the greeting. So it holds while the site is cut off, and so does a revocation
once the site has heard of it.
"""

from typing import ClassVar, Protocol

import msgspec

from cloud.fleet import Fleet
from cloud.joining.book import TokenPart, Words
from cloud.joining.inputs import MakeAgentToken, RevokeAgentToken
from cloud.part import Fold, Step
from sync.values import Now
from workflow.event import Event
from workflow.token_events import AgentTokenMade, AgentTokenRevoked, AgentTokenUsed


class Planning(Protocol):
    """What tokens need of the planner."""

    @property
    def fleet(self) -> Fleet: ...
    def note(self, reader: str, event: Event, now: Now, out: list[object]) -> None: ...


class Saved(msgspec.Struct, array_like=True):
    """All of it in a snapshot."""

    tokens: list[AgentTokenMade]
    told: dict[str, list[str]]
    used: dict[str, list[str]]


class AgentTokens(TokenPart[AgentTokenMade]):
    """`tokens` by their SHA-256; `held[site]` are those that the stream for the site holds; `used[sha256]` are the processes."""

    name: ClassVar[str] = "agent_tokens"
    words: ClassVar[Words] = Words("agent token", "tiercel agent token list")

    def __init__(self, planner: Planning) -> None:
        super().__init__(planner)
        self._planner = planner
        self.held: dict[str, dict[str, None]] = {}
        self.used: dict[str, dict[str, None]] = {}

    def steps(self) -> dict[type, Step]:
        return {MakeAgentToken: self.make, RevokeAgentToken: self.revoke}

    def own_folds(self) -> dict[type, Fold]:
        return {AgentTokenMade: self._fold_made, AgentTokenRevoked: self._fold_revoked}

    def site_folds(self) -> dict[type, Fold]:
        return {AgentTokenUsed: self._fold_used}

    def greet(self, site: str, now: Now, out: list[object]) -> None:
        self.told(site, now, out)

    def revoked(self, sha256: str) -> Event:
        return AgentTokenRevoked(sha256)

    def untell(self, site: str) -> None:
        self.held.pop(site, None)

    def told(self, site: str, now: Now, out: list[object]) -> None:
        """Write into the stream for the site what it does not hold yet, if that may be written to."""
        if site not in self._planner.fleet.sites or not self._planner.fleet.site(site).greeted:
            return
        told = list(self.held.get(site, ()))
        for sha256 in told:
            if sha256 not in self.tokens:
                self._planner.note(site, AgentTokenRevoked(sha256), now, out)
        for made in [made for made in self.tokens.values() if made.site == site and made.sha256 not in told]:
            self._planner.note(site, made, now, out)

    # Folding ----------------------------------------------------------------------------------------------------------

    def _fold_made(self, reader: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, AgentTokenMade)
        if reader:
            self.held.setdefault(reader, {})[event.sha256] = None
        # A cloud that has lost its own stream with its disk knows the token from the site's.
        self.tokens.setdefault(event.sha256, event)

    def _fold_revoked(self, reader: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, AgentTokenRevoked)
        if reader:
            self.held.get(reader, {}).pop(event.sha256, None)
        self.tokens.pop(event.sha256, None)
        self.used.pop(event.sha256, None)

    def _fold_used(self, site: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, AgentTokenUsed)
        if event.sha256 in self.tokens:
            self.used.setdefault(event.sha256, {})[event.boot] = None

    def save(self) -> bytes:
        if not self.tokens and not any(self.held.values()):
            return b""
        tokens = [self.tokens[sha256] for sha256 in sorted(self.tokens)]
        told = {site: sorted(self.held[site]) for site in sorted(self.held) if self.held[site]}
        return msgspec.msgpack.encode(Saved(tokens, told, {sha256: sorted(self.used[sha256]) for sha256 in sorted(self.used)}))

    def restore(self, body: bytes) -> None:
        saved = _SAVED.decode(body)
        self.tokens = {made.sha256: made for made in saved.tokens}
        self.held = {site: dict.fromkeys(told) for site, told in saved.told.items()}
        self.used = {sha256: dict.fromkeys(boots) for sha256, boots in saved.used.items()}


_SAVED = msgspec.msgpack.Decoder(Saved)
