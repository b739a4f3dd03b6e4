"""deploy/watching.py: how far the work has got, site by site."""

from deploy.watching import Leaders, Rate, Share, shares
from tests.deploy.runs import run_of
from tiercel.answers import SiteGroup


def test_tasks_count_where_they_are_done() -> None:
    """Each task counts at its site; a run that nobody has heard of yet has everything before it."""
    moved = run_of("r1", "pick", "ship", "pack", "load")["run"]
    moved["state"], moved["completed"] = "active", 3
    places = {"r1": ["harbour", "harbour", "airport", "airport"], "r2": ["harbour"]}
    assert shares(places, {"r1": moved}) == {"airport": Share(1, 2), "harbour": Share(2, 3)}


def test_a_failed_run_leaves_nothing_to_do() -> None:
    """What a failed run did not come to is no longer part of the whole, so that the bar can fill."""
    failed = run_of("r1", "check", "pick", "pack")["run"]
    failed["state"], failed["completed"] = "failed", 1
    assert shares({"r1": ["harbour"] * 3}, {"r1": failed}) == {"harbour": Share(1, 1)}
    assert shares({"r1": ["harbour"] * 3}, {"r1": failed})["harbour"].part == 1.0
    assert Share(0, 0).part == 1.0


def test_a_rate_needs_two_looks() -> None:
    """One look tells no rate; tasks that were there before the first look do not count."""
    rate = Rate()
    assert rate.note(500) == 0.0
    assert rate.note(500) == 0.0
    assert rate.note(501) > 0.0


def test_who_leads_is_told_once() -> None:
    """A new term is news; the same one is not, nor is what an older answer says, and a site of one box has no leader."""
    leaders = Leaders()
    first: SiteGroup = {"leader": "a", "term": 1, "members": []}
    later: SiteGroup = {"leader": "c", "term": 4, "members": []}
    assert leaders.news({"harbour": first, "airport": None}) == ["harbour: box a leads, in term 1"]
    assert leaders.news({"harbour": first, "airport": None}) == []
    assert leaders.news({"harbour": later}) == ["harbour: box c leads, in term 4"]
    assert leaders.news({"harbour": first}) == []
