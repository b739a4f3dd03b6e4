"""The groups of a site that have a leader, a Part of the executor: terms are events, who is there is of the moment.

A group comes into being when a task of protocol `leader` wants an agent of it; its members are the agents that belong to it then
and later. The lease of a term is that of the leader's session, counted from its last word, so heartbeats cost nothing here: it is
looked up when it might have ended. An agent stands for election by the label `priority` (a whole number; without one, 0).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import msgspec

from coordination.auction.bids import Who
from coordination.leading import (
    GROUPS_MAX,
    Gathered,
    Group,
    Input,
    Joined,
    LeaderElected,
    LeaderEnded,
    Left,
    SteppedDown,
    Term,
    Tick,
    Transferred,
)
from coordination.lease import floor_of
from edge.coordinating.members import belongs
from edge.home import Home
from edge.leading import events as _codec  # noqa: F401 (makes the events known)
from edge.leading.inputs import LeaderSpoke, TellLeader
from edge.part import Fold, Part, Step
from edge.roster import Slot
from sync.values import Now
from workflow.event import Event
from workflow.events import AgentDeparted
from workflow.reseed_events import SiteStreamBegun

PRIORITY = "priority"
TOLD_MAX = 1_000


class GroupView(msgspec.Struct, frozen=True):
    """A group as people see it. `leader` empty: nobody leads. `since` is UTC ms, 0 if it began before this start."""

    group: str
    epoch: int
    leader: str
    reason: str
    since: int
    members: list[str]


@dataclass(slots=True)
class Leading(Part):
    """All groups by name. Only terms are saved."""

    name: ClassVar[str] = "leading"
    home: Home
    groups: dict[str, Group] = field(default_factory=dict)
    who: dict[str, Who] = field(default_factory=dict)
    reasons: dict[str, tuple[str, int]] = field(default_factory=dict)  # Why the leader leads, or nobody; since when (UTC ms).
    _gone: dict[str, bool] = field(default_factory=dict)
    groups_max: int = GROUPS_MAX
    _due_ms: int | None = None
    _floor: int = 0

    def steps(self) -> dict[type, Step]:
        return {LeaderSpoke: self._speak}

    def folds(self) -> dict[type, Fold]:
        return {
            LeaderElected: self._fold,
            LeaderEnded: self._fold,
            AgentDeparted: self._depart,
            SiteStreamBegun: self._begin_anew,
        }

    # Groups -----------------------------------------------------------------------------------------------------------

    def group(self, name: str, who: Who, now: Now, out: list[object]) -> Group:
        """The group of this name, as of now made of these agents, with a leader if there can be one."""
        group = self.groups.get(name)
        if group is None:
            if len(self.groups) >= self.groups_max:
                self._make_room()
            group = self.groups[name] = Group(name, self.home.roster.leases.ttl_ms, floor=self._floor)
        if self.who.get(name) != who:
            self.who[name] = who
            slots = self.home.roster.slots
            here = [slot for slot in slots.values() if slot.session and belongs(slot, who)]
            self._decide(group, Gathered(tuple(Joined(slot.agent, _priority(slot)) for slot in here)), now, out)
            for agent in [agent for agent in group.standing if agent in slots and not belongs(slots[agent], who)]:
                self._decide(group, Left(agent, False), now, out)
            self._tell(group, group.term.epoch, group.term.leader, group.standing, out)
        return group

    def _make_room(self) -> None:
        """The group that was made first goes, and its term with it. Epochs lie above all that it gave out, should it come
        again."""
        first = next((name for name, group in self.groups.items() if not group.term.leader), next(iter(self.groups)))
        self._floor = max(self._floor, self.groups.pop(first).term.epoch)
        self.who.pop(first, None)
        self.reasons.pop(first, None)

    def views(self) -> Iterator[GroupView]:
        """All groups, by name."""
        for name in sorted(self.groups):
            group = self.groups[name]
            reason, since = self.reasons.get(name, ("", 0))
            yield GroupView(name, group.term.epoch, group.term.leader, reason, since, sorted(group.standing))

    # What happens -----------------------------------------------------------------------------------------------------

    def met(self, agent: str, now: Now, out: list[object]) -> None:
        slot, is_lost = self.home.roster.slots[agent], self._gone.pop(agent, None)
        if is_lost is not None:  # It was gone for a moment: whatever it led, it leads no more.
            self._part(agent, is_lost, now, out)
        for name, who in self.who.items():
            if belongs(slot, who):
                group = self.groups[name]
                self._decide(group, Joined(agent, _priority(slot)), now, out)
                if group.term.leader:  # It may have missed it.
                    out.append(TellLeader(slot.session, agent, name, group.term.epoch, group.term.leader))

    def settle(self, now: Now, out: list[object]) -> None:
        """Who has gone leads no more; who has not been heard for a lease, neither."""
        gone, self._gone = self._gone, {}
        for agent, is_lost in gone.items():
            self._part(agent, is_lost, now, out)
        if self._due_ms is not None and now.mono_ms >= self._due_ms:
            for group in self.groups.values():
                self._look(group, now, out)
            self._note_due()

    def _part(self, agent: str, is_lost: bool, now: Now, out: list[object]) -> None:
        for group in self.groups.values():
            if agent in group.standing or agent == group.term.leader:
                self._decide(group, Left(agent, is_lost), now, out)

    def wake_mono_ms(self) -> int | None:
        return 0 if self._gone else self._due_ms

    def restored(self, now: Now, out: list[object]) -> None:
        self._floor = floor_of(now.wall_ms)
        for group in self.groups.values():
            group.floor = self._floor
            group.resumed(now.mono_ms)
        self._note_due()

    def save(self) -> bytes:
        terms = {name: group.term for name, group in sorted(self.groups.items()) if group.term.epoch}
        return msgspec.msgpack.encode(terms) if terms else b""

    def restore(self, body: bytes) -> None:
        for name, term in _TERMS.decode(body).items():
            self.groups[name] = Group(name, self.home.roster.leases.ttl_ms, term=term)

    def _look(self, group: Group, now: Now, out: list[object]) -> None:
        """The leader's session was heard last at a moment that the roster knows."""
        self._decide(group, Tick(), now, out)

    def _renew(self, group: Group) -> None:
        """The roster has kept the leader's lease, which has never ended since: it would be gone."""
        lease = self.home.roster.leases.get(group.term.leader) if group.term.leader else None
        if lease is not None:
            group.heard(lease.granted_mono_ms)

    def _speak(self, input: LeaderSpoke, now: Now, out: list[object]) -> None:
        """A leader steps down, or names who is to lead. What is said under an epoch of before is not heard."""
        group = self.groups.get(input.group)
        if group is None or self.home.roster.admit(input.agent, input.session, now) is None:
            return
        if group.admits(input.agent, input.epoch):
            return
        if input.successor in group.standing and input.successor != input.agent:
            self._decide(group, Transferred(input.successor, is_agreed=True), now, out)
        else:
            self._decide(group, SteppedDown(input.agent, input.epoch), now, out)

    def _decide(self, group: Group, input: Input, now: Now, out: list[object]) -> None:
        self._renew(group)
        for event in group.decide(input, now.mono_ms):
            assert isinstance(event, LeaderElected | LeaderEnded)
            self.home.note(event, out)
            self.reasons[group.name] = event.reason, now.wall_ms
            leader = event.agent if isinstance(event, LeaderElected) else ""
            self._tell(group, event.epoch, leader, {**group.standing, event.agent: None}, out)
        self._note_due()

    def _tell(self, group: Group, epoch: int, leader: str, members: Iterable[str], out: list[object]) -> None:
        for agent in list(members)[:TOLD_MAX]:
            slot = self.home.roster.slots.get(agent)
            if slot is not None and slot.session:
                out.append(TellLeader(slot.session, agent, group.name, epoch, leader))

    def _note_due(self) -> None:
        self._due_ms = min((due for group in self.groups.values() if (due := group.due_ms()) is not None), default=None)

    def _fold(self, is_own: bool, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, LeaderElected | LeaderEnded)
        if is_own:
            group = self.groups.get(event.group)
            if group is None:
                group = self.groups[event.group] = Group(event.group, self.home.roster.leases.ttl_ms)
            group.evolve(event)

    def _begin_anew(self, is_own: bool, run: str, event: Event, time_ms: int) -> None:
        self.groups.clear()
        self.who.clear()
        self.reasons.clear()

    def _depart(self, is_own: bool, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, AgentDeparted)
        if any(event.agent in group.standing or event.agent == group.term.leader for group in self.groups.values()):
            self._gone[event.agent] = event.reason != "left"


def _priority(slot: Slot) -> int:
    text = slot.labels.get(PRIORITY, "0")
    return int(text) if text.lstrip("-").isdigit() and len(text) <= 9 else 0


_TERMS = msgspec.msgpack.Decoder(dict[str, Term])
