"""Tasks that are auctioned where everything breaks: production nodes and agents over bad links, disks and clocks."""

from collections import Counter
from typing import Any
from unittest.mock import patch

import pytest

from edge.dispatch import Dispatch
from sync.commit import Row
from tests.sim.definitions import DEFINITIONS
from tests.sim.oracle import Broke
from tests.sim.world import World, run_seed
from workflow.coordination_events import TaskAwarded
from workflow.events import TaskAssigned, decode
from workflow.homes import attempt_epoch

AUCTION = {"protocol": "auction", "window": "50ms", "wait": "2s"}
AUCTIONED = {name: {**document, "coordination": AUCTION} for name, document in DEFINITIONS.items()}
SEEDS = (1, 2)
ONCE = "a task is awarded once under an epoch"


class AuctionWorld(World):
    """The story of any plan; at its end the sites' logs are read for what was awarded."""

    async def _story(self) -> None:
        await super()._story()
        for site in self.sites.values():
            self._check_awards(site.platter.rows)

    def _check_awards(self, rows: list[Row]) -> None:
        awards: Counter[tuple[str, int, int]] = Counter()
        agents: dict[tuple[str, int, int], str] = {}
        for row in rows:
            if row.kind not in (TaskAwarded.kind, TaskAssigned.kind):
                continue
            event = decode(row.kind, row.payload)
            if isinstance(event, TaskAwarded):
                place = row.run, event.task, event.epoch
                awards[place] += 1
                agents[place] = event.agent
                self.trace.note("awarded")
            elif isinstance(event, TaskAssigned):
                place = row.run, event.task, attempt_epoch(row.epoch, event.attempt)
                if event.agent != agents.get(place, event.agent):
                    raise Broke(ONCE, f"{place} was awarded to {agents[place]} and assigned to {event.agent}")
        if twice := [place for place, count in awards.items() if count > 1]:
            raise Broke(ONCE, f"{twice} were awarded more than once")


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_breaks_all_is_awarded_and_done(seed: int) -> None:
    """Every guarantee of the plain world holds where agents bid, and negotiations that are lost with a site begin anew."""
    with patch.dict("tests.sim.definitions.DEFINITIONS", AUCTIONED):
        outcome = run_seed(seed, AuctionWorld)
    assert not outcome.broken
    assert outcome.seen["awarded"] > 0


def test_ablation_an_award_is_an_event_too() -> None:
    """A site that counts the assignment alone goes beyond the bound of a bounded run, and is found out."""
    rightly = Dispatch._is_kept_back

    def forgets(dispatch: Dispatch, *args: Any, events: int = 1) -> bool:
        return rightly(dispatch, *args)

    with patch.dict("tests.sim.definitions.DEFINITIONS", AUCTIONED), patch.object(Dispatch, "_is_kept_back", forgets):
        outcome = run_seed(1, AuctionWorld)
    assert "ahead of the cloud" in outcome.broken, outcome.broken or "seed 1 noticed nothing"
