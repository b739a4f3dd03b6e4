"""A site is asked to keep results no more: an intent, recorded here, then in the site's stream once that may be written."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import msgspec

from cloud.intents import Intent, Ordering, commands_full
from cloud.part import Fold, Part, Step
from sync.outputs import Reply
from sync.values import Now
from workflow.cache_events import CacheClearRequested
from workflow.event import Event

KIND = "clear-cache"


class ClearCache(NamedTuple):
    """Input: results of `work` (empty: of all) are not to be kept at the site, or only that under `key` (its SHA-256)."""

    token: int
    site: str
    work: str
    key: str


@dataclass(slots=True)
class Clearing(Part):
    """What is under way is kept with all other commands."""

    name: ClassVar[str] = "caches"
    planner: Ordering

    def steps(self) -> dict[type, Step]:
        """What people ask for."""
        return {ClearCache: self._clear}

    def own_folds(self) -> dict[type, Fold]:
        """The intent, in the cloud's own stream and in that for the site."""
        return {CacheClearRequested: self._note}

    def greet(self, site: str, now: Now, out: list[object]) -> None:
        """What was asked of the site before it could be written to."""
        for intent in self.planner.intents.unsent(site):
            if intent.kind == KIND:
                work, key = _DECODE(intent.arguments)
                self.planner.note(site, CacheClearRequested(intent.id, work, key, site), now, out)

    def _clear(self, input: ClearCache, now: Now, out: list[object]) -> None:
        token, site, work, key = input
        if self.planner.intents.is_full():
            out.append(Reply(token, commands_full()))
            return
        asked = CacheClearRequested(self.planner.ids.next("c"), work, key, site)
        self.planner.note("", asked, now, out)
        if self.planner.fleet.site(site).greeted:
            self.planner.note(site, asked, now, out)
        out.append(Reply(token, asked.command))

    def _note(self, reader: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, CacheClearRequested), f"{event} asks for something else"
        self.planner.ids.note(event.command)
        arguments = _ENCODE((event.work, event.key))
        intent = Intent(event.command, "", KIND, "pending", time_ms, [], arguments=arguments, targets=[event.site])
        self.planner.intents.keep(intent, reader)


_ENCODE = msgspec.msgpack.Encoder().encode
_DECODE = msgspec.msgpack.Decoder(tuple[str, str]).decode
