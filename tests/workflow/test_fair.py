"""The fair queue: urgent first, keys in turn, arrivals in order, bounded, and positions that come true."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow.fair import FairQueue, QueueFull


def test_a_key_with_much_does_not_crowd_out_one_with_little() -> None:
    """They take turns, however many one has brought first."""
    queue = FairQueue(100)
    for number in range(3):
        queue.push(f"big{number}", 4, "big")
    queue.push("small", 4, "small")
    assert [queue.pop() for _ in range(5)] == ["big0", "small", "big1", "big2", None]


def test_the_urgent_come_first() -> None:
    """Whatever their key and whenever they came."""
    queue = FairQueue(100)
    queue.push("patient", 0, "a")
    queue.push("usual", 4, "a")
    queue.push("urgent", 9, "b")
    assert [queue.pop(), queue.pop(), queue.pop()] == ["urgent", "usual", "patient"]


def test_a_full_queue_refuses_and_says_what_helps() -> None:
    """And takes the next one when somebody has left."""
    queue = FairQueue(2)
    queue.push("one", 4, "a")
    queue.push("two", 4, "a")
    with pytest.raises(QueueFull, match="2 wait in the queue, which is all that it takes: try again when some have left it"):
        queue.push("three", 4, "a")
    assert queue.remove("one")
    assert not queue.remove("one")
    queue.push("three", 4, "a")
    assert (len(queue), "three" in queue, "one" in queue, queue.position("one")) == (2, True, False, 0)


@dataclass
class Twin:
    """The same by brute force: every run in one list, and the keys of each priority in the order of their turns."""

    waiting: list[tuple[str, int, str]] = field(default_factory=list)
    turns: dict[int, list[str]] = field(default_factory=dict)

    def push(self, run: str, priority: int, key: str) -> None:
        turns = self.turns.setdefault(priority, [])
        if key not in turns:
            turns.append(key)
        self.waiting.append((run, priority, key))

    def pop(self) -> str | None:
        if not self.waiting:
            return None
        priority = max(priority for _, priority, _ in self.waiting)
        key = self.turns[priority].pop(0)
        self.turns[priority].append(key)
        run = next(run for run, its, of in self.waiting if (its, of) == (priority, key))
        self.remove(run)
        return run

    def remove(self, run: str) -> None:
        _, priority, key = next(item for item in self.waiting if item[0] == run)
        self.waiting = [item for item in self.waiting if item[0] != run]
        if not any((its, of) == (priority, key) for _, its, of in self.waiting):
            self.turns[priority].remove(key)


actions = st.lists(
    st.tuples(st.sampled_from(["push"] * 4 + ["pop", "remove"]), st.integers(0, 9), st.sampled_from("abc")), max_size=60
)


@given(actions)
def test_it_serves_as_its_naive_twin(story: list[tuple[str, int, str]]) -> None:
    """Whatever comes, leaves and gives up, the turns are the same; each position is how many pops it takes."""
    queue, twin = FairQueue(1_000), Twin()
    for number, (what, value, key) in enumerate(story):
        if what == "push":
            queue.push(f"r{number}", value % 3, key)
            twin.push(f"r{number}", value % 3, key)
        elif what == "pop":
            assert queue.pop() == twin.pop()
        elif twin.waiting:
            gone = twin.waiting[value % len(twin.waiting)][0]
            assert queue.remove(gone)
            twin.remove(gone)
    assert len(queue) == len(twin.waiting)
    positions = {run: queue.position(run) for run, _, _ in twin.waiting}
    for place in range(1, len(queue) + 1):
        run = queue.pop()
        assert run == twin.pop()
        assert positions[run or ""] == place
    assert queue.pop() is None
