"""Standing rules at the planner: what is recorded, which sites are told when, and what is known of their firing."""

from typing import Any

import pytest

from cloud.port import Problem
from cloud.ruling.core import RULES_MAX, Known
from cloud.ruling.inputs import AddRule, RemoveRule
from cloud.ruling.views import rule_view
from tests.cloud.control import Control
from workflow.rule_events import RuleRefused, RuleRegistered, RuleRemoved
from workflow.standing import read_standing
from workflow.steering_events import RuleFired

HOOK = "https://example.org/hook"


@pytest.fixture
def cloud() -> Control:
    cloud = Control()
    cloud.link("harbour", "airport")
    return cloud


def add(cloud: Control, name: str = "r", **fields: Any) -> object:
    plan = read_standing({"name": name, "on": "task.failed", "do": {"notify": HOOK}, **fields})
    return cloud.ask(lambda token: AddRule(token, plan))


def remove(cloud: Control, name: str = "r") -> object:
    return cloud.ask(lambda token: RemoveRule(token, name))


def told(cloud: Control, site: str) -> list[tuple[str, str]]:
    """What the site has been told of rules, in order."""
    events = [event for _, event in cloud.outposts[site].inbox]
    return [(event.kind, event.name) for event in events if isinstance(event, RuleRegistered | RuleRemoved)]


def refusal(answer: object) -> str:
    assert isinstance(answer, Problem), answer
    return answer.code


def test_sites_are_told_of_the_rules_that_speak_of_them(cloud: Control) -> None:
    """At once; a rule of one site goes there alone, and what is removed is taken back."""
    assert add(cloud) is None
    assert add(cloud, "here", scope={"site": "harbour"}) is None
    assert told(cloud, "harbour") == [("RuleRegistered", "r"), ("RuleRegistered", "here")]
    assert told(cloud, "airport") == [("RuleRegistered", "r")]
    assert remove(cloud, "here") is None
    assert told(cloud, "harbour")[2:] == [("RuleRemoved", "here")]
    assert len(told(cloud, "airport")) == 1


def test_a_site_that_greets_later_is_told_then(cloud: Control) -> None:
    """Of what holds by then, once."""
    add(cloud)
    add(cloud, "gone")
    remove(cloud, "gone")
    cloud.link("market")
    cloud.link("market")
    assert told(cloud, "market") == [("RuleRegistered", "r")]


def test_a_site_that_was_not_there_learns_of_what_was_removed(cloud: Control) -> None:
    """And of what took its place: the same name at another moment is another rule."""
    add(cloud)
    add(cloud, "gone")
    cloud.begin_anew()
    cloud.turn()
    remove(cloud)
    remove(cloud, "gone")
    cloud.clock.pass_ms(1)
    add(cloud, do="pause")
    assert len(told(cloud, "harbour")) == 2
    cloud.link("harbour")
    assert told(cloud, "harbour")[2:] == [("RuleRemoved", "gone"), ("RuleRegistered", "r")]


def test_the_same_again_changes_nothing_and_another_is_refused(cloud: Control) -> None:
    """A rule is removed before another takes its name."""
    add(cloud)
    before = len(cloud.log.disk.rows)
    assert add(cloud) is None
    assert len(cloud.log.disk.rows) == before
    assert refusal(add(cloud, do="pause")) == "rule_exists"
    assert refusal(remove(cloud, "s")) == "rule_unknown"


def test_rules_have_a_bound(cloud: Control) -> None:
    """One more is refused."""
    book = cloud.planner.rules
    for number in range(RULES_MAX):
        book.rules[f"r{number}"] = Known(b"{}", 1, "nowhere")
    assert refusal(add(cloud, "one-more")) == "rules_full"


def test_what_came_of_a_rule_is_counted(cloud: Control) -> None:
    """Firings, errors, and sites that cannot obey it; of a definition's own rules nothing."""
    add(cloud)
    harbour = cloud.outposts["harbour"]
    harbour.say("r1", RuleFired(-1, "task.failed", "notify", HOOK, b"{}", "", "r"))
    harbour.say("r1", RuleFired(-1, "task.failed", "notify", HOOK, b"{}", "no such key", "r"))
    harbour.say("r1", RuleFired(0, "task.failed", "notify", HOOK, b"{}"))
    harbour.say("", RuleRefused("r", "do.teleport: unknown field"))
    cloud.hear("harbour")
    view = rule_view(cloud.planner.rules, "r")
    assert (view.fired, view.errors, view.error) == (1, 1, "no such key")
    assert view.refused == {"harbour": "do.teleport: unknown field"}
    assert view.sites == ["airport", "harbour"]
    assert [note.message for note in cloud.planner.notifications.pending.values()][:1] == [
        "standing rule r: task.failed in run r1"
    ]


@pytest.mark.parametrize("snapshot", [False, True])
def test_a_restart_knows_all_of_it(cloud: Control, snapshot: bool) -> None:
    """Folded, or from a snapshot; no site is told anew."""
    add(cloud)
    add(cloud, "here", scope={"site": "harbour"})
    add(cloud, "gone")
    remove(cloud, "gone")
    cloud.outposts["harbour"].say("r1", RuleFired(-1, "task.failed", "notify", HOOK, b"{}", "", "r"))
    cloud.hear("harbour")
    before, said = cloud.planner.rules.save(), (told(cloud, "harbour"), told(cloud, "airport"))
    if snapshot:
        cloud.snapshot()
    cloud.restart()
    assert cloud.planner.rules.save() == before
    assert (told(cloud, "harbour"), told(cloud, "airport")) == said


def test_a_cloud_that_lost_its_own_stream_knows_rules_from_those_for_the_sites(cloud: Control) -> None:
    """Until that stream says that one is gone."""
    book = cloud.planner.rules
    document = read_standing({"name": "r", "on": "task.failed", "do": "pause"}).document
    book._fold_registered("harbour", "", RuleRegistered("r", document, 7), 7)
    assert book.rules["r"].set_ms == 7
    book._fold_removed("harbour", "", RuleRemoved("r"), 7)
    assert "r" not in book.rules
