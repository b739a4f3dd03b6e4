"""What definitions say of a group: the newest version of each, and of all of them the more careful, in whatever order."""

from hypothesis import given
from hypothesis import strategies as st

from coordination import charter as charters
from coordination.auction.bids import Who
from coordination.charter import Charter, Said

names = st.sampled_from(["lift", "move", "weld"])
saids = st.builds(
    Said,
    st.sampled_from(["1.0.0", "1.2.0", "1.10.0", "2.0.0-rc.1", "2.0.0"]),
    st.integers(0, 3),
    st.integers(0, 3),
    st.dictionaries(st.sampled_from(["ann", "ben"]), st.integers(-2, 2)),
    st.lists(st.sampled_from([Who("lift"), Who("", ("ann",))]), max_size=2).map(tuple),
)
RELEASES = ["1.0.0", "1.2.0", "1.10.0", "2.0.0-rc.1", "2.0.0"]


def tell(charter: Charter, definition: str, said: Said) -> bool:
    news = charter.news(definition, said)
    if news is not None:
        charter.fold(definition, news)
    return news is not None


def careful(told: list[tuple[str, Said]]) -> Said:
    """The rule, written down plainly."""
    newest = {name: max((said.version for each, said in told if each == name), key=RELEASES.index) for name, _ in told}
    counts = [said for name, said in told if said.version == newest[name]]
    agents = {agent for said in counts for agent in said.priority}
    priority = {agent: max(said.priority[agent] for said in counts if agent in said.priority) for agent in sorted(agents)}
    who = tuple(sorted({one for said in counts for one in said.who}))
    return Said("", max((s.ttl_ms for s in counts), default=0), max((s.lock_delay_ms for s in counts), default=0), priority, who)


@given(st.lists(st.tuples(names, saids), max_size=12))
def test_what_holds_follows_from_what_was_said_and_not_from_when(told: list[tuple[str, Said]]) -> None:
    """Whoever speaks again says nothing new, and in the end all orders come to the rule."""
    charter = Charter()
    for name, said in told * 2:
        tell(charter, name, said)
    assert charter.holds == careful(told)
    assert not any(tell(charter, name, said) for name, said in told)


def test_who_wants_less_gets_it_by_a_newer_version() -> None:
    """An older version that still runs changes nothing; the same version only adds."""
    charter = Charter()
    assert tell(charter, "lift", Said("1.0.0", 60_000, 5_000, {"ann": 3}))
    assert not tell(charter, "move", Said("1.0.0", 30_000))
    assert tell(charter, "lift", Said("1.1.0", 20_000))
    assert not tell(charter, "lift", Said("1.0.0", 60_000, 5_000, {"ann": 3}))
    assert charter.holds == Said("", 20_000)
    assert tell(charter, "move", Said("1.0.0", 30_000))
    assert charter.holds == Said("", 30_000)


def test_definitions_of_a_group_are_bounded() -> None:
    """Of more than are kept the one that spoke first is forgotten, and may speak again."""
    charter = Charter()
    for number in range(charters.DEFINITIONS_MAX + 1):
        assert tell(charter, f"d{number}", Said("1.0.0", number + 1))
    assert (len(charter.says), "d0" in charter.says) == (charters.DEFINITIONS_MAX, False)


def test_so_many_ways_of_saying_who_are_kept() -> None:
    """More than WHO_MAX are cut, the same ones in any order, and said again they are no news."""
    charter = Charter()
    many = [Said("1.0.0", who=(Who(f"c{number:03}"),)) for number in range(charters.WHO_MAX + 10)]
    for said in many:
        tell(charter, "lift", said)
    assert len(charter.holds.who) == charters.WHO_MAX
    assert not any(tell(charter, "lift", said) for said in many)
