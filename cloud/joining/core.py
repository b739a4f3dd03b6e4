"""The tokens of agents, a Part of the planner. A token is an event of the cloud's own stream, and follows in the stream for its
site: at once if that may be written to, else at the greeting. So it holds while the site is cut off, and so does a revocation
once the site has heard of it.
"""

from typing import ClassVar, Protocol

import msgspec

from cloud.fleet import Fleet
from cloud.joining.inputs import MakeAgentToken, RevokeAgentToken
from cloud.part import Fold, Part, Step
from cloud.port import Problem
from sync.outputs import Reply
from sync.values import Now
from workflow.event import Event
from workflow.token_events import AgentTokenMade, AgentTokenRevoked, AgentTokenUsed

TOKENS_MAX = 10_000
ID_CHARACTERS = 12


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


class AgentTokens(Part):
    """`tokens` by their SHA-256; `told[site]` are those that the stream for the site holds; `used[sha256]` are the processes."""

    name: ClassVar[str] = "agent_tokens"

    def __init__(self, planner: Planning) -> None:
        self._planner = planner
        self.tokens: dict[str, AgentTokenMade] = {}
        self.told: dict[str, dict[str, None]] = {}
        self.used: dict[str, dict[str, None]] = {}

    def steps(self) -> dict[type, Step]:
        return {MakeAgentToken: self._make, RevokeAgentToken: self._revoke}

    def own_folds(self) -> dict[type, Fold]:
        return {AgentTokenMade: self._fold_made, AgentTokenRevoked: self._fold_revoked}

    def site_folds(self) -> dict[type, Fold]:
        return {AgentTokenUsed: self._fold_used}

    def greet(self, site: str, now: Now, out: list[object]) -> None:
        self._tell(site, now, out)

    def find(self, id: str) -> AgentTokenMade:
        """By its id. Raises Problem."""
        for sha256, made in self.tokens.items():
            if sha256[:ID_CHARACTERS] == id:
                return made
        raise Problem(
            404, "token_unknown", f"there is no agent token {id}: `tiercel agent token list` shows those that there are"
        )

    # Asked ------------------------------------------------------------------------------------------------------------

    def _make(self, input: MakeAgentToken, now: Now, out: list[object]) -> None:
        if len(self.tokens) >= TOKENS_MAX:
            for sha256 in [sha256 for sha256, made in self.tokens.items() if made.expires_ms <= now.wall_ms]:
                self._end(sha256, now, out)
        if len(self.tokens) >= TOKENS_MAX:
            detail = f"{TOKENS_MAX:,} agent tokens hold already: revoke some that are not needed any more"
            out.append(Reply(input.token, Problem(409, "tokens_full", detail)))
            return
        made = msgspec.structs.replace(input.made, at_ms=now.wall_ms, expires_ms=now.wall_ms + input.ttl_ms)
        self._planner.note("", made, now, out)
        self._tell(made.site, now, out)
        out.append(Reply(input.token, None))

    def _revoke(self, input: RevokeAgentToken, now: Now, out: list[object]) -> None:
        try:
            made = self.find(input.id)
        except Problem as problem:
            out.append(Reply(input.token, problem))
            return
        self._end(made.sha256, now, out)
        out.append(Reply(input.token, None))

    def _end(self, sha256: str, now: Now, out: list[object]) -> None:
        site = self.tokens[sha256].site
        self._planner.note("", AgentTokenRevoked(sha256), now, out)
        self._tell(site, now, out)

    def _tell(self, site: str, now: Now, out: list[object]) -> None:
        """Write into the stream for the site what it does not hold yet, if that may be written to."""
        if site not in self._planner.fleet.sites or not self._planner.fleet.site(site).greeted:
            return
        told = list(self.told.get(site, ()))
        for sha256 in told:
            if sha256 not in self.tokens:
                self._planner.note(site, AgentTokenRevoked(sha256), now, out)
        for made in [made for made in self.tokens.values() if made.site == site and made.sha256 not in told]:
            self._planner.note(site, made, now, out)

    # Folding ----------------------------------------------------------------------------------------------------------

    def _fold_made(self, reader: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, AgentTokenMade)
        if reader:
            self.told.setdefault(reader, {})[event.sha256] = None
        # A cloud that has lost its own stream with its disk knows the token from the site's.
        self.tokens.setdefault(event.sha256, event)

    def _fold_revoked(self, reader: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, AgentTokenRevoked)
        if reader:
            self.told.get(reader, {}).pop(event.sha256, None)
        self.tokens.pop(event.sha256, None)
        self.used.pop(event.sha256, None)

    def _fold_used(self, site: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, AgentTokenUsed)
        if event.sha256 in self.tokens:
            self.used.setdefault(event.sha256, {})[event.boot] = None

    def save(self) -> bytes:
        if not self.tokens and not any(self.told.values()):
            return b""
        tokens = [self.tokens[sha256] for sha256 in sorted(self.tokens)]
        told = {site: sorted(self.told[site]) for site in sorted(self.told) if self.told[site]}
        return msgspec.msgpack.encode(Saved(tokens, told, {sha256: sorted(self.used[sha256]) for sha256 in sorted(self.used)}))

    def restore(self, body: bytes) -> None:
        saved = _SAVED.decode(body)
        self.tokens = {made.sha256: made for made in saved.tokens}
        self.told = {site: dict.fromkeys(told) for site, told in saved.told.items()}
        self.used = {sha256: dict.fromkeys(boots) for sha256, boots in saved.used.items()}


_SAVED = msgspec.msgpack.Decoder(Saved)
