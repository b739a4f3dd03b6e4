"""Who leads which group at which site, as the sites have told: a Part of the planner that only serves to be looked at."""

from typing import ClassVar

import msgspec

from cloud.leading import events as _codec  # noqa: F401 (makes the events known)
from cloud.part import Fold, Part
from coordination.leading import GROUPS_MAX, LeaderElected, LeaderEnded
from workflow.event import Event
from workflow.reseed_events import SiteStreamBegun


class GroupTerm(msgspec.Struct, array_like=True):
    """The latest that is known of a group: without a leader nobody leads it since `since` (UTC ms), for this reason."""

    site: str
    group: str
    epoch: int
    leader: str
    reason: str
    since: int


class SiteGroups(Part):
    """`terms` by site and group. Of more than GROUPS_MAX the longest unchanged are forgotten, here and not at their sites."""

    name: ClassVar[str] = "groups"

    def __init__(self) -> None:
        self.terms: dict[tuple[str, str], GroupTerm] = {}

    def site_folds(self) -> dict[type, Fold]:
        return {LeaderElected: self._fold, LeaderEnded: self._fold, SiteStreamBegun: self._begin_anew}

    def save(self) -> bytes:
        return msgspec.msgpack.encode(list(self.terms.values())) if self.terms else b""

    def restore(self, body: bytes) -> None:
        self.terms = {(each.site, each.group): each for each in _TERMS.decode(body)}

    def _fold(self, site: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, LeaderElected | LeaderEnded)
        leader = event.agent if isinstance(event, LeaderElected) else ""
        self.terms.pop((site, event.group), None)
        self.terms[(site, event.group)] = GroupTerm(site, event.group, event.epoch, leader, event.reason, time_ms)
        if len(self.terms) > GROUPS_MAX:
            del self.terms[next(iter(self.terms))]

    def _begin_anew(self, site: str, run: str, event: Event, time_ms: int) -> None:
        for key in [key for key in self.terms if key[0] == site]:
            del self.terms[key]


_TERMS = msgspec.msgpack.Decoder(list[GroupTerm])
