"""What a site says of its agents by the way, at the cloud: telemetry, in memory only, beside what its log tells."""

from dataclasses import dataclass, field

from cloud.inputs import UNHEARD, AgentLoad
from coordination.presence import CHANGES_KEPT, Change, Presence, is_online
from tiercel.v1 import sync_pb2


@dataclass(slots=True)
class Heard:
    """The latest word on one agent, when it was heard (UTC ms, of the cloud), and the states that were told."""

    load: AgentLoad = UNHEARD
    at_ms: int = 0
    presence: Presence = field(default_factory=Presence)

    def note(self, load: AgentLoad, at_ms: int) -> None:
        """So it is now."""
        self.load, self.at_ms = load, at_ms
        if load.state:
            self.presence.tell(load.state, load.since_ms, load.why)


def load_of(item: sync_pb2.AgentLoad) -> AgentLoad:
    """As it came."""
    seen = item.seen_ms, item.lease_ms, item.epoch
    return AgentLoad(item.running, item.health or "ok", item.open_until_ms, item.state, item.since_ms, item.why, *seen, item.load)


def noted(changes: list[Change], state: str, at_ms: int) -> list[Change]:
    """Those of an agent that its site's log tells, with one more."""
    return [*changes, Change(state, at_ms)][-CHANGES_KEPT:]


def present_of(state: str, since_ms: int, heard: Heard | None) -> Change:
    """Where an agent is. The log says whether it is there (`state`: available, unreachable or left), telemetry how it does."""
    if state != "available":
        return Change(f"offline.{state}", since_ms)
    told = heard.presence.changes[-1] if heard is not None and heard.presence.changes else None
    if told is None or not is_online(told.state) or told.at_ms < since_ms:
        return Change("online", since_ms)
    return told
