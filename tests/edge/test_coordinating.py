"""The hook for protocols of coordination: a protocol that is told what is sought, and names agents as a test says."""

from dataclasses import dataclass, field
from typing import ClassVar

import msgspec

from edge.coordinating.core import Coordinating
from edge.coordinating.seeker import Given, Lot, Seeker
from sync.values import AgentId, Now
from tests.edge.site import Site
from tests.workflow.plans import plan_of
from workflow.coordinating import Award
from workflow.coordination_events import CoordinationChanged, TaskAwarded
from workflow.events import TaskAssigned, TaskFailed
from workflow.fragment import Fragment
from workflow.orders import ChangeCoordination
from workflow.tasks import CoordinationPlan

AUCTION = CoordinationPlan("auction", rounds=1)


@dataclass
class Oracle(Seeker):
    """Awards to whom the test has named."""

    protocol: ClassVar[str] = "auction"
    dispatch: object
    sought: list[Lot] = field(default_factory=list)
    named: dict[str, str] = field(default_factory=dict)
    given: list[Given] = field(default_factory=list)

    def seek(self, fragment: Fragment, task: int, plan: CoordinationPlan, now: Now, out: list[object]) -> None:
        lot = Lot(fragment.run, task)
        if lot not in self.sought:
            self.sought.append(lot)

    def withdraw(self, lot: Lot) -> None:
        self.sought.remove(lot)

    def settle(self, now: Now, out: list[object]) -> None:
        for lot in [lot for lot in self.sought if lot.run in self.named]:
            agent, why = AgentId(self.named[lot.run]), ("auction", Award("named", "the oracle said so"))
            self.given.append(self.dispatch.give(lot, agent, why, now, out))  # type: ignore[attr-defined]


def site_with_oracle() -> tuple[Site, Oracle]:
    site = Site()
    dispatch = site.core.dispatch
    oracle = Oracle(dispatch)
    dispatch.coordinating = Coordinating(site.core.home, (oracle,))
    return site, oracle


def test_a_task_of_a_protocol_waits_for_whom_it_names() -> None:
    """An idle agent does not get it by itself; the award stands before the assignment in the log, with its reason."""
    site, oracle = site_with_oracle()
    anna, ben = site.join("anna"), site.join("ben")
    site.release(plan_of({"a": {"capability": "work", "coordination": "auction"}}))
    assert oracle.sought == [Lot("r1", 0)]
    assert not anna.hands
    assert not ben.hands
    oracle.named["r1"] = "ben"
    site.turn()
    assert [key.run for key in ben.hands] == ["r1"]
    assert oracle.given == ["given"]
    assert not oracle.sought
    (award,) = site.events(TaskAwarded)
    assert (award.protocol, award.agent, msgspec.json.decode(award.detail)["reason"]) == ("auction", "ben", "the oracle said so")
    kinds = [type(event) for event in site.events_of("r1")]
    assert kinds.index(TaskAwarded) + 1 == kinds.index(TaskAssigned)
    assert ben.key().epoch == award.epoch


def test_the_default_of_the_run_is_that_of_its_agent_tasks() -> None:
    """What says `direct` itself, or names its agent, is handed out at once."""
    site, oracle = site_with_oracle()
    anna = site.join("anna")
    tasks = {"a": {"capability": "work"}, "b": {"capability": "work", "coordination": "direct"}, "c": {"agent": "anna"}}
    site.release(plan_of(tasks, coordination="auction"))
    assert [site.fragment().id_of(lot.task) for lot in oracle.sought] == ["a"]
    assert len(anna.hands) == 2


def test_an_agent_without_room_keeps_the_task_sought() -> None:
    """`no_room` changes nothing: the protocol may name another."""
    site, oracle = site_with_oracle()
    site.join("anna", capacity=1)
    site.release(plan_of({"a": {"capability": "work"}}, name="one"), run="r0")
    oracle.named["r1"] = "anna"
    site.release(plan_of({"a": {"capability": "work"}}, name="two", coordination="auction"))
    assert oracle.given == ["no_room"]
    assert oracle.sought == [Lot("r1", 0)]


def test_what_was_cancelled_is_gone() -> None:
    """An award that comes too late gives nobody anything."""
    site, oracle = site_with_oracle()
    anna = site.join("anna")
    site.release(plan_of({"a": {"capability": "work"}}, coordination="auction"))
    site.cancel()
    oracle.named["r1"] = "anna"
    site.turn()
    assert oracle.given == ["gone"]
    assert not oracle.sought
    assert not anna.hands


def test_an_order_changes_the_protocol_of_a_run_that_waits() -> None:
    """By auction nobody gets it the old way any more; directly it is handed out again. A restart remembers the last word."""
    site, oracle = site_with_oracle()
    site.release(plan_of({"a": {"capability": "work"}}))
    assert site.order(ChangeCoordination(AUCTION)) == "accepted"
    anna = site.join("anna")
    assert oracle.sought == [Lot("r1", 0)]
    assert not anna.hands
    site.restart()
    assert site.fragment().extras.coordination == {-1: AUCTION}  # type: ignore[union-attr]
    assert site.order(ChangeCoordination(CoordinationPlan("direct"), "a")) == "accepted"
    site.join("anna")
    assert anna.hands
    assert [event.task for event in site.events(CoordinationChanged)] == [-1, 0]


def test_an_order_that_makes_no_sense_is_refused() -> None:
    """With the task, and what is allowed."""
    site, _ = site_with_oracle()
    site.release(plan_of({"a": {"agent": "anna"}, "b": {"capability": "work"}}))
    assert "no task 'x'" in site.order(ChangeCoordination(AUCTION, "x"))
    assert "names its agent" in site.order(ChangeCoordination(AUCTION, "a"))


def test_nobody_found_means_directly_or_failed() -> None:
    """Both are recorded with their reason, without an agent."""
    site, oracle = site_with_oracle()
    why = ("auction", Award("cheapest", "no bids in 1 round"))
    site.release(plan_of({"a": {"capability": "work", "retry": {"max_attempts": 1}}}, coordination="auction"))
    out: list[object] = []
    anna = site.join("anna")
    site.core.dispatch.give_up(oracle.sought[0], "direct", why, "no_bids", site.clock.now(), out)
    assert [event.agent for event in (getattr(o, "event", None) for o in out) if isinstance(event, TaskAwarded)] == [""]
    assert not oracle.sought
    assert not anna.hands
    other = Site()
    oracle = Oracle(other.core.dispatch)
    other.core.dispatch.coordinating = Coordinating(other.core.home, (oracle,))
    other.release(plan_of({"a": {"capability": "work"}}, coordination="auction"))
    other.core.dispatch.give_up(oracle.sought[0], "fail", why, "no_bids", other.clock.now(), out := [])
    failed = [event for event in (getattr(o, "event", None) for o in out) if isinstance(event, TaskFailed)]
    assert [(event.code, event.message) for event in failed] == [("no_bids", "auction: no bids in 1 round")]
