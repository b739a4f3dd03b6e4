"""A run that goes on for long: its history grows, what a restart has to read does not."""

import pytest

import sync.driver
from sync.verify import ChainCheck
from tests.edge.site import HARBOUR, Site
from workflow.plan import read_plan

ROUNDS = 10_000
EVERY = 5_000
POLLING = {
    "name": "polling",
    "version": "1.0.0",
    "tasks": {"poll": {"repeat": {"until": "false", "max": ROUNDS, "tasks": {"ask": {"capability": "work"}}}}},
}


class LongSite(Site):
    """It does not add up all tasks of all runs after every turn, which would be most of the work."""

    def check(self) -> None:
        pass


def test_ten_thousand_rounds_are_not_read_again_at_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    """A restart folds what came after the last snapshots, at most what one interval holds, to the state that was; the chain of
    the whole history still holds, and the run ends with its last round."""
    monkeypatch.setattr(sync.driver, "SNAPSHOT_EVERY", EVERY)
    site = LongSite()
    anna = site.join()
    _, plan = read_plan(POLLING)
    site.release(plan)
    for number in range(ROUNDS - 1):
        assert len(anna.hands) == 1, f"round {number} did not begin"
        anna.finish(next(iter(anna.hands)))
        site.report(anna)
    before = site.fragment().save()
    loaded = site.log.load()
    assert loaded.pos > 2 * ROUNDS
    assert len(list(loaded.tail)) <= EVERY + 100
    site.restart()
    assert site.fragment().save() == before
    check = ChainCheck()
    check.follow(site.log.disk.rows)
    assert check.heads[HARBOUR] == loaded.heads[HARBOUR]
    site.join("anna")
    (key,) = anna.hands
    anna.finish(key)
    site.report(anna)
    assert (site.outcome(), site.core.holds("r1")) == ("failed", False), "its rounds are used up"
