"""The upper level: sites answer with what their agents would bid, and runs go where least is asked for, as there is room."""

from hypothesis import given, settings
from hypothesis import strategies as st

from coordination.auction.tender import TURNS, Lot, Worker, Yard, answer, tender

EVALUATORS = ("cheapest", "fastest", "balanced")


def yard(site: str, *costs: float, can: str = "lift", capacity: int = 1, taken: float = 0.0) -> Yard:
    """A site with one agent for each cost."""
    workers = tuple(Worker(f"{site}-{n}", frozenset(can.split()), capacity, 0.0, cost) for n, cost in enumerate(costs))
    return Yard(site, workers, taken)


def test_a_site_answers_with_the_bids_of_its_agents() -> None:
    """Each task goes to the agent that bids least then: the second agent, once the first is busier than it is cheaper."""
    found = answer(Lot("r1", ("lift",) * 3), yard("harbour", 1.0, 1.5), 0.0)
    assert found is not None
    assert (found.cost, found.busy, found.room) == (1.0 + 1.5 + 2.0, 2.0, 2.0)


def test_what_is_given_and_not_yet_held_makes_a_site_dearer() -> None:
    """Runs that were released a moment ago are in no agent's telemetry, and count all the same."""
    idle, busy = yard("a", 1.0, 1.0), yard("a", 1.0, 1.0, taken=2.0)
    lot = Lot("r1", ("lift",))
    found = [each and each.cost for each in (answer(lot, idle, idle.taken), answer(lot, busy, busy.taken))]
    assert found == [1.0, 2.0]


def test_who_cannot_do_all_does_not_answer() -> None:
    """A site without an agent for one of the tasks is not asked, and one that is above the highest price neither."""
    yards = [yard("a", 1.0, can="drive"), yard("b", 9.0, can="lift drive"), yard("c", 4.0, can="lift drive")]
    found = tender([Lot("r1", ("lift", "drive"))], yards, "cheapest", price_max=8.0)
    assert (found["r1"].site, [each.site for each in found["r1"].answers]) == ("c", ["c"])
    assert tender([Lot("r1", ("weigh",))], yards, "cheapest") == {}


def test_runs_of_one_tender_are_awarded_together() -> None:
    """The cheap site has room for one: it gets the run for which the other site is dearer, whichever came first."""
    cheap = Yard("a", (Worker("a-0", frozenset({"lift", "drive"}), 1, 0.0, 1.0),), 0.0)
    dear = Yard("b", (Worker("b-0", frozenset({"lift"}), 1, 0.0, 2.0), Worker("b-1", frozenset({"drive"}), 1, 0.0, 9.0)), 0.0)
    for lots in ([Lot("r1", ("lift",)), Lot("r2", ("drive",))], [Lot("r2", ("drive",)), Lot("r1", ("lift",))]):
        found = tender(lots, [cheap, dear], "cheapest")
        assert {run: verdict.site for run, verdict in found.items()} == {"r1": "b", "r2": "a"}


def test_the_urgent_have_the_room() -> None:
    """With room for one run at once, the more urgent has it in the first turn; the other is awarded all the same."""
    found = tender([Lot("r1", ("lift",)), Lot("r2", ("lift",), 5)], [yard("a", 1.0)], "cheapest")
    assert (found["r2"].turn, found["r1"].turn) == (1, 2)


def test_the_evaluator_says_what_is_best() -> None:
    """The cheapest site is half taken: cheapest chooses it, fastest the idle one."""
    yards = [yard("a", 1.0, capacity=4, taken=2.0), yard("b", 5.0, capacity=4)]
    found = {each: tender([Lot("r1", ("lift",))], yards, each)["r1"].site for each in EVALUATORS}
    assert found == {"cheapest": "a", "fastest": "b", "balanced": "b"}


yards = st.lists(st.lists(st.integers(0, 9).map(float), min_size=1, max_size=3), min_size=1, max_size=4)
lots = st.lists(st.integers(1, 4), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(yards, lots, st.sampled_from(EVALUATORS))
def test_every_run_that_somebody_can_do_is_awarded_once_and_the_same(
    costs: list[list[float]], sizes: list[int], evaluator: str
) -> None:
    """In whatever order runs and sites are named; and nobody is given more in a turn than there is room for by then."""
    sites = [yard(f"s{n}", *own) for n, own in enumerate(costs)]
    runs = [Lot(f"r{n}", ("lift",) * size) for n, size in enumerate(sizes)]
    found = tender(runs, sites, evaluator)
    assert found == tender(runs[::-1], sites[::-1], evaluator)
    assert found.keys() == {lot.run for lot in runs}
    for site in sites:
        for turn in range(1, TURNS):
            given_by_then = sum(
                len(lot.needs) for lot in runs if found[lot.run].site == site.site and found[lot.run].turn <= turn
            )
            assert given_by_then <= turn * site.capacity
