"""The standing rules of the site, a Part of the executor: what the cloud has told of them, kept over restarts, so that they hold
while the site is cut off. `Home.standing` is what the runs are held against.
"""

from typing import ClassVar

import msgspec

from edge.home import Home
from edge.part import Fold, Hear, Part
from sync.values import Now
from workflow.event import Event
from workflow.problems import DefinitionError
from workflow.reseed_events import StateTold
from workflow.rule_events import RuleRefused, RuleRegistered, RuleRemoved
from workflow.standing import Standing, standing_from_document


class StandingRules(Part):
    """Keeps `Home.standing`. `_unusable` are rules that a newer cloud has checked and this site does not understand."""

    name: ClassVar[str] = "rules"

    def __init__(self, home: Home) -> None:
        self._home = home
        self._standing = Standing()
        self._documents: dict[str, bytes] = {}
        self._unusable: dict[str, str] = {}

    def folds(self) -> dict[type, Fold]:
        return {RuleRegistered: self._fold, RuleRemoved: self._fold, StateTold: self._fold_told}

    def hears(self) -> dict[type, Hear]:
        return {RuleRegistered: self._hear}

    def save(self) -> bytes:
        return msgspec.msgpack.encode([self._documents[name] for name in sorted(self._documents)]) if self._documents else b""

    def restore(self, body: bytes) -> None:
        for document in _SAVED.decode(body):
            self._put(str(msgspec.json.decode(document)["name"]), document)

    def _hear(self, run: str, event: Event, now: Now, out: list[object]) -> None:
        assert isinstance(event, RuleRegistered)
        if (reason := self._unusable.get(event.name)) is not None:
            self._home.note(RuleRefused(event.name, reason), out)

    def _fold(self, is_own: bool, run: str, event: Event, time_ms: int) -> None:
        if isinstance(event, RuleRegistered):
            self._put(event.name, event.document)
        elif isinstance(event, RuleRemoved):
            self._remove(event.name)

    def _fold_told(self, is_own: bool, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, StateTold)
        for name in self._documents.keys() - set(event.rules):
            self._remove(name)

    def _remove(self, name: str) -> None:
        self._documents.pop(name, None)
        self._unusable.pop(name, None)
        self._standing.remove(name)
        self._home.standing = self._standing or None

    def _put(self, name: str, document: bytes) -> None:
        self._documents[name] = document
        self._unusable.pop(name, None)
        try:
            self._standing.put(standing_from_document(document))
        except DefinitionError as error:
            self._unusable[name] = str(error)
            self._standing.remove(name)
        self._home.standing = self._standing or None


_SAVED = msgspec.msgpack.Decoder(list[bytes])
