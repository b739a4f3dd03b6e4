"""Bounded sums at a cloud and two sites: who may spend how much, while links are cut and when they are not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.documents.inputs import Edited
from cloud.port import Problem
from sync.documents.book import ANY_VERSION
from sync.documents.inputs import EditDocument
from sync.documents.terms import Terms
from sync.levels import EVENTUAL
from tests.cloud.merging.stories import PLANS, begun, book, everywhere, put, put_at, value
from tests.two_tiers import Tiers

WHERE = ("airport", "cloud", "harbour")


def stock(rule: str = "sum,min=0,max=30,share=5", first: int = 20) -> Tiers:
    """Twenty of at most thirty, of which each site has five to take and five to add."""
    return begun({"stock": first}, Terms(EVENTUAL, "semantic", True, (), (("stock", rule),)))


def take(tiers: Tiers, where: str, amount: int, edit: str) -> bool:
    """Is it taken?"""
    change = {"stock": {"add": -amount}}
    if where == "cloud":
        return isinstance(put(tiers, change, edit), Edited)
    return put_at(tiers, where, change, edit) is not None


def tries(tiers: Tiers, where: str, amount: int, edit: str) -> int:
    """How often it has to try, a second apart."""
    for number in range(1, 10):
        if take(tiers, where, amount, edit):
            tiers.drain()
            return number
        tiers.drain()
        tiers.pass_ms(1_000)
    return 0


def test_a_site_that_is_cut_off_spends_its_share_and_no_more() -> None:
    """What is beyond it is refused, and what there is adds up when all is told."""
    tiers = stock()
    for wire in tiers.wires.values():
        wire.cut()
    assert [take(tiers, "harbour", amount, f"h{amount}") for amount in (4, 2, 1)] == [True, False, True]
    assert take(tiers, "airport", 5, "a1")
    assert (take(tiers, "cloud", 11, "c1"), take(tiers, "cloud", 10, "c2")) == (False, True)
    assert value(tiers, "harbour") == {"stock": 15}
    for wire in tiers.wires.values():
        wire.link()
    tiers.drain()
    assert everywhere(tiers) == [{"stock": 0}] * 3


def test_a_site_that_is_linked_is_lent_more() -> None:
    """It asks, and at its next try it has what it wants, be it that another site had to give it back."""
    tiers = stock()
    assert tries(tiers, "harbour", 12, "h1") == 2
    assert tries(tiers, "harbour", 6, "h2") == 3  # Once to ask the cloud, and once while it asks the airport.
    assert everywhere(tiers) == [{"stock": 2}] * 3
    assert book(tiers, "cloud").share(PLANS, "stock", "airport").down in (2, 0)


def test_the_cloud_asks_back_what_sites_do_not_need() -> None:
    """Refused at first, it has it when they have answered; of a site that is cut off it gets nothing."""
    tiers = stock()
    tiers.wires["airport"].cut()
    refused = put(tiers, {"stock": 5}, "c1")
    assert isinstance(refused, Problem)
    assert (refused.code, refused.status) == ("escrow_exhausted", 409)
    tiers.drain()
    assert isinstance(put(tiers, {"stock": 5}, "c1"), Edited)
    assert isinstance(put(tiers, {"stock": 4}, "c2"), Problem)
    assert take(tiers, "airport", 5, "a1")
    tiers.wires["airport"].link()
    tiers.drain()
    assert everywhere(tiers) == [{"stock": 0}] * 3


def shares(tiers: Tiers) -> list[object]:
    """Who holds how much, as the cloud knows it."""
    return [book(tiers, "cloud").share(PLANS, "stock", where) for where in WHERE]


@pytest.mark.parametrize("delta", [-100, -21, 11, 31])
def test_what_leaves_the_bounds_takes_nobodys_share(delta: int) -> None:
    """It is refused at once, at the cloud and at a site, and nobody is asked for anything; what just fits is fetched."""
    tiers = stock()
    before = shares(tiers)
    refused = put(tiers, {"stock": {"add": delta}}, "c1")
    assert isinstance(refused, Problem)
    assert (refused.code, refused.status) == ("out_of_bounds", 409)
    assert f"stock is 20 as far as is known here, and would be {20 + delta}; allowed: at " in refused.detail
    assert put_at(tiers, "harbour", {"stock": {"add": delta}}, "h1") is None
    tiers.drain()
    assert before == shares(tiers)
    assert tries(tiers, "cloud", 20, "c2") == 2


def test_what_has_no_bound_on_a_side_is_spent_freely_there() -> None:
    """A counter that only must not fall below zero grows anywhere, and what was added there may be taken there."""
    tiers = stock("sum,min=0", 0)
    tiers.wires["harbour"].cut()
    assert put_at(tiers, "harbour", {"stock": {"add": 1_000}}, "h1")
    assert take(tiers, "harbour", 1_000, "h2")
    assert not take(tiers, "harbour", 1, "h3")


def test_moving_a_share_is_no_edit_of_the_document() -> None:
    """Who is lent something, while somebody else takes the document away, does not bring it back; what was counted stays."""
    tiers = stock()
    tiers.wires["airport"].cut()
    outpost = tiers.wires["airport"].site
    outpost.turn(EditDocument(7, PLANS, "a1", "delete", b"", ANY_VERSION, "ben"))
    assert not take(tiers, "harbour", 12, "h1")
    tiers.drain()
    tiers.wires["airport"].link()
    tiers.drain()
    assert everywhere(tiers) == [None] * 3


@given(
    st.lists(
        st.tuples(
            st.sampled_from(("take", "take", "add", "cut", "link", "send", "pass", "restart_cloud", "restart_site")),
            st.sampled_from(WHERE),
            st.integers(1, 12),
        ),
        max_size=40,
    )
)
def test_in_no_story_more_is_spent_than_there_is(story: list[tuple[str, str, int]]) -> None:
    """Whatever is cut, restarted and on its way: what all nodes together have spent stays inside the bounds, and all agree."""
    tiers = stock()
    spent = 20
    for number, (what, where, amount) in enumerate(story):
        site = where if where in tiers.wires else "harbour"
        match what:
            case "take":
                spent -= amount * take(tiers, where, amount, f"e{number}")
            case "add":
                spent += amount * take(tiers, where, -amount, f"e{number}")
            case "cut" | "link":
                getattr(tiers.wires[site], what)()
            case "send":
                tiers.wires[site].send(amount)
            case "pass":
                tiers.pass_ms(amount * 200)
            case _:
                tiers._world(what, tiers.wires[site], amount)
        assert 0 <= spent <= 30
    for wire in tiers.wires.values():
        wire.link()
    tiers.drain()
    assert everywhere(tiers) == [{"stock": spent}] * 3
