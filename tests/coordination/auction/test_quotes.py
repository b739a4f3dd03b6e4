"""Quotes of sites: what was awarded and done lately decides, and what is too old does not."""

from hypothesis import given
from hypothesis import strategies as st

from coordination.auction.quotes import (
    KEPT,
    NOMINAL_MS,
    PRICE_AGE_MS,
    REMEMBERED_MAX,
    Able,
    Accepted,
    Measures,
    Quote,
    Quotes,
    unusable,
)
from coordination.auction.tender import Lot, Worker, Yard, tender

ABLE = [Able("anna", 2, 2, 1.0), Able("ben", 2, 2, 3.0)]
LIFT = Lot("r1", ("lift",))


def test_prices_are_what_was_accepted_lately_else_the_default() -> None:
    """The mean of the last bids that won; after ten minutes the default counts again."""
    measures = Measures()
    for cost in (8.0, 10.0):
        measures.accepted("anna", "lift", Accepted(0, cost))
    early, late = (measures.quote("lift", ABLE, 0, now_ms) for now_ms in (PRICE_AGE_MS, PRICE_AGE_MS + 1))
    assert [(each.cheapest, each.mean) for each in (early, late)] == [(3.0, 6.0), (1.0, 2.0)]


def test_who_is_behind_others_waits() -> None:
    """As many rounds of the usual duration as stand before it; with room there is no wait. Failures measure nothing."""
    measures = Measures(begun={("r", 0): 100, ("r", 1): 100})
    measures.ended(("r", 0), "lift", 300, is_done=True)
    measures.ended(("r", 1), "lift", 9_000, is_done=False)
    full = [Able("anna", 2, 0, 1.0)]
    assert [measures.quote("lift", full, queued, 0).wait_ms for queued in (0, 1, 2)] == [200.0, 200.0, 400.0]
    assert (measures.quote("lift", ABLE, 3, 0).wait_ms, measures.quote("other", ABLE, 0, 0).work_ms) == (0.0, NOMINAL_MS)
    assert measures.begun == {}


def test_bids_tell_how_long_and_how_much_until_something_was_done() -> None:
    """A site where nothing has ended yet quotes the finish that its bids promised; units are by bids alone."""
    measures = Measures()
    for units in (1, 2):
        measures.accepted("anna", "lift", Accepted(0, 5.0, 4_000.0, units))
    assert measures.quote("lift", ABLE, 0, 0)[-3:] == (0.0, 4_000.0, 1.5)
    assert measures.quote("lift", [Able("anna", 2, 1, 1.0)], 0, 0).wait_ms == 4_000.0  # There is room for one unit alone.
    measures.begun["r", 0] = 0
    measures.ended(("r", 0), "lift", 700, is_done=True)
    assert measures.quote("lift", ABLE, 0, 0)[-3:] == (0.0, 700.0, 1.5)


def test_a_site_is_given_as_much_as_it_has_units_for() -> None:
    """Tasks of two units fill a site at half as many runs; the third goes to the dearer one."""
    cheap, dear = (
        Yard(site, (Worker("anna", frozenset(["lift"]), 4, 0.0),), 0.0, Quotes(1, 0, 1_000, {"lift": quote}))
        for site, quote in (("a", Quote(4, 4, 1.0, 1.0, 0.0, 10.0, 2.0)), ("b", Quote(4, 4, 9.0, 9.0, 0.0, 10.0)))
    )
    verdicts = tender([Lot(f"r{number}", ("lift",)) for number in range(3)], [cheap, dear], "cheapest")
    assert sorted(verdict.site for verdict in verdicts.values()) == ["a", "a", "b"]
    assert {each.site: each.units for each in verdicts["r0"].answers} == {"a": 2.0, "b": 1.0}


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=30))
def test_what_is_kept_is_bounded(costs: list[float]) -> None:
    """However much is awarded; and the cheapest is never above the mean."""
    measures = Measures()
    for number, cost in enumerate(costs):
        measures.accepted("anna", "lift", Accepted(number, cost))
    found = measures.quote("lift", ABLE, 0, len(costs))
    assert len(measures.prices["anna", "lift"]) <= KEPT
    assert found.cheapest <= found.mean + 1e-6


def test_who_was_awarded_longest_ago_is_forgotten_first() -> None:
    """So many agents and capabilities at most."""
    measures = Measures()
    for number in range(REMEMBERED_MAX + 1):
        measures.accepted(f"a{number}", "lift", Accepted(0, 1.0))
    assert (len(measures.prices), ("a0", "lift") in measures.prices) == (REMEMBERED_MAX, False)


def yard(site: str, cost: float, quote: Quote | None, heard_ms: int = 0) -> Yard:
    """A site whose one agent has that cost by its label."""
    quotes = Quotes(1, heard_ms, 1_000, {"lift": quote}) if quote is not None else None
    return Yard(site, (Worker(f"{site}-0", frozenset({"lift"}), 2, 0.0, cost),), 0.0, quotes)


def test_quotes_decide_while_they_hold() -> None:
    """Cheap by its label and dear by its awards: it loses until its quote is too old, and its answer says why."""
    yards = [yard("a", 1.0, Quote(2, 2, 9.0, 9.0, 0.0, 10.0)), yard("b", 4.0, Quote(2, 2, 4.0, 4.0, 0.0, 10.0))]
    assert tender([LIFT], yards, "cheapest", now_ms=1_000)["r1"].site == "b"
    late = tender([LIFT], yards, "cheapest", now_ms=1_001)["r1"]
    assert (late.site, late.answers[0].by) == ("a", "load")
    assert late.answers[0].why == "its quote is 1001 ms old and held for 1000 ms"


def test_fastest_counts_the_wait_and_custom_its_rule() -> None:
    """Quick work behind a long line is not fast; a rule that makes no number of an answer leaves it out."""
    yards = [yard("a", 1.0, Quote(0, 2, 1.0, 1.0, 500.0, 10.0)), yard("b", 1.0, Quote(2, 2, 5.0, 5.0, 0.0, 100.0))]
    assert tender([LIFT], yards, "fastest")["r1"].site == "b"
    assert tender([LIFT], yards, "custom", rule=lambda lot, found: -found.cost)["r1"].site == "b"
    assert tender([LIFT], yards, "custom", rule=lambda lot, found: None) == {}


def test_what_lacks_says_so() -> None:
    """No quote at all, or none for one of the capabilities."""
    assert unusable(None, ["lift"], 0) == "it has sent no quote"
    assert unusable(Quotes(1, 0, 10, {}), ["lift"], 0) == "it has sent no quote for lift"
