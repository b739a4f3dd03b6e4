"""Tasks that levels decide where everything breaks: production nodes and agents over bad links, disks and clocks."""

from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import msgspec
import pytest

from edge.coordinating.candidates import Candidates, Here
from edge.coordinating.choices import Choices
from edge.coordinating.courses import Course, Missed, Where
from edge.coordinating.hierarchical import Hierarchical
from edge.coordinating.mandates import Mandates
from edge.coordinating.seeker import Lot
from sync.accounts import Account
from sync.commit import Row
from tests.sim.definitions import DEFINITIONS
from tests.sim.oracle import Broke
from tests.sim.world import World, run_seed
from workflow.coordination_events import MandateGiven, TaskAwarded
from workflow.event import Event
from workflow.events import TaskLost, decode
from workflow.home_events import FragmentTaken
from workflow.homes import attempt_of
from workflow.mandates import renews

LEVELS: list[dict[str, Any]] = [
    {"level": "cloud", "protocol": "auction", "budget": {"tasks": 3}},
    {"level": "site", "protocol": "direct", "budget": {"tasks": 2, "cost": 3.5}, "expires": "2m"},
    {"level": "group", "protocol": "auction", "window": "20ms", "wait": "2s", "rounds": 2},
    {"level": "agent", "protocol": "offer", "wait": "2s", "budget": 2},
]
BOUNDS = {0: (3, 1e9), 1: (2, 3.5), 2: (10**9, 1e9), 3: (2, 1e9)}
BLOCK = {"protocol": "hierarchical", "levels": LEVELS, "otherwise": "direct"}
SPREAD = {**BLOCK, "levels": LEVELS[1:]}
"""Of runs whose tasks name several sites: a budget of the cloud is for one site at a time."""
LED = {
    name: {**document, "coordination": SPREAD if "'site'" in str(document) else BLOCK} for name, document in DEFINITIONS.items()
}
SEEDS = (3, 4)
FORGETS = 1
SOMEBODY = "nothing reaches the cloud while somebody able is there and no mandate is in the way"
WITHIN = "what levels decide is within their mandates"


class HierarchyWorld(World):
    """The story of any plan; at its end the sites' logs are read for what was awarded, event by event."""

    async def _story(self) -> None:
        rightly = Hierarchical._escalate

        def looked_at(levels: Hierarchical, lot: Lot, course: Course, missed: Missed, *given: Any) -> bool:
            self.check(lambda: check_nobody(levels, lot, course, missed, self.trace.note))
            return rightly(levels, lot, course, missed, *given)

        with patch.object(Hierarchical, "_escalate", looked_at):
            await super()._story()
        for site in self.sites.values():
            check_mandates(site.platter.rows, self.trace.note)


def check_nobody(levels: Hierarchical, lot: Lot, course: Course, missed: Missed, note: Any) -> None:
    """Where no mandate is in the way, and nobody below has said no. Raises Broke."""
    if not course.descent.path:
        note("asked_the_cloud")
    if course.descent.path or course.descent.history or missed.whose or missed.reason not in ("no_candidate", "out_of_time"):
        return
    roster, capability = levels.home.roster, levels.home.fragments[lot.run].task(lot.task).capability
    there = sorted(slot.agent for slot in roster.slots.values() if slot.present and capability in slot.capabilities)
    if (there and not any(roster.assigner.room(agent) for agent in there)) or (there and missed.reason == "no_candidate"):
        raise Broke(SOMEBODY, f"{lot.run}/{lot.task} is escalated ({missed.reason}: {missed.message}), and {there} are there")


