"""The tokens of the site's agents, a Part of the executor: what the cloud has told of them, kept over restarts, so that an agent
joins with one while the site is cut off.
"""

from typing import ClassVar, NamedTuple

import msgspec

from edge.home import Home
from edge.part import Fold, Part, Step
from sync.outputs import Reply
from sync.values import Now
from workflow.event import Event
from workflow.reseed_events import StateTold
from workflow.token_events import AgentTokenMade, AgentTokenRevoked, AgentTokenUsed


class UseToken(NamedTuple):
    """A process of an agent (`boot`) joins with a token. The answer says what keeps it from that; empty: nothing does."""

    token: int
    sha256: str
    agent: str
    capabilities: frozenset[str]
    boot: str


class AgentTokens(Part):
    """`_boots[sha256]` are the processes that have joined, of tokens whose uses are counted."""

    name: ClassVar[str] = "agent_tokens"

    def __init__(self, home: Home) -> None:
        self._home = home
        self._tokens: dict[str, AgentTokenMade] = {}
        self._boots: dict[str, dict[str, None]] = {}

    def steps(self) -> dict[type, Step]:
        return {UseToken: self._use}

    def folds(self) -> dict[type, Fold]:
        return {
            AgentTokenMade: self._fold_made,
            AgentTokenRevoked: self._fold_revoked,
            AgentTokenUsed: self._fold_used,
            StateTold: self._fold_told,
        }

    def problem(self, sha256: str, wall_ms: int) -> str:
        """Why a token does not hold, empty if it does."""
        if (made := self._tokens.get(sha256)) is None:
            return f"the token is unknown to site {self._home.site}, or was revoked: tiercel agent token create"
        if made.expires_ms <= wall_ms:
            return f"the token of agent {made.agent} has expired: {_again(made)}"
        return ""

    def _use(self, input: UseToken, now: Now, out: list[object]) -> None:
        problem = self.problem(input.sha256, now.wall_ms) or self._mismatch(input)
        made = self._tokens.get(input.sha256)
        boots = self._boots.get(input.sha256, {})
        if not problem and made is not None and made.uses and input.boot not in boots:
            if len(boots) >= made.uses:
                problem = f"the token of agent {made.agent} was for {made.uses} processes, which have joined: {_again(made)}"
            else:
                self._home.note(AgentTokenUsed(input.sha256, input.boot), out)
        out.append(Reply(input.token, problem))

    def _mismatch(self, input: UseToken) -> str:
        made = self._tokens[input.sha256]
        if made.agent != input.agent:
            return f"the token is for agent {made.agent} of site {made.site}, Register says agent {input.agent}"
        beyond = sorted(input.capabilities - set(made.capabilities)) if made.capabilities else []
        if beyond:
            return (
                f"the token of agent {made.agent} is for {', '.join(made.capabilities)}; Register offers {', '.join(beyond)}, too"
            )
        return ""

    def _fold_made(self, is_own: bool, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, AgentTokenMade)
        self._tokens[event.sha256] = event

    def _fold_revoked(self, is_own: bool, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, AgentTokenRevoked)
        self._revoke(event.sha256)

    def _fold_told(self, is_own: bool, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, StateTold)
        for sha256 in self._tokens.keys() - set(event.tokens):
            self._revoke(sha256)

    def _revoke(self, sha256: str) -> None:
        self._tokens.pop(sha256, None)
        self._boots.pop(sha256, None)

    def _fold_used(self, is_own: bool, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, AgentTokenUsed)
        self._boots.setdefault(event.sha256, {})[event.boot] = None

    def save(self) -> bytes:
        if not self._tokens:
            return b""
        boots = {sha256: sorted(self._boots[sha256]) for sha256 in sorted(self._boots)}
        return msgspec.msgpack.encode(([self._tokens[sha256] for sha256 in sorted(self._tokens)], boots))

    def restore(self, body: bytes) -> None:
        tokens, boots = _SAVED.decode(body)
        self._tokens = {made.sha256: made for made in tokens}
        self._boots = {sha256: dict.fromkeys(each) for sha256, each in boots.items()}


def _again(made: AgentTokenMade) -> str:
    return f"tiercel agent token create --site {made.site} --agent {made.agent}"


_SAVED = msgspec.msgpack.Decoder(tuple[list[AgentTokenMade], dict[str, list[str]]])
