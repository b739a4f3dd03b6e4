"""Plans of leaders: what counts of them, and who gets what when a leader has no opinion."""

from hypothesis import given
from hypothesis import strategies as st

from coordination.delegating import Asked, Follower, Refused, Wanted, judge_plan, spread
from coordination.leading import Group, Joined

FOLLOWERS = (Follower("anna", 1, 2), Follower("ben", 0, 2))


def led() -> Group:
    group = Group("cranes", 1_000)
    group.step(Joined("anna"), 0)
    return group


def test_each_assignment_of_a_plan_stands_for_itself() -> None:
    """Unknown tasks and followers, what is named twice or has no room: refused by name, and the others count."""
    asked = Asked(7, 1, "anna", ("r/1", "r/2", "r/3", "r/4"), FOLLOWERS, 100)
    plan = [Wanted("r/1", "anna"), Wanted("r/2", "anna"), Wanted("r/1", "ben"), Wanted("r/9", "ben")]
    judged = judge_plan(led(), asked, "anna", 1, 7, [*plan, Wanted("r/3", "mallory"), Wanted("r/4", "")])
    assert judged.given == {"r/1": "anna"}
    assert judged.left == ["r/4"]
    assert [(refused.task, refused.code) for refused in judged.refused] == [
        ("r/2", "full"),
        ("r/1", "twice"),
        ("r/9", "unknown_task"),
        ("r/3", "unknown_follower"),
    ]


def test_a_plan_of_another_time_is_refused_as_a_whole() -> None:
    """Under an older epoch, by somebody who does not lead, as the answer to another question."""
    asked = Asked(7, 1, "anna", ("r/1",), FOLLOWERS, 100)
    plan = [Wanted("r/1", "ben")]
    said = [("anna", 0, 7), ("ben", 1, 7), ("anna", 1, 6)]
    codes = [judge_plan(led(), asked, agent, epoch, number, plan).refused[0].code for agent, epoch, number in said]
    unasked = judge_plan(led(), None, "anna", 1, 7, plan)
    assert codes == ["old_epoch", "not_leader", "old_plan"]
    assert unasked.refused == [Refused("", "old_plan", "group cranes was not asked under number 7, or no more")]


@given(st.integers(0, 12), st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3)), max_size=4))
def test_spreading_fills_all_room_and_never_more(count: int, rooms: list[tuple[int, int]]) -> None:
    """As many tasks are given as there is room, no follower beyond its capacity, and loads differ only where a capacity ends."""
    followers = [Follower(f"agent-{n}", load, capacity) for n, (load, capacity) in enumerate(rooms)]
    given = spread([f"r/{n}" for n in range(count)], followers)
    assert len(given) == min(count, sum(max(0, one.capacity - one.load) for one in followers))
    for one in followers:
        got = sum(agent == one.agent for agent in given.values())
        assert got <= max(0, one.capacity - one.load)
        others = [o.load + sum(agent == o.agent for agent in given.values()) for o in followers]
        if got:
            assert all(one.load + got - 1 <= load for load, o in zip(others, followers, strict=True) if load < o.capacity)
