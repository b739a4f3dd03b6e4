"""How the agents of a site do: of the moment, looked at as often as the site tells of itself. What lasts (that one came, or went)
is in the log and in the roster."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from coordination.presence import Facts, Presence, state_of
from edge.inputs import AgentDraining
from sync.values import Now

if TYPE_CHECKING:
    from edge.roster import Roster, Slot


class Seen(NamedTuple):
    """When an agent was last heard of (UTC ms), in how many ms its lease ends (0: it has none), and the epoch of that."""

    at_ms: int
    lease_ms: int
    epoch: int


@dataclass(slots=True)
class Presences:
    """The states of all agents, and since when."""

    known: dict[str, Presence] = field(default_factory=dict)

    def look(self, roster: "Roster", now: Now) -> dict[str, Presence]:
        """As they are now."""
        for name, slot in roster.slots.items():
            known = self.known.get(name)
            if known is None:
                known = self.known[name] = Presence()
            known.tell(state_of(facts_of(roster, slot)), now.wall_ms, slot.draining)
        return self.known


def facts_of(roster: "Roster", slot: "Slot") -> Facts:
    """What is known of the agent."""
    failing = roster.health.view(slot.agent).health == "open"
    connected = bool(slot.session)
    return Facts(slot.present, slot.parted, connected, bool(slot.draining), failing, slot.load(), slot.capacity)


def seen_of(roster: "Roster", slot: "Slot", now: Now) -> Seen:
    """Heard of is whoever renews a lease: by a heartbeat, or by anything else that it says."""
    lease = roster.leases.get(slot.agent)
    if lease is None:
        return Seen(slot.heard_ms, 0, slot.epoch)
    heard_ms = now.wall_ms - (now.mono_ms - lease.granted_mono_ms) if slot.session else slot.heard_ms
    return Seen(heard_ms, max(0, lease.freed_at_ms() - now.mono_ms), slot.epoch)


def draining_of(session: int, agent: str, message: Any) -> AgentDraining:
    """What an agent says that stops."""
    return AgentDraining(session, agent, message.reason[:200] or "it stops")


HEARS: dict[str, Callable[[int, str, Any], object]] = {"draining": draining_of}
