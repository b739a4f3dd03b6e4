"""The default protocol against a naive twin that looks at every agent each time."""

from hypothesis import given, settings
from hypothesis import strategies as st

from coordination.direct import Direct
from sync.values import AgentId

NAMES = [AgentId(name) for name in ("anna", "ben", "cleo", "dora")]
CAPABILITIES = ("pick", "pack", "weigh")
steps = st.tuples(
    st.sampled_from(["join", "join", "leave", "take", "take", "take", "free", "free"]),
    st.sampled_from(NAMES),
    st.lists(st.sampled_from(CAPABILITIES), max_size=3),
    st.integers(1, 3),
    st.integers(0, 3),
)


class Twin:
    """Agents as a dictionary: capabilities, capacity, load."""

    def __init__(self) -> None:
        self.agents: dict[AgentId, tuple[set[str], int, int]] = {}

    def add(self, agent: AgentId, difference: int) -> None:
        if agent in self.agents:
            capabilities, capacity, load = self.agents[agent]
            self.agents[agent] = (capabilities, capacity, load + difference)

    def choose(self, capability: str) -> AgentId | None:
        able = [(load, name) for name, (can, room, load) in self.agents.items() if capability in can and load < room]
        return min(able)[1] if able else None

    def capable(self, capability: str) -> bool:
        return any(capability in can for can, _, _ in self.agents.values())


@settings(deadline=None)
@given(st.lists(steps, max_size=150))
def test_it_chooses_as_a_naive_twin_would(happenings: list[tuple[str, AgentId, list[str], int, int]]) -> None:
    """Least loaded first, ties by id, never one without room, without the capability or gone; `@name` asks for one agent."""
    direct, twin = Direct(), Twin()
    for what, agent, capabilities, capacity, load in happenings:
        match what:
            case "join":
                direct.join(agent, capabilities, capacity, load)
                twin.agents[agent] = ({*capabilities, f"@{agent}"}, capacity, load)
            case "leave":
                direct.leave(agent)
                twin.agents.pop(agent, None)
            case "take":
                direct.take(agent)
                twin.add(agent, 1)
            case "free" if agent in twin.agents and twin.agents[agent][2] > 0:
                direct.free(agent)
                twin.add(agent, -1)
        for capability in (*CAPABILITIES, *(f"@{name}" for name in NAMES), "unknown"):
            assert direct.choose(capability) == twin.choose(capability)
            assert direct.capable(capability) is twin.capable(capability)


def test_work_spreads_over_equals() -> None:
    """Six tasks for three agents of capacity two: two each, in the order of their names."""
    direct = Direct()
    for name in NAMES[:3]:
        direct.join(name, ["pick"], 2, 0)
    given_to = []
    while (agent := direct.choose("pick")) is not None:
        direct.take(agent)
        given_to.append(agent)
    assert given_to == NAMES[:3] * 2


def test_long_use_takes_no_memory() -> None:
    """A hundred thousand tasks taken and freed leave heaps as small as the agents are few."""
    direct = Direct()
    for name in NAMES:
        direct.join(name, list(CAPABILITIES), 4, 0)
    for number in range(100_000):
        agent = direct.choose(CAPABILITIES[number % 3])
        assert agent is not None
        direct.take(agent)
        direct.free(agent)
    assert all(len(heap) <= 64 + 8 * len(NAMES) for heap in direct._heaps.values())
