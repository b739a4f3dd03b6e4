"""The default protocol: the least loaded capable agent, ties by id. And the interface that all protocols of assignment share."""

from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush, heapreplace
from typing import Protocol

from sync.values import AgentId


class Assigner(Protocol):
    """Who does a task? Told of agents as they come, go, take and finish work; asked once per ready task."""

    def join(self, agent: AgentId, capabilities: list[str], capacity: int, load: int) -> None: ...
    def leave(self, agent: AgentId) -> None: ...
    def take(self, agent: AgentId, units: int = 1) -> None: ...
    def free(self, agent: AgentId, units: int = 1) -> None: ...
    def room(self, agent: AgentId) -> int: ...
    def choose(self, capability: str) -> AgentId | None: ...
    def capable(self, capability: str) -> bool: ...


@dataclass(slots=True)
class _Member:
    capabilities: tuple[str, ...]
    capacity: int
    load: int


@dataclass(slots=True)
class Direct:
    """Least loaded first. A heap per capability, in which every agent with room has an entry that tells its load, or less.

    Whoever takes work keeps its entry until it comes to the top, and is put in its place then; whoever is freed gets a new one
    before the next choice. So a batch of results costs one entry for each agent, and not one for each result.
    """

    _members: dict[AgentId, _Member] = field(default_factory=dict)
    _heaps: dict[str, list[tuple[int, AgentId]]] = field(default_factory=dict)
    _counts: dict[str, int] = field(default_factory=dict)
    _freed: set[AgentId] = field(default_factory=set)

    def join(self, agent: AgentId, capabilities: list[str], capacity: int, load: int) -> None:
        """The agent takes work from now on, up to `capacity` at once, `load` of which it holds."""
        self.leave(agent)
        member = self._members[agent] = _Member(tuple(dict.fromkeys(capabilities)), capacity, load)
        for capability in member.capabilities:
            self._counts[capability] = self._counts.get(capability, 0) + 1
        self._offer(agent, member)

    def leave(self, agent: AgentId) -> None:
        """The agent takes no more work."""
        member = self._members.pop(agent, None)
        for capability in member.capabilities if member else ():
            self._counts[capability] -= 1
            if not self._counts[capability]:
                del self._counts[capability]
                self._heaps.pop(capability, None)

    def take(self, agent: AgentId, units: int = 1) -> None:
        """The agent holds one attempt more, which takes so many units of its capacity."""
        if (member := self._members.get(agent)) is not None:
            member.load += units

    def free(self, agent: AgentId, units: int = 1) -> None:
        """The agent holds one attempt less."""
        if (member := self._members.get(agent)) is not None:
            member.load -= units
            self._freed.add(agent)

    def room(self, agent: AgentId) -> int:
        """How many units it may take now."""
        member = self._members.get(agent)
        return max(0, member.capacity - member.load) if member is not None else 0

    def choose(self, capability: str) -> AgentId | None:
        """The least loaded agent with room, or None. `@name` asks for one agent."""
        if capability.startswith("@"):
            named = self._members.get(AgentId(capability[1:]))
            return AgentId(capability[1:]) if named is not None and named.load < named.capacity else None
        if self._freed:
            self._offer_freed()
        heap = self._heaps.get(capability)
        while heap:
            load, agent = heap[0]
            member = self._members.get(agent)
            if member is None or not load <= member.load < member.capacity or capability not in member.capabilities:
                heappop(heap)
            elif member.load == load:
                return agent
            else:
                heapreplace(heap, (member.load, agent))
        return None

    def capable(self, capability: str) -> bool:
        """Is any agent there that could ever do it?"""
        return capability in self._counts or AgentId(capability.removeprefix("@")) in self._members

    def _offer_freed(self) -> None:
        for agent in self._freed:
            if (member := self._members.get(agent)) is not None:
                self._offer(agent, member)
        self._freed.clear()

    def _offer(self, agent: AgentId, member: _Member) -> None:
        if member.load >= member.capacity:
            return
        for capability in member.capabilities:
            heap = self._heaps.setdefault(capability, [])
            heappush(heap, (member.load, agent))
            if len(heap) > 64 + 8 * self._counts[capability]:
                self._compact(capability)

    def _compact(self, capability: str) -> None:
        heap = [
            (member.load, agent)
            for agent, member in self._members.items()
            if capability in member.capabilities and member.load < member.capacity
        ]
        heapify(heap)
        self._heaps[capability] = heap
