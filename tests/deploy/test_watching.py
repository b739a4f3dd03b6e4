"""deploy/watching.py: how far the work has got, site by site."""

from pathlib import Path

import pytest

from deploy.nodes import Change, Node
from deploy.watching import Leaders, Rate, Restarts, Share, shares
from tests.deploy.runs import run_of
from tiercel.answers import SiteBox, SiteGroup


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


def test_a_box_that_was_removed_is_told_of_once() -> None:
    """Its process looks as ever; who belongs to the group, the group itself says."""
    leaders = Leaders({"harbour": frozenset("abc")})
    boxes: list[SiteBox] = [{"node": name, "voter": True, "here": True, "lag": 0} for name in "ab"]
    removed: SiteGroup = {"leader": "a", "term": 1, "members": boxes}
    said = leaders.news({"harbour": removed})
    assert said[1:] == ["harbour: box c is no member of its group any more: it decides nothing, and gets no work"]
    assert leaders.news({"harbour": removed}) == []


def test_a_node_that_ends_before_it_answers_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at once, for a start takes its time; and once."""
    node, restarts = Node("harbour-b", lambda: None), Restarts(Path("/data/logs"))
    assert node._on_its_way(7) is None
    monkeypatch.setattr("deploy.nodes.LIVED_S_MIN", 0.0)
    change = node._on_its_way(7)
    assert change == Change("harbour-b", 7, 0, again=True)
    assert restarts.words(change).startswith("ends again and again")
    assert restarts.words(change) == ""


def test_a_node_that_cannot_live_is_told_of_once() -> None:
    """A death by chance is told each time; of a node that ends as soon as it is back, only that, and where to look."""
    restarts = Restarts(Path("/data/logs"))
    assert restarts.words(Change("harbour-c", 1, 2)).startswith("process 1 died; Ray restarted it as 2")
    said = restarts.words(Change("harbour-c", 2, 3, again=True))
    assert (said.partition(",")[0], "/data/logs/harbour-c.log" in said) == ("ends again and again", True)
    assert restarts.words(Change("harbour-c", 3, 4, again=True)) == ""
    assert "harbour-agents.log" in restarts.words(Change("harbour agents", 5, 6, again=True))
    assert restarts.words(Change("harbour-c", 4, 7)).startswith("process 4 died")
    assert restarts.words(Change("harbour-c", 7, 0, "no room")) == "does not start: no room; trying again"
