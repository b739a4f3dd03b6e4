"""The agents of a site: their sessions, leases and what each has in its hands.

Silent is not dead: an agent whose connection broke keeps its work until its lease has run out. After a restart nobody's lease
is believed; every agent gets one lease time to come back and say what it holds.
"""

from dataclasses import dataclass, field

import msgspec

from coordination.auction.quotes import Measures
from coordination.breaker import Outcome
from coordination.direct import Assigner
from coordination.lease import FencedResource, LeaseTable, StaleEpoch
from edge.health import Health, Verdict
from edge.inputs import AgentOpened
from edge.presence import Presences
from sync.values import AgentId, Now
from workflow.events import AgentDeparted, AgentRegistered


@dataclass(slots=True)
class Slot:
    """One agent. `held` maps (run, task) to the attempt in its hands; `session` is 0 while it is not connected."""

    agent: AgentId
    agent_kind: str
    boot: str
    capabilities: tuple[str, ...]
    capacity: int
    labels: dict[str, str]
    present: bool = True
    session: int = 0
    fence: FencedResource = field(default_factory=lambda: FencedResource("agent"))
    epoch: int = 0
    held: dict[tuple[str, int], int] = field(default_factory=dict)
    refused: int = 0
    draining: str = ""  # Why it takes no more work, if it has said so.
    parted: str = ""  # Why it is not present: left or unreachable.
    heard_ms: int = 0  # When its last session ended (UTC).
    features: frozenset[str] = frozenset()  # What its SDK speaks: of its session.
    peer: str = ""  # Where other agents reach it: of its session.
    # Units of its capacity that attempts take beyond one, by (run, task): of the moment, as the bids that said so.
    extra: dict[tuple[str, int], int] = field(default_factory=dict)

    def load(self) -> int:
        """How many units of its capacity are taken."""
        return len(self.held) + sum(self.extra.values()) if self.extra else len(self.held)


