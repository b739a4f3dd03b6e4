"""What levels have spent, folded from events: also from those of before."""

import msgspec

from sync.accounts import Account
from workflow.coordinating import Award
from workflow.coordination_events import CoordinationChanged, TaskAwarded, TaskDelegated
from workflow.events import TaskLost, decode, encode
from workflow.home_events import FragmentTaken
from workflow.homes import attempt_epoch
from workflow.mandates import Spending, renews
from workflow.tasks import CoordinationPlan

OLD_AWARD = b'{"rule":"direct: direct","reason":"anna is the least loaded in north","round":1,"given":[],"under":{}}'


def awarded(task: int, attempt: int, detail: bytes) -> TaskAwarded:
    return TaskAwarded(task, "hierarchical", "anna", attempt_epoch(2, attempt), detail)


def test_awards_of_before_count_for_the_group_that_was_told() -> None:
    """They named no path and no cost: the delegation before them says the group, and they cost nothing."""
    spending = Spending(2)
    for event in (TaskDelegated(0, "site", "north", "direct", 2, "it is least loaded"), awarded(0, 1, OLD_AWARD)):
        spending.fold(decode(event.kind, encode(event)), "harbour")
    assert {path: each.spent for path, each in spending.levels.items()} == {
        (): Account({0: 1}),
        ("harbour",): Account({0: 1}),
        ("harbour", "north"): Account({0: 1}),
    }


def test_only_the_attempt_that_was_never_begun_gives_back() -> None:
    """Another one, and one that nobody knows of, do not; and it does so once."""
    spending = Spending(2)
    detail = msgspec.json.encode(Award("direct", "", cost=2.5, path=("harbour",)))
    spending.fold(awarded(0, 1, detail), "harbour")
    assert not spending.fold(TaskLost(0, 1, "its agent is gone", True), "harbour")
    spending.fold(awarded(0, 2, detail), "harbour")
    assert spending.level(("harbour",)).spent == Account({0: 2}, 5.0)
    assert not spending.fold(TaskLost(0, 1, "declined", True, begun=False), "harbour")
    assert spending.fold(TaskLost(0, 2, "declined", True, begun=False), "harbour")
    assert not spending.fold(TaskLost(0, 2, "declined", True, begun=False), "harbour")
    assert spending.level(("harbour",)).spent == Account({0: 1}, 2.5)


def test_what_counts_for_the_cloud_comes_along() -> None:
    """A site that takes a run over goes on from there, and the event is not changed by it."""
    spent = Account({0: 1}, 2.5)
    taken, spending = FragmentTaken(3, b"", 0, spent), Spending(3)
    spending.fold(taken, "airport")
    spending.fold(awarded(1, 1, msgspec.json.encode(Award("direct", "", cost=1.0, path=("airport",)))), "airport")
    assert spending.level(()).spent == Account({0: 1, 1: 1}, 3.5)
    assert spending.level(("airport",)).spent == Account({1: 1}, 1.0)
    assert taken.spent == Account({0: 1}, 2.5)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(spending), type=Spending) == spending


def test_an_order_for_the_whole_run_gives_new_mandates() -> None:
    """One for a single task does not."""
    plan = CoordinationPlan("auction")
    assert [renews(CoordinationChanged("c1", task, plan)) for task in (-1, 0)] == [True, False]
    assert Spending(2, 7).epoch > Spending(2).epoch
    assert Spending(3).epoch > Spending(2, 1_000_000).epoch
