"""The groups of a site that have a leader, a Part of the executor: terms are events, who is there is of the moment.

A group comes into being when a task of protocol `leader` wants an agent of it; its members are the agents that belong to it by
any definition that says so (`coordination.charter`). The lease of a term is that of the leader's session, counted from its last
word, so heartbeats cost nothing here: it is looked up when it might have ended. Where definitions give it a longer one (`ttl`), a
leader whose session is over is waited for. An agent stands for election by the label `priority` (a whole number; without one, 0),
unless definitions give it another. Operators move terms, from the cloud or on the site's own machine (`edge.leading.orders`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import msgspec

from coordination.delegating import Refused
from coordination.leading import (
    EVENTS,
    GROUPS_MAX,
    Defined,
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
    late,
)
from coordination.lease import floor_of
from edge.home import Home
from edge.leading import events as _codec  # noqa: F401 (makes the events known)
from edge.leading.heirs import belongs_to, refusal_of_word
from edge.leading.inputs import AnswerLeader, LeaderSpoke, TellLeader
from edge.part import Fold, Part, Step
from edge.roster import Slot
from sync.values import Now
from workflow.event import Event
from workflow.events import AgentDeparted
from workflow.reseed_events import SiteStreamBegun

PRIORITY = "priority"
TOLD_MAX = 1_000
SHOWN_MAX = 1_000


class GroupView(msgspec.Struct, frozen=True):
    """A group as people see it. `leader` empty: nobody leads. `since` is UTC ms, 0 if it began before this start. `ttl_ms` of the
    term, `lock_delay_ms` of its end; `heir`: who leads next, if that is settled."""

    group: str
    epoch: int
    leader: str
    reason: str
    since: int
    members: list[str]
    ttl_ms: int = 0
    lock_delay_ms: int = 0
    heir: str = ""


@dataclass(slots=True)
class Leading(Part):
    """All groups by name. Terms and what definitions say of them are saved."""

    name: ClassVar[str] = "leading"
    home: Home
    groups: dict[str, Group] = field(default_factory=dict)
    reasons: dict[str, tuple[str, int]] = field(default_factory=dict)  # Why the leader leads, or nobody; since when (UTC ms).
    refused: dict[str, int] = field(default_factory=dict)  # Words of leaders that did not count since the start, by code.
    _gone: dict[str, bool] = field(default_factory=dict)
    groups_max: int = GROUPS_MAX
    _led: dict[str, dict[str, int]] | None = None  # By leader and group: epochs; made when it is asked for.
    _due_ms: int | None = None
    _floor: int = 0

    def steps(self) -> dict[type, Step]:
        return {LeaderSpoke: self._speak}

    def folds(self) -> dict[type, Fold]:
        ours: dict[type, Fold] = dict.fromkeys(EVENTS, self._fold)
        return {**ours, AgentDeparted: self._depart, SiteStreamBegun: self._begin_anew}

    # Groups -----------------------------------------------------------------------------------------------------------

    def group(self, name: str, defined: Defined, now: Now, out: list[object]) -> Group:
        """The group of this name, of which a definition says so, with a leader if there can be one."""
        group = self.groups.get(name)
        if group is None:
            if len(self.groups) >= self.groups_max:
                self._make_room()
            group = self.groups[name] = Group(name, self.home.roster.leases.ttl_ms, floor=self._floor)
        if group.charter.news(*defined) is None:
            return group
        before = group.charter.holds.who
        self._decide(group, defined, now, out)
        if group.charter.holds.who != before:
            slots = self.home.roster.slots
            here = [slot for slot in slots.values() if slot.session and belongs_to(slot, group)]
            self._decide(group, Gathered(tuple(Joined(slot.agent, _priority(slot)) for slot in here)), now, out)
            for agent in [agent for agent in group.members() if agent in slots and not belongs_to(slots[agent], group)]:
                self._decide(group, Left(agent, False), now, out)
            self._tell(group, group.term.epoch, group.term.leader, group.standing, out)
        return group

    def _make_room(self) -> None:
        """The group that was made first goes, and its term with it. Epochs lie above all that it gave out, should it come
        again."""
        first = next((name for name, group in self.groups.items() if not group.term.leader), next(iter(self.groups)))
        self._floor = max(self._floor, self.groups.pop(first).term.epoch)
        self._led = None
        self.reasons.pop(first, None)

    def led_by(self, agent: str) -> Mapping[str, int]:
        """The groups that the agent leads, with the epochs of its terms."""
        if self._led is None:
            self._led = {}
            for group in self.groups.values():
                if group.term.leader:
                    self._led.setdefault(group.term.leader, {})[group.name] = group.term.epoch
        return self._led.get(agent, _NONE)

    def believed_until_ms(self, group: Group) -> int:
        """Until when (monotonic ms) its leader leads on if it comes back; 0 if nobody leads."""
        self._renew(group)
        return group.lease_end_ms() if group.term.leader else 0

    def views(self) -> list[GroupView]:
        """The groups by name, as many as anybody looks at."""
        return [self._view(self.groups[name]) for name in sorted(self.groups)[:SHOWN_MAX]]

    def _view(self, group: Group) -> GroupView:
        term, times = group.term, (group.ttl_ms, group.lock_delay_now_ms())
        reason, since = self.reasons.get(group.name, ("", 0))
        return GroupView(group.name, term.epoch, term.leader, reason, since, sorted(group.standing), *times, term.heir)

    # What happens -----------------------------------------------------------------------------------------------------

    def met(self, agent: str, now: Now, out: list[object]) -> None:
        slot, is_lost = self.home.roster.slots[agent], self._gone.pop(agent, None)
        if is_lost is not None:  # It was gone for a moment: whatever it led, it leads no more.
            self._part(agent, is_lost, now, out)
        for group in self.groups.values():
            if belongs_to(slot, group):
                self._decide(group, Joined(agent, _priority(slot)), now, out)
                if group.term.leader:  # It may have missed it.
                    self._tell(group, group.term.epoch, group.term.leader, [agent], out)

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
        lease_ms = self.home.roster.leases.ttl_ms
        for group in self.groups.values():
            if is_lost and agent == group.term.leader and group.ttl_ms > lease_ms:
                group.heard(now.mono_ms - late(lease_ms))  # Its last word is not younger, for its session's lease is over.
                group.missed(agent)
                self._note_due()
            elif agent in group.members() or agent == group.term.leader:
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
        terms = {name: group.term for name, group in sorted(self.groups.items()) if group.term.epoch or group.charter.says}
        return msgspec.msgpack.encode(terms) if terms else b""

    def restore(self, body: bytes) -> None:
        for name, term in _TERMS.decode(body).items():
            self.groups[name] = Group(name, self.home.roster.leases.ttl_ms, term=term)
        self._led = None

    def _look(self, group: Group, now: Now, out: list[object]) -> None:
        """The leader's session was heard last at a moment that the roster knows."""
        self._decide(group, Tick(), now, out)

    def _renew(self, group: Group) -> None:
        """The roster has kept the leader's lease, which has never ended since: it would be gone."""
        lease = self.home.roster.leases.get(group.term.leader) if group.term.leader else None
        if lease is not None:
            group.heard(lease.granted_mono_ms)

    def _speak(self, input: LeaderSpoke, now: Now, out: list[object]) -> None:
        """A leader steps down, or names who is to lead. A word that does not count is refused by code, and changes nothing."""
        if self.home.roster.admit(input.agent, input.session, now) is None:
            return
        group = self.groups.get(input.group)
        if refused := refusal_of_word(self.home.roster, group, input):
            self._refuse(input, group, refused, out)
            return
        assert group is not None, "a word for a group that is not there is refused"
        if input.successor:
            self.transfer(group, input.successor, now, out, is_agreed=True)
        else:
            self._decide(group, SteppedDown(input.agent, input.epoch), now, out)

    def _refuse(self, input: LeaderSpoke, group: Group | None, refused: Refused, out: list[object]) -> None:
        """Whoever leads has taken its own word for the end of the term: it is told that it leads on."""
        self.refused[refused.code] = self.refused.get(refused.code, 0) + 1
        out.append(AnswerLeader(input.session, input.agent, input.group, input.epoch, 0, [refused]))
        if group is not None and input.agent == group.term.leader:
            self._tell(group, group.term.epoch, group.term.leader, [input.agent], out)

    def transfer(self, group: Group, agent: str, now: Now, out: list[object], *, is_agreed: bool = False) -> None:
        """Let this member lead from now on; unless the leader says so itself (`is_agreed`), where nobody checks epochs, once it
        cannot act any more."""
        slot = self.home.roster.slots[agent]
        self._decide(group, Joined(agent, _priority(slot)), now, out)  # It may have stepped down before.
        self._decide(group, Transferred(agent, is_agreed), now, out)

    def _decide(self, group: Group, input: Input, now: Now, out: list[object]) -> None:
        self._renew(group)
        for event in group.decide(input, now.mono_ms):
            self.home.note(event, out)
            if isinstance(event, LeaderElected | LeaderEnded):
                self.reasons[group.name] = event.reason, now.wall_ms
                leader = event.agent if isinstance(event, LeaderElected) else ""
                self._tell(group, event.epoch, leader, {**group.standing, event.agent: None}, out)
        self._note_due()

    def _tell(self, group: Group, epoch: int, leader: str, members: Iterable[str], out: list[object]) -> None:
        ttl_ms = group.ttl_ms if leader else 0
        for agent in list(members)[:TOLD_MAX]:
            slot = self.home.roster.slots.get(agent)
            if slot is not None and slot.session:
                out.append(TellLeader(slot.session, agent, group.name, epoch, leader, ttl_ms))

    def _note_due(self) -> None:
        self._due_ms = min((due for group in self.groups.values() if (due := group.due_ms()) is not None), default=None)

    def _fold(self, is_own: bool, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, EVENTS)
        if is_own:
            group = self.groups.get(event.group)
            if group is None:
                group = self.groups[event.group] = Group(event.group, self.home.roster.leases.ttl_ms)
            group.evolve(event)
            self._led = None

    def _begin_anew(self, is_own: bool, run: str, event: Event, time_ms: int) -> None:
        self.groups.clear()
        self._led = None
        self.reasons.clear()

    def _depart(self, is_own: bool, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, AgentDeparted)
        if any(event.agent in group.members() or event.agent == group.term.leader for group in self.groups.values()):
            self._gone[event.agent] = event.reason != "left"


def _priority(slot: Slot) -> int:
    text = slot.labels.get(PRIORITY, "0")
    return int(text) if text.lstrip("-").isdigit() and len(text) <= 9 else 0


_NONE: Mapping[str, int] = {}
_TERMS = msgspec.msgpack.Decoder(dict[str, Term])
