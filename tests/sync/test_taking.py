"""Several that each say what they take."""

import pytest

from sync.taking import apart, together


def test_what_one_alone_takes_is_found() -> None:
    """Under its key; two that take the same are named."""
    assert apart([{"a": 1}, {"b": 2}]) == {"a": 1, "b": 2}
    with pytest.raises(AssertionError, match="two take a"):
        apart([{"a": 1}, {"a": 2}])


def test_what_several_take_keeps_their_order() -> None:
    """The first comes first."""
    assert together([{"a": 1, "b": 2}, {"a": 3}]) == {"a": [1, 3], "b": [2]}