@dataclass(slots=True)
class Roster:
    """All agents that the site knows. Only those with a session are offered to the assigner."""

    assigner: Assigner
    leases: LeaseTable
    slots: dict[str, Slot] = field(default_factory=dict)
    epochs: dict[int, int] = field(default_factory=dict)
    health: Health = field(default_factory=Health)
    presences: Presences = field(default_factory=Presences)
    measures: Measures = field(default_factory=Measures)

    def open(self, opened: AgentOpened, now: Now) -> tuple[Slot, int]:
        """Bind a session to the agent. Returns the slot and the session that this one replaces (0: none)."""
        slot = self.slots[opened.agent]
        replaced, slot.session = slot.session, opened.session
        slot.features, slot.draining, slot.peer = opened.features, "", opened.peer
        slot.epoch = self.leases.grant(opened.agent, opened.agent, now).epoch
        slot.fence.admit(slot.epoch)
        self.epochs[opened.session] = slot.epoch
        return slot, replaced

    def ready(self, slot: Slot, now: Now) -> None:
        """The agent's hands are known: it may get work, as far as its health allows, and unless it has said that it stops."""
        if slot.draining:
            return
        held = slot.load()
        self.assigner.join(slot.agent, list(slot.capabilities), self.health.room(slot.agent, slot.capacity, held, now), held)

    def recheck(self, now: Now) -> None:
        """Agents that got no work for a while because they kept failing: let each prove itself by one attempt."""
        if self.health.standings:
            for slot in map(self.slots.__getitem__, self.health.due(now)):
                if slot.session:
                    self.ready(slot, now)

    def wake_ms(self) -> int | None:
        """When (monotonic ms) a lease ends or an agent may prove itself."""
        ends = self.leases.next_end_ms(), self.health.next_due_ms() if self.health.standings else None
        return min((end for end in ends if end is not None), default=None)

    def offers(self, capability: str, agent: str) -> bool:
        """Is anybody here who can do this: who has the capability, or is the agent of this name?"""
        if not capability:
            return (slot := self.slots.get(agent)) is not None and slot.present
        return any(slot.present and capability in slot.capabilities for slot in self.slots.values())

    def is_news(self, opened: AgentOpened) -> bool:
        """Does the log know the agent as it now presents itself?"""
        slot = self.slots.get(opened.agent)
        return slot is None or not slot.present or _face(slot) != _face(opened)

    def close(self, agent: str, session: int) -> Slot | None:
        """The session is gone; the lease runs on. None if another session has taken its place."""
        epoch = self.epochs.pop(session, 0)
        slot = self.slots.get(agent)
        if slot is None or slot.epoch != epoch or not slot.session:
            return None
        slot.session = 0
        self.assigner.leave(slot.agent)
        return slot

    def honours(self, agent: str, session: int) -> bool:
        """Is it the session of the agent, as far as it is decided?"""
        slot, epoch = self.slots.get(agent), self.epochs.get(session, 0)
        return slot is not None and slot.session == session and slot.epoch == epoch and self.leases.get(agent) is not None

    def admit(self, agent: str, session: int, now: Now) -> Slot | None:
        """Let what a session says through, and renew its lease. None from one that has been replaced or has run out: its epoch is
        below what the agent's fence has seen, or its lease is gone. The agent says it again when it returns."""
        slot, epoch = self.slots.get(agent), self.epochs.get(session, 0)
        if slot is None or not slot.session:
            return None
        try:
            slot.fence.admit(epoch)
            self.leases.renew(agent, epoch, now)
        except StaleEpoch:
            return None
        return slot

    def await_return(self, now: Now) -> None:
        """After a restart: a lease for everybody that the log knows as present, in which to come back. Also for who has left and
        still holds work: that the work was given up then is among what was lost."""
        self.leases.epochs.begin(now)
        for slot in self.slots.values():
            if slot.present or slot.held:
                slot.epoch = self.leases.grant(slot.agent, slot.agent, now).epoch

    def awaits(self, agent: str) -> bool:
        """Has it not been back since the start, and is still given time for that?"""
        slot = self.slots.get(agent)
        is_away = slot is not None and slot.present and not slot.session and not slot.heard_ms
        return is_away and self.leases.get(agent) is not None

    def take(self, slot: Slot, run: str, task: int, attempt: int, now: Now, units: int = 1) -> None:
        """The agent holds an attempt, which takes so many units of its capacity."""
        slot.held[(run, task)] = attempt
        self.measures.begun[(run, task)] = now.mono_ms
        if units > 1:
            slot.extra[(run, task)] = units - 1
        if self.health.standings and self.health.taken(slot.agent, (run, task), now):
            self.ready(slot, now)
        else:
            self.assigner.take(slot.agent, units)

    def drop(self, agent: str, run: str, task: int, verdict: Verdict, now: Now, capability: str = "") -> None:
        """The agent no longer holds the task, which says something of it if it is here: nobody is blamed for being away. How long
        it took is measured by `capability`."""
        slot = self.slots.get(agent)
        if slot is None or slot.held.pop((run, task), None) is None:
            return
        self.measures.ended((run, task), capability, now.mono_ms, is_done=verdict.outcome is Outcome.SUCCESS)
        units = 1 + slot.extra.pop((run, task), 0) if slot.extra else 1
        if slot.session and self.health.ended(agent, (run, task), verdict, now):
            self.ready(slot, now)
        else:
            self.assigner.free(slot.agent, units)

    def evolve(self, event: object) -> None:
        """Fold what the log says of agents."""
        match event:
            case AgentRegistered(agent, agent_kind, boot, capabilities, capacity, labels):
                known = self.slots.get(agent)
                self.slots[agent] = Slot(
                    AgentId(agent),
                    agent_kind,
                    boot,
                    tuple(capabilities),
                    capacity,
                    labels,
                    held=known.held if known else {},
                )
                if known is not None:
                    self.slots[agent].session, self.slots[agent].epoch = known.session, known.epoch
                    self.slots[agent].fence, self.slots[agent].features = known.fence, known.features
                    self.slots[agent].peer = known.peer
                    self.slots[agent].extra, self.slots[agent].heard_ms = known.extra, known.heard_ms
            case AgentDeparted(agent, reason):
                if agent in self.slots:
                    self.slots[agent].present, self.slots[agent].parted = False, reason

    def save(self) -> bytes:
        """What the log knows of the agents, as bytes."""
        return msgspec.msgpack.encode(
            [
                (s.agent, s.agent_kind, s.boot, s.capabilities, s.capacity, s.labels, s.present, s.parted)
                for _, s in sorted(self.slots.items())
            ]
        )

    def restore(self, body: bytes) -> None:
        """Read what `save` wrote."""
        for agent, kind, boot, capabilities, capacity, labels, present, *later in msgspec.msgpack.decode(body):
            self.slots[agent] = Slot(AgentId(agent), kind, boot, tuple(capabilities), capacity, labels, present)
            self.slots[agent].parted = later[0] if later else ""


def _face(agent: Slot | AgentOpened) -> tuple[object, ...]:
    return (agent.agent_kind, agent.boot, tuple(agent.capabilities), agent.capacity, agent.labels)
