"""Tables of awards that were made apart come together as one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordination.auction.reconciling import Award, Lost, reconciled
from sync.values import AgentId

awards = st.builds(Award, st.integers(1, 3), st.integers(0, 3).map(float), st.sampled_from("abc").map(AgentId))
tables = st.dictionaries(st.sampled_from(["t1", "t2", "t3"]), awards)


@given(tables, tables, tables)
def test_tables_are_reconciled_to_the_same_whoever_asks(
    one: dict[str, Award], two: dict[str, Award], three: dict[str, Award]
) -> None:
    """In any order, grouped in any way, and again: one table, in which every award was in one of them."""
    merged = reconciled(one, two)[0]
    assert merged == reconciled(two, one)[0]
    assert reconciled(merged, two)[0] == merged
    assert reconciled(merged, three)[0] == reconciled(one, reconciled(two, three)[0])[0]
    assert all(award in (one.get(task), two.get(task)) for task, award in merged.items())


@pytest.mark.parametrize(
    ("ours", "theirs", "stands"),
    [
        (Award(1, 9.0, AgentId("a")), Award(2, 1.0, AgentId("b")), "b"),
        (Award(1, 9.0, AgentId("b")), Award(1, 1.0, AgentId("a")), "b"),
        (Award(1, 1.0, AgentId("b")), Award(1, 1.0, AgentId("a")), "a"),
    ],
)
def test_epoch_then_bid_then_name_decide_and_the_loser_is_told(ours: Award, theirs: Award, stands: str) -> None:
    """The later epoch stands whatever was bid, then the higher bid, then the first name; who has lost hears to whom."""
    merged, lost = reconciled({"t": ours}, {"t": theirs})
    loser = theirs if ours.agent == stands else ours
    assert merged["t"].agent == stands
    assert lost == [Lost("t", loser, merged["t"])]
