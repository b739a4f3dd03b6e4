"""Terms of leaders against a naive twin: epochs that only grow, one leader at a time, and who is elected."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from coordination.leading import (
    Gathered,
    Group,
    Joined,
    LeaderElected,
    LeaderEnded,
    Left,
    Renewed,
    SteppedDown,
    Term,
    Tick,
    Transferred,
)
from coordination.lease import DRIFT
from sync.event import Event

LEASE_MS = 1_000


def late(ms: int) -> int:
    return int(ms * (1 + DRIFT)) + 1 if ms else 0


LATE_MS = late(LEASE_MS)
agents = st.sampled_from(["anna", "ben", "cleo"])
happenings = st.lists(
    st.tuples(
        st.sampled_from(
            ["join", "join", "left", "lost", "renew", "stale", "down", "transfer", "agreed", "pass", "pass", "restart"]
        ),
        agents,
        st.integers(0, 900),
    ),
    max_size=50,
)


@dataclass
class Twin:
    """A group as a list that is looked through each time."""

    delay_ms: int
    epoch: int = 0
    leader: str = ""
    until_ms: int = 0
    free_ms: int = 0
    heir: str = ""
    queue: list[tuple[str, int]] = field(default_factory=list)  # In order of joining, with priority.
    rests: list[tuple[str, int, int]] = field(default_factory=list)  # Who has stepped down, with priority, until when.

    told_ms: int = 0

    def lose(self, now_ms: int, delay_ms: int) -> None:
        self.leader, self.free_ms, self.told_ms = "", now_ms + late(delay_ms), delay_ms

    def unsaid(self, now_ms: int) -> int:
        return self.delay_ms and max(0, self.until_ms - now_ms) + self.delay_ms

    def step_down(self, now_ms: int) -> None:
        self.rests += [(name, priority, now_ms + LATE_MS) for name, priority in self.queue if name == self.leader]
        self.queue = [one for one in self.queue if one[0] != self.leader]
        self.lose(now_ms, 0)

    def settle(self, now_ms: int) -> None:
        if not self.leader and not self.queue:
            self.queue = [(name, priority) for name, priority, until_ms in self.rests if now_ms >= until_ms]
            self.rests = [one for one in self.rests if now_ms < one[2]]
        if not self.leader and self.queue and now_ms >= self.free_ms:
            heirs = [name for name, _ in self.queue if name == self.heir]
            best = max(priority for _, priority in self.queue)
            self.leader = (heirs or [name for name, priority in self.queue if priority == best])[0]
            self.epoch, self.until_ms, self.heir = self.epoch + 1, now_ms + LATE_MS, ""

    def pop(self, agent: str) -> None:
        self.queue = [one for one in self.queue if one[0] != agent]
        self.rests = [one for one in self.rests if one[0] != agent]


@given(happenings, st.sampled_from([0, 500]))
def test_terms_agree_with_a_naive_twin(happenings: list[tuple[str, str, int]], delay_ms: int) -> None:
    """Joins, losses, renewals, transfers, restarts and time in any order: the same leader under the same epoch."""
    group, twin, now_ms = Group("cranes", LEASE_MS, delay_ms), Twin(delay_ms), 5
    events: list[Event] = []
    for what, agent, number in happenings:
        if twin.leader and now_ms >= twin.until_ms:
            twin.pop(twin.leader)
            twin.lose(now_ms, delay_ms)
            if what in ("join", "left", "lost", "renew", "stale", "down", "transfer", "agreed"):
                events += group.step(Tick(), now_ms)
                twin.settle(now_ms)
        leads = agent == twin.leader
        match what:
            case "join":
                events += group.step(Joined(agent, number % 3), now_ms)
                twin.rests = [one for one in twin.rests if one[0] != agent]
                known = [name for name, _ in twin.queue]
                if agent in known:
                    twin.queue[known.index(agent)] = (agent, number % 3)
                else:
                    twin.queue.append((agent, number % 3))
            case "left" | "lost":
                events += group.step(Left(agent, what == "lost"), now_ms)
                twin.pop(agent)
                if leads:
                    twin.lose(now_ms, twin.unsaid(now_ms) if what == "lost" else 0)
            case "renew":
                events += group.step(Renewed(agent, twin.epoch), now_ms)
                if leads:
                    twin.until_ms = max(twin.until_ms, now_ms + LATE_MS)
            case "stale":
                events += group.step(Renewed(agent, twin.epoch - 1), now_ms)
            case "down":
                events += group.step(SteppedDown(agent, twin.epoch), now_ms)
                if leads:
                    twin.step_down(now_ms)
            case "transfer" | "agreed":
                events += group.step(Transferred(agent, what == "agreed"), now_ms)
                if not leads and agent in [name for name, _ in twin.queue]:
                    twin.heir = agent
                    if twin.leader:
                        twin.lose(now_ms, 0 if what == "agreed" else twin.unsaid(now_ms))
            case "pass":
                now_ms += number
                if twin.leader and now_ms >= twin.until_ms:
                    twin.pop(twin.leader)
                    twin.lose(now_ms, delay_ms)
                events += group.step(Tick(), now_ms)
            case _:
                group = Group("cranes", LEASE_MS, delay_ms, _kept(events))
                group.resumed(now_ms)
                twin.queue, twin.rests, twin.until_ms = [], [], now_ms + LATE_MS
                twin.free_ms = now_ms + (late(twin.told_ms) if not twin.leader else 0)
        twin.settle(now_ms)
        assert (group.term.leader, group.term.epoch) == (twin.leader, twin.epoch)
    elected = [event for event in events if isinstance(event, LeaderElected)]
    assert [event.epoch for event in elected] == list(range(1, len(elected) + 1))


def _kept(events: list[Event]) -> Term:
    """The events folded anew, as a restart does."""
    group = Group("cranes", LEASE_MS)
    for event in events:
        group.evolve(event)
    return group.term


def test_priority_then_standing_then_name_decides_and_the_reason_is_told() -> None:
    """Whoever leads well stays; the next one is the highest priority, among equals whoever has been there longest."""
    group = Group("cranes", LEASE_MS)
    (first,) = group.step(Joined("zoe", 1), 0)
    assert group.step(Joined("anna", 9), 1) == []
    group.step(Joined("ben", 1), 2)
    ended, second = group.step(Left("zoe", False), 3)
    ended_too, third = group.step(SteppedDown("anna", 2), 4)
    assert (first, second, third) == (
        LeaderElected("cranes", "zoe", 1, "only"),
        LeaderElected("cranes", "anna", 2, "priority"),
        LeaderElected("cranes", "ben", 3, "only"),
    )
    assert Group("docks", LEASE_MS).step(Gathered((Joined("a", 1), Joined("b", 2))), 0) == [
        LeaderElected("docks", "b", 1, "priority")
    ]
    assert (ended, ended_too) == (LeaderEnded("cranes", "zoe", 1, "left"), LeaderEnded("cranes", "anna", 2, "stepped_down"))


def test_when_all_have_stepped_down_the_first_of_them_stands_again() -> None:
    """A lease time later, by itself: work that waits for a leader would wait for ever. While others stand, it does not."""
    group = Group("cranes", LEASE_MS)
    group.step(Gathered((Joined("anna", 2), Joined("ben", 1))), 0)
    (_, second) = group.step(SteppedDown("anna", 1), 100)
    assert (second, group.due_ms()) == (LeaderElected("cranes", "ben", 2, "only"), 100 + LATE_MS)
    group.step(SteppedDown("ben", 2), 200)
    assert (group.term.leader, group.due_ms()) == ("", 100 + LATE_MS)
    assert group.step(Tick(), 100 + LATE_MS - 1) == []
    assert group.step(Tick(), 100 + LATE_MS) == [LeaderElected("cranes", "anna", 3, "only")]
    group.step(Left("ben", False), 2_000)
    group.step(Left("anna", False), 2_000)
    assert group.due_ms() is None, "whoever has gone does not come back by itself"
    assert group.members() == []


def test_plans_of_before_do_not_count() -> None:
    """Of an older term, of somebody else, of nobody's term: each is told why."""
    group = Group("cranes", LEASE_MS)
    group.step(Joined("anna"), 0)
    group.step(Joined("ben"), 0)
    assert group.admits("anna", 1) == ""
    group.step(Transferred("ben"), 1)
    assert "epoch 2, not 1" in group.admits("anna", 1)
    assert "led by ben" in group.admits("anna", 2)
    group.step(Left("anna", False), 2)
    group.step(SteppedDown("ben", 2), 3)
    assert "is over" in group.admits("ben", 2)
