"""Who leads which group at which site, as the sites have told, and who is to by the word of an operator: a Part of the planner.

An order is an intent in the stream for the site, which alone decides; what is under way is kept with all other commands.
"""

from collections.abc import Iterator
from typing import ClassVar

import msgspec

from cloud.intents import Intent, Ordering, commands_full
from cloud.leading import events as _codec  # noqa: F401 (makes the events known)
from cloud.leading.inputs import TransferTerm
from cloud.part import Fold, Part, Step
from cloud.port import site_unknown
from coordination.leading import GROUPS_MAX, HeirNamed, LeaderElected, LeaderEnded, TransferRequested
from sync.commit import Answer
from sync.outputs import Remember, Reply
from sync.values import Now, SiteId
from workflow.event import Event
from workflow.reseed_events import SiteStreamBegun

KIND = "transfer-leader"


class GroupTerm(msgspec.Struct, array_like=True):
    """The latest that is known of a group: without a leader nobody leads it since `since` (UTC ms), for this reason. `heir`: who
    leads next, if that is settled; times (ms) are what definitions say of the term."""

    site: str
    group: str
    epoch: int
    leader: str
    reason: str
    since: int
    heir: str = ""
    ttl_ms: int = 0
    lock_delay_ms: int = 0


class SiteGroups(Part):
    """`terms` by site and group. Of more than GROUPS_MAX the longest unchanged are forgotten, here and not at their sites."""

    name: ClassVar[str] = "groups"

    def __init__(self, planner: Ordering) -> None:
        self._planner = planner
        self.terms: dict[tuple[str, str], GroupTerm] = {}

    def steps(self) -> dict[type, Step]:
        return {TransferTerm: self._transfer}

    def own_folds(self) -> dict[type, Fold]:
        """The intent, in the cloud's own stream and in that for the site."""
        return {TransferRequested: self._note}

    def site_folds(self) -> dict[type, Fold]:
        return {LeaderElected: self._fold, LeaderEnded: self._fold, HeirNamed: self._fold_heir, SiteStreamBegun: self._begin_anew}

    def greet(self, site: str, now: Now, out: list[object]) -> None:
        """What was asked of the site before it could be written to."""
        for intent in self._planner.intents.unsent(site):
            if intent.kind == KIND:
                self._planner.note(site, TransferRequested(intent.id, site, *_DECODE(intent.arguments)), now, out)

    def under_way(self) -> Iterator[tuple[Intent, str, str]]:
        """Orders that their sites have not answered, the oldest first: each with its group, and who is to lead."""
        for intent in self._planner.intents.commands.values():
            if intent.kind == KIND and intent.state == "pending":
                group, to, _ = _DECODE(intent.arguments)
                yield intent, group, to

    def _transfer(self, input: TransferTerm, now: Now, out: list[object]) -> None:
        planner = self._planner
        if SiteId(input.site) not in planner.fleet.sites:
            out.append(Reply(input.token, site_unknown(input.site, planner.fleet.sites)))
            return
        if planner.intents.is_full():
            out.append(Reply(input.token, commands_full()))
            return
        asked = TransferRequested(planner.ids.next("c"), input.site, input.group, input.to, input.epoch)
        planner.note("", asked, now, out)
        if planner.fleet.site(SiteId(input.site)).greeted:
            planner.note(input.site, asked, now, out)
        if input.idempotency is not None:
            out.append(Remember(Answer(*input.idempotency, asked.command.encode(), now.wall_ms)))
        out.append(Reply(input.token, asked.command))

    def _note(self, reader: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, TransferRequested)
        self._planner.ids.note(event.command)
        arguments = _ENCODE((event.group, event.to, event.epoch))
        intent = Intent(event.command, "", KIND, "pending", time_ms, [], arguments=arguments, targets=[event.site])
        self._planner.intents.keep(intent, reader)

    def save(self) -> bytes:
        return msgspec.msgpack.encode(list(self.terms.values())) if self.terms else b""

    def restore(self, body: bytes) -> None:
        self.terms = {(each.site, each.group): each for each in _TERMS.decode(body)}

    def _fold(self, site: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, LeaderElected | LeaderEnded)
        leader = event.agent if isinstance(event, LeaderElected) else ""
        self.terms.pop((site, event.group), None)
        heir = "" if isinstance(event, LeaderElected) else event.heir
        times = (event.ttl_ms, event.lock_delay_ms) if isinstance(event, LeaderElected) else (0, 0)
        term = GroupTerm(site, event.group, event.epoch, leader, event.reason, time_ms, heir, *times)
        self.terms[(site, event.group)] = term
        if len(self.terms) > GROUPS_MAX:
            del self.terms[next(iter(self.terms))]

    def _fold_heir(self, site: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, HeirNamed)
        if (term := self.terms.get((site, event.group))) is not None:
            term.heir = event.heir

    def _begin_anew(self, site: str, run: str, event: Event, time_ms: int) -> None:
        for key in [key for key in self.terms if key[0] == site]:
            del self.terms[key]


_ENCODE = msgspec.msgpack.Encoder().encode
_DECODE = msgspec.msgpack.Decoder(tuple[str, str, int]).decode
_TERMS = msgspec.msgpack.Decoder(list[GroupTerm])
