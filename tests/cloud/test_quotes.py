"""What the cloud makes of the quotes that a site tells by the way."""

from collections.abc import Mapping
from math import inf, nan

import pytest

from cloud.quotes import quotes_of
from coordination.auction.quotes import QUOTES_MAX, Quote
from tiercel.v1 import sync_pb2

GOOD = {"room": 3, "capacity": 4, "cheapest": 1.0, "mean": 2.0, "wait_ms": 0.0, "work_ms": 50.0, "units": 2.0}


def told(*items: Mapping[str, object], boot: int = 7) -> sync_pb2.AgentLoads:
    loads = sync_pb2.AgentLoads()
    loads.quotes.boot, loads.quotes.valid_ms = boot, 30_000
    for number, item in enumerate(items):
        loads.quotes.items.add(
            **{
                "capability": f"c{number:03}",
                **GOOD,
                **item,
            }
        )
    return loads


def test_they_are_of_the_start_that_the_link_greeted_with() -> None:
    """Of another start of the site, or of another box's term, none count; of this one they hold from when they were heard."""
    found = quotes_of(told({}), 7, 1_234)
    assert found is not None
    assert (found.boot, found.heard_ms, found.valid_ms) == (7, 1_234, 30_000)
    assert found.by_capability == {"c000": Quote(3, 4, 1.0, 2.0, 0.0, 50.0, 2.0)}
    assert quotes_of(told({}), 8, 1_234) is None
    assert quotes_of(sync_pb2.AgentLoads(), 7, 1_234) is None


@pytest.mark.parametrize("wrong", [{"cheapest": nan}, {"mean": inf}, {"wait_ms": -1.0}, {"units": nan}, {"capacity": 0}])
def test_what_is_no_price_or_no_time_is_left_out(wrong: dict[str, object]) -> None:
    """The others of the same site count."""
    found = quotes_of(told(wrong, {}), 7, 0)
    assert found is not None
    assert set(found.by_capability) == {"c001"}


def test_they_are_bounded() -> None:
    """What a site sends beyond the bound is not looked at; one that names no units means one."""
    found = quotes_of(told(*[{"units": 0.0}] * (QUOTES_MAX + 5)), 7, 0)
    assert found is not None
    assert len(found.by_capability) == QUOTES_MAX
    assert {quote.units for quote in found.by_capability.values()} == {1.0}
