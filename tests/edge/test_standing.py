"""Standing rules at a site: they come in the cloud's stream, hold while the site is cut off, and over restarts."""

from typing import Any

import msgspec
import pytest

from sync.values import RunId
from tests.edge.site import Site
from tests.workflow.plans import plan_of
from workflow.events import FragmentEnded, FragmentReleased
from workflow.fragment import Fragment
from workflow.rule_events import RuleRefused, RuleRegistered, RuleRemoved
from workflow.standing import read_standing
from workflow.steering_events import FragmentPaused, RuleFired

ONE = plan_of({"a": {"effect": "repeatable"}, "b": {"needs": ["a"]}}, name="one")
HOOK = "https://example.org/hook"


@pytest.fixture
def site() -> Site:
    site = Site(lease_ms=10**9)
    site.join()
    return site


def tell(site: Site, name: str = "r", **fields: Any) -> None:
    document = read_standing({"name": name, "on": "task.completed", "do": {"notify": HOOK}, **fields}).document
    site.tell(("", 0, RuleRegistered(name, document, 7)))


def fired(site: Site, run: str) -> list[tuple[str, str]]:
    return [(event.name, event.on) for event in site.events(RuleFired, run)]


def test_a_rule_holds_from_the_moment_the_site_has_it(site: Site) -> None:
    """For runs that are under way, too, and until it is removed."""
    site.release(ONE)
    site.done(site.robots["anna"])
    assert fired(site, "r1") == []
    tell(site)
    site.done(site.robots["anna"], task=1)
    assert fired(site, "r1") == [("r", "task.completed")]
    site.tell(("", 0, RuleRemoved("r")))
    site.release(ONE, "r2")
    site.done(site.robots["anna"], "r2")
    assert fired(site, "r2") == []


@pytest.mark.parametrize("snapshot", [False, True])
def test_rules_are_known_after_a_restart_without_the_cloud(site: Site, snapshot: bool) -> None:
    """Folded, or from a snapshot; so are the labels that they ask for."""
    tell(site, scope={"labels": {"line": "4"}}, do="pause")
    tell(site, "gone")
    site.tell(("", 0, RuleRemoved("gone")))
    site.release(ONE, "r0")  # The site knows the definition.
    labelled = FragmentReleased(ONE.ref, b"{}", "harbour", ["harbour"], bytes(2), 2, {"line": "4"}, site.clock.wall_ms)
    site.tell(("r1", 2, labelled))
    if snapshot:
        site.driver._floor = -(10**9)
        site.turn()
    site.restart()
    site.join()
    site.done(site.robots["anna"], "r1")
    site.done(site.robots["anna"], "r0")
    assert fired(site, "r1") == [("r", "task.completed")]
    assert len(site.events(FragmentPaused, "r1")) == 1
    assert fired(site, "r0") == []


def test_a_replica_folds_to_the_same_bytes(site: Site) -> None:
    """What standing rules decide are events like any other: who folds them needs no rules."""
    tell(site, do="pause")
    site.release(ONE)
    site.done(site.robots["anna"])
    rows = [row for row in site.log.disk.rows if row.stream == "harbour@1" and row.run == "r1"]
    adopted, *rest = (site.core.decode(row.kind, row.payload) for row in rows)
    twin = Fragment.adopt(RunId("r1"), ONE, adopted)  # type: ignore[arg-type]
    for event in rest:
        twin.evolve(event)
        twin.quiet()
    assert twin.save() == site.fragment().save()


def test_a_rule_that_the_site_does_not_understand_is_refused(site: Site) -> None:
    """It says so once, does nothing, and lives on; a better one takes its place."""
    document = msgspec.json.encode({"name": "r", "on": "task.completed", "do": {"teleport": {}}})
    site.tell(("", 0, RuleRegistered("r", document, 7)))
    (refused,) = site.events(RuleRefused)
    assert (refused.name, "teleport" in refused.reason) == ("r", True)
    site.restart()
    site.join()
    site.release(ONE)
    site.done(site.robots["anna"])
    assert fired(site, "r1") == []
    tell(site)
    site.done(site.robots["anna"], task=1)
    assert fired(site, "r1") == [("r", "task.completed")]


def test_the_start_of_a_run_is_an_event_too(site: Site) -> None:
    """Rules see a run from its adoption to its end."""
    tell(site, "begun", on="run.started")
    tell(site, "over", on="run.completed")
    site.release(ONE)
    for task in (0, 1):
        site.done(site.robots["anna"], task=task)
    assert fired(site, "r1") == [("begun", "run.started"), ("over", "run.completed")]


def test_what_rules_say_to_the_end_stands_before_it(site: Site) -> None:
    """Nobody hears of a run after its end: its history ends with it, at the site and at the cloud."""
    tell(site, "over", on="run.completed")
    site.release(ONE)
    site.done(site.robots["anna"])
    site.done(site.robots["anna"], task=1)
    kinds = [type(event) for event in site.events_of("r1")]
    assert kinds[-2:] == [RuleFired, FragmentEnded]
