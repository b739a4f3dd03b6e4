"""What one watcher of documents is told."""

from hypothesis import given
from hypothesis import strategies as st

from sync.watching.unseen import News, Unseen, Watched

PRICES = "shared/prices"


def news(version: int, document: str = PRICES, value: bytes = b"1", epoch: int = 1) -> News:
    return News(document, version, epoch, value, "ben", f"e{version}", 0)


def told(unseen: Unseen) -> list[tuple[str, int, bool]]:
    return [(each.document, each.version, each.gap) for each in unseen.take()]


def test_each_change_is_told_once_and_in_order() -> None:
    """Whether it was looked up, or has just become durable, or both."""
    unseen = Unseen(Watched({PRICES: None}))
    for version in (3, 3, 2, 4, 4):
        unseen.note(news(version))
    assert told(unseen) == [(PRICES, 3, False), (PRICES, 4, False)]
    assert not unseen.note(news(4))
    assert told(unseen) == []


def test_only_what_is_beyond_the_version_named_is_told() -> None:
    """And if there was more between, that it is a gap."""
    unseen = Unseen(Watched({PRICES: 5}))
    assert not unseen.note(news(5))
    assert unseen.note(news(6))
    assert unseen.note(news(8))
    assert told(unseen) == [(PRICES, 6, False), (PRICES, 8, True)]


def test_what_is_not_watched_is_not_told() -> None:
    """Documents are named, or begin with a prefix."""
    unseen = Unseen(Watched({PRICES: None}, ("site/harbour/",)))
    for document in ("shared/price", "site/harbour/dock", "site/airport/dock", PRICES):
        unseen.note(news(1, document))
    assert [document for document, *_ in told(unseen)] == ["site/harbour/dock", PRICES]


def test_a_slow_watcher_is_told_a_gap_and_the_latest() -> None:
    """Beyond its bounds, in number or in bytes, only the latest of each document waits."""
    for unseen in (Unseen(Watched({}, ("shared/",)), 4), Unseen(Watched({}, ("shared/",)), 1_000, 40)):
        unseen.note(news(1))
        assert told(unseen) == [(PRICES, 1, False)]
        for version in range(2, 30):
            unseen.note(news(version, value=b"1" * 10))
        unseen.note(news(1, "shared/tide"))
        waiting = told(unseen)
        assert len(waiting) <= 6
        assert waiting[0][2], waiting
        assert waiting[-2:] == [(PRICES, 29, waiting[-2][2]), ("shared/tide", 1, False)]


def test_an_older_epoch_is_no_news() -> None:
    """A home that was replaced may have gone on for a while."""
    unseen = Unseen(Watched({PRICES: None}))
    assert unseen.note(news(4, epoch=2))
    assert not unseen.note(news(5, epoch=1))
    assert told(unseen) == [(PRICES, 4, False)]


@given(st.lists(st.one_of(st.tuples(st.sampled_from("abc"), st.integers(1, 30)), st.none()), max_size=80), st.integers(1, 6))
def test_the_latest_of_each_document_is_told_in_the_end(story: list[tuple[str, int] | None], changes_max: int) -> None:
    """However it is read: versions rise, a gap is said where one was left out, and never more waits than the bounds allow."""
    unseen, seen, latest = Unseen(Watched({}, ("shared/",)), changes_max), dict[str, int](), dict[str, int]()
    for step in [*story, None]:
        if step is not None:
            name, version = f"shared/{step[0]}", step[1]
            unseen.note(news(version, name))
            latest[name] = max(version, latest.get(name, 0))
            continue
        waiting = unseen.take()
        assert len(waiting) <= max(changes_max, 3)
        for each in waiting:
            before = seen.get(each.document)
            assert before is None or each.version > before
            assert each.gap == (before is not None and each.version > before + 1)
            seen[each.document] = each.version
    assert latest == seen


def test_of_several_writers_the_same_version_may_be_another() -> None:
    """It is told when more is known of it, without gaps, and once more to who comes back; not to one who names it exactly."""
    unseen = Unseen(Watched({PRICES: None}))
    for version, state in ((3, 5), (3, 5), (3, 7), (9, 8)):
        unseen.note(news(version)._replace(state=state))
    assert told(unseen) == [(PRICES, 3, False), (PRICES, 3, False), (PRICES, 9, False)]
    assert Unseen(Watched({PRICES: 9})).note(news(9)._replace(state=8))
    assert not Unseen(Watched({PRICES: 9}, is_exact=True)).note(news(9)._replace(state=8))