def check_mandates(rows: list[Row], note: Any) -> None:
    """A twin that knows nothing of a site's counts. What is given back in an order that was lost is in no log. Raises Broke."""
    standing: dict[str, dict[tuple[str, ...], Account]] = {}
    latest: dict[tuple[str, int], tuple[int, tuple[str, ...], float]] = {}
    homes: dict[str, int] = {}
    for row, event in _told(rows):
        if renews(event) or isinstance(event, FragmentTaken) or homes.get(row.run, row.epoch) != row.epoch:
            standing.pop(row.run, None)
            latest = {key: award for key, award in latest.items() if key[0] != row.run}
            if isinstance(event, FragmentTaken) and event.spent is not None:
                standing[row.run] = {(): Account(dict(event.spent.awards), event.spent.cost)}
        homes[row.run] = row.epoch
        accounts = standing.setdefault(row.run, {})
        if isinstance(event, MandateGiven):
            note("mandate_given")
        elif isinstance(event, TaskLost) and not event.begun:
            token, path, cost = latest.get((row.run, event.task), (0, (), 0.0))
            if token and attempt_of(token) == event.attempt:
                del latest[(row.run, event.task)]
                for depth in range(len(path) + 1):
                    accounts[path[:depth]].give_back(event.task, cost)
                note("given_back")
        elif isinstance(event, TaskAwarded) and event.agent and event.protocol == "hierarchical":
            why = msgspec.json.decode(event.detail)
            path = tuple(why["path"])
            latest[(row.run, event.task)] = event.epoch, path, why["cost"]
            note("awarded")
            for depth in range(len(path) + 1):
                account = accounts.setdefault(path[:depth], Account())
                account.spend(event.task, why["cost"])
                tasks, cost = BOUNDS[depth]
                if account.tasks > tasks or account.cost > cost:
                    raise Broke(WITHIN, f"{path[:depth]} has {account.tasks} tasks of {row.run} for {account.cost:g}")
        elif isinstance(event, TaskAwarded) and not event.agent:
            note("given_up")


def _told(rows: list[Row]) -> Iterator[tuple[Row, Event]]:
    for row in rows:
        if row.run and row.stream.partition("@")[0] in ("harbour", "airport"):
            yield row, decode(row.kind, row.payload)


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_breaks_no_level_goes_beyond_its_mandate(seed: int) -> None:
    """Every guarantee of the plain world holds where levels decide, and budgets hold over kills, restarts and lost lines."""
    with patch.dict("tests.sim.definitions.DEFINITIONS", LED):
        outcome = run_seed(seed, HierarchyWorld)
    assert not outcome.broken
    assert outcome.seen["awarded"] > 0
    assert outcome.seen["given_up"] > 0
    assert outcome.seen["asked_the_cloud"] > 0
    assert outcome.seen["mandate_given"] > 0


def test_ablation_mandates_are_looked_at_when_an_award_is_made() -> None:
    """Looked at only when a level begins to choose, what is negotiated at the same time is above the budget together."""

    def blind(choices: Choices, lot: Any, course: Any, cost: float) -> Any:
        return rightly(choices, lot, course, cost) if course.via is None and not cost else None

    rightly = Choices.barred
    with patch.dict("tests.sim.definitions.DEFINITIONS", LED), patch.object(Choices, "barred", blind):
        outcome = run_seed(SEEDS[0], HierarchyWorld)
    assert WITHIN in outcome.broken, outcome.broken or "seed 3 noticed nothing"


def test_ablation_who_has_lost_the_line_is_there_until_the_lease_ends() -> None:
    """A site that takes only those for somebody who are connected asks the cloud at every restart, of its own or of an agent."""

    def connected(candidates: Candidates, where: Where) -> Here:
        return Here(able := rightly(candidates, where).able, able)

    rightly = Candidates._look
    with patch.dict("tests.sim.definitions.DEFINITIONS", LED), patch.object(Candidates, "_look", connected):
        outcome = run_seed(SEEDS[0], HierarchyWorld)
    assert SOMEBODY in outcome.broken, outcome.broken or f"seed {SEEDS[0]} noticed nothing"


def test_ablation_what_was_spent_outlives_the_site() -> None:
    """A site that begins to count anew with each start goes beyond its budget."""
    forgets = patch.multiple(Mandates, _fold=_forgets, restore=lambda mandates, body: None)
    with patch.dict("tests.sim.definitions.DEFINITIONS", LED), forgets:
        outcome = run_seed(FORGETS, HierarchyWorld)
    assert WITHIN in outcome.broken, outcome.broken or f"seed {FORGETS} noticed nothing"


def _forgets(mandates: Mandates, is_own: bool, run: str, event: Event, time_ms: int) -> None:
    """Of the log nothing is folded, which has a time; of what has just been decided, all."""
    if not time_ms:
        _FOLD(mandates, is_own, run, event, time_ms)


_FOLD = Mandates._fold
