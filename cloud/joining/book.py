"""What all kinds of tokens have in common: they are known by their SHA-256, shown by its beginning, and so many hold at most."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

import msgspec

from cloud.part import Part
from cloud.port import Problem
from sync.outputs import Reply
from sync.values import Now
from workflow.event import Event

TOKENS_MAX = 10_000
ID_CHARACTERS = 12


class Made(Protocol):
    """The event that makes one."""

    @property
    def sha256(self) -> str: ...
    @property
    def site(self) -> str: ...
    @property
    def expires_ms(self) -> int: ...


class MakeToken(Protocol):
    """The input that makes one; when it was made and when it expires is decided here."""

    @property
    def token(self) -> int: ...
    @property
    def made(self) -> Any: ...
    @property
    def ttl_ms(self) -> int: ...


class RevokeToken(Protocol):
    """The input that ends one; `id` is what the list shows."""

    @property
    def token(self) -> int: ...
    @property
    def id(self) -> str: ...


class Words(NamedTuple):
    """How one kind is called, and where it is listed."""

    noun: str
    listed_by: str


class Recording(Protocol):
    """What tokens need of the planner."""

    def note(self, reader: str, event: Event, now: Now, out: list[object]) -> None: ...


M = TypeVar("M", bound=Made)


class TokenPart(Part, ABC, Generic[M]):
    """The tokens of one kind, by their SHA-256. Subclasses say what their end is, and who else is told."""

    words: ClassVar[Words]

    def __init__(self, planner: Recording) -> None:
        self._recording = planner
        self.tokens: dict[str, M] = {}

    @abstractmethod
    def revoked(self, sha256: str) -> Event:
        """The event that ends one."""

    def told(self, site: str, now: Now, out: list[object]) -> None:
        """Something is new about the tokens of a site."""

    def find(self, id: str) -> M:
        """By its id. Raises Problem."""
        for sha256, made in self.tokens.items():
            if sha256[:ID_CHARACTERS] == id:
                return made
        detail = f"there is no {self.words.noun} {id}: `{self.words.listed_by}` shows those that there are"
        raise Problem(404, "token_unknown", detail)

    def make(self, input: MakeToken, now: Now, out: list[object]) -> None:
        """One more."""
        if len(self.tokens) >= TOKENS_MAX:
            for sha256 in [sha256 for sha256, made in self.tokens.items() if made.expires_ms <= now.wall_ms]:
                self._end(sha256, now, out)
        if len(self.tokens) >= TOKENS_MAX:
            detail = f"{TOKENS_MAX:,} {self.words.noun}s hold already: revoke some that are not needed any more"
            out.append(Reply(input.token, Problem(409, "tokens_full", detail)))
            return
        made = msgspec.structs.replace(input.made, at_ms=now.wall_ms, expires_ms=now.wall_ms + input.ttl_ms)
        self._recording.note("", made, now, out)
        self.told(made.site, now, out)
        out.append(Reply(input.token, None))

    def revoke(self, input: RevokeToken, now: Now, out: list[object]) -> None:
        """Let one hold no longer, asked for by its id."""
        try:
            made = self.find(input.id)
        except Problem as problem:
            out.append(Reply(input.token, problem))
            return
        self._end(made.sha256, now, out)
        out.append(Reply(input.token, None))

    def _end(self, sha256: str, now: Now, out: list[object]) -> None:
        site = self.tokens[sha256].site
        self._recording.note("", self.revoked(sha256), now, out)
        self.told(site, now, out)
